//! The accountant against figures from other software.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "step counts in a CSV of numbers; test helpers"
)]

use undertone_privacy::accountant::renyi_divergence;
use undertone_privacy::{Delta, NoiseMultiplier, RdpAccountant, SamplingRate};

/// Rows of a CSV with `#` comments and one header line.
fn rows(text: &str) -> Vec<Vec<f64>> {
    let rows: Vec<Vec<f64>> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .skip(1)
        .map(|line| line.split(',').map(|cell| cell.parse().unwrap()).collect())
        .collect();
    assert!(!rows.is_empty());
    rows
}

#[test]
fn epsilon_agrees_with_dp_accounting() {
    let rows = rows(include_str!("vectors/epsilon.csv"));
    assert_eq!(rows.len(), 12);
    let mut worst: f64 = 0.0;
    for row in rows {
        let [q, sigma, steps, delta, eps_rdp, eps_pld] = row[..] else {
            panic!("{row:?}")
        };
        let mut accountant = RdpAccountant::new();
        accountant.compose_subsampled_gaussian(
            SamplingRate::new(q).unwrap(),
            NoiseMultiplier::new(sigma).unwrap(),
            steps as u64,
        );
        let delta = Delta::new(delta).unwrap();
        let epsilon = accountant.epsilon(delta).unwrap().get();
        let error = (epsilon / eps_rdp - 1.0).abs();
        worst = worst.max(error);
        println!(
            "q {q} sigma {sigma} steps {steps}: ours {epsilon:.6}, theirs {eps_rdp:.6}, \
             order {}",
            accountant.optimal_order(delta).unwrap()
        );
        // The file holds six decimals.
        assert!((epsilon - eps_rdp).abs() < 6e-7, "row {row:?}: {epsilon}");
        assert!(
            epsilon > eps_pld,
            "RDP is an upper bound of the tight figure: {row:?}"
        );
    }
    println!("largest relative difference {worst:.1e}");
}

/// Tolerance of a divergence: the fractional series is the logarithm of a sum near 1, divided by
/// order - 1, so it is good to 1e-13 absolute at best.
fn near(x: f64) -> f64 {
    1e-11 * x + 1e-13
}

#[test]
fn divergences_agree_with_the_defining_integral_and_with_dp_accounting() {
    let (mut to_integral, mut equal, mut below): (f64, u32, u32) = (0.0, 0, 0);
    for row in rows(include_str!("vectors/divergence.csv")) {
        let [q, sigma, order, integral, theirs] = row[..] else {
            panic!("{row:?}")
        };
        let ours = renyi_divergence(
            SamplingRate::new(q).unwrap(),
            NoiseMultiplier::new(sigma).unwrap(),
            order,
        )
        .unwrap();
        // Never below the truth; exact at integer orders; never above theirs.
        assert!(ours > integral - near(integral), "row {row:?}: {ours}");
        if order.fract() == 0.0 {
            assert!(ours < integral + near(integral), "row {row:?}: {ours}");
            to_integral = to_integral.max((ours / integral - 1.0).abs());
        }
        if theirs * (order - 1.0) < 1e-9 {
            // Their series has lost digits here, so ours is another bound, from above.
            continue;
        }
        if (ours - theirs).abs() < near(theirs) {
            equal += 1;
        } else {
            assert!(ours < theirs && order.fract() > 0.0, "row {row:?}: {ours}");
            assert!(ours <= order / (2.0 * sigma * sigma), "row {row:?}: {ours}");
            below += 1;
        }
    }
    println!("integer orders, largest relative difference to the integral: {to_integral:.1e}");
    println!("equal to dp-accounting: {equal}; below it, at fractional orders: {below}");
    assert!(equal > 3 * below);
}
