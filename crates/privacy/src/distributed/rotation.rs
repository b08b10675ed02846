//! The randomized Hadamard rotation, and the coordinates that are kept of it.
//!
//! A vector of d values is padded to whole blocks of B = 2^k coordinates, its signs are flipped by
//! public random bits, and each block is multiplied by the orthonormal Walsh-Hadamard matrix. The
//! norm stays; the largest coordinate shrinks to about norm/sqrt(B) whatever the data (Suresh, Yu,
//! Kumar, `McMahan`, "Distributed Mean Estimation with Limited Communication", ICML 2017): the signs
//! are drawn after the data are fixed and do not depend on them, so that a rotated coordinate is
//! sub-Gaussian with variance proxy norm²/B (Hoeffding).
//!
//! Optionally only k of the padded coordinates are kept, the same for all clients, chosen by public
//! randomness: random-k sparsification. (Top-k, which keeps each client's largest coordinates, would
//! reveal their positions, and they could not be summed under masks.)

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use serde::{Deserialize, Serialize};

use crate::error::PrivacyError;

/// Up to this many values are one block, whatever the padding.
const ONE_BLOCK: u32 = 4096;

/// Padding is at most the d-th part of the values, for more than one block.
const PADDING: u32 = 16;

/// The longest vector: 2^28 values.
pub const LONGEST: u32 = 1 << 28;

/// How a vector is rotated, and how much of it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    /// Values of a vector, d: 1 to 2^28.
    pub dimension: u32,
    /// How many of the rotated coordinates are sent, 1 to their number; all if it is left out.
    #[serde(default)]
    pub kept: Option<u32>,
}

impl Layout {
    /// All coordinates of vectors of `dimension` values.
    pub const fn all(dimension: u32) -> Self {
        Self {
            dimension,
            kept: None,
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`PrivacyError::OutOfRange`] names the field.
    pub fn validate(&self) -> Result<(), PrivacyError> {
        let refuse = |name, value: u32, range| {
            Err(PrivacyError::OutOfRange {
                name,
                value: value.into(),
                range,
            })
        };
        if !(1..=LONGEST).contains(&self.dimension) {
            return refuse("the rotation's dimension", self.dimension, "from 1 to 2^28");
        }
        match self.kept {
            Some(kept) if !(1..=self.padded()).contains(&kept) => refuse(
                "the number of kept coordinates",
                kept,
                "from 1 to the number of rotated coordinates, or null for all of them",
            ),
            _ => Ok(()),
        }
    }

    /// B: one block of the next power of two for up to 4096 values; beyond, the largest power of two
    /// whose blocks need padding of at most d/16.
    pub fn block(&self) -> u32 {
        let whole = self.dimension.max(1).next_power_of_two();
        if self.dimension <= ONE_BLOCK {
            return whole;
        }
        let fits = |block: &u32| {
            self.dimension.next_multiple_of(*block) - self.dimension <= self.dimension / PADDING
        };
        let mut blocks = (0..32).map(|halvings| whole >> halvings);
        // A block of at most d/16 always fits.
        blocks.find(fits).unwrap_or(1)
    }

    /// D: the number of rotated coordinates, whole blocks.
    pub fn padded(&self) -> u32 {
        self.dimension.max(1).next_multiple_of(self.block())
    }

    /// The number of coordinates that are sent.
    pub fn length(&self) -> u32 {
        self.kept.unwrap_or_else(|| self.padded())
    }

    /// By how much what was kept is scaled up, so that its expectation over the choice is the whole.
    pub fn boost(&self) -> f64 {
        f64::from(self.padded()) / f64::from(self.length())
    }
}

/// A rotation: a layout, and the public randomness of one round.
#[derive(Debug, Clone)]
pub struct Rotation {
    layout: Layout,
    /// A set bit flips the sign of the value at its place.
    signs: Vec<u8>,
    /// Which coordinates are sent, ascending; empty for all.
    kept: Vec<u32>,
}

impl Rotation {
    /// The rotation of a round: signs are the bits of the `ChaCha20` key stream of `seed` with
    /// nonce 0, the lowest bit of each byte first; the kept coordinates come from that with a nonce
    /// whose first byte is 1.
    ///
    /// # Errors
    /// The layout is out of range.
    pub fn new(layout: Layout, seed: &[u8; 32]) -> Result<Self, PrivacyError> {
        layout.validate()?;
        let mut signs = vec![0; index(layout.dimension.div_ceil(8))];
        stream(seed, 0).apply_keystream(&mut signs);
        let kept = match layout.kept {
            Some(kept) => subset(seed, layout.padded(), kept),
            None => Vec::new(),
        };
        Ok(Self {
            layout,
            signs,
            kept,
        })
    }

