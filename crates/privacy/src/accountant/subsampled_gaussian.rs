//! Rényi divergence of the Poisson-subsampled Gaussian mechanism.
//!
//! Source: Mironov, Talwar, Zhang, "Rényi Differential Privacy of the Sampled Gaussian Mechanism",
//! 2019 (arXiv 1908.10530), section 3.3. With μ0 = N(0, σ²), μ = (1-q) N(0, σ²) + q N(1, σ²) and
//!
//! > A(α) = E\_{z ~ μ0} \[ (μ(z) / μ0(z))^α \],
//!
//! one step is (α, ln A(α) / (α - 1))-RDP under adding or removing one record: of the two
//! directions of the divergence, the paper shows this to be the larger one. A(α) runs from 1 up to
//! beyond e^1000, so all sums are kept as logarithms.

use core::f64::consts::{LN_2, SQRT_2};
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::accountant::numeric::{ln_add, ln_erfc};
use crate::error::PrivacyError;
use crate::units::{NoiseMultiplier, SamplingRate};

/// Terms after which the series for a fractional order counts as not converging.
const MAX_TERMS: u32 = 1000;

/// Below this the fractional series, the logarithm of a sum near 1, is not used: it knows ln A to
/// about 1e-15 absolute, and could fall short of it. The chord has no such loss.
const SERIES_FLOOR: f64 = 1e-9;

/// So many identical steps of the Poisson-subsampled Gaussian mechanism: what DP-SGD releases.
///
/// A step takes each record with probability q, independently, clips each record's contribution
/// to L2 norm C, and adds N(0, σ² C²) to every coordinate of the sum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubsampledGaussian {
    /// q, the probability of each record to be in a step.
    pub sampling_rate: SamplingRate,
    /// σ, the noise's standard deviation over the clip norm.
    pub noise_multiplier: NoiseMultiplier,
    /// Number of steps.
    pub steps: u64,
}

impl fmt::Display for SubsampledGaussian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sampling_rate,
            noise_multiplier,
            steps,
        } = self;
        let plural = if *steps == 1 { "" } else { "s" };
        write!(
            f,
            "{steps} step{plural} of the Poisson-subsampled Gaussian mechanism with sampling rate \
             {sampling_rate} and noise multiplier {noise_multiplier}"
        )
    }
}

/// The Rényi divergence, at `order`, of one step of the Poisson-subsampled Gaussian mechanism
/// under adding or removing one record.
///
/// In nats, 0 or more. Infinite where σ² is too small for `f64`; an accountant then leaves this
/// order out, which can only loosen the result.
///
/// # Errors
/// `order` is not a finite number above 1.
pub fn renyi_divergence(
    sampling_rate: SamplingRate,
    noise_multiplier: NoiseMultiplier,
    order: f64,
) -> Result<f64, PrivacyError> {
    if order.is_finite() && order > 1.0 {
        Ok(one_step(sampling_rate.get(), noise_multiplier.get(), order))
    } else {
        Err(PrivacyError::Order(order))
    }
}

/// [`renyi_divergence`] after its checks.
pub(super) fn one_step(q: f64, sigma: f64, order: f64) -> f64 {
    if q <= 0.0 {
        return 0.0;
    }
    let twice_variance = 2.0 * sigma * sigma;
    if q >= 1.0 {
        return order / twice_variance;
    }
    // Squares that left the range of f64 make 0 / 0 below.
    if !(twice_variance.is_normal() && twice_variance.recip().is_normal()) {
        return f64::INFINITY;
    }
    let ln_a = if order.fract() == 0.0 {
        ln_a_integer(q, sigma, order)
    } else {
        let chord = ln_a_chord(q, sigma, order);
        let series = ln_a_fractional(q, sigma, order);
        // min passes over a NaN, too: the result of an infinity less an infinity.
        if series < SERIES_FLOOR {
            chord
        } else {
            series.min(chord)
        }
    };
    // Sampling never costs: convexity of x^α gives A ≤ (1-q) + q E[(N(1,σ²) / N(0,σ²))^α].
    (ln_a / (order - 1.0)).min(order / twice_variance)
}

/// An upper bound of ln A(α) from the integers on both sides of a fractional α: ln A is convex in
/// α (it is the logarithm of a moment), and 0 at α = 1.
fn ln_a_chord(q: f64, sigma: f64, alpha: f64) -> f64 {
    let (below, above) = (alpha.floor(), alpha.ceil());
    let at_below = if below < 2.0 {
        0.0
    } else {
        ln_a_integer(q, sigma, below)
    };
    at_below + (alpha - below) * (ln_a_integer(q, sigma, above) - at_below)
}

/// ln A(α) for an integer α of 2 or more.
///
/// Section 3.3's binomial sum is Σ C(α,i) q^i (1-q)^(α-i) e^((i²-i) / 2σ²). Its weights without the
/// exponential add up to 1, so A - 1 is the same sum with expm1 for exp: all terms positive, the
/// first two zero, and nothing cancels when A is close to 1.
fn ln_a_integer(q: f64, sigma: f64, alpha: f64) -> f64 {
    let (ln_q, ln_1mq) = (q.ln(), (-q).ln_1p());
    let mut ln_sum = f64::NEG_INFINITY;
    let mut ln_choose = 0.0;
    let mut i = 0.0;
    while i < alpha {
        ln_choose += ((alpha - i) / (i + 1.0)).ln();
        i += 1.0;
        if i >= 2.0 {
            let exponent = (i * i - i) / (2.0 * sigma * sigma);
            let ln_expm1 = exponent + (-(-exponent).exp_m1()).ln();
            ln_sum = ln_add(
                ln_sum,
                ln_choose + i * ln_q + (alpha - i) * ln_1mq + ln_expm1,
            );
        }
    }
    ln_add(0.0, ln_sum)
}

