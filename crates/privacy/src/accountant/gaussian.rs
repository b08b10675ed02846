//! The analytic Gaussian mechanism, without sampling: δ, ε and σ from one another.
//!
//! Source: Balle, Wang, "Improving the Gaussian Mechanism for Differential Privacy: Analytical
//! Calibration and Optimal Denoising", ICML 2018, Theorem 8: adding N(0, σ²) to a value of
//! sensitivity 1 is (ε, δ)-differentially private if and only if
//!
//! > δ ≥ Φ(μ/2 - ε/μ) - e^ε Φ(-μ/2 - ε/μ), μ = 1/σ.
//!
//! The classic σ = sqrt(2 ln(1.25/δ)) / ε is nowhere used: it is larger than needed at small ε, and
//! not private at large ones (at ε 25 its true δ is 7.7e-3 for a claimed 1e-5). k steps with noise
//! multiplier σ are one mechanism with μ = sqrt(k)/σ.

use core::f64::consts::{LN_2, PI, SQRT_2};

use crate::accountant::numeric::ln_erfc;
use crate::error::PrivacyError;
use crate::units::{Delta, Epsilon, NoiseMultiplier};

/// The normal density beyond this has no `f64`.
const LARGEST_TAIL: f64 = 38.5;
/// Results are moved to the safe side by this part of them, far more than rounding errors come to.
const MARGIN: f64 = 1e-11;
/// Below this μ the two terms of δ are so close that their difference is integrated instead.
const SMALL_MU: f64 = 1e-2;

/// The least δ, between 0 and 1, for which one step with noise multiplier σ is (ε, δ)-private.
pub fn delta(epsilon: Epsilon, noise_multiplier: NoiseMultiplier) -> f64 {
    delta_of_mu(epsilon.get(), noise_multiplier.get().recip())
}

/// The least ε, rounded up, for which one step with noise multiplier σ is (ε, δ)-private.
///
/// # Errors
/// The noise is so small that ε has no `f64`.
pub fn epsilon(noise_multiplier: NoiseMultiplier, delta: Delta) -> Result<Epsilon, PrivacyError> {
    epsilon_of_mu(noise_multiplier.get().recip(), delta)
}

/// The least noise multiplier, rounded up, with which one step is (ε, δ)-private.
///
/// # Errors
/// ε and δ are so small that the noise has no `f64`.
pub fn noise_multiplier(epsilon: Epsilon, delta: Delta) -> Result<NoiseMultiplier, PrivacyError> {
    let fits = |sigma: f64| delta_of_mu(epsilon.get(), sigma.recip()) <= delta.get();
    let (mut low, mut high) = (1.0, 1.0);
    while fits(low) && low > 1e-100 {
        low /= 2.0;
    }
    while !fits(high) {
        if high > 1e100 {
            return Err(PrivacyError::TargetOutOfReach {
                target: epsilon.get(),
                largest: high,
            });
        }
        high *= 2.0;
    }
    NoiseMultiplier::new(bisect(low, high, |sigma| !fits(sigma)) * (1.0 + MARGIN))
}

/// [`epsilon`] for μ = 1/σ, 0 or more.
pub(super) fn epsilon_of_mu(mu: f64, delta: Delta) -> Result<Epsilon, PrivacyError> {
    let delta = delta.get();
    if mu == 0.0 || delta_of_mu(0.0, mu) <= delta {
        return Epsilon::new(0.0);
    }
    // P(N(0,1) > z) ≤ e^(-z²/2), so that the first term alone is below δ here.
    let high = mu * mu / 2.0 + mu * (-2.0 * delta.ln()).sqrt();
    if !high.is_finite() {
        return Err(PrivacyError::NoFiniteEpsilon { delta });
    }
    let epsilon = bisect(0.0, high, |epsilon| delta_of_mu(epsilon, mu) > delta);
    Epsilon::new(epsilon * (1.0 + MARGIN))
}

