//! Attacks by the choice of a round's numbers: which a liar may announce, and what each client
//! makes of them.

use std::collections::BTreeSet;

use undertone_protocol::ProtocolError;
use undertone_protocol::client::Participant;
use undertone_protocol::params::{RoundParams, SECURITY_BITS, Trust};
use undertone_protocol::threshold::{Rule, Shape};

use crate::lab::stage::Stage;
use crate::lab::{Lab, Plan, Sets, ring};

fn join(lab: &Lab, rule: Rule, trust: Trust) -> Result<(), ProtocolError> {
    let params = lab.other_round(|fields| fields.rule = rule);
    let identity = lab.identities[1].clone();
    Participant::new(params, lab.roster.clone(), identity, trust).map(drop)
}

/// A roster of 100: a third of them on the complete graph, however few clients the directory has,
/// and no fewer because the aggregator calls for a ring.
///
/// Spec.
#[test]
fn the_shape_of_the_graph_does_not_lower_what_is_assumed() {
    let lab = Lab::new(51, 100, 100);
    let trust = Trust::default();
    for clients in [40, 60, 100] {
        let complete = |corrupt| Rule::complete(clients, corrupt);
        join(&lab, complete(33), trust).unwrap();
        assert!(join(&lab, complete(32), trust).is_err());
    }
    // A ring of 100 with c = 10, a tenth: its half-windows are all corrupt but for one place.
    let tenth = ring(100, 24, 10);
    tenth.check(SECURITY_BITS).unwrap();
    assert_eq!(tenth.shape(), Shape::Ring);
    let refused = join(&lab, tenth, trust).unwrap_err();
    assert!(matches!(refused, ProtocolError::Params(_)), "{refused}");
    let corrupt = Some(0.1);
    join(&lab, tenth, Trust { corrupt }).unwrap();
    let corrupt = Some(0.11);
    assert!(join(&lab, tenth, Trust { corrupt }).is_err());
}

/// Whatever stands in a policy, it is a number of clients; what is not a number means all.
///
/// Spec.
#[test]
fn a_fraction_that_is_no_number_assumes_the_worst() {
    let lab = Lab::new(52, 10, 10);
    let with = |corrupt| {
        join(
            &lab,
            Rule::complete(10, 3),
            Trust {
                corrupt: Some(corrupt),
            },
        )
    };
    for fine in [0.0, 0.3, 0.399, -1.0] {
        assert_eq!(with(fine), Ok(()), "{fine}");
    }
    for refused in [0.4, 1.0, 7.0, f64::INFINITY, f64::NAN, -f64::NAN] {
        assert!(with(refused).is_err(), "{refused}");
    }
}

