//! How long one example's gradient may be, and what is cut off.
//!
//! Squares are summed in `f64`: a gradient of a million `f32` values then has its norm to twelve
//! digits, so the sensitivity that the noise is calibrated to holds to that precision.

use undertone_protocol::adapter::Adapter;

use crate::config::{ClipGroups, PrivacyConfig};
use crate::error::{Result, TrainingError};
use crate::ops::kernel::kernel;

/// Independent partial sums, so that a sum of squares vectorises without reordering floats.
const LANES: usize = 16;

/// The factor on a gradient that is scaled down and then rounded to `f32`: each rounding adds at
/// most a part in 2^24 to a value, so the rounded gradient still keeps to its bound.
const ROUNDED: f64 = 1.0 - 1.0 / 8_388_608.0;

/// The largest L2 norms of one example's gradient.
///
/// Tensors of the adapter fall into groups with a bound `C_g` each (`McMahan` et al. 2018, "Learning
/// differentially private recurrent language models", section 3.1); one group is flat clipping
/// (Abadi et al. 2016). One example moves the clipped sum by at most the root of the sum of `C_g²`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// The group of each tensor in canonical order; empty if there is one group for all.
    groups: Vec<usize>,
    /// The bound of each group; empty if nothing is clipped.
    norms: Vec<f64>,
}

/// The layer that a tensor belongs to: `encoder.layer.3` and the like, or everything else.
fn layer(tensor: &str) -> &str {
    let number = tensor.strip_prefix("encoder.layer.");
    match number.and_then(|rest| rest.find('.')) {
        Some(end) => &tensor[.."encoder.layer.".len() + end],
        None => "",
    }
}

/// What clipping did to one example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its gradient is within all bounds, and unchanged.
    Within,
    /// It was scaled down.
    Clipped,
    /// It is not finite and counts as zero: it has no direction, and adding it would break the
    /// bound that the noise is calibrated to.
    NotFinite,
}

impl Bounds {
    /// No clipping, for training without privacy.
    pub const fn none() -> Self {
        Self {
            groups: Vec::new(),
            norms: Vec::new(),
        }
    }

    /// One bound C for all trainable values together, above 0.
    ///
    /// # Errors
    /// [`TrainingError::Config`] if `norm` is not a finite number above 0.
    pub fn flat(norm: f64) -> Result<Self> {
        if !(norm.is_finite() && norm > 0.0) {
            return Err(TrainingError::Config(format!(
                "a clip norm of {norm} leaves nothing to train on; choose a number above 0, for \
                 instance the median norm of an example's gradient"
            )));
        }
        Ok(Self {
            groups: Vec::new(),
            norms: vec![norm],
        })
    }

    /// Equal shares of a total bound: of G groups each may have `norm / sqrt(G)`, so that one
    /// example moves the sum by at most `norm`. `group` names the group of a tensor.
    ///
    /// # Errors
    /// [`TrainingError::Config`] if `norm` is not a finite number above 0.
    pub fn grouped<'a>(
        norm: f64,
        adapter: &'a Adapter,
        group: impl Fn(&'a str) -> &'a str,
    ) -> Result<Self> {
        let mut names: Vec<&str> = Vec::new();
        let groups: Vec<usize> = adapter
            .tensors()
            .map(|(name, _, _)| {
                let name = group(name);
                names.iter().position(|n| *n == name).unwrap_or_else(|| {
                    names.push(name);
                    names.len() - 1
                })
            })
            .collect();
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let share = (names.len().max(1) as f64).sqrt();
        let norms = Self::flat(norm)?.norms;
        Ok(Self {
            groups,
            norms: norms
                .iter()
                .flat_map(|c| vec![c / share; names.len()])
                .collect(),
        })
    }

    /// The bounds of a task's settings for its adapter; `None` trains without privacy.
    ///
    /// # Errors
    /// As for [`Self::flat`].
    pub fn of(privacy: Option<&PrivacyConfig>, adapter: &Adapter) -> Result<Self> {
        match privacy {
            None => Ok(Self::none()),
            Some(privacy) => match privacy.groups {
                ClipGroups::Flat => Self::flat(privacy.clip_norm),
                ClipGroups::PerLayer => Self::grouped(privacy.clip_norm, adapter, layer),
                ClipGroups::PerTensor => Self::grouped(privacy.clip_norm, adapter, |name| name),
            },
        }
    }

