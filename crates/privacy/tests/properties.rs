//! Properties that hold for every mechanism.

#![expect(
    clippy::float_cmp,
    clippy::unwrap_used,
    reason = "test helpers; zero is exact, and so are constants handed through"
)]

use proptest::prelude::*;
use undertone_privacy::accountant::{CalibratedBy, Calibration, PldAccountant, renyi_divergence};
use undertone_privacy::{
    Adjacency, Budget, Delta, Epsilon, Filter, Ledger, NoiseMultiplier, PrivacyError, PrivacyUnit,
    RdpAccountant, SamplingRate, SubsampledGaussian, noise_multiplier_for,
};

/// An ε takes about a millisecond, a calibration some forty of them.
const CASES: u32 = 64;

fn mechanism(q: f64, sigma: f64, steps: u64) -> SubsampledGaussian {
    SubsampledGaussian {
        sampling_rate: SamplingRate::new(q).unwrap(),
        noise_multiplier: NoiseMultiplier::new(sigma).unwrap(),
        steps,
    }
}

fn epsilon(q: f64, sigma: f64, steps: u64, delta: f64) -> f64 {
    let mut accountant = RdpAccountant::new();
    accountant.compose(&mechanism(q, sigma, steps));
    accountant
        .epsilon(Delta::new(delta).unwrap())
        .unwrap()
        .get()
}

prop_compose! {
    fn setting()(
        q in 1e-4..=0.9_f64,
        sigma in 0.4..20.0_f64,
        steps in 1_u64..5000,
        ln_delta in -20.0..-3.0_f64,
    ) -> (f64, f64, u64, f64) {
        (q, sigma, steps, ln_delta.exp())
    }
}

/// ε by loss distributions. Two grids' figures differ by up to a thousandth of the true one.
fn by_pld(adjacency: Adjacency, all: &[SubsampledGaussian], delta: f64) -> f64 {
    let mut accountant = PldAccountant::new(adjacency);
    for steps in all {
        accountant.compose(steps).unwrap();
    }
    let epsilon = accountant.epsilon(Delta::new(delta).unwrap());
    epsilon.unwrap().get()
}

