//! Gaussian noise from a cryptographic generator.
//!
//! # What floating-point Gaussian noise does not protect against
//!
//! The privacy analysis speaks of real numbers; the samples here are `f64`.
//!
//! - *Low-order bits.* A floating-point sampler reaches only some doubles, and which of them it
//!   reaches after the addition depends on the value underneath. Mironov (CCS 2012) broke Laplace
//!   noise in this way; Jin and others ("Are We There Yet? Timing and Floating-Point Attacks on
//!   Differential Privacy Systems", IEEE S&P 2022) did so for the Gaussian samplers in common use,
//!   the ziggurat among them.
//! - *Timing.* Rejection takes a variable number of draws, so whoever can time single samples
//!   learns something of their size (same paper).
//!
//! What is done about it:
//!
//! - Each sample is the sum of four independent ziggurat samples, halved. Such a sum is again
//!   standard normal, and inverting it means searching the preimages of four samples of some 60
//!   bits each (Holohan and Braghin, "Secure Random Sampling in Differential Privacy", ESORICS
//!   2021). This makes the attack costly; it is not a proof.
//! - Arithmetic is in `f64`. [`GaussianSource::add_to`] rounds value and noise together to `f32`,
//!   once, which drops 29 of the 53 bits that such an attack reads.
//! - A buffer is filled in one go, on the data owner's machine: nobody outside sees when a single
//!   sample was drawn.
//!
//! Whoever needs a guarantee without this gap needs a discrete mechanism on integers, such as the
//! discrete Gaussian (Canonne, Kamath, Steinke 2020). This module does not offer one.

use core::fmt;

use rand_core::CryptoRng;
use rand_distr::{Distribution, StandardNormal};

use crate::error::PrivacyError;

/// Independent samples in one (Holohan and Braghin 2021, with n = 2: 2n samples over sqrt(2n)).
const SUMMANDS: usize = 4;

/// Standard deviations in which `f32` output keeps its full precision, with room for any tail.
const STD_RANGE: core::ops::RangeInclusive<f64> = 1e-30..=1e30;

/// Draws independent normal samples from `R`, a cryptographic generator that is passed in.
///
/// The samples are secret: whoever knows them can take the noise off. The generator must be
/// seeded from the operating system (a fixed seed is for tests), never shared between two parties
/// and never rewound: two releases under the same noise give away their difference.
///
/// ```
/// use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
/// use undertone_privacy::GaussianSource;
///
/// let mut gradient_sum = [0.25_f32, -1.0];
/// let generator = ChaCha20Rng::from_seed([7; 32]); // In use: a seed from the system.
/// let (noise_multiplier, clip_norm) = (1.2, 0.5);
/// GaussianSource::new(generator).add_to(&mut gradient_sum, noise_multiplier * clip_norm)?;
/// assert_ne!(gradient_sum, [0.25, -1.0]);
/// # Ok::<(), undertone_privacy::PrivacyError>(())
/// ```
pub struct GaussianSource<R> {
    generator: R,
}

impl<R> fmt::Debug for GaussianSource<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The generator's state would give the noise away.
        f.debug_struct("GaussianSource").finish_non_exhaustive()
    }
}

impl<R: CryptoRng> GaussianSource<R> {
    /// Takes over a seeded generator (or a `&mut` to one).
    pub const fn new(generator: R) -> Self {
        Self { generator }
    }

    /// One sample of N(0, 1).
    pub fn sample(&mut self) -> f64 {
        let sum: f64 = (0..SUMMANDS)
            .map(|_| -> f64 { StandardNormal.sample(&mut self.generator) })
            .sum();
        // The variance of the sum is 4; dividing by 2 is exact.
        sum / 2.0
    }

    /// Overwrites `out` with independent samples of N(0, `std`²), each rounded once to `f32`.
    ///
    /// `std` is the standard deviation itself: noise multiplier times clip norm. To add noise to
    /// data, prefer [`Self::add_to`].
    ///
    /// # Errors
    /// `std` is not between 1e-30 and 1e30; `out` is then untouched.
    pub fn fill(&mut self, out: &mut [f32], std: f64) -> Result<(), PrivacyError> {
        check_std(std)?;
        out.fill_with(|| round_to_f32(std * self.sample()));
        Ok(())
    }

    /// Overwrites `out` with independent samples of N(0, `std`²).
    ///
    /// # Errors
    /// `std` is not between 1e-30 and 1e30; `out` is then untouched.
    pub fn fill_f64(&mut self, out: &mut [f64], std: f64) -> Result<(), PrivacyError> {
        check_std(std)?;
        out.fill_with(|| std * self.sample());
        Ok(())
    }

    /// Adds an independent sample of N(0, `std`²) to each value: in `f64`, then one rounding to
    /// `f32` (see the module's notes).
    ///
    /// # Errors
    /// `std` is not between 1e-30 and 1e30; `values` are then untouched.
    pub fn add_to(&mut self, values: &mut [f32], std: f64) -> Result<(), PrivacyError> {
        check_std(std)?;
        for value in values {
            *value = round_to_f32(f64::from(*value) + std * self.sample());
        }
        Ok(())
    }
}