/// ln A(α) for a fractional α: section 3.3's two series, for the integrals below and above
/// z0 = σ² ln(1/q - 1) + 1/2. Infinite when they do not converge within [`MAX_TERMS`].
///
/// Binomial coefficients of a fractional α change sign beyond i = α. As in dp-accounting their
/// absolute values are added: an upper bound of A, with nothing to cancel. It is loose
/// at low orders when σ is large and q is not small; [`ln_a_chord`] steps in there.
fn ln_a_fractional(q: f64, sigma: f64, alpha: f64) -> f64 {
    let (ln_q, ln_1mq) = (q.ln(), (-q).ln_1p());
    let twice_variance = 2.0 * sigma * sigma;
    let z0 = sigma * sigma * (ln_1mq - ln_q) + 0.5;
    let mut ln_total = f64::NEG_INFINITY;
    let mut ln_choose = 0.0;
    let mut last = (f64::NEG_INFINITY, f64::NEG_INFINITY);
    for term in 0..MAX_TERMS {
        let i = f64::from(term);
        let j = alpha - i;
        let below = ln_choose + i * ln_q + j * ln_1mq + (i * i - i) / twice_variance - LN_2
            + ln_erfc((i - z0) / (SQRT_2 * sigma));
        let above = ln_choose + j * ln_q + i * ln_1mq + (j * j - j) / twice_variance - LN_2
            + ln_erfc((z0 - j) / (SQRT_2 * sigma));
        ln_total = ln_add(ln_total, ln_add(below, above));
        // Both series are past their largest term, and what follows is below one part in 1e13.
        if below < last.0 && above < last.1 && below.max(above) < ln_total - 30.0 {
            return ln_total;
        }
        last = (below, above);
        ln_choose += (j / (i + 1.0)).abs().ln();
    }
    f64::INFINITY
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the tested values are exact")]
mod tests {
    use super::*;

    fn divergence(q: f64, sigma: f64, order: f64) -> f64 {
        let (q, sigma) = (
            SamplingRate::new(q).unwrap(),
            NoiseMultiplier::new(sigma).unwrap(),
        );
        renyi_divergence(q, sigma, order).unwrap()
    }

    #[test]
    fn without_subsampling_it_is_the_gaussian_mechanism() {
        for sigma in [0.3, 1.0, 7.5] {
            for order in [1.01, 1.5, 2.0, 17.0, 1024.0] {
                assert_eq!(divergence(1.0, sigma, order), order / (2.0 * sigma * sigma));
            }
        }
    }

    #[test]
    fn a_rate_near_one_approaches_the_gaussian_mechanism() {
        for order in [2.0, 2.5, 17.0] {
            let near = divergence(1.0 - 1e-9, 1.0, order);
            assert!(
                (near / (order / 2.0) - 1.0).abs() < 1e-6,
                "order {order}: {near}"
            );
        }
    }

    #[test]
    fn nothing_sampled_is_nothing_lost() {
        assert_eq!(divergence(0.0, 0.5, 2.0), 0.0);
        assert_eq!(divergence(0.0, 0.5, 3.7), 0.0);
    }

    #[test]
    fn order_two_has_a_closed_form() {
        // A(2) = 1 + q² (e^(1/σ²) - 1).
        for (q, sigma) in [(1e-6, 10.0), (0.01, 1.0), (0.3, 0.5), (0.9, 3.0)] {
            let exact = (q * q * f64::exp_m1(1.0 / (sigma * sigma))).ln_1p();
            let ours = divergence(q, sigma, 2.0);
            assert!(
                (ours / exact - 1.0).abs() < 1e-12,
                "q {q}, sigma {sigma}: {ours} {exact}"
            );
        }
    }

    #[test]
    fn tiny_divergences_stay_positive_and_ordered() {
        // ln A is near 1e-14 here: the plain sums would return rounding error, of either sign.
        let mut last = 0.0;
        for order in [1.1, 2.1, 3.5, 7.5, 12.0, 12.5] {
            let value = divergence(1e-6, 10.0, order);
            assert!(value > last, "order {order}: {value} after {last}");
            last = value;
        }
    }

    #[test]
    fn orders_of_one_or_less_are_refused() {
        let (q, sigma) = (
            SamplingRate::new(0.1).unwrap(),
            NoiseMultiplier::new(1.0).unwrap(),
        );
        for order in [1.0, 0.5, -3.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(
                renyi_divergence(q, sigma, order),
                Err(PrivacyError::Order(_))
            ));
        }
    }

    #[test]
    fn absurdly_little_noise_is_infinite_not_wrong() {
        assert_eq!(divergence(0.5, 1e-200, 2.0), f64::INFINITY);
        assert_eq!(divergence(0.5, 1e-200, 2.5), f64::INFINITY);
        assert_eq!(divergence(1.0, 1e-200, 2.5), f64::INFINITY);
    }
}
