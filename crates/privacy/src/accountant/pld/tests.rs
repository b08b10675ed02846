//! The accountant against closed forms, and against itself on a finer grid.

use super::*;
use crate::accountant::numeric::ln_expm1;
use crate::accountant::{Event, Skellam, SubsampledGaussian};
use crate::units::{NoiseMultiplier, SamplingRate, Variance};

fn steps(q: f64, sigma: f64, steps: u64) -> SubsampledGaussian {
    SubsampledGaussian {
        sampling_rate: SamplingRate::new(q).unwrap(),
        noise_multiplier: NoiseMultiplier::new(sigma).unwrap(),
        steps,
    }
}

fn epsilon(adjacency: Adjacency, all: &[SubsampledGaussian], delta: f64) -> f64 {
    let mut accountant = PldAccountant::new(adjacency);
    for steps in all {
        accountant.compose(steps).unwrap();
    }
    accountant
        .epsilon(Delta::new(delta).unwrap())
        .unwrap()
        .get()
}

fn upper_tail(z: f64) -> f64 {
    0.5 * libm::erfc(z / core::f64::consts::SQRT_2)
}

/// δ(ε) of one step on a Poisson sample under removing the record, in closed form: the loss exceeds
/// ε where x exceeds one point.
fn delta_of_one_step(q: f64, sigma: f64, epsilon: f64) -> f64 {
    let excess = epsilon - (-q).ln_1p();
    let x = 0.5 + sigma * sigma * (ln_expm1(excess) - (q.ln() - (-q).ln_1p()));
    let (centre, plus) = (upper_tail(x / sigma), upper_tail((x - 1.0) / sigma));
    q * plus + (1.0 - q) * centre - epsilon.exp() * centre
}

#[test]
fn one_sampled_step_has_a_closed_form() {
    for (q, sigma) in [(1e-3, 0.5), (0.01, 1.0), (0.2, 0.7), (0.5, 3.0), (0.9, 0.4)] {
        for delta in [1e-4, 1e-7, 1e-10] {
            let ours = epsilon(Adjacency::AddOrRemoveOne, &[steps(q, sigma, 1)], delta);
            // Pessimism: δ at our ε is below the target, and above it at an ε a little smaller.
            let reached = delta_of_one_step(q, sigma, ours);
            assert!(
                reached <= delta * (1.0 + 1e-9),
                "q {q}, sigma {sigma}, delta {delta}: {ours} has {reached}"
            );
            let smaller = ours - f64::max(5e-4, 1e-3 * ours);
            assert!(
                smaller <= 0.0 || delta_of_one_step(q, sigma, smaller) > delta,
                "q {q}, sigma {sigma}, delta {delta}: {ours} is loose"
            );
        }
    }
}

/// Where ε itself is below the rounding errors of the sums that it is found from: the figure may be far
/// above the truth (mpmath, 40 digits), never below.
#[test]
fn an_epsilon_of_nearly_nothing_is_no_less_than_the_truth() {
    for (adjacency, q, delta, truth) in [
        (Adjacency::ReplaceOne, 1e-9, 1.436e-11, 3.299_9e-12),
        (Adjacency::AddOrRemoveOne, 1e-12, 7.98e-18, 6.2e-14),
    ] {
        let figure = epsilon(adjacency, &[steps(q, 50.0, 1)], delta);
        assert!(figure >= truth && figure < 1e-8, "{figure} {truth}");
    }
}

#[test]
fn a_rate_close_to_one_is_the_gaussian_mechanism() {
    // From above and below: sampling with a rate of 1 - 1e-9 changes δ by no more than steps · 1e-9.
    for (sigma, count) in [(0.5, 3), (2.0, 50), (10.0, 100), (30.0, 40_000)] {
        for delta in [1e-3, 1e-5] {
            let exact = epsilon(
                Adjacency::AddOrRemoveOne,
                &[steps(1.0, sigma, count)],
                delta,
            );
            let ours = epsilon(
                Adjacency::AddOrRemoveOne,
                &[steps(1.0 - 1e-12, sigma, count)],
                delta,
            );
            let ratio = ours / exact - 1.0;
            assert!(
                (-1e-6..1e-3).contains(&ratio),
                "sigma {sigma}, {count} steps, delta {delta}: {ours} {exact}"
            );
            let exact = epsilon(Adjacency::ReplaceOne, &[steps(1.0, sigma, count)], delta);
            let ours = epsilon(
                Adjacency::ReplaceOne,
                &[steps(1.0 - 1e-12, sigma, count)],
                delta,
            );
            let ratio = ours / exact - 1.0;
            assert!(
                (-1e-6..1e-3).contains(&ratio),
                "replacing, sigma {sigma}, {count} steps, delta {delta}: {ours} {exact}"
            );
        }
    }
}