fn check_std(std: f64) -> Result<(), PrivacyError> {
    if STD_RANGE.contains(&std) {
        Ok(())
    } else {
        Err(PrivacyError::StandardDeviation(std))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to the nearest f32 is the point"
)]
fn round_to_f32(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::float_cmp,
    reason = "sample counts are small, and equal bits are what is tested"
)]
mod tests {
    use chacha20::{ChaCha20Rng, rand_core::SeedableRng};

    use super::*;

    fn source(seed: u8) -> GaussianSource<ChaCha20Rng> {
        GaussianSource::new(ChaCha20Rng::from_seed([seed; 32]))
    }

    /// Φ(x), the standard normal distribution function.
    fn normal_cdf(x: f64) -> f64 {
        0.5 * libm::erfc(-x / core::f64::consts::SQRT_2)
    }

    #[test]
    fn moments_are_those_of_the_normal_distribution() {
        const N: usize = 1_000_000;
        let std = 2.5;
        let mut samples = vec![0.0; N];
        source(1).fill_f64(&mut samples, std).unwrap();
        let n = N as f64;
        let moment = |k: i32| samples.iter().map(|x| (x / std).powi(k)).sum::<f64>() / n;
        // Each bound is five standard errors of that moment's estimate:
        // Var(x^k) = E[x^2k] - E[x^k]^2 with E[x^2k] = (2k - 1)!!.
        for (k, expected, variance) in [
            (1, 0.0, 1.0),
            (2, 1.0, 2.0),
            (3, 0.0, 15.0),
            (4, 3.0, 96.0),
            (6, 15.0, 10_170.0),
        ] {
            let bound = 5.0 * f64::sqrt(variance / n);
            assert!(
                (moment(k) - expected).abs() < bound,
                "moment {k} is {}",
                moment(k)
            );
        }
    }

    #[test]
    fn tails_have_the_right_weight() {
        const N: usize = 1_000_000;
        let mut samples = vec![0.0_f32; N];
        source(2).fill(&mut samples, 1.0).unwrap();
        for cut in [2.0_f64, 3.0, 4.0] {
            let p = normal_cdf(-cut);
            let bound = 5.0 * (N as f64 * p).sqrt();
            for (side, sign) in [("above", 1.0), ("below", -1.0)] {
                let count = samples
                    .iter()
                    .filter(|&&x| sign * f64::from(x) > cut)
                    .count() as f64;
                assert!(
                    (count - N as f64 * p).abs() < bound,
                    "{count} samples lie {side} {cut} deviations, expected {}",
                    N as f64 * p
                );
            }
        }
    }

    #[test]
    fn kolmogorov_smirnov_against_the_normal_distribution() {
        const N: usize = 200_000;
        let mut samples = vec![0.0; N];
        source(3).fill_f64(&mut samples, 1.0).unwrap();
        samples.sort_by(f64::total_cmp);
        let n = N as f64;
        let distance = samples
            .iter()
            .enumerate()
            .map(|(i, &x)| {
                let cdf = normal_cdf(x);
                (cdf - i as f64 / n).max((i + 1) as f64 / n - cdf)
            })
            .fold(0.0, f64::max);
        // sqrt(n) D stays below 1.95 for 999 in 1000 seeds when the samples are normal.
        assert!(
            distance * n.sqrt() < 1.95,
            "sqrt(n) D = {}",
            distance * n.sqrt()
        );
    }

    #[test]
    fn neighbouring_samples_are_uncorrelated() {
        const N: usize = 500_000;
        let mut samples = vec![0.0; N];
        source(4).fill_f64(&mut samples, 1.0).unwrap();
        for lag in [1, 2, 4] {
            let sum: f64 = samples
                .iter()
                .zip(&samples[lag..])
                .map(|(a, b)| a * b)
                .sum();
            let correlation = sum / (N - lag) as f64;
            assert!(
                correlation.abs() < 5.0 / (N as f64).sqrt(),
                "lag {lag}: {correlation}"
            );
        }
    }

    #[test]
    fn same_seed_same_noise_and_other_seed_other_noise() {
        let draw = |seed| {
            let mut out = [0.0_f32; 16];
            source(seed).fill(&mut out, 1.0).unwrap();
            out
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }

    #[test]
    fn add_to_is_fill_plus_the_value() {
        let values = [3.0_f32, -0.5, 0.0, 1e6];
        let mut noised = values;
        source(7).add_to(&mut noised, 0.7).unwrap();
        let mut noise = [0.0_f64; 4];
        source(7).fill_f64(&mut noise, 0.7).unwrap();
        for i in 0..4 {
            assert_eq!(noised[i], (f64::from(values[i]) + noise[i]) as f32);
        }
    }

    #[test]
    fn a_bad_standard_deviation_is_an_error_and_changes_nothing() {
        for std in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-31, 1e31] {
            let mut out = [4.0_f32; 3];
            assert!(matches!(
                source(8).add_to(&mut out, std),
                Err(PrivacyError::StandardDeviation(_))
            ));
            assert!(source(8).fill(&mut out, std).is_err());
            assert!(source(8).fill_f64(&mut [0.0], std).is_err());
            assert_eq!(out, [4.0; 3]);
        }
    }

    #[test]
    fn debug_output_hides_the_generator() {
        assert_eq!(format!("{:?}", source(9)), "GaussianSource { .. }");
    }
}
