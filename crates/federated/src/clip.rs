//! An adaptive clip norm for whole clients, whose bit is one more coordinate of the secure sum.
//!
//! Andrew, Thakkar, `McMahan` and Ramaswamy, "Differentially private learning with adaptive
//! clipping" (`NeurIPS` 2021), on a mechanism whose numbers are fixed: clients send their update in
//! units of the clip norm C, so that its norm is at most 1 whatever C is, and beside it the
//! coordinate `w/2` if the update was within C, `-w/2` if not. Both together have a norm of at most
//! `sqrt(1 + w^2/4)`, which is the `update_clip` of the mechanism: its noise covers the bit like
//! any other coordinate, and its cost is the cost of both.
//!
//! The adapter carries C and the rule in the tensor `undertone.clip`, so a client sees what it is
//! asked to clip to, and the model digest covers it.

use serde::{Deserialize, Serialize};
use undertone_privacy::AdaptiveClip;

use crate::error::FederatedError;

/// Where C stays, whatever the noise says.
const RANGE: (f64, f64) = (1e-6, 1e6);

/// The settings of an adaptive clip norm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientClip {
    /// The first clip norm C, between 1e-6 and 1e6.
    pub initial: f64,
    /// The fraction of clients that shall be within C; strictly between 0 and 1.
    pub target_quantile: f64,
    /// The step of the geometric update, above 0 and at most 1; 0.2 in the paper.
    pub learning_rate: f64,
    /// w, the size of the bit beside an update of norm 1; above 0 and at most 2, where it costs as
    /// much as the update itself. Under noise of standard deviation s on a coordinate of the sum,
    /// the sum of the bits has noise `s / w`: a twentieth of the survivors is small enough
    /// ([`AdaptiveClip::bit_weight`] turns it into w).
    pub bit_weight: f64,
}

impl ClientClip {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`FederatedError::Setting`].
    pub fn validate(&self) -> Result<(), FederatedError> {
        let within = |value: f64| value >= RANGE.0 && value <= RANGE.1;
        for (name, value, good, range) in [
            (
                "clip.initial",
                self.initial,
                within(self.initial),
                "between 1e-6 and 1e6; choose about the median norm of an update",
            ),
            (
                "clip.target_quantile",
                self.target_quantile,
                self.target_quantile > 0.0 && self.target_quantile < 1.0,
                "strictly between 0 and 1; 0.5 aims at the median",
            ),
            (
                "clip.learning_rate",
                self.learning_rate,
                self.learning_rate > 0.0 && self.learning_rate <= 1.0,
                "above 0 and at most 1; 0.2 is common",
            ),
            (
                "clip.bit_weight",
                self.bit_weight,
                self.bit_weight > 0.0 && self.bit_weight <= 2.0,
                "above 0 and at most 2: at 0 the bit could not be read, above 2 it would cost more \
                 than the update",
            ),
        ] {
            if !good {
                return Err(FederatedError::Setting { name, value, range });
            }
        }
        Ok(())
    }

    /// The `update_clip` that a mechanism needs: `sqrt(1 + w^2/4)`.
    pub fn joint_norm(&self) -> f64 {
        (1.0 + self.bit_weight * self.bit_weight / 4.0).sqrt()
    }

    /// The tensor `undertone.clip` before the first round: C and the rule.
    pub fn tensor(&self) -> [f32; 4] {
        [
            self.initial,
            self.target_quantile,
            self.learning_rate,
            self.bit_weight,
        ]
        .map(crate::optimizer::narrow)
    }

    /// What a client sends: the update in units of the clip norm in `tensor`, clipped to norm 1 in
    /// place, and the tensor's four coordinates, whose first is the bit.
    ///
    /// An update whose norm is not finite becomes zero, with the bit of a long one.
    ///
    /// # Errors
    /// [`FederatedError::Tensor`] if `tensor` is not these settings with some C.
    pub fn send(&self, tensor: &[f32], update: &mut [f32]) -> Result<[f32; 4], FederatedError> {
        let refuse = |reason: &str| FederatedError::Tensor {
            name: crate::layout::CLIP.to_owned(),
            reason: reason.to_owned(),
        };
        let &[clip, ref rule @ ..] = tensor else {
            return Err(refuse("it is four values"));
        };
        if !bits(rule).eq(bits(&self.tensor()[1..])) {
            return Err(refuse("its rule is not that of the training settings"));
        }
        let clip = f64::from(clip);
        if !(clip.is_finite() && clip > 0.0) {
            return Err(refuse("the clip norm must be a finite number above 0"));
        }
        let squares = update.iter().map(|u| f64::from(*u) * f64::from(*u));
        let norm = squares.sum::<f64>().sqrt();
        let within = norm <= clip;
        for value in update {
            let scaled = f64::from(*value) / norm.max(clip);
            *value = if norm.is_finite() {
                crate::optimizer::narrow(scaled)
            } else {
                0.0
            };
        }
        let half = self.bit_weight / 2.0;
        let bit = crate::optimizer::narrow(if within { half } else { -half });
        Ok([bit, 0.0, 0.0, 0.0])
    }
}

