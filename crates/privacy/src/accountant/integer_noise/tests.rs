//! The bounds against exact divergences of probabilities that are summed up here.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "small counts and exact constants of tests"
)]

use super::*;

fn skellam(variance: f64, l2_squared: u64, dimension: u64) -> Skellam {
    Skellam {
        sampling_rate: SamplingRate::new(1.0).unwrap(),
        steps: 1,
        variance: Variance::new(variance).unwrap(),
        l2_squared,
        l1: l1_bound(l2_squared, dimension),
        dimension,
    }
}

fn discrete_gaussian(variance: f64, clients: u32, l2_squared: u64) -> DiscreteGaussian {
    DiscreteGaussian {
        sampling_rate: SamplingRate::new(1.0).unwrap(),
        steps: 1,
        variance: Variance::new(variance).unwrap(),
        clients,
        l2_squared,
        l1: l1_bound(l2_squared, 1),
        dimension: 1,
    }
}

/// Sum of independent integer variables: probabilities at -m..=m convolved, renormalised.
fn convolve(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; a.len() + b.len() - 1];
    for (i, x) in a.iter().enumerate() {
        for (j, y) in b.iter().enumerate() {
            sum[i + j] += x * y;
        }
    }
    sum
}

/// Skellam probabilities at -m..=m, by convolving two Poisson distributions of half the variance.
fn skellam_probabilities(variance: f64) -> Vec<f64> {
    let mean = variance / 2.0;
    let mut poisson = vec![(-mean).exp()];
    let count = 40 + (mean + 40.0 * mean.sqrt()).ceil() as usize;
    for k in 1..=count {
        poisson.push(poisson[k - 1] * mean / k as f64);
    }
    let reversed: Vec<f64> = poisson.iter().rev().copied().collect();
    convolve(&poisson, &reversed)
}

/// Discrete Gaussian probabilities at -m..=m.
fn gaussian_probabilities(variance: f64) -> Vec<f64> {
    let m = (12.0 * variance.sqrt()).ceil() as i32 + 5;
    let weights: Vec<f64> = (-m..=m)
        .map(|k| (-f64::from(k * k) / (2.0 * variance)).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

/// D(α) of a distribution shifted by `shift` from itself, where both are above the smallest
/// probabilities that `f64` keeps.
fn divergence(probabilities: &[f64], shift: usize, alpha: f64) -> f64 {
    let sum: f64 = probabilities
        .iter()
        .zip(&probabilities[shift..])
        .filter(|(p, q)| **p > 1e-280 && **q > 1e-280)
        .map(|(p, q)| (alpha * p.ln() + (1.0 - alpha) * q.ln()).exp())
        .sum();
    sum.ln() / (alpha - 1.0)
}

#[test]
fn skellam_bound_covers_the_exact_divergence_and_is_close() {
    let mut loosest: f64 = 0.0;
    for variance in [4.0, 25.0, 100.0, 900.0] {
        let probabilities = skellam_probabilities(variance);
        for shift in [1_u64, 2, 5] {
            for order in [2.0, 3.0, 4.0, 5.5, 8.0, 16.0] {
                let event = skellam(variance, shift * shift, 1);
                let (bound, exact) = (
                    event.one_step(order),
                    divergence(&probabilities, shift as usize, order),
                );
                assert!(
                    bound >= exact,
                    "variance {variance}, shift {shift}, order {order}: {bound} < {exact}"
                );
                if variance > 500.0 && order == order.floor() {
                    loosest = loosest.max(bound / exact);
                }
            }
        }
    }
    println!("loosest ratio at standard deviation 30: {loosest:.4}");
    assert!(loosest < 1.003, "{loosest}");
}

#[test]
fn discrete_gaussian_bound_covers_the_exact_divergence_of_a_sum() {
    for (share, clients) in [(0.3, 2), (0.3, 5), (0.5, 4), (1.0, 3), (4.0, 6)] {
        let one = gaussian_probabilities(share);
        let sum = (1..clients).fold(one.clone(), |sum, _| convolve(&sum, &one));
        for shift in [1_u64, 2] {
            for order in [2.0, 3.5, 8.0] {
                let event = discrete_gaussian(share * f64::from(clients), clients, shift * shift);
                let (bound, exact) = (
                    event.one_step(order),
                    divergence(&sum, shift as usize, order),
                );
                assert!(
                    bound >= exact * (1.0 - 1e-12),
                    "share {share} of {clients}, shift {shift}, order {order}: {bound} < {exact}"
                );
            }
        }
    }
}

#[test]
fn tau_of_many_clients_is_bounded_from_above() {
    // 2000 clients: the sum is cut after 1000 terms, and what follows is rounded up.
    let event = discrete_gaussian(2000.0 * 0.3, 2000, 1);
    let exact: f64 = 10.0
        * (1..2000)
            .map(|k| (-2.0 * PI * PI * 0.3 * f64::from(k) / f64::from(k + 1)).exp())
            .sum::<f64>();
    assert!(event.tau() >= exact && event.tau() < exact * 1.01);
}

#[test]
fn shares_below_half_a_grid_unit_have_no_bound() {
    assert!(discrete_gaussian(2.4, 10, 1).one_step(2.0).is_infinite());
    assert!(discrete_gaussian(2.5, 10, 1).one_step(2.0).is_finite());
    assert!(discrete_gaussian(2.5, 0, 1).one_step(2.0).is_infinite());
}

#[test]
fn l1_bounds() {
    assert_eq!(l1_bound(100, 4), 20);
    assert_eq!(l1_bound(100, 1_000_000), 100);
    assert_eq!(l1_bound(3, 2), 2);
    assert_eq!(l1_bound(u64::MAX, u64::MAX), u64::MAX);
    assert_eq!(l1_bound(0, 5), 0);
}

#[test]
fn both_agree_with_the_gaussian_on_a_fine_grid() {
    // 2^20 coordinates, noise multiplier 10, a clip norm of 2^16 grid units, 48 honest clients.
    let l2 = 1_u64 << 16;
    let variance = 100.0 * (l2 as f64).powi(2);
    let skellam = skellam(variance, l2 * l2, 1 << 20);
    let gaussian = DiscreteGaussian {
        dimension: 1 << 20,
        l1: u64::MAX,
        ..discrete_gaussian(variance, 48, l2 * l2)
    };
    for order in [2.0, 6.0, 7.0, 64.0] {
        let continuous = order / 200.0;
        for ours in [skellam.one_step(order), gaussian.one_step(order)] {
            assert!(ours >= continuous && ours < continuous * 1.01, "{ours}");
        }
    }
}