#[test]
fn a_sampled_and_an_unsampled_mechanism_compose() {
    // The sampled one is all but unsampled, so that both together have a closed form.
    let all = [steps(1.0 - 1e-12, 4.0, 10), steps(1.0, 3.0, 7)];
    let exact = epsilon(
        Adjacency::AddOrRemoveOne,
        &[steps(1.0, 4.0, 10), steps(1.0, 3.0, 7)],
        1e-6,
    );
    let ours = epsilon(Adjacency::AddOrRemoveOne, &all, 1e-6);
    assert!(
        (-1e-6..1e-3).contains(&(ours / exact - 1.0)),
        "{ours} {exact}"
    );
    let reversed = epsilon(Adjacency::AddOrRemoveOne, &[all[1], all[0]], 1e-6);
    assert!((ours - reversed).abs() < 1e-12);
}

#[test]
fn a_grid_sixteen_times_finer_gains_less_than_a_thousandth_and_never_costs() {
    for (q, sigma, count, delta) in [
        (0.01, 1.0, 1000_u32, 1e-5),
        (0.001, 0.6, 20_000, 1e-7),
        (0.2, 3.0, 50, 1e-10),
        (0.05, 0.5, 10, 1e-6),
        (0.0003, 10.0, 430, 1e-5),
    ] {
        for direction in [Direction::Remove, Direction::Add, Direction::Replace] {
            let adjacency = match direction {
                Direction::Replace => Adjacency::ReplaceOne,
                _ => Adjacency::AddOrRemoveOne,
            };
            let mut accountant = PldAccountant::new(adjacency);
            let all = steps(q, sigma, u64::from(count));
            accountant.compose(&all).unwrap();
            let probability = Delta::new(delta).unwrap();
            let reported = accountant.settle(probability, direction, 0.0).unwrap();
            let pairs = accountant.pairs(direction);
            let tail = delta * OUTSIDE / f64::from(count);
            let width = first_width(&pairs, delta, tail).unwrap();
            let mut last = f64::INFINITY;
            for finer in [1.0, 4.0, 16.0] {
                let grid = on_grid(&pairs, width / finer, tail, delta, None).unwrap();
                let epsilon = grid.unwrap().epsilon;
                assert!(
                    epsilon <= last * (1.0 + 1e-9),
                    "{direction:?}: {epsilon} {last}"
                );
                last = epsilon;
            }
            let gain = reported - last;
            assert!(
                gain < f64::max(3e-4, 1e-3 * last),
                "{direction:?} q {q}: {reported} {last}"
            );
        }
    }
}

/// The tilt and the window are means to an end: any choice gives the same δ(ε), up to pessimism.
#[test]
fn the_tilt_does_not_matter() {
    let pairs = [(Pair::sampled(Direction::Remove, 0.02, 1.0), 200)];
    let (delta, width) = (1e-6, 1e-3);
    let sum = composition(&pairs, width, 1e-16).unwrap();
    let best = sum.chernoff(f64::ln(delta));
    let expected = sum.epsilon(delta, &sum.window(best)).unwrap();
    for factor in [0.3, 0.6, 0.9, 1.2] {
        let window = sum.window(sum.with_bounds(best.sum * factor));
        let epsilon = sum.epsilon(delta, &window).unwrap();
        assert!(
            (epsilon / expected - 1.0).abs() < 1e-5,
            "factor {factor}: {epsilon} {expected}"
        );
    }
}

#[test]
fn nothing_released_costs_nothing_and_a_large_delta_little() {
    let delta = Delta::new(1e-9).unwrap();
    let mut accountant = PldAccountant::new(Adjacency::AddOrRemoveOne);
    accountant.compose(&steps(0.5, 1.0, 0)).unwrap();
    accountant.compose(&steps(0.0, 1.0, 9)).unwrap();
    assert_eq!(accountant.epsilon(delta).unwrap().get().to_bits(), 0);
    // A record is in the one step with probability 1e-6, less than δ.
    let ours = epsilon(Adjacency::AddOrRemoveOne, &[steps(1e-6, 0.05, 1)], 1e-5);
    assert!(ours < 2e-6, "{ours}");
}

#[test]
fn integer_noise_is_refused_with_a_reason() {
    let event = Event::from(Skellam {
        sampling_rate: SamplingRate::ONE,
        steps: 1,
        variance: Variance::new(1e4).unwrap(),
        l2_squared: 100,
        l1: 100,
        dimension: 64,
    });
    let mut accountant = PldAccountant::new(Adjacency::AddOrRemoveOne);
    assert_eq!(
        accountant.compose(&event),
        Err(PrivacyError::NoLossDistribution)
    );
    accountant.compose(&steps(0.1, 1.0, 1)).unwrap();
    assert!(matches!(
        accountant.epsilon(Delta::new(1e-200).unwrap()),
        Err(PrivacyError::DeltaTooSmall { .. })
    ));
}