/// Whether `less` is not above `more`, up to what two grids differ by.
fn ordered(less: f64, more: f64) -> bool {
    less <= more + f64::max(2e-4, 1e-3 * more)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn loss_distributions_are_monotone_and_below_renyi(
        (q, sigma, steps, delta) in setting(), factor in 0.3..0.9_f64,
    ) {
        let at = |q, sigma, steps, delta| by_pld(
            Adjacency::AddOrRemoveOne, &[mechanism(q, sigma, steps)], delta,
        );
        let here = at(q, sigma, steps, delta);
        prop_assert!(here <= epsilon(q, sigma, steps, delta));
        prop_assert!(ordered(at(q * factor, sigma, steps, delta), here));
        prop_assert!(ordered(here, at(q, sigma * factor, steps, delta)));
        prop_assert!(ordered(here, at(q, sigma, 2 * steps, delta)));
        prop_assert!(ordered(here, at(q, sigma, steps, delta * factor)));
        // Replacing is adding and removing: no less than either, no more than both.
        let replace = |delta| by_pld(
            Adjacency::ReplaceOne, &[mechanism(q, sigma, steps)], delta,
        );
        prop_assert!(ordered(here, replace(delta)));
let both = delta * (1.0 + here.exp());
        prop_assert!(both >= 1.0 || ordered(replace(both), 2.0 * here));
    }

    #[test]
    fn unlike_steps_compose_in_any_order(
        (q, sigma, steps, delta) in setting(),
        (other_q, other_sigma, other_steps, _) in setting(),
    ) {
        let (a, b) = (mechanism(q, sigma, steps), mechanism(other_q, other_sigma, other_steps));
        for adjacency in [Adjacency::AddOrRemoveOne, Adjacency::ReplaceOne] {
            let both = by_pld(adjacency, &[a, b], delta);
            prop_assert!((both - by_pld(adjacency, &[b, a], delta)).abs() <= 1e-9 * both);
            prop_assert!(ordered(by_pld(adjacency, &[a], delta), both));
            let mut renyi = RdpAccountant::under(adjacency);
            renyi.compose(&b);
            renyi.compose(&a);
            prop_assert!(both <= renyi.epsilon(Delta::new(delta).unwrap()).unwrap().get());
        }
    }

    #[test]
    fn calibration_by_loss_distributions_needs_less_noise(
        q in 1e-3..=0.5_f64, steps in 1_u64..3000, target in 0.2..8.0_f64,
    ) {
        let delta = Delta::new(1e-6).unwrap();
        let fixed = [mechanism(1.0, 60.0, 3).into()];
        let calibrate = |by| Calibration {
            target: Epsilon::new(target).unwrap(),
            delta,
            adjacency: Adjacency::AddOrRemoveOne,
            by,
            fixed: &fixed,
        }.noise_multiplier(SamplingRate::new(q).unwrap(), steps).unwrap().get();
        let (rdp, pld) = (calibrate(CalibratedBy::Rdp), calibrate(CalibratedBy::Pld));
        prop_assert!(pld <= rdp, "{} {}", pld, rdp);
        let at = |sigma| by_pld(
            Adjacency::AddOrRemoveOne, &[mechanism(q, sigma, steps), mechanism(1.0, 60.0, 3)], 1e-6,
        );
        prop_assert!(at(pld) <= target);
        prop_assert!(at(pld * 0.995) > target || pld == 0.01);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn more_steps_cost_more((q, sigma, steps, delta) in setting(), more in 1_u64..5000) {
        let (less, more) = (epsilon(q, sigma, steps, delta), epsilon(q, sigma, steps + more, delta));
        // Equal only where both are 0.
        prop_assert!(less < more || (less == 0.0 && more == 0.0), "{less} {more}");
    }

    #[test]
    fn less_noise_costs_more((q, sigma, steps, delta) in setting(), factor in 0.5..0.99_f64) {
        let (less, more) = (epsilon(q, sigma, steps, delta), epsilon(q, sigma * factor, steps, delta));
        prop_assert!(less < more || (less == 0.0 && more == 0.0), "{less} {more}");
    }

    #[test]
    fn sampling_fewer_costs_less((q, sigma, steps, delta) in setting(), factor in 0.1..0.99_f64) {
        let (less, more) = (epsilon(q * factor, sigma, steps, delta), epsilon(q, sigma, steps, delta));
        prop_assert!(less < more || (less == 0.0 && more == 0.0), "{less} {more}");
    }

    #[test]
    fn sampling_never_costs_more_than_not_sampling((q, sigma, steps, delta) in setting()) {
        prop_assert!(epsilon(q, sigma, steps, delta) <= epsilon(1.0, sigma, steps, delta));
    }

    #[test]
    fn a_smaller_delta_costs_more((q, sigma, steps, delta) in setting(), factor in 0.01..0.9_f64) {
        let (less, more) = (epsilon(q, sigma, steps, delta), epsilon(q, sigma, steps, delta * factor));
        prop_assert!(less < more || (less == 0.0 && more == 0.0), "{less} {more}");
    }

    #[test]
    fn calibration_meets_the_target_and_wastes_little(
        q in 1e-3..=1.0_f64, steps in 1_u64..3000, target in 0.2..20.0_f64, ln_delta in -18.0..-7.0_f64,
    ) {
        let delta = ln_delta.exp();
        let sigma = noise_multiplier_for(
            Epsilon::new(target).unwrap(),
            Delta::new(delta).unwrap(),
            SamplingRate::new(q).unwrap(),
            steps,
        ).unwrap().get();
        prop_assert!(epsilon(q, sigma, steps, delta) <= target);
        prop_assert!(epsilon(q, sigma * (1.0 - 1e-5), steps, delta) > target);
    }

    #[test]
    fn the_ledger_never_passes_its_budget_and_survives_storage(
        limit in 0.5..8.0_f64,
        rounds in prop::collection::vec((0.01..0.5_f64, 0.7..5.0_f64, 0_u64..50), 1..20),
    ) {
        let delta = Delta::new(1e-5).unwrap();
        let mut ledger = Ledger::new(Budget { epsilon: Epsilon::new(limit).unwrap(), delta });
        let mut plain = RdpAccountant::new();
        for (q, sigma, steps) in rounds {
            let next = mechanism(q, sigma, steps);
            let before = ledger.clone();
            let refused = ledger.would_exceed(&next);
            match ledger.spend(&next) {
                Ok(after) => {
                    prop_assert!(!refused);
                    plain.compose(&next);
                    // The least over all orders is a lower bound of what a filter may state.
                    let least = plain.epsilon(delta).unwrap();
                    prop_assert!(after >= least);
                    prop_assert!(ledger.entries().len() > 1 || after == least);
                }
                Err(error) => {
                    let over_budget = matches!(error, PrivacyError::BudgetExceeded { .. });
                    prop_assert!(refused && over_budget, "{}", error);
                    prop_assert_eq!(&ledger, &before);
                }
            }
            prop_assert!(ledger.spent().unwrap().get() <= limit);
            let sum = ledger.spent().unwrap().get() + ledger.remaining().get();
            prop_assert!((sum - limit).abs() < 1e-12);
            let json = serde_json::to_string(&ledger).unwrap();
            let back: Ledger = serde_json::from_str(&json).unwrap();
            prop_assert!((back.spent().unwrap().get() - ledger.spent().unwrap().get()).abs() < 1e-9);
            prop_assert_eq!(back.entries().len(), ledger.entries().len());
        }
    }
}

/// How an adversary chooses the next mechanism: by what is left, so as to overrun it.
fn greedy(filter: &Filter, wish: (f64, f64, u64)) -> SubsampledGaussian {
    let (q, sigma, steps) = wish;
    let next = mechanism(q, sigma, steps);
    // As many steps as fit, and one more.
    let fitting = filter.rounds_left(&SubsampledGaussian { steps: 1, ..next });
    SubsampledGaussian {
        steps: if steps % 2 == 0 {
            fitting.saturating_add(1)
        } else {
            fitting.min(steps)
        },
        ..next
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    /// Feldman and Zrnic 2021: whatever is chosen, and however it follows from what came before,
    /// the divergence at the filter's one order never passes what (epsilon, delta) allows there.
    #[test]
    fn no_choice_of_mechanisms_passes_the_allowance(
        limit in 0.1..10.0_f64,
        ln_delta in -20.0..-5.0_f64,
        wishes in prop::collection::vec((1e-3..=1.0_f64, 0.4..30.0_f64, 1_u64..200), 1..30),
    ) {
        let delta = Delta::new(ln_delta.exp()).unwrap();
        let budget = Budget { epsilon: Epsilon::new(limit).unwrap(), delta };
        let first = mechanism(wishes[0].0, wishes[0].1, wishes[0].2);
        let mut filter = Filter::for_rounds_of(budget, &first).unwrap();
        let order = filter.order();
        let mut passed = Vec::new();
        for wish in wishes {
            let next = greedy(&filter, wish);
            if next.steps == 0 {
                continue;
            }
            if filter.pass(&next).is_ok() {
                passed.push(next);
            }
            // What passed, summed anew from the accountant's own figures at that order.
            let sum: f64 = passed.iter().map(|event| {
                let one = renyi_divergence(event.sampling_rate, event.noise_multiplier, order);
                one.unwrap() * u32::try_from(event.steps).map(f64::from).unwrap()
            }).sum();
            prop_assert!(sum <= filter.allowance() * (1.0 + 1e-9), "{sum} {}", filter.allowance());
            prop_assert!(filter.epsilon().unwrap().get() <= limit);
            prop_assert_eq!(filter.order(), order);
        }
    }

    /// A ledger is that filter: mechanisms that are chosen by what is left never take it over.
    #[test]
    fn no_choice_of_mechanisms_overruns_a_ledger(
        limit in 0.5..8.0_f64,
        wishes in prop::collection::vec((0.01..0.5_f64, 0.7..5.0_f64, 1_u64..50), 2..12),
    ) {
        let delta = Delta::new(1e-5).unwrap();
        let mut ledger = Ledger::new(Budget { epsilon: Epsilon::new(limit).unwrap(), delta });
        let mut order = None;
        for (q, sigma, steps) in wishes {
            let left = ledger.rounds_left(&mechanism(q, sigma, 1));
            let next = mechanism(q, sigma, if steps % 3 == 0 { left + 1 } else { left.min(steps) });
            if ledger.spend(&next).is_ok() && order.is_none() {
                order = ledger.order();
            }
            prop_assert!(ledger.spent().unwrap().get() <= limit);
            prop_assert_eq!(ledger.order(), order);
            // Read back, it goes on at the same order, whatever it would choose today.
            let back: Ledger = serde_json::from_str(&serde_json::to_string(&ledger).unwrap()).unwrap();
            prop_assert_eq!(back.order(), order);
        }
    }
}

#[test]
fn a_stored_ledger_of_an_earlier_version_is_read() {
    let old = r#"{"budget":{"epsilon":6.0,"delta":1e-5},"entries":[
        {"sampling_rate":0.1,"noise_multiplier":1.1,"steps":12},
        {"sampling_rate":0.01,"noise_multiplier":3.0,"steps":1}]}"#;
    let ledger: Ledger = serde_json::from_str(old).unwrap();
    let first = Filter::for_rounds_of(ledger.budget(), &mechanism(0.1, 1.1, 4)).unwrap();
    assert_eq!(ledger.order(), Some(first.order()));
    assert_eq!(ledger.entries().len(), 2);
    let bad = old.replace("}]}", "}],\"order\":1.0}");
    assert!(serde_json::from_str::<Ledger>(&bad).is_err());
}

