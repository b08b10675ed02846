//! Poisson subsampling of a mechanism of which only the Rényi divergences are known.
//!
//! Source: Zhu, Wang, "Poisson Subsampled Rényi Differential Privacy", ICML 2019, Theorem 5: for an
//! integer order α, and ε(l) the mechanism's own divergence at order l under adding or removing one
//! record,
//!
//! > A(α) ≤ (1-q)^(α-1) (αq - q + 1) + C(α,2) q² (1-q)^(α-2) e^ε(2)
//! >   + 3 Σ\_{l=3..α} C(α,l) (1-q)^(α-l) q^l e^((l-1) ε(l)),
//!
//! one sampled step being (α, ln A(α) / (α-1))-RDP. The factor 3 is what makes the bound hold for
//! every mechanism, in both directions of the divergence. (The paper's Theorem 8 drops it under a
//! condition on the mechanism that is known for Gaussian and Laplace noise, and not for the integer
//! mechanisms here.)

use crate::accountant::numeric::ln_add;

/// Above this order no amplification is computed: the series is long, and at such orders a sampled
/// mechanism's divergence is near the unsampled one's.
const LONGEST: f64 = 1024.0;

/// The divergence of one step, at `order` > 1, that takes each record with probability `q` and then
/// runs a mechanism whose divergence at an order l is at most `divergence(l)`. In nats.
///
/// `divergence` is asked at integer orders only, and must not be negative.
pub(super) fn subsampled(q: f64, order: f64, divergence: impl Fn(f64) -> f64) -> f64 {
    if q <= 0.0 {
        return 0.0;
    }
    let ln_a = |alpha: f64| {
        if alpha < 2.0 {
            return 0.0;
        }
        // Sampling never costs: the joint convexity of e^((α-1) D(α)).
        let unsampled = (alpha - 1.0) * divergence(alpha);
        if q >= 1.0 || alpha > LONGEST {
            unsampled
        } else {
            ln_a_integer(q, alpha, &divergence).min(unsampled)
        }
    };
    chord(order, ln_a) / (order - 1.0)
}

/// A bound of (α-1) D(α) at any α above 1 from bounds at the integers on both sides: it is the
/// cumulant generating function of the privacy loss, convex in α, and 0 at α = 1.
pub(super) fn chord(alpha: f64, at_integer: impl Fn(f64) -> f64) -> f64 {
    let (below, above) = (alpha.floor(), alpha.ceil());
    let at_above = at_integer(above);
    if above - below < 0.5 {
        return at_above;
    }
    let at_below = at_integer(below);
    if at_above.is_infinite() {
        return f64::INFINITY;
    }
    at_below + (alpha - below) * (at_above - at_below)
}

/// ln of the sum above. The binomial weights add up to 1, so A - 1 is the sum with 1 taken from
/// every factor: all terms positive, and nothing cancels when A is close to 1.
fn ln_a_integer(q: f64, alpha: f64, divergence: impl Fn(f64) -> f64) -> f64 {
    let (ln_q, ln_1mq) = (q.ln(), (-q).ln_1p());
    let mut ln_sum = f64::NEG_INFINITY;
    let mut ln_choose = alpha.ln();
    let mut l = 2.0;
    while l <= alpha {
        ln_choose += ((alpha - l + 1.0) / l).ln();
        let exponent = (l - 1.0) * divergence(l);
        let ln_factor = if l < 3.0 {
            // ln(e^x - 1).
            exponent + (-(-exponent).exp_m1()).ln()
        } else {
            // ln(3 e^x - 1).
            exponent + (3.0 - (-exponent).exp()).ln()
        };
        let ln_weight = ln_choose + l * ln_q + (alpha - l) * ln_1mq;
        ln_sum = ln_add(ln_sum, ln_weight + ln_factor);
        l += 1.0;
    }
    ln_add(0.0, ln_sum)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the tested values are exact")]
mod tests {
    use super::*;
    use crate::accountant::subsampled_gaussian::one_step;

    #[test]
    fn it_covers_the_exact_gaussian_and_is_close_at_small_rates() {
        for (q, sigma) in [(1e-4, 2.0), (0.01, 1.0), (0.1, 4.0), (0.5, 1.5)] {
            for order in [2.0, 2.5, 3.0, 8.0, 31.5, 64.0] {
                let general = subsampled(q, order, |l| l / (2.0 * sigma * sigma));
                let exact = one_step(q, sigma, order);
                assert!(
                    general >= exact * (1.0 - 1e-12),
                    "q {q}, sigma {sigma}, order {order}: {general} < {exact}"
                );
            }
            // The term at order 2 has no factor.
            let general = subsampled(q, 2.0, |l| l / (2.0 * sigma * sigma));
            assert!((general / one_step(q, sigma, 2.0) - 1.0).abs() < 1e-12);
        }
        // Where the mechanism itself loses little, the constant 3 shows as q³ and no more.
        let general = subsampled(1e-4, 16.0, |l| l / 8.0);
        assert!(general < 1.01 * one_step(1e-4, 2.0, 16.0), "{general}");
    }

    #[test]
    fn the_ends_of_the_range_of_rates() {
        assert_eq!(subsampled(0.0, 5.0, |_| 1.0), 0.0);
        assert!((subsampled(1.0, 5.0, |l| 0.25 * l) - 1.25).abs() < 1e-15);
        assert_eq!(subsampled(0.5, 5.0, |_| f64::INFINITY), f64::INFINITY);
        assert_eq!(subsampled(0.5, 4.5, |_| f64::INFINITY), f64::INFINITY);
    }

    #[test]
    fn by_hand_at_order_three() {
        // q = 1/2, e^ε(2) = 2, e^(2 ε(3)) = 5: 1/4 · 2 + 3 · 1/8 · 2 + 3 · 1/8 · 5 = 3.125; the
        // mechanism unsampled has 5.
        let divergence = |l: f64| {
            if l < 2.5 {
                2_f64.ln()
            } else {
                5_f64.ln() / 2.0
            }
        };
        let ours = subsampled(0.5, 3.0, divergence);
        assert!((ours - 3.125_f64.ln() / 2.0).abs() < 1e-14, "{ours}");
    }
}
