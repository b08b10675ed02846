//! The figures that docs/accounting.md quotes, computed.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use undertone_privacy::accountant::gaussian;
use undertone_privacy::{
    Delta, Epsilon, NoiseMultiplier, RdpAccountant, SamplingRate, SubsampledGaussian,
};

const EPSILON: f64 = 0.1;
const DELTA: f64 = 1e-6;
const ROUNDS: u32 = 100;

fn delta() -> Delta {
    Delta::new(DELTA).unwrap()
}

/// ε by Rényi divergences of all rounds, each Gaussian with `sigma`.
fn composed(sigma: f64) -> f64 {
    let mut accountant = RdpAccountant::new();
    accountant.compose(&SubsampledGaussian {
        sampling_rate: SamplingRate::ONE,
        noise_multiplier: NoiseMultiplier::new(sigma).unwrap(),
        steps: u64::from(ROUNDS),
    });
    accountant.epsilon(delta()).unwrap().get()
}

/// Rounded up to hundredths, as the page shows it.
fn shown(epsilon: f64) -> String {
    format!("{:.2}", (epsilon * 100.0).ceil() / 100.0)
}

/// δ(ε) of k rounds that are pure ε0-private: that of k randomised responses, exactly, which dominate
/// every such rounds (Kairouz, Oh, Viswanath 2015).
fn delta_of_pure_rounds(rounds: u32, each: f64, epsilon: f64) -> f64 {
    let yes = each.exp() / (1.0 + each.exp());
    let mut ln_choose = 0.0;
    let mut sum = 0.0;
    for heads in 0..=rounds {
        let (heads, tails) = (f64::from(heads), f64::from(rounds - heads));
        let loss = (heads - tails) * each;
        if loss > epsilon {
            let ln_mass = ln_choose + heads * yes.ln() + tails * (1.0 - yes).ln();
            sum += ln_mass.exp() * -(epsilon - loss).exp_m1();
        }
        ln_choose += (tails / (heads + 1.0)).ln();
    }
    sum
}

/// "100 rounds of epsilon 0.1 at delta 1e-6 compose to about 3.5 by RDP": not under any reading.
#[test]
fn a_hundred_rounds_of_a_tenth_are_not_three_and_a_half() {
    let classic = (2.0 * (1.25 / DELTA).ln()).sqrt() / EPSILON;
    let by_classic = composed(classic);
    let analytic = gaussian::noise_multiplier(Epsilon::new(EPSILON).unwrap(), delta())
        .unwrap()
        .get();
    let by_analytic = composed(analytic);
    let (mut low, mut high) = (0.0, 10.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if delta_of_pure_rounds(ROUNDS, EPSILON, middle) > DELTA {
            low = middle;
        } else {
            high = middle;
        }
    }
    let pure = high;
    println!("sigma {classic:.2} {analytic:.2}: {by_classic:.4} {by_analytic:.4}; pure {pure:.4}");
    assert_eq!(
        [shown(by_classic), shown(by_analytic), shown(pure)],
        ["0.85", "1.27", "4.78"]
    );
}

/// With everything of one mechanism given away, the sum over all outcomes is 1.
#[test]
fn the_pure_rounds_are_a_distribution() {
    let certain = delta_of_pure_rounds(ROUNDS, EPSILON, -1e3);
    assert!((certain - 1.0).abs() < 1e-12, "{certain}");
    // One round of ln 3: 3/4 against 1/4.
    assert!((delta_of_pure_rounds(1, 3_f64.ln(), 0.0) - 0.5).abs() < 1e-15);
}

#[test]
fn the_classic_formula_at_epsilon_25() {
    let classic = (2.0 * (1.25 / 1e-5_f64).ln()).sqrt() / 25.0;
    let truth = gaussian::delta(
        Epsilon::new(25.0).unwrap(),
        NoiseMultiplier::new(classic).unwrap(),
    );
    assert_eq!(format!("{truth:.1e}"), "7.7e-3");
}
