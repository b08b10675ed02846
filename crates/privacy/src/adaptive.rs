//! Adaptive clipping: the clip norm follows a quantile of the norms, privately.
//!
//! Andrew, Thakkar, `McMahan` and Ramaswamy, "Differentially private learning with adaptive
//! clipping" (`NeurIPS` 2021). Beside its clipped vector, each unit (an example or a client, whatever
//! the mechanism protects) gives one bit: whether its norm was within the clip norm C. The noisy
//! fraction of such bits moves C towards the norm that a fraction `target_quantile` of all units
//! keeps to.
//!
//! The bit is a function of the data, so it is paid for. Bits enter the sum as `b - 1/2`: one unit
//! more or less moves the sum by 1/2. With standard deviation `bit_noise` on that sum and a
//! multiplier `z_u` on the vectors, both together are one Gaussian mechanism of multiplier z where
//! `z^-2 = z_u^-2 + (2 bit_noise)^-2` (the paper, Theorem 1). A task states z, and its ledgers are
//! charged z; the vectors get the larger multiplier [`AdaptiveClip::update_multiplier`].
//!
//! Both may travel in one vector under one noise, as in a secure sum of integers: the bit is then a
//! coordinate of size [`AdaptiveClip::bit_weight`] times C.

use serde::{Deserialize, Serialize};

use crate::error::PrivacyError;
use crate::units::NoiseMultiplier;

/// How far one update may move the clip norm, as a factor in either direction: the noisy fraction
/// is unbounded, a clip norm is not to be.
const LARGEST_FACTOR: f64 = 4.0;

/// How the clip norm follows the norms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveClip {
    /// The fraction of units that shall be within the clip norm; strictly between 0 and 1. 0.5 aims
    /// at the median.
    pub target_quantile: f64,
    /// The step of the geometric update, above 0 and at most 1; 0.2 in the paper.
    pub learning_rate: f64,
    /// Standard deviation of the noise on the sum of the bits, at least the noise multiplier over √2. A
    /// twentieth of the expected number of units costs the vectors little (the paper, section 3).
    pub bit_noise: f64,
}

impl AdaptiveClip {
    /// Checks the ranges, and that `total` pays for the bit.
    ///
    /// # Errors
    /// [`PrivacyError::AdaptiveClip`] says what to choose.
    pub fn validate(&self, total: NoiseMultiplier) -> Result<(), PrivacyError> {
        let refuse = |name, value, choose| {
            Err(PrivacyError::AdaptiveClip {
                name,
                value,
                choose,
            })
        };
        if !(self.target_quantile > 0.0 && self.target_quantile < 1.0) {
            let choose = "a fraction strictly between 0 and 1; 0.5 aims at the median".to_owned();
            return refuse("target_quantile", self.target_quantile, choose);
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            let choose = "a number above 0 and at most 1, such as 0.2".to_owned();
            return refuse("learning_rate", self.learning_rate, choose);
        }
        // Where the bit takes half of the budget or more, there is no sense in a clip norm.
        let least = total.get() / core::f64::consts::SQRT_2;
        if !(self.bit_noise.is_finite() && self.bit_noise >= least) {
            let choose = format!(
                "at least {least:.4}, so that the bit costs no more than the updates do; a \
                 twentieth of the expected number of examples or clients is common"
            );
            return refuse("bit_noise", self.bit_noise, choose);
        }
        Ok(())
    }

    /// The noise multiplier of the vectors, so that vectors and bits together have the multiplier
    /// `total`: `(total^-2 - (2 bit_noise)^-2)^(-1/2)`, which is larger.
    ///
    /// # Errors
    /// As for [`Self::validate`].
    pub fn update_multiplier(
        &self,
        total: NoiseMultiplier,
    ) -> Result<NoiseMultiplier, PrivacyError> {
        self.validate(total)?;
        let left = total.get().powi(-2) - (2.0 * self.bit_noise).powi(-2);
        NoiseMultiplier::new(left.powf(-0.5))
    }

    /// The size w of the bit as a coordinate beside a vector in units of the clip norm: the
    /// coordinate is `w/2` or `-w/2`, the vector's norm at most 1, all together at most
    /// `sqrt(1 + w^2/4)`. Noise of standard deviation [`Self::update_multiplier`] on every
    /// coordinate is `bit_noise` on the bits, and the multiplier `total` on the whole.
    ///
    /// # Errors
    /// As for [`Self::validate`].
    pub fn bit_weight(&self, total: NoiseMultiplier) -> Result<f64, PrivacyError> {
        Ok(self.update_multiplier(total)?.get() / self.bit_noise)
    }

