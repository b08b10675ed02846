//! Stochastic rounding to the integer grid, repeated until the norm is within its bound.
//!
//! Rounding may lengthen a vector, and noise must be calibrated to the longest that can be sent.
//! Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism for Federated Learning with
//! Secure Aggregation", ICML 2021 (arXiv 2102.06387), section 4.1: of a vector of norm S in n
//! coordinates, rounding gives one with
//!
//! > norm² ≤ S² + n/4 + sqrt(2 ln(1/β)) (S + sqrt(n)/2)
//!
//! with probability at least 1 - β, and always norm ≤ S + sqrt(n). Whoever repeats until the bound
//! holds sends nothing longer. Here β = e^-1/2, so that the root is 1; hardly a vector needs a second
//! try, as only fractions of exactly one half come near the bound.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::error::PrivacyError;

/// Tries before rounding towards zero; each fails with probability at most e^-1/2.
const TRIES: usize = 200;

/// What clipping leaves of the norm, so that errors of floating-point numbers (of 2^28 terms at
/// most) cannot carry it over the bound.
const CLIPPED: f64 = 1.0 - 1e-9;

/// Coordinates whose randomness is drawn at once.
const CHUNK: usize = 512;

/// The largest squared norm, in grid units, that is sent of a vector of norm `radius` (in grid
/// units) and `length` coordinates.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "radius is below 2^31"
)]
pub fn norm_bound(radius: f64, length: u32) -> u64 {
    let n = f64::from(length);
    let likely = radius * radius + n / 4.0 + radius + n.sqrt() / 2.0;
    let certain = (radius + n.sqrt()).powi(2);
    likely.min(certain).floor() as u64
}

/// Clips `values` to L2 norm `clip`, multiplies them by `scale` and rounds them stochastically to
/// integers whose squared norm is at most [`norm_bound`].
///
/// # Errors
/// [`PrivacyError::Distributed`] if a value is not finite.
pub fn round<R: CryptoRng>(
    values: &[f64],
    (clip, scale): (f64, f64),
    rng: &mut R,
) -> Result<Zeroizing<Vec<i64>>, PrivacyError> {
    let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
    if !norm.is_finite() {
        let reason = "a value of the vector is not finite, or far too large".to_owned();
        return Err(PrivacyError::Distributed(reason));
    }
    let factor = scale
        * if norm > clip * CLIPPED {
            clip * CLIPPED / norm
        } else {
            1.0
        };
    let bound = norm_bound(
        clip * scale,
        u32::try_from(values.len()).unwrap_or(u32::MAX),
    );
    let mut rounded = Zeroizing::new(vec![0_i64; values.len()]);
    for _ in 0..TRIES {
        try_once(values, factor, &mut rounded, rng);
        if square_norm(&rounded) <= u128::from(bound) {
            return Ok(rounded);
        }
    }
    // Towards zero no coordinate grows, so that the norm is at most that before.
    for (to, value) in rounded.iter_mut().zip(values) {
        *to = integer((value * factor).trunc());
    }
    if square_norm(&rounded) <= u128::from(bound) {
        return Ok(rounded);
    }
    let reason = "a vector could not be rounded within its bound".to_owned();
    Err(PrivacyError::Distributed(reason))
}

/// Rounds each of `values` times `factor` up with the probability of its fraction.
fn try_once<R: CryptoRng>(values: &[f64], factor: f64, rounded: &mut [i64], rng: &mut R) {
    let mut random = Zeroizing::new([0_u8; CHUNK * 8]);
    for (values, rounded) in values.chunks(CHUNK).zip(rounded.chunks_mut(CHUNK)) {
        rng.fill_bytes(&mut *random);
        let words = random.as_chunks::<8>().0;
        for ((value, to), word) in values.iter().zip(rounded).zip(words) {
            let exact = value * factor;
            let floor = exact.floor();
            // A fraction as a threshold of 64 bits: 53 of them count.
            let up = u64::from_le_bytes(*word) < threshold(exact - floor);
            *to = integer(floor) + i64::from(up);
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of 2^64"
)]
fn threshold(fraction: f64) -> u64 {
    (fraction * 18_446_744_073_709_551_616.0) as u64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "integral, and below 2^31 after clipping"
)]
fn integer(value: f64) -> i64 {
    value as i64
}

/// The sum of squares, in integers.
pub(super) fn square_norm(values: &[i64]) -> u128 {
    let square = |v: &i64| u128::from(v.unsigned_abs()).pow(2);
    values.iter().map(square).sum()
}

#[cfg(test)]
mod tests {
    use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_norm_is_always_within_its_bound(
            values in proptest::collection::vec(-1e6_f64..1e6, 1..300),
            clip in 1e-3_f64..1e3, scale in 1e-3_f64..1e5, seed in any::<u64>()
        ) {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let rounded = round(&values, (clip, scale), &mut rng).unwrap();
            let bound = norm_bound(clip * scale, values.len() as u32);
            prop_assert!(square_norm(&rounded) <= u128::from(bound));
        }
    }

    #[test]
    fn rounding_is_unbiased() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let values = [0.3, -0.75, 2.0, 0.0];
        let mut sum = [0_i64; 4];
        for _ in 0..20_000 {
            // A clip so wide that the bound never binds.
            let rounded = round(&values, (1e3, 1.0), &mut rng).unwrap();
            sum.iter_mut()
                .zip(rounded.iter())
                .for_each(|(s, r)| *s += r);
        }
        // Standard error sqrt(0.21 / 20000) = 0.0033.
        for (sum, value) in sum.iter().zip(values) {
            assert!(
                (*sum as f64 / 20_000.0 - value).abs() < 0.017,
                "{sum} {value}"
            );
        }
        assert_eq!((sum[2], sum[3]), (40_000, 0));
    }

    /// Halves everywhere: the sum of squares is binomial and the bound does bind.
    #[test]
    fn the_worst_vector_is_tried_again() {
        let n = 10_000;
        let values = vec![0.5; n];
        let radius = 0.5 * (n as f64).sqrt();
        let bound = u128::from(norm_bound(radius * (1.0 + 1e-9), n as u32));
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let mut over = 0;
        for _ in 0..400 {
            let mut rounded = vec![0; n];
            try_once(&values, 1.0, &mut rounded, &mut rng);
            over += u32::from(square_norm(&rounded) > bound);
            let kept = round(&values, (radius * (1.0 + 1e-9), 1.0), &mut rng).unwrap();
            assert!(square_norm(&kept) <= bound);
        }
        // The bound is 5000 + 50 + 50, two deviations above the mean of the count: 2.3 %.
        assert!((1..40).contains(&over), "{over}");
        assert!(f64::from(over) / 400.0 < (-0.5_f64).exp());
    }

    #[test]
    fn the_bound_is_the_papers() {
        // 100² + 1024/4 + 100 + 16 against (100 + 32)².
        assert_eq!(norm_bound(100.0, 1024), 10_372);
        assert_eq!(norm_bound(0.5, 4), 2, "2.75, against 6.25");
        assert_eq!(norm_bound(0.0, 1), 0);
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        for value in [f64::NAN, f64::INFINITY, 1e200] {
            assert!(
                round(&[0.0, value], (1.0, 1.0), &mut rng).is_err(),
                "{value}"
            );
        }
        assert!(round(&[], (1.0, 1.0), &mut rng).unwrap().is_empty());
        assert_eq!(*round(&[0.0; 3], (1.0, 1.0), &mut rng).unwrap(), [0; 3]);
    }
}