fn bits(values: &[f32]) -> impl Iterator<Item = u32> {
    values.iter().map(|value| value.to_bits())
}

/// The next C from the tensor before the round and the mean of the survivors' bits.
pub(crate) fn next(tensor: &[f32], mean: f64) -> Option<f32> {
    let &[clip, quantile, step, weight] = tensor else {
        return None;
    };
    let rule = AdaptiveClip {
        target_quantile: f64::from(quantile),
        learning_rate: f64::from(step),
        bit_noise: f64::INFINITY,
    };
    // The mean of w (b - 1/2), so divided by w a mean over one.
    let next = rule.next(f64::from(clip), mean / f64::from(weight), 1.0);
    Some(crate::optimizer::narrow(next.clamp(RANGE.0, RANGE.1)))
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "small dyadic numbers are exact")]
mod tests {
    use super::*;

    const CLIP: ClientClip = ClientClip {
        initial: 2.0,
        target_quantile: 0.5,
        learning_rate: 0.25,
        bit_weight: 0.5,
    };

    #[test]
    fn an_update_is_sent_in_units_of_the_clip_norm() {
        // Norm 5 against 2: clipped to 1, and the bit says so.
        let mut update = [3.0, 4.0];
        let sent = CLIP.send(&CLIP.tensor(), &mut update).unwrap();
        assert_eq!(sent, [-0.25, 0.0, 0.0, 0.0]);
        assert!((update[0] - 0.6).abs() < 1e-7 && (update[1] - 0.8).abs() < 1e-7);
        // Norm 1 against 2: half.
        let mut update = [1.0, 0.0];
        let sent = CLIP.send(&CLIP.tensor(), &mut update).unwrap();
        assert_eq!((sent[0], update), (0.25, [0.5, 0.0]));
        // What is not finite is nothing, and long.
        let mut update = [f32::INFINITY, 1.0];
        let sent = CLIP.send(&CLIP.tensor(), &mut update).unwrap();
        assert_eq!((sent[0], update), (-0.25, [0.0, 0.0]));
        // sqrt(1 + 1/16).
        assert!((CLIP.joint_norm() - 1.030_776_406_404_415_1).abs() < 1e-15);
    }

    /// Three of four within: the mean of w (b - 1/2) is 0.125, the fraction 0.75, the factor
    /// exp(-0.25 x 0.25).
    #[test]
    fn the_norm_moves_by_the_fraction_within() {
        let c = next(&CLIP.tensor(), 0.125).unwrap();
        assert!(
            (f64::from(c) - 2.0 * (-0.0625_f64).exp()).abs() < 1e-6,
            "{c}"
        );
        assert_eq!(next(&CLIP.tensor(), 0.0), Some(2.0));
        // It neither vanishes nor runs away.
        let mut tensor = CLIP.tensor();
        for _ in 0..50 {
            tensor[0] = next(&tensor, 1e9).unwrap();
        }
        assert_eq!(tensor[0], 1e-6);
        for _ in 0..50 {
            tensor[0] = next(&tensor, -1e9).unwrap();
        }
        assert_eq!(tensor[0], 1e6);
    }

    #[test]
    fn other_rules_and_senseless_norms_are_refused() {
        let mut update = [1.0];
        for at in 0..4 {
            let mut tensor = CLIP.tensor();
            tensor[at] = if at == 0 { 0.0 } else { 0.125 };
            let refused = CLIP.send(&tensor, &mut update).unwrap_err().to_string();
            assert!(refused.contains("undertone.clip"), "{refused}");
        }
        assert!(CLIP.send(&[1.0], &mut update).is_err());
        for broken in [
            ClientClip {
                initial: 0.0,
                ..CLIP
            },
            ClientClip {
                initial: f64::NAN,
                ..CLIP
            },
            ClientClip {
                target_quantile: 1.0,
                ..CLIP
            },
            ClientClip {
                learning_rate: 0.0,
                ..CLIP
            },
            ClientClip {
                bit_weight: 0.0,
                ..CLIP
            },
            ClientClip {
                bit_weight: 2.5,
                ..CLIP
            },
        ] {
            let refused = broken.validate().unwrap_err().to_string();
            assert!(refused.contains("it must be"), "{refused}");
        }
        CLIP.validate().unwrap();
    }
}