    /// By how much one example more or less moves the clipped sum, in L2 norm; `None` without
    /// clipping.
    pub fn sensitivity(&self) -> Option<f64> {
        let squares: f64 = self.norms.iter().map(|c| c * c).sum();
        (!self.norms.is_empty()).then(|| squares.sqrt())
    }

    /// Refuses bounds that were made for an adapter with another number of tensors.
    pub(super) fn check(&self, adapter: &Adapter) -> Result<()> {
        let tensors = adapter.tensors().count();
        if self.groups.is_empty() || self.groups.len() == tensors {
            return Ok(());
        }
        Err(TrainingError::AdapterMismatch(format!(
            "the clip norms are for {} tensors, the adapter has {tensors}",
            self.groups.len()
        )))
    }

    /// The factor on each tensor of an example, `scales` `[tensors]`, from the sums of squares of
    /// its gradient `[tensors]`.
    pub(super) fn judge(&self, squares: &[f64], scales: &mut [f64]) -> Verdict {
        if !squares.iter().sum::<f64>().is_finite() {
            scales.fill(0.0);
            return Verdict::NotFinite;
        }
        scales.fill(1.0);
        let mut verdict = Verdict::Within;
        for (group, bound) in self.norms.iter().enumerate() {
            let of = |tensor: usize| self.groups.get(tensor).is_none_or(|g| *g == group);
            let members = squares.iter().enumerate().filter(|(t, _)| of(*t));
            let norm = members.map(|(_, s)| s).sum::<f64>().sqrt();
            if norm > *bound {
                verdict = Verdict::Clipped;
                let members = scales.iter_mut().enumerate().filter(|(t, _)| of(*t));
                members.for_each(|(_, s)| *s = bound / norm);
            }
        }
        verdict
    }
}

kernel! {
    fn add_squares(values: &'a [f32], sum: &'a mut f64) {
        let mut lanes = [0.0_f64; LANES];
        let (chunks, rest) = values.as_chunks::<LANES>();
        for chunk in chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                let x = f64::from(*x);
                *lane = x.mul_add(x, *lane);
            }
        }
        let rest = rest.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
        *sum += lanes.iter().sum::<f64>() + rest;
    }
}

kernel! {
    /// `sum += scale * values`.
    pub(super) fn add_scaled(scale: f64, values: &'a [f32], sum: &'a mut [f64]) {
        for (sum, x) in sum.iter_mut().zip(values) {
            *sum = scale.mul_add(f64::from(*x), *sum);
        }
    }
}

/// The sum of squares.
pub(super) fn square_norm(values: &[f32]) -> f64 {
    let mut sum = 0.0;
    add_squares(values, &mut sum);
    sum
}