#[test]
fn meaningless_budgets_are_told_what_to_choose() {
    let budget = |epsilon: f64, delta: f64| Budget {
        epsilon: Epsilon::new(epsilon).unwrap(),
        delta: Delta::new(delta).unwrap(),
    };
    let check = |budget: Budget, units| budget.check(PrivacyUnit::Example, units);
    assert_eq!(check(budget(1.0, 1e-5), Some(1000)), Ok(()));
    assert_eq!(check(budget(1.0, 0.5), None), Ok(()));
    assert_eq!(
        check(budget(0.0, 1e-5), None),
        Err(PrivacyError::NothingAllowed)
    );
    // Of one record, any delta is below one over their number.
    assert_eq!(check(budget(1.0, 0.99), Some(1)), Ok(()));
    for (delta, units) in [(1e-3, 1000_u32), (1e-5, 100_000), (0.9, 2), (0.5, 2)] {
        let error = check(budget(1.0, delta), Some(units.into())).unwrap_err();
        let PrivacyError::DeltaTooLarge { at_most, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(at_most, 0.1 / f64::from(units));
        assert_eq!(check(budget(1.0, at_most), Some(units.into())), Ok(()));
        let said = error.to_string();
        assert!(
            said.contains("number of examples") && said.contains("choose "),
            "{said}"
        );
    }
}

#[test]
fn calibration_refuses_what_it_cannot_answer() {
    let (delta, q) = (Delta::new(1e-5).unwrap(), SamplingRate::new(0.1).unwrap());
    let target = Epsilon::new(1.0).unwrap();
    let nothing = SamplingRate::new(0.0).unwrap();
    assert_eq!(
        noise_multiplier_for(target, delta, q, 0),
        Err(PrivacyError::NothingToCalibrate)
    );
    assert_eq!(
        noise_multiplier_for(target, delta, nothing, 9),
        Err(PrivacyError::NothingToCalibrate)
    );
    let tiny = Epsilon::new(1e-9).unwrap();
    assert!(matches!(
        noise_multiplier_for(
            tiny,
            Delta::new(1e-300).unwrap(),
            SamplingRate::new(1.0).unwrap(),
            9
        ),
        Err(PrivacyError::TargetOutOfReach { .. })
    ));
    // A target so loose that the least multiplier considered will do.
    let loose = Epsilon::new(1e7).unwrap();
    assert_eq!(
        noise_multiplier_for(loose, delta, q, 1).unwrap().get(),
        0.01
    );
}

#[test]
fn equal_mechanisms_share_one_ledger_entry() {
    let delta = Delta::new(1e-5).unwrap();
    let mut ledger = Ledger::new(Budget {
        epsilon: Epsilon::new(50.0).unwrap(),
        delta,
    });
    ledger.spend(&mechanism(0.1, 1.2, 5)).unwrap();
    ledger.spend(&mechanism(0.1, 1.5, 5)).unwrap();
    ledger.spend(&mechanism(0.1, 1.2, 7)).unwrap();
    ledger.spend(&mechanism(0.3, 9.0, 0)).unwrap();
    assert_eq!(
        ledger.entries(),
        [
            mechanism(0.1, 1.2, 12).into(),
            mechanism(0.1, 1.5, 5).into()
        ]
    );
}

#[test]
fn past_releases_count_even_over_budget() {
    let delta = Delta::new(1e-5).unwrap();
    let mut ledger = Ledger::new(Budget {
        epsilon: Epsilon::new(1.0).unwrap(),
        delta,
    });
    ledger.record_past(&mechanism(0.1, 0.5, 100));
    assert!(ledger.spent().unwrap().get() > 1.0);
    assert_eq!(ledger.remaining().get(), 0.0);
    assert!(ledger.would_exceed(&mechanism(1e-4, 20.0, 1)));
    // A past without any finite epsilon: nothing fits any more.
    ledger.record_past(&mechanism(1.0, 1e-200, 1));
    assert!(ledger.spent().is_err());
    assert_eq!(ledger.remaining().get(), 0.0);
    assert!(ledger.would_exceed(&mechanism(1e-4, 20.0, 1)));
}

#[test]
fn a_stored_ledger_with_nonsense_is_refused() {
    let good = r#"{"budget":{"epsilon":1.0,"delta":1e-5},"entries":[
        {"sampling_rate":0.1,"noise_multiplier":2.0,"steps":1}]}"#;
    assert!(serde_json::from_str::<Ledger>(good).is_ok());
    for (from, to) in [
        ("0.1", "1.1"),
        ("2.0", "0.0"),
        ("1e-5", "0"),
        ("steps", "step"),
    ] {
        let bad = good.replace(from, to);
        assert!(serde_json::from_str::<Ledger>(&bad).is_err(), "{bad}");
    }
}
