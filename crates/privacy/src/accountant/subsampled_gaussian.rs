//! Rényi divergence of the Poisson-subsampled Gaussian mechanism.
//!
//! Source: Mironov, Talwar, Zhang, "Rényi Differential Privacy of the Sampled Gaussian Mechanism",
//! 2019 (arXiv 1908.10530), section 3.3. With μ0 = N(0, σ²), μ = (1-q) N(0, σ²) + q N(1, σ²) and
//!
//! > A(α) = E\_{z ~ μ0} \[ (μ(z) / μ0(z))^α \],
//!
//! one step is (α, ln A(α) / (α - 1))-RDP under adding or removing one record: of the two
//! directions of the divergence, the paper shows this to be the larger one. Under replacing one, the
//! mirror image of μ takes the place of μ0 (see the pairs of the other accountant: what dominates
//! has the larger Rényi divergences, too). A(α) runs from 1 up to beyond e^1000, so all sums are kept
//! as logarithms, and A - 1 is what is summed.

use core::f64::consts::PI;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::accountant::numeric::ln_add;
use crate::accountant::poisson;
use crate::error::PrivacyError;
use crate::statement::Adjacency;
use crate::units::{NoiseMultiplier, SamplingRate};

/// An integral that would need more points than this is not computed.
const MOST_POINTS: f64 = 16_384.0;

/// The integration's errors, in parts of A - 1, and what every result is raised by.
const MARGIN: f64 = 1e-11;

/// Above this order the integer series is too long to be worth its while.
const LONGEST_SERIES: f64 = 1024.0;

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
    one_step_under(Adjacency::AddOrRemoveOne, q, sigma, order)
}

/// The divergence at `order` > 1 under either adjacency.
pub(super) fn one_step_under(adjacency: Adjacency, q: f64, sigma: f64, order: f64) -> f64 {
    if q <= 0.0 {
        return 0.0;
    }
    let sensitivity = match adjacency {
        Adjacency::AddOrRemoveOne => 1.0,
        Adjacency::ReplaceOne => 2.0,
    };
    let twice_variance = 2.0 * (sigma / sensitivity) * (sigma / sensitivity);
    if q >= 1.0 {
        return order / twice_variance;
    }
    // Squares that left the range of f64 make 0 / 0 below.
    if !(twice_variance.is_normal() && twice_variance.recip().is_normal()) {
        return f64::INFINITY;
    }
    let whole = order.fract() == 0.0 && order <= LONGEST_SERIES;
    let ln_a = match adjacency {
        Adjacency::AddOrRemoveOne if whole => ln_a_integer(q, sigma, order),
        Adjacency::AddOrRemoveOne => {
            integral(adjacency, q, sigma, order).unwrap_or_else(|| ln_a_chord(q, sigma, order))
        }
        Adjacency::ReplaceOne => integral(adjacency, q, sigma, order).unwrap_or(f64::INFINITY),
    };
    // Sampling never costs: by convexity of x^α the divergence is at most that without sampling.
    (ln_a / (order - 1.0)).min(order / twice_variance)
}

/// An upper bound of ln A(α) from the integers on both sides of a fractional α; none above
/// [`LONGEST_SERIES`].
fn ln_a_chord(q: f64, sigma: f64, alpha: f64) -> f64 {
    poisson::chord(alpha, |alpha| {
        if alpha < 2.0 {
            0.0
        } else if alpha <= LONGEST_SERIES {
            ln_a_integer(q, sigma, alpha)
        } else {
            f64::INFINITY
        }
    })
}

/// ln A(α) for any α > 1, by the trapezoidal rule; `None` where it would take too many points.
///
/// The integrand is analytic but for the zeros of the mixtures, π σ² from the real line, and falls
/// off like a Gaussian: the rule's error is below e^(-2π² σ²/h²) + e^(-2π² σ²/h + 5σ²), less
/// than 1e-15 at the width used here. As E\[μ/μ0\] is 1, A - 1 is the integral of w^α - 1 - α (w-1),
/// which is nowhere negative: nothing cancels however close to 1 A is.
fn integral(adjacency: Adjacency, q: f64, sigma: f64, alpha: f64) -> Option<f64> {
    let variance = sigma * sigma;
    let width = (sigma / 4.0).min(variance / 2.0);
    // All that matters lies within ten standard deviations of the components' means; those of P^α Q^(1-α)
    // are at most α, and 2α - 1 where the mirror image stands in the denominator.
    let furthest = match adjacency {
        Adjacency::AddOrRemoveOne => alpha,
        Adjacency::ReplaceOne => 2.0 * alpha,
    };
    let (low, high) = (-1.0 - 10.0 * sigma, furthest + 1.0 + 10.0 * sigma);
    let points = ((high - low) / width).ceil();
    if points > MOST_POINTS {
        return None;
    }
    // ln of the mixture with the component at 1 over N(0, σ²).
    let ln_ratio = |x: f64| {
        let exponent = (2.0 * x - 1.0) / (2.0 * variance);
        if exponent < 300.0 {
            (q * exponent.exp_m1()).ln_1p()
        } else {
            q.ln() + exponent
        }
    };
    let mut ln_sum = f64::NEG_INFINITY;
    let mut index = 0.0;
    while index <= points {
        let x = low + width * index;
        let mut ln_density = -x * x / (2.0 * variance);
        let mut loss = ln_ratio(x);
        if adjacency == Adjacency::ReplaceOne {
            let other = ln_ratio(-x);
            ln_density += other;
            loss -= other;
        }
        ln_sum = ln_add(ln_sum, ln_density + ln_excess_power(loss, alpha));
        index += 1.0;
    }
    let ln_a_less_1 = ln_sum + (width / sigma).ln() - 0.5 * (2.0 * PI).ln();
    Some(ln_add(0.0, ln_a_less_1 + MARGIN))
}

/// ln(w^α - 1 - α (w - 1)) for w = e^`loss`.
fn ln_excess_power(loss: f64, alpha: f64) -> f64 {
    let power = alpha * loss;
    if power.abs().max(loss.abs()) < 0.02 {
        // The exponential series, from its second term on.
        let mut sum = 0.0;
        let (mut of_power, mut of_loss) = (power, loss);
        for k in 2..8 {
            of_power *= power / f64::from(k);
            of_loss *= loss / f64::from(k);
            sum += of_power - alpha * of_loss;
        }
        return sum.ln();
    }
    if power > 40.0 {
        return power + (-(1.0 + alpha * loss.exp_m1()) * (-power).exp()).ln_1p();
    }
    (power.exp_m1() - alpha * loss.exp_m1()).ln()
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

    /// Replacing one record at a rate near 1: twice the sensitivity, and the integrand lies about
    /// 2α - 1, not α. The rate is not 1, so nothing but the integral computes it.
    #[test]
    fn the_integral_reaches_as_far_as_its_integrand() {
        for (sigma, order) in [(2.0, 40.0), (10.0, 200.0), (20.0, 1000.0)] {
            let whole = 2.0 * order / (sigma * sigma);
            let one = one_step_under(Adjacency::ReplaceOne, 1.0 - 1e-12, sigma, order);
            assert!((one / whole - 1.0).abs() < 1e-4, "{one} {whole}");
        }
    }

    #[test]
    fn absurdly_little_noise_is_infinite_not_wrong() {
        assert_eq!(divergence(0.5, 1e-200, 2.0), f64::INFINITY);
        assert_eq!(divergence(0.5, 1e-200, 2.5), f64::INFINITY);
        assert_eq!(divergence(1.0, 1e-200, 2.5), f64::INFINITY);
    }
}