    /// The layout.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Rotates `values`, `[dimension]` (missing ones are 0, further ones are ignored), and returns
    /// the coordinates that are sent, `[length]`. The norm is that of `values`, or less where not all
    /// are sent.
    pub fn forward(&self, values: &[f32]) -> zeroize::Zeroizing<Vec<f64>> {
        let mut all = zeroize::Zeroizing::new(vec![0.0; index(self.layout.padded())]);
        let dimension = index(self.layout.dimension);
        for (i, (to, from)) in all.iter_mut().zip(values).take(dimension).enumerate() {
            *to = self.flipped(i, f64::from(*from));
        }
        self.transform(&mut all);
        if self.kept.is_empty() {
            return all;
        }
        let coordinate = |i: &u32| all.get(index(*i)).copied().unwrap_or(0.0);
        self.kept.iter().map(coordinate).collect::<Vec<_>>().into()
    }

    /// Turns `[length]` coordinates back into `[dimension]` values. Without a choice of coordinates
    /// it inverts [`Self::forward`]; with one, its expectation over the choice does.
    pub fn inverse(&self, coordinates: &[f64]) -> Vec<f64> {
        let mut all = vec![0.0; index(self.layout.padded())];
        if self.kept.is_empty() {
            let length = all.len().min(coordinates.len());
            all[..length].copy_from_slice(&coordinates[..length]);
        } else {
            let boost = self.layout.boost();
            for (i, value) in self.kept.iter().zip(coordinates) {
                if let Some(to) = all.get_mut(index(*i)) {
                    *to = value * boost;
                }
            }
        }
        self.transform(&mut all);
        all.truncate(index(self.layout.dimension));
        for (i, value) in all.iter_mut().enumerate() {
            *value = self.flipped(i, *value);
        }
        all
    }

    fn flipped(&self, i: usize, value: f64) -> f64 {
        let bits = self.signs.get(i / 8).copied().unwrap_or(0);
        if bits >> (i % 8) & 1 == 1 {
            -value
        } else {
            value
        }
    }

