//! Poisson sampling.

use rand_core::CryptoRng;

/// 2^64 as a float.
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

/// Draws each of `0..examples` independently with probability `rate`, in increasing order.
///
/// `rate` is taken as the nearest multiple of 2^-64 below; 1 or more draws every example. The
/// result may be empty. Which examples were drawn is secret: the privacy amplification of the
/// accountant rests on it.
pub fn poisson_sample<R: CryptoRng>(rng: &mut R, examples: usize, rate: f64) -> Vec<usize> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates at the ends; rate is below 1 where it matters"
    )]
    let threshold = (rate * TWO_64) as u64;
    (0..examples)
        .filter(|_| rate >= 1.0 || rng.next_u64() < threshold)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    #[test]
    #[allow(clippy::cast_precision_loss)]
    fn size_and_membership_have_the_binomial_moments() {
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        let (n, q, trials) = (200_usize, 0.07, 4000_usize);
        let mut hits = vec![0_usize; n];
        let mut pair = 0_usize;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..trials {
            let sample = poisson_sample(&mut rng, n, q);
            assert!(sample.is_sorted_by(|a, b| a < b));
            for &i in &sample {
                hits[i] += 1;
            }
            pair += usize::from(sample.contains(&3) && sample.contains(&4));
            let size = sample.len() as f64;
            sum += size;
            squares += size * size;
        }
        let t = trials as f64;
        let (mean, expected) = (sum / t, q * n as f64);
        let variance = squares / t - mean * mean;
        let expected_variance = expected * (1.0 - q);
        // Five standard errors each.
        assert!(
            (mean - expected).abs() < 5.0 * (expected_variance / t).sqrt(),
            "{mean}"
        );
        assert!(
            (variance / expected_variance - 1.0).abs() < 5.0 * (2.0 / t).sqrt(),
            "{variance}"
        );
        for h in hits {
            assert!(
                (h as f64 - q * t).abs() < 5.0 * (t * q * (1.0 - q)).sqrt(),
                "{h}"
            );
        }
        let both = pair as f64;
        assert!(
            (both - q * q * t).abs() < 5.0 * (q * q * t).sqrt(),
            "independent: {both}"
        );
    }

    #[test]
    fn the_ends_of_the_range() {
        let mut rng = ChaCha20Rng::from_seed([6; 32]);
        assert_eq!(poisson_sample(&mut rng, 9, 1.0).len(), 9);
        assert!(poisson_sample(&mut rng, 1000, 1e-18).is_empty());
        assert!(poisson_sample(&mut rng, 0, 0.5).is_empty());
    }
}
