//! How likely a coordinate of the sum leaves the ring.
//!
//! A wrapped coordinate is wrong by 2^b grid units. That spoils a round and not a promise: reducing
//! modulo 2^b is post-processing.

use core::f64::consts::LN_2;

use super::noise::Sampler;

/// The chance of any wrap in all rounds must stay below 2 to the power of minus this.
pub const WRAP_BITS: f64 = 40.0;

/// What a coordinate of the sum consists of, in grid units.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum {
    /// Variance proxy of the rotated input: (norm of the sum)² / B, sub-Gaussian over the signs.
    pub(super) signal: f64,
    /// The most that rounding adds: less than 1 for each vector that is rounded.
    pub(super) rounding: f64,
    /// Variance of all noise.
    pub(super) noise: f64,
    /// Which noise.
    pub(super) sampler: Sampler,
    /// Coordinates, of all rounds.
    pub(super) coordinates: f64,
}

impl Sum {
    /// An upper bound of log2 P[any coordinate is outside (-2^(b-1), 2^(b-1))].
    ///
    /// Chernoff's bound of one side, times 2 · coordinates. The logarithm of the moment generating
    /// function is at most λ²A/2 for the input, V(cosh λ - 1) for Skellam noise of variance V, and
    /// λ²V/2 for discrete Gaussians (Canonne, Kamath, Steinke 2020, Lemma 25).
    pub(super) fn log2_wrap(&self, bits: u8) -> f64 {
        let room = f64::from(bits - 1).exp2() - self.rounding;
        if room <= 0.0 {
            return 0.0;
        }
        let slope = |l: f64| self.signal * l + self.noise * self.growth(l).0 - room;
        // The exponent is convex in λ; where its slope is 0 it is least. Any λ gives a bound.
        let (mut low, mut high) = (0.0, 1.0);
        while slope(high) < 0.0 && high < 64.0 {
            high *= 2.0;
        }
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if slope(middle) < 0.0 {
                low = middle;
            } else {
                high = middle;
            }
        }
        let exponent = 0.5 * self.signal * low * low + self.noise * self.growth(low).1 - low * room;
        ((2.0 * self.coordinates).ln() + exponent) / LN_2
    }

    /// Derivative and value of the noise's term for variance 1.
    fn growth(&self, l: f64) -> (f64, f64) {
        match self.sampler {
            // cosh λ - 1 = 2 sinh²(λ/2), without cancellation.
            Sampler::Skellam => (l.sinh(), 2.0 * (0.5 * l).sinh().powi(2)),
            Sampler::DiscreteGaussian => (l, 0.5 * l * l),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(noise: f64, sampler: Sampler) -> Sum {
        Sum {
            signal: 0.0,
            rounding: 0.0,
            noise,
            sampler,
            coordinates: 1.0,
        }
    }

    /// Of a normal variable of deviation s, exp(-t²/2s²) on each side.
    #[test]
    fn the_bound_of_a_gaussian_by_hand() {
        let expected = (2.0_f64.ln() - 128.0_f64.powi(2) / 800.0) / LN_2;
        let found = sum(400.0, Sampler::DiscreteGaussian).log2_wrap(8);
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        // Half the variance from the input: the same.
        let mixed = Sum {
            signal: 200.0,
            ..sum(200.0, Sampler::DiscreteGaussian)
        };
        assert!((mixed.log2_wrap(8) - expected).abs() < 1e-9);
    }

    /// Skellam tails are heavier; exact: Σ_(k ≥ 32) P(k) for V = 16 (mpmath), twice.
    #[test]
    fn it_is_a_bound_for_skellam_noise() {
        let found = sum(16.0, Sampler::Skellam).log2_wrap(6);
        let gaussian = sum(16.0, Sampler::DiscreteGaussian).log2_wrap(6);
        assert!(
            found > gaussian && found > (2.0 * SKELLAM_TAIL).log2(),
            "{found}"
        );
        assert!(found < (2.0 * SKELLAM_TAIL).log2() + 5.0, "{found}");
    }

    /// P(X ≥ 32) for Skellam noise of variance 16.
    const SKELLAM_TAIL: f64 = 2.899_598_844_287e-13;

    #[test]
    fn no_room_is_no_bound() {
        let full = Sum {
            rounding: 128.0,
            ..sum(1.0, Sampler::Skellam)
        };
        assert!(full.log2_wrap(8) >= 0.0);
        assert!(sum(1e9, Sampler::Skellam).log2_wrap(8) > 0.0);
    }
}