/// The upper end of a bracket that is halved, as far as `f64` goes, around where `below` turns from
/// true to false.
fn bisect(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            break;
        }
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// δ(ε) of a Gaussian shift by μ standard deviations.
fn delta_of_mu(epsilon: f64, mu: f64) -> f64 {
    if mu == 0.0 {
        return 0.0;
    }
    let (low, high) = (epsilon / mu - mu / 2.0, epsilon / mu + mu / 2.0);
    if !(low.is_finite() && high.is_finite()) {
        // No noise to speak of, or an ε that nothing reaches.
        return if low < 0.0 || low.is_nan() { 1.0 } else { 0.0 };
    }
    if low > LARGEST_TAIL {
        return 0.0;
    }
    if mu < SMALL_MU {
        // With R = Q/φ (Mills' ratio), e^ε φ(high) = φ(low) makes δ = φ(low) (R(low) - R(high)), and
        // R' = x R - 1. Simpson's rule over so short a stretch is good to 1e-11.
        let slope = |x: f64| 1.0 - x * mills(x);
        let middle = f64::midpoint(low, high);
        let integral = mu / 6.0 * (slope(low) + 4.0 * slope(middle) + slope(high));
        return (-low * low / 2.0).exp() / (2.0 * PI).sqrt() * integral;
    }
    let (ln_low, ln_high) = (ln_upper_tail(low), ln_upper_tail(high));
    let ratio = epsilon + ln_high - ln_low;
    -ln_low.exp() * ratio.min(0.0).exp_m1()
}

/// ln P(N(0,1) > x).
fn ln_upper_tail(x: f64) -> f64 {
    ln_erfc(x / SQRT_2) - LN_2
}

/// Mills' ratio P(N(0,1) > x) / φ(x).
fn mills(x: f64) -> f64 {
    (ln_upper_tail(x) + x * x / 2.0).exp() * (2.0 * PI).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epsilon: f64, sigma: f64) -> f64 {
        delta(
            Epsilon::new(epsilon).unwrap(),
            NoiseMultiplier::new(sigma).unwrap(),
        )
    }

    #[test]
    fn the_three_questions_invert_each_other() {
        for epsilon in [0.0, 1e-3, 0.1, 1.0, 8.0, 25.0, 300.0] {
            for delta in [0.1, 1e-5, 1e-10, 1e-60] {
                let target = Epsilon::new(epsilon).unwrap();
                let probability = Delta::new(delta).unwrap();
                let sigma = noise_multiplier(target, probability).unwrap();
                let reached = at(epsilon, sigma.get());
                assert!(
                    reached <= delta && reached > delta * (1.0 - 1e-6),
                    "epsilon {epsilon}, delta {delta}: sigma {sigma}, delta {reached}"
                );
                let again = super::epsilon(sigma, probability).unwrap().get();
                assert!(
                    (again - epsilon).abs() < 1e-6 * epsilon.max(1e-3),
                    "epsilon {epsilon}, delta {delta}: {again}"
                );
            }
        }
    }

    #[test]
    fn known_values() {
        // dp-accounting 0.6.0, exact for the Gaussian: 4.377178, 4.886554 (two rows of its table).
        let delta = Delta::new(1e-5).unwrap();
        let one = epsilon(NoiseMultiplier::new(1.0).unwrap(), delta).unwrap();
        assert!((one.get() - 4.377_178).abs() < 1e-6);
        let hundred = epsilon_of_mu(1.0, Delta::new(1e-6).unwrap()).unwrap();
        assert!((hundred.get() - 4.886_554).abs() < 1e-6);
        // Total variation: 2Φ(μ/2) - 1.
        assert!((at(0.0, 0.5) - 0.682_689_492_137_085_9).abs() < 1e-14);
    }

    #[test]
    fn small_shifts_agree_where_the_formula_changes() {
        for epsilon in [0.0, 1e-3, 0.01, 0.03, 0.05] {
            let (below, above) = (
                at(epsilon, 100.0 * (1.0 + 1e-9)),
                at(epsilon, 100.0 * (1.0 - 1e-9)),
            );
            assert!(
                (above / below - 1.0).abs() < 1e-6,
                "epsilon {epsilon}: {below} {above}"
            );
        }
    }

    /// What is wrong with the formula that most texts give.
    #[test]
    fn the_classic_formula_is_not_private_at_large_epsilon() {
        let claimed: f64 = 1e-5;
        let classic = |epsilon: f64| (2.0 * (1.25 / claimed).ln()).sqrt() / epsilon;
        let truth = at(25.0, classic(25.0));
        assert!((truth - 7.7e-3).abs() < 5e-5, "{truth}");
        // Below epsilon 1, where it is proven, it holds and wastes noise.
        let truth = at(0.5, classic(0.5));
        assert!(truth < claimed / 10.0, "{truth}");
    }

    #[test]
    fn no_noise_and_all_the_noise() {
        assert_eq!(at(1.0, 1e-300).to_bits(), 1.0_f64.to_bits());
        assert_eq!(at(1.0, 1e300).to_bits(), 0.0_f64.to_bits());
        assert!(epsilon_of_mu(1e200, Delta::new(0.5).unwrap()).is_err());
        let zero = epsilon_of_mu(0.0, Delta::new(1e-9).unwrap()).unwrap();
        assert_eq!(zero.get().to_bits(), 0);
    }
}
