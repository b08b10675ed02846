//! Tests of the choice as a whole: the reference table, tightness, properties.

use super::hypergeometric::Population;
use super::*;
use proptest::prelude::*;

/// (gamma, n, k, t), delta = 0.1, 80 bits, correctness 20 bits.
const LYING: [(f64, u32, u16, u16); 6] = [
    (0.05, 1000, 134, 99),
    (0.05, 10_000, 172, 126),
    (0.05, 100_000, 186, 135),
    (0.1, 1000, 178, 136),
    (0.1, 10_000, 226, 171),
    (0.1, 100_000, 248, 187),
];

/// (n, k, t), gamma = delta = 0.1, 40 bits, correctness 20 bits.
const SEMI_HONEST: [(u32, u16, u16); 3] = [(1000, 48, 27), (10_000, 54, 31), (100_000, 58, 33)];

fn semi_honest(clients: u32) -> Request {
    Request {
        aggregator: Aggregator::SemiHonest,
        ..Request::new(clients, 0.1, 0.1)
    }
}

#[test]
fn the_reference_table() {
    for (gamma, n, k, t) in LYING {
        let choice = choose(&Request::new(n, gamma, 0.1)).unwrap();
        println!("{gamma} {n}: {k}, {t}, {:?}", choice.witnesses.unwrap());
        println!("{:?}", choice.failures);
        assert_eq!(
            (choice.neighbours, choice.threshold),
            (k, t),
            "{gamma}, {n}"
        );
        assert_eq!(choice.case.security_bits, 80);
        choice.rule().unwrap().check(80).unwrap();
    }
    for (n, k, t) in SEMI_HONEST {
        let choice = choose(&semi_honest(n)).unwrap();
        println!("{n}: {k}, {t}, {:?}", choice.failures);
        assert_eq!((choice.neighbours, choice.threshold), (k, t), "{n}");
        assert_eq!(choice.case.security_bits, 40);
        assert!(choice.rule().is_none() && choice.witnesses.is_none());
    }
    for (n, t) in [(10, 7), (50, 34), (100, 67), (255, 170)] {
        let request = Request {
            shape: Some(Shape::Complete),
            // floor((n - 1) / 3) of n.
            corrupt: f64::from((n - 1) / 3) / f64::from(n),
            ..Request::new(n, 0.0, 0.1)
        };
        let choice = choose(&request).unwrap();
        assert_eq!((u32::from(choice.neighbours), choice.threshold), (n - 1, t));
        assert!(choice.failures.iter().all(|failure| failure.log2.is_none()));
        let witnesses = choice.witnesses.unwrap();
        assert_eq!((u32::from(witnesses.count), witnesses.threshold), (n, t));
        choice.rule().unwrap().check(40).unwrap();
    }
}

/// One less of anything breaks a rule of security, or the round fails too often.
#[test]
fn the_smallest_numbers() {
    for (gamma, n, _, _) in LYING {
        let choice = choose(&Request::new(n, gamma, 0.1)).unwrap();
        let rule = choice.rule().unwrap();
        for broken in [
            Rule {
                threshold: rule.threshold - 1,
                ..rule
            },
            Rule {
                witness_threshold: rule.witness_threshold - 1,
                ..rule
            },
            Rule {
                min_survivors: rule.min_survivors - 1,
                ..rule
            },
        ] {
            broken.check(80).unwrap_err();
        }
        let lost = Population::new(n, n / 10, 254);
        for k in (2..rule.neighbours).step_by(2) {
            for t in 2..=k {
                let fewer = Rule {
                    neighbours: k,
                    threshold: t,
                    ..rule
                };
                let fails = libm::log2(f64::from(n)) + lost.log2_tail(k.into(), (k - t).into());
                assert!(
                    fewer.check(80).is_err() || fails > -20.0,
                    "k = {k}, t = {t}"
                );
            }
        }
        let absent = Population::new(n, n / 10 + rule.corrupt, 4096);
        for m in (16..rule.witnesses).step_by(8) {
            for t_w in 1..=m.min(rule.threshold.max(rule.witness_threshold)) {
                let fewer = Rule {
                    witnesses: m,
                    witness_threshold: t_w,
                    ..rule
                };
                let fails = absent.log2_tail(m.into(), (m - t_w).into());
                assert!(
                    fails > -20.0 || fewer.check(80).is_err(),
                    "m = {m}, t_w = {t_w}"
                );
            }
        }
    }
}

#[test]
fn the_fewest_semi_honest_neighbours() {
    for (n, k, t) in SEMI_HONEST {
        let others = Population::new(n - 1, n / 10, 254);
        let lost = Population::new(n, n / 10, 254);
        let fits = |k: u16, t: u16| {
            let union = libm::log2(f64::from(n));
            union + others.log2_tail(k.into(), u32::from(t) - 1) <= -41.0
                && union + lost.log2_tail(k.into(), (k - t).into()) <= -20.0
        };
        assert!(fits(k, t) && !fits(k, t - 1));
        for k in (2..k).step_by(2) {
            assert!((1..=k).all(|t| !fits(k, t)), "k = {k}");
        }
    }
}