/// Every number of a rule, at its extremes and one off, alone and in pairs: what is accepted obeys
/// the inequalities that the proofs use.
///
/// Spec.
#[test]
fn what_passes_obeys_what_the_proofs_use() {
    let narrow = |x: u32| u16::try_from(x).unwrap_or(u16::MAX);
    let change = |rule: &mut Rule, field: usize, step: usize| {
        let value = |old: u32| {
            let near = [
                old.wrapping_add(1),
                old.wrapping_sub(1),
                old.wrapping_mul(2),
                old / 2,
            ];
            let far = [0, 1, 2, 254, 255, 256, 65_535, u32::MAX];
            *near.iter().chain(&far).nth(step).unwrap()
        };
        match field {
            0 => rule.min_clients = value(rule.min_clients),
            1 => rule.max_clients = value(rule.max_clients),
            2 => rule.neighbours = narrow(value(rule.neighbours.into())),
            3 => rule.threshold = narrow(value(rule.threshold.into())),
            4 => rule.witnesses = narrow(value(rule.witnesses.into())),
            5 => rule.witness_threshold = narrow(value(rule.witness_threshold.into())),
            6 => rule.corrupt = value(rule.corrupt),
            _ => rule.min_survivors = value(rule.min_survivors),
        }
    };
    let mut accepted = [0, 0];
    for good in [
        Rule::complete(20, 6),
        ring(20, 8, 2),
        ring(10, 8, 0),
        ring(300, 254, 3),
    ] {
        good.check(SECURITY_BITS).unwrap();
        for (one, two) in (0..8 * 12).flat_map(|one| (0..=one).map(move |two| (one, two))) {
            let mut rule = good;
            change(&mut rule, one / 12, one % 12);
            change(&mut rule, two / 12, two % 12);
            if rule.check(SECURITY_BITS).is_err() {
                continue;
            }
            let wide = i64::from;
            let (k, t, n) = (
                i64::from(rule.neighbours),
                i64::from(rule.threshold),
                wide(rule.max_clients),
            );
            let (m, t_w, c) = (
                i64::from(rule.witnesses),
                i64::from(rule.witness_threshold),
                wide(rule.corrupt),
            );
            let least = wide(rule.min_survivors);
            assert!(
                t >= 2 && least >= t && least >= t_w && least >= c + 2,
                "{rule:?}"
            );
            assert!(
                wide(rule.min_clients) >= least && wide(rule.min_clients) <= n,
                "{rule:?}"
            );
            let ring = rule.shape() == Shape::Ring;
            accepted[usize::from(ring)] += 1;
            if ring {
                let e = t - k / 2 - 1;
                assert!(k % 2 == 0 && t <= k && e >= 0 && 2 * e < t, "{rule:?}");
                assert!(
                    wide(rule.min_clients) >= k + 2 && 2 * t - 2 * e > k,
                    "{rule:?}"
                );
                assert!(m <= wide(rule.min_clients) && 2 * t_w > m, "{rule:?}");
                // Few of these hold by luck: then c is within what always holds.
                if rule.min_clients < 1000 {
                    assert!(c <= e || c < 20 && k > 100, "{rule:?}");
                }
            } else {
                assert!(
                    n <= 255 && m >= n && 2 * t > n + c && 2 * t_w > n + c && t > c,
                    "{rule:?}"
                );
            }
        }
    }
    assert!(accepted.iter().all(|count| *count > 50), "{accepted:?}");
}

/// Spec.
#[test]
fn rounds_of_no_length_width_or_version_are_none() {
    let lab = Lab::new(53, 10, 10);
    let fields = (**lab.params).clone();
    let with = |change: fn(&mut undertone_protocol::params::ParamsFields)| {
        let mut fields = fields.clone();
        change(&mut fields);
        RoundParams::new(fields).is_ok()
    };
    assert!(with(|f| f.bits = 8) && with(|f| f.bits = 64) && with(|f| f.length = u32::MAX));
    assert!(!with(|f| f.bits = 7) && !with(|f| f.bits = 65) && !with(|f| f.bits = 0));
    assert!(!with(|f| f.length = 0) && !with(|f| f.round.0 = 0));
    assert!(!with(|f| f.version = 2) && !with(|f| f.suite = 0));
}

/// The smallest anonymity that the rules allow: two honest clients beside all the corrupt ones. A
/// floor for `min_survivors` counts these too, so what hides a client is the floor less c.
///
/// Spec.
#[test]
fn the_smallest_sum_is_over_two_honest_clients() {
    let mut lab = Lab::of_rule(54, 13, Rule::complete(6, 4));
    assert_eq!(lab.params.min_survivors(), 6);
    let members: BTreeSet<u32> = (0..6).collect();
    let stage = Stage::new(&mut lab, 4, &[members]);
    let loot = stage.play(&mut lab, &Plan::of(vec![Sets::all(0..6)]));
    let sums: Vec<BTreeSet<u32>> = loot.sums(&lab).into_keys().collect();
    assert_eq!(sums, [BTreeSet::from([4, 5])]);
    // One fewer is refused: the roster's third is counted, and not the directory's.
    assert!(
        Rule {
            min_clients: 5,
            min_survivors: 5,
            ..Rule::complete(6, 4)
        }
        .check(80)
        .is_err()
    );
    assert!(join(&lab, Rule::complete(6, 3), Trust::default()).is_err());
}