    fn transform(&self, all: &mut [f64]) {
        let block = self.layout.block();
        let norm = 1.0 / f64::from(block).sqrt();
        for block in all.chunks_exact_mut(index(block)) {
            hadamard(block);
            for x in block {
                *x *= norm;
            }
        }
    }
}

/// The fast Walsh-Hadamard transform in place, without its factor 1/sqrt(n); a power of two long.
fn hadamard(values: &mut [f64]) {
    // Halves first: what no longer fits in a cache is gone through once a level.
    let (left, right) = values.split_at_mut(values.len() / 2);
    if left.len() != right.len() {
        return;
    }
    for (a, b) in left.iter_mut().zip(right.iter_mut()) {
        (*a, *b) = (*a + *b, *a - *b);
    }
    hadamard(left);
    hadamard(right);
}

/// The `ChaCha20` key stream of `seed`, with `purpose` as the nonce's first byte.
fn stream(seed: &[u8; 32], purpose: u8) -> ChaCha20 {
    let mut nonce = [0; 12];
    nonce[0] = purpose;
    ChaCha20::new(seed.into(), &nonce.into())
}

/// `kept` of the numbers below `count`, each set equally likely, ascending: the first steps of
/// Fisher and Yates's shuffle, driven by 32-bit little-endian words, the last ones drawn again so
/// that no remainder is preferred.
fn subset(seed: &[u8; 32], count: u32, kept: u32) -> Vec<u32> {
    let mut cipher = stream(seed, 1);
    let mut below = |bound: u32| {
        let limit = (1_u64 << 32) / u64::from(bound) * u64::from(bound);
        loop {
            let mut bytes = [0; 4];
            cipher.apply_keystream(&mut bytes);
            let word = u32::from_le_bytes(bytes);
            if u64::from(word) < limit {
                break word % bound;
            }
        }
    };
    let mut all: Vec<u32> = (0..count).collect();
    for at in 0..kept.min(count) {
        let other = at + below(count - at);
        all.swap(index(at), index(other));
    }
    all.truncate(index(kept));
    all.sort_unstable();
    all
}

fn index(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn norm(values: impl Iterator<Item = f64>) -> f64 {
        values.map(|v| v * v).sum::<f64>().sqrt()
    }

    proptest! {
        #[test]
        fn rotation_keeps_the_norm_and_is_undone(
            values in proptest::collection::vec(-1e3_f32..1e3, 1..600), seed in any::<[u8; 32]>()
        ) {
            let layout = Layout::all(values.len() as u32);
            let rotation = Rotation::new(layout, &seed).unwrap();
            let rotated = rotation.forward(&values);
            prop_assert_eq!(rotated.len(), layout.length() as usize);
            let before = norm(values.iter().map(|v| f64::from(*v)));
            prop_assert!((norm(rotated.iter().copied()) - before).abs() <= 1e-9 * before);
            for (back, value) in rotation.inverse(&rotated).iter().zip(&values) {
                prop_assert!((back - f64::from(*value)).abs() < 1e-9 * (1.0 + before));
            }
        }

        #[test]
        fn blocks_waste_at_most_a_sixteenth(dimension in 1..LONGEST) {
            let layout = Layout::all(dimension);
            prop_assert!(layout.block().is_power_of_two());
            prop_assert_eq!(layout.padded() % layout.block(), 0);
            prop_assert!(layout.padded() >= dimension);
            if dimension > ONE_BLOCK {
                prop_assert!(layout.padded() - dimension <= dimension / PADDING);
                prop_assert!(layout.block() > dimension / 32);
            } else {
                prop_assert_eq!(layout.padded(), dimension.next_power_of_two());
            }
        }
    }

    /// The matrix itself, for two seeds: rows of ±1/2, signs before it.
    #[test]
    fn small_rotations_by_hand() {
        let rotation = Rotation {
            layout: Layout::all(4),
            signs: vec![0b0010],
            kept: Vec::new(),
        };
        assert_eq!(
            *rotation.forward(&[1.0, 2.0, 3.0, 4.0]),
            [3.0, 1.0, -4.0, 2.0]
        );
        let kept = Rotation {
            layout: Layout {
                dimension: 4,
                kept: Some(2),
            },
            kept: vec![0, 3],
            ..rotation
        };
        assert_eq!(*kept.forward(&[1.0, 2.0, 3.0, 4.0]), [3.0, 2.0]);
        // Doubled, as half were kept: (6, 0, 0, 4) rotated back.
        assert_eq!(kept.inverse(&[3.0, 2.0]), [5.0, -1.0, 1.0, 5.0]);
    }

    /// A vector along one axis spreads out evenly, and one of equal values does not stand out: what
    /// the signs are for.
    #[test]
    fn no_coordinate_stands_out() {
        let rotation = Rotation::new(Layout::all(1 << 14), &[7; 32]).unwrap();
        let mut axis = vec![0.0; 1 << 14];
        axis[5] = 128.0;
        assert!(rotation.forward(&axis).iter().all(|v| v.abs() == 1.0));
        // Norm 128 spread over 16,384 coordinates: deviation 1, and 2^14 normal samples stay
        // below 6.5 with all but 1e-6 of probability.
        let equal = rotation.forward(&vec![1.0; 1 << 14]);
        assert!(equal.iter().all(|v| v.abs() < 6.5));
        assert!(equal.iter().any(|v| v.abs() > 3.0));
    }

    #[test]
    fn kept_coordinates_are_a_uniform_choice_and_unbiased() {
        let mut hits = [0_u32; 16];
        let (mut mean, values) = (
            [0.0; 11],
            [1.0_f32, -2.0, 0.5, 4.0, 0.0, 1.0, 1.0, 3.0, -1.0, 2.0, 0.1],
        );
        let trials = 4000_u32;
        for trial in 0..trials {
            let mut seed = [1; 32];
            seed[..4].copy_from_slice(&trial.to_le_bytes());
            let layout = Layout {
                dimension: 11,
                kept: Some(4),
            };
            let rotation = Rotation::new(layout, &seed).unwrap();
            assert!(rotation.kept.is_sorted_by(|a, b| a < b) && rotation.kept.len() == 4);
            rotation.kept.iter().for_each(|k| hits[*k as usize] += 1);
            let back = rotation.inverse(&rotation.forward(&values));
            mean.iter_mut()
                .zip(back)
                .for_each(|(m, b)| *m += b / f64::from(trials));
        }
        // 1000 expected, deviation 27.
        assert!(hits.iter().all(|h| (863..1138).contains(h)), "{hits:?}");
        // Each trial's deviation is about norm sqrt(3/16); five standard errors.
        for (m, v) in mean.iter().zip(values) {
            assert!(
                (m - f64::from(v)).abs() < 5.0 * 6.2 * 0.45 / 60.0,
                "{m} {v}"
            );
        }
    }

    #[test]
    fn layouts_out_of_range_are_refused() {
        for (dimension, kept) in [(0, None), (LONGEST + 1, None), (5, Some(0)), (5, Some(9))] {
            let layout = Layout { dimension, kept };
            assert!(Rotation::new(layout, &[0; 32]).is_err(), "{layout:?}");
        }
        assert!(
            Layout {
                dimension: 5,
                kept: Some(8)
            }
            .validate()
            .is_ok()
        );
        // 96 % of a power of two: one block.
        assert_eq!(Layout::all(1_000_000).block(), 1 << 20);
        assert_eq!(Layout::all(700_000).padded(), 11 << 16);
    }
}