/// A directory of any size between the fewest and the most clients keeps its shares: two of 20 may
/// drop out, also where a round may start with 18.
#[test]
fn drop_outs_of_the_largest_directory() {
    let request = Request {
        max_clients: Some(20),
        shape: Some(Shape::Ring),
        ..Request::new(18, 0.05, 0.1)
    };
    let choice = choose(&request).unwrap();
    assert_eq!((choice.neighbours, choice.threshold), (8, 6));
}

#[test]
fn shapes_and_bits_that_nobody_asked_for() {
    for (n, shape) in [(100, Shape::Complete), (101, Shape::Ring)] {
        let request = Request::new(n, 0.0, 0.1);
        assert_eq!(choose(&request).unwrap().case.shape, shape);
    }
    let wide = Request {
        max_clients: Some(1100),
        ..Request::new(1000, 0.05, 0.1)
    };
    let choice = choose(&wide).unwrap();
    assert_eq!((choice.case.roster, choice.case.corrupt), (1100, 55));
    choice.rule().unwrap().check(80).unwrap();
    let events: Vec<Event> = choice.failures.iter().map(|f| f.event).collect();
    assert!(events.contains(&Event::PartialSum) && events.contains(&Event::TwoViews));
}

fn any_shape() -> impl Strategy<Value = Option<Shape>> {
    prop::sample::select(vec![None, Some(Shape::Complete), Some(Shape::Ring)])
}

fn any_aggregator() -> impl Strategy<Value = Aggregator> {
    prop::sample::select(vec![Aggregator::Lying, Aggregator::SemiHonest])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn never_panics(
        (clients, most, roster) in any::<(u32, Option<u32>, Option<u32>)>(),
        (corrupt, dropout) in any::<(f64, f64)>(),
        (security_bits, correctness_bits) in any::<(Option<u32>, u32)>(),
        (shape, aggregator) in (any_shape(), any_aggregator()),
        (length, bits) in any::<(u32, u8)>(),
    ) {
        let request = Request {
            clients, max_clients: most, roster, corrupt, dropout,
            aggregator, shape, security_bits, correctness_bits,
        };
        let plausible = Request {
            clients: clients % 100_000,
            max_clients: None,
            roster: None,
            corrupt: (corrupt % 0.4).abs(),
            dropout: (dropout % 0.4).abs(),
            ..request
        };
        for request in [request, plausible] {
            match choose(&request) {
                Ok(choice) => drop(choice.cost(length, bits)),
                Err(error) => prop_assert_eq!(error.to_string().lines().count(), 1),
            }
        }
    }

    #[test]
    fn what_is_chosen_passes_the_check(
        clients in 2_u32..20_000,
        (spread, members) in (0_u32..500, 0_u32..500),
        (corrupt, dropout) in (0.0..0.12_f64, 0.0..0.12_f64),
        (security_bits, correctness_bits) in (prop::option::of(20_u32..100), 5_u32..30),
        shape in any_shape(),
    ) {
        let request = Request {
            max_clients: Some(clients + spread),
            roster: Some(clients + spread + members),
            shape, security_bits, correctness_bits,
            ..Request::new(clients, corrupt, dropout)
        };
        if let Ok(choice) = choose(&request) {
            let rule = choice.rule().unwrap();
            prop_assert_eq!(rule.check(choice.case.security_bits), Ok(()));
            prop_assert!(rule.corrupt >= corruptions(corrupt, clients));
            for failure in &choice.failures {
                prop_assert!(failure.log2.is_none_or(|log2| log2 <= -f64::from(failure.bits)));
            }
        }
    }

    #[test]
    fn more_trouble_never_takes_fewer_neighbours(
        clients in 300_u32..50_000,
        (corrupt, more_corrupt) in (0.0..0.1_f64, 0.0..0.05_f64),
        (dropout, more_dropout) in (0.0..0.1_f64, 0.0..0.05_f64),
        (bits, more_bits) in (40_u32..80, 0_u32..40),
        aggregator in any_aggregator(),
    ) {
        let request = Request {
            aggregator,
            security_bits: Some(bits),
            ..Request::new(clients, corrupt, dropout)
        };
        let more = [
            Request { corrupt: corrupt + more_corrupt, ..request },
            Request { dropout: dropout + more_dropout, ..request },
            Request { security_bits: Some(bits + more_bits), ..request },
            Request { correctness_bits: 30, ..request },
        ];
        let least = choose(&request);
        for more in more {
            if let Ok(more) = choose(&more) {
                let least = least.as_ref().expect("less trouble fits too");
                prop_assert!(least.neighbours <= more.neighbours);
            }
        }
    }
}