/// `out = scale * values`, rounded to `f32` so that the norm does not pass what `scale` was chosen
/// for. A scale of 1 copies.
#[allow(clippy::float_cmp, reason = "1 is the very value that `judge` leaves")]
pub(super) fn copy_scaled(scale: f64, values: &[f32], out: &mut [f32]) {
    if scale == 1.0 {
        out.copy_from_slice(values);
    } else if scale == 0.0 {
        // Not a product: the values may be infinite.
        out.fill(0.0);
    } else {
        let scale = scale * ROUNDED;
        for (out, x) in out.iter_mut().zip(values) {
            #[allow(clippy::cast_possible_truncation, reason = "gradients are f32")]
            let scaled = (scale * f64::from(*x)) as f32;
            *out = scaled;
        }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the numbers are exact")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn adapter() -> Adapter {
        let tensor = |len: usize| (vec![len], vec![0.0; len]);
        Adapter::new(BTreeMap::from([
            ("a.x".to_owned(), tensor(2)),
            ("a.y".to_owned(), tensor(1)),
            ("b.x".to_owned(), tensor(1)),
        ]))
        .unwrap()
    }

    #[test]
    fn flat_clipping_scales_all_tensors_alike() {
        let bounds = Bounds::flat(2.5).unwrap();
        let mut scales = [0.0; 3];
        // Norm 5: 9 + 16 over three tensors.
        assert_eq!(
            bounds.judge(&[9.0, 0.0, 16.0], &mut scales),
            Verdict::Clipped
        );
        assert_eq!(scales, [0.5; 3]);
        assert_eq!(
            bounds.judge(&[4.0, 2.25, 0.0], &mut scales),
            Verdict::Within
        );
        assert_eq!(scales, [1.0; 3]);
        assert_eq!(bounds.sensitivity(), Some(2.5));
    }

    #[test]
    fn groups_are_clipped_apart_and_their_squares_add_up() {
        let adapter = adapter();
        let first = |name| str::split(name, '.').next().unwrap_or_default();
        let bounds = Bounds::grouped(2.0_f64.sqrt(), &adapter, first).unwrap();
        // Two groups of bound 1: the first has norm 5, the second 0.5.
        let mut scales = [0.0; 3];
        assert_eq!(
            bounds.judge(&[9.0, 16.0, 0.25], &mut scales),
            Verdict::Clipped
        );
        for (got, expected) in scales.iter().zip([0.2, 0.2, 1.0]) {
            assert!((got - expected).abs() < 1e-15, "{scales:?}");
        }
        let sensitivity = bounds.sensitivity().unwrap();
        assert!(
            (sensitivity - 2.0_f64.sqrt()).abs() < 1e-15,
            "{sensitivity}"
        );
        let other = Adapter::new(BTreeMap::from([("a".to_owned(), (vec![1], vec![0.0]))]));
        assert!(bounds.check(&other.unwrap()).is_err());
    }

    #[test]
    fn a_tensor_belongs_to_its_layer_or_to_the_head() {
        let tensor = "encoder.layer.11.attention.self.query.lora_B.weight";
        assert_eq!(layer(tensor), "encoder.layer.11");
        assert_ne!(layer(&tensor.replace("11", "1")), layer(tensor));
        assert_eq!(layer("classifier.weight"), layer("classifier.bias"));
    }

    #[test]
    fn what_is_not_finite_counts_as_zero() {
        let mut scales = [1.0; 3];
        for bounds in [Bounds::none(), Bounds::flat(1.0).unwrap()] {
            for bad in [f64::NAN, f64::INFINITY] {
                assert_eq!(
                    bounds.judge(&[1.0, bad, 1.0], &mut scales),
                    Verdict::NotFinite
                );
                assert_eq!(scales, [0.0; 3]);
            }
        }
        let mut out = [1.0];
        copy_scaled(0.0, &[f32::INFINITY], &mut out);
        assert_eq!(out, [0.0]);
    }

    #[test]
    fn a_clip_norm_must_be_above_zero() {
        for norm in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Bounds::flat(norm).is_err(), "{norm}");
            assert!(Bounds::grouped(norm, &adapter(), |name| name).is_err());
        }
    }

    #[test]
    fn squares_are_summed_in_double_precision() {
        // In f32, adding 1 to 2^24 changes nothing.
        let mut values = vec![1.0_f32; 1 << 12];
        values[0] = 4096.0;
        let expected = f64::from(1 << 24) + f64::from((1 << 12) - 1);
        assert_eq!(square_norm(&values), expected);
    }

    #[test]
    fn rounding_does_not_lengthen_a_clipped_gradient() {
        // 1/3 and its multiples are rounded in both directions.
        let values: Vec<f32> = (1..=999_u16).map(|i| f32::from(i) / 3.0).collect();
        let norm = square_norm(&values).sqrt();
        let mut out = vec![0.0; values.len()];
        for bound in [1.0 / 7.0, 1.0, 3.3] {
            copy_scaled(bound / norm, &values, &mut out);
            let clipped = square_norm(&out).sqrt();
            assert!(
                clipped <= bound && clipped > bound * (1.0 - 3e-7),
                "{clipped}"
            );
        }
    }
}