    /// The next clip norm from `clip`, above 0: `clip * exp(-learning_rate (fraction -
    /// target_quantile))`.
    ///
    /// `centred` is the noisy sum of `b - 1/2` over the units of a round or step, `count` a number
    /// of units that is not protected (the expected one, where they are sampled). A `centred`
    /// that is not a number leaves the clip norm as it is.
    pub fn next(&self, clip: f64, centred: f64, count: f64) -> f64 {
        let fraction = centred / count + 0.5;
        let factor = (-self.learning_rate * (fraction - self.target_quantile)).exp();
        if factor.is_nan() {
            return clip;
        }
        clip * factor.clamp(LARGEST_FACTOR.recip(), LARGEST_FACTOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn z(value: f64) -> NoiseMultiplier {
        NoiseMultiplier::new(value).unwrap()
    }

    const CLIP: AdaptiveClip = AdaptiveClip {
        target_quantile: 0.5,
        learning_rate: 0.2,
        bit_noise: 1.0,
    };

    /// By hand: 1 - 1/4 = 3/4, and 2/sqrt(3) = 1.154700538; 1/0.36 - 1/100 = 2.767777..., whose
    /// root is 1.663663...
    #[test]
    fn the_budget_is_split_as_in_theorem_1() {
        let update = CLIP.update_multiplier(z(1.0)).unwrap().get();
        assert!((update - 1.154_700_538_379_25).abs() < 1e-12, "{update}");
        let five = AdaptiveClip {
            bit_noise: 5.0,
            ..CLIP
        };
        let update = five.update_multiplier(z(0.6)).unwrap().get();
        assert!((update - 2.767_777_777_777_78_f64.sqrt().recip()).abs() < 1e-12);
        assert!(update > 0.6 && update < 0.602, "{update}");
    }

    /// One noise on the vector with the bit inside is the same mechanism.
    #[test]
    fn one_vector_has_the_total_multiplier() {
        for (total, bit_noise) in [(1.0, 1.0), (0.6, 5.0), (4.0, 3.0)] {
            let clip = AdaptiveClip { bit_noise, ..CLIP };
            let deviation = clip.update_multiplier(z(total)).unwrap().get();
            let weight = clip.bit_weight(z(total)).unwrap();
            let sensitivity = (1.0 + weight * weight / 4.0).sqrt();
            assert!((deviation / sensitivity - total).abs() < 1e-12);
            assert!((deviation / weight - bit_noise).abs() < 1e-12);
        }
    }

    /// By hand: 8 of 10 within, target 0.5, step 0.2: the factor is exp(-0.06).
    #[test]
    fn the_clip_norm_moves_geometrically() {
        let next = CLIP.next(3.0, 8.0 * 0.5 - 2.0 * 0.5, 10.0);
        assert!(
            (next - 3.0 * 0.941_764_533_584_248_7).abs() < 1e-12,
            "{next}"
        );
        // At the target it stays; below, it grows.
        assert!((CLIP.next(3.0, 0.0, 10.0) - 3.0).abs() < 1e-15);
        assert!((CLIP.next(1.0, -5.0, 10.0) - 0.1_f64.exp()).abs() < 1e-12);
        // Noise may be of any size.
        assert!((CLIP.next(1.0, 1e9, 10.0) - 0.25).abs() < 1e-12);
        assert!((CLIP.next(1.0, -1e9, 10.0) - 4.0).abs() < 1e-12);
        assert!((CLIP.next(1.5, f64::NAN, 10.0) - 1.5).abs() < 1e-15);
    }

    /// Exponential norms with mean 1: the median is ln 2, the upper quartile 2 ln 2.
    #[test]
    fn it_settles_at_the_quantile() {
        for (quantile, expected) in [(0.5, 2.0_f64.ln()), (0.75, 2.0 * 2.0_f64.ln())] {
            let clip = AdaptiveClip {
                target_quantile: quantile,
                ..CLIP
            };
            let within = |c: f64| 1.0 - (-c).exp();
            let c = (0..400).fold(30.0, |c, _| clip.next(c, 100.0 * (within(c) - 0.5), 100.0));
            assert!((c - expected).abs() < 1e-3, "{c} {expected}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_to_choose() {
        let bad = [
            AdaptiveClip {
                target_quantile: 0.0,
                ..CLIP
            },
            AdaptiveClip {
                target_quantile: 1.0,
                ..CLIP
            },
            AdaptiveClip {
                learning_rate: 0.0,
                ..CLIP
            },
            AdaptiveClip {
                learning_rate: f64::NAN,
                ..CLIP
            },
            AdaptiveClip {
                bit_noise: 0.0,
                ..CLIP
            },
            AdaptiveClip {
                bit_noise: 0.7,
                ..CLIP
            },
            AdaptiveClip {
                bit_noise: f64::INFINITY,
                ..CLIP
            },
        ];
        for clip in bad {
            let error = clip.validate(z(1.0)).unwrap_err().to_string();
            assert!(error.contains("choose"), "{error}");
            assert!(clip.update_multiplier(z(1.0)).is_err());
        }
        CLIP.validate(z(1.0)).unwrap();
        let json = r#"{"target_quantile":0.5,"learning_rate":0.2}"#;
        assert!(
            serde_json::from_str::<AdaptiveClip>(json).is_err(),
            "the bit is paid for"
        );
    }
}
