//! The accountant against figures from other software.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "step counts in a CSV of numbers; test helpers"
)]

use undertone_privacy::accountant::{PldAccountant, renyi_divergence};
use undertone_privacy::{
    Adjacency, Delta, NoiseMultiplier, RdpAccountant, SamplingRate, SubsampledGaussian,
};

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
        // The file holds six decimals; with more orders ours may be a little less.
        assert!(
            epsilon < eps_rdp + 6e-7 && epsilon > eps_rdp * 0.99,
            "row {row:?}: {epsilon}"
        );
        assert!(
            epsilon > eps_pld,
            "RDP is an upper bound of the tight figure: {row:?}"
        );
    }
    println!("largest relative difference {worst:.1e}");
}

/// Tolerance of a divergence.
fn near(x: f64) -> f64 {
    1e-10 * x
}

#[test]
fn divergences_agree_with_the_defining_integral_and_with_dp_accounting() {
    let (mut to_integral, mut to_theirs): (f64, f64) = (0.0, 0.0);
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
        // Never below the truth, nor more than rounding above it; never above theirs, where their
        // series has not lost its digits.
        assert!(ours > integral - 1e-13 * integral, "row {row:?}: {ours}");
        assert!(ours < integral + near(integral), "row {row:?}: {ours}");
        to_integral = to_integral.max((ours / integral - 1.0).abs());
        if theirs * (order - 1.0) > 1e-9 {
            assert!(ours < theirs + 1e-6 * theirs, "row {row:?}: {ours}");
            to_theirs = to_theirs.max(theirs / ours - 1.0);
        }
    }
    println!("largest relative difference to the integral: {to_integral:.1e}");
    println!("dp-accounting's series is above it by up to {to_theirs:.1e}");
}

fn steps(q: f64, sigma: f64, steps: f64) -> SubsampledGaussian {
    SubsampledGaussian {
        sampling_rate: SamplingRate::new(q).unwrap(),
        noise_multiplier: NoiseMultiplier::new(sigma).unwrap(),
        steps: steps as u64,
    }
}

fn by_pld(adjacency: Adjacency, steps: &SubsampledGaussian, delta: f64) -> f64 {
    let mut accountant = PldAccountant::new(adjacency);
    accountant.compose(steps).unwrap();
    let epsilon = accountant.epsilon(Delta::new(delta).unwrap());
    epsilon.unwrap().get()
}

/// What a figure may differ by from another accountant's.
fn allowed(epsilon: f64) -> f64 {
    f64::max(1e-3, 5e-3 * epsilon)
}

#[test]
fn loss_distributions_agree_with_dp_accounting() {
    for row in rows(include_str!("vectors/epsilon.csv")) {
        let [q, sigma, count, delta, _, eps_pld] = row[..] else {
            panic!("{row:?}")
        };
        let ours = by_pld(Adjacency::AddOrRemoveOne, &steps(q, sigma, count), delta);
        println!("q {q} sigma {sigma} steps {count}: ours {ours:.6}, theirs {eps_pld:.6}");
        assert!(
            (ours - eps_pld).abs() < 0.2 * allowed(eps_pld),
            "{row:?}: {ours}"
        );
    }
}

#[test]
fn loss_distributions_agree_with_dp_accounting_over_wide_ranges() {
    let (mut rows, mut highest, mut lowest): (u32, f64, f64) = (0, 0.0, 0.0);
    for line in include_str!("vectors/pld.csv").lines() {
        let Some((adjacency, numbers)) = line.split_once(',') else {
            continue;
        };
        let adjacency = match adjacency {
            "add-or-remove-one" => Adjacency::AddOrRemoveOne,
            "replace-one" => Adjacency::ReplaceOne,
            _ => continue,
        };
        let numbers: Vec<f64> = numbers
            .split(',')
            .map(|cell| cell.parse().unwrap())
            .collect();
        let [q, sigma, count, delta, eps_rdp, coarse, fine, low] = numbers[..] else {
            panic!("{line}")
        };
        let setting = steps(q, sigma, count);
        let ours = by_pld(adjacency, &setting, delta);
        // Six decimals were written. Their own figures are upper bounds, too, so ours may be lower,
        // but not lower than what is certainly lost.
        let theirs = fine.min(coarse);
        assert!(ours <= theirs + 0.2 * allowed(theirs), "{line}: {ours}");
        assert!(ours >= low - 1e-6, "{line}: {ours}");
        highest = highest.max(ours / theirs - 1.0);
        lowest = lowest.min(ours / theirs - 1.0);
        let mut accountant = RdpAccountant::under(adjacency);
        accountant.compose(&setting);
        let by_rdp = accountant
            .epsilon(Delta::new(delta).unwrap())
            .unwrap()
            .get();
        assert!(by_rdp >= ours, "{line}: {by_rdp} {ours}");
        assert!(
            eps_rdp.is_nan() || by_rdp <= eps_rdp + 6e-7,
            "{line}: {by_rdp}"
        );
        rows += 1;
    }
    println!("{rows} rows; relative to the tighter of theirs: {lowest:.1e} to {highest:.1e}");
    assert_eq!(rows, 100);
}
