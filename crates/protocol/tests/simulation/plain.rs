//! Single rounds whose end is known beforehand.

use std::collections::BTreeSet;

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::RosterIndex;
use undertone_protocol::threshold::Rule;
use undertone_protocol::{ProtocolError, RoundFailure};

use crate::dice::Dice;
use crate::honest::Round;
use crate::justice;
use crate::liar::{Liar, Shown, Tricks};
use crate::mischief::Mischief;
use crate::network::Weather;
use crate::setup::{Setup, complete, numbers, ring};
use crate::trace::Trace;

fn round(seed: u64, rule: Rule, corrupt: &[u32]) -> Round {
    let corrupt: BTreeSet<u32> = corrupt.iter().copied().collect();
    let setup = Setup::new(seed, rule.max_clients, rule, corrupt);
    Round::new(setup, Weather::Calm, Dice::new(seed, 30), Trace::Silent)
}

#[test]
fn a_dropout_in_each_phase_is_survived() {
    for (rule, seed) in [(complete(12, 3), 1), (ring(14, 6, 1, 9), 2)] {
        for phase in PhaseName::ALL {
            let mut round = round(seed, rule, &[]);
            round.vanish(3, phase);
            let result = round.run();
            assert_eq!(justice::check(&round, &result), Vec::<String>::new());
            let aggregate = result.unwrap_or_else(|e| panic!("{phase}: {e}"));
            let expected: Vec<u32> = (0..rule.max_clients)
                .filter(|c| *c != 3 || phase > PhaseName::MaskedInput)
                .collect();
            assert_eq!(numbers(&aggregate.clients), expected, "{phase}");
            assert_eq!(aggregate.sum, round.setup.plain_sum(expected), "{phase}");
        }
    }
}

/// Spec.
#[test]
fn too_few_survivors_fail_the_round() {
    let phases = [
        (PhaseName::AdvertiseKeys, "AdvertiseKeys"),
        (PhaseName::ShareKeys, "ShareKeys"),
        (PhaseName::MaskedInput, "MaskedInput"),
        (PhaseName::ConsistencyCheck, "ConsistencyCheck"),
    ];
    for (at, phase) in phases {
        let mut round = round(3, complete(12, 3), &[]);
        (0..5).for_each(|client| round.vanish(client, at));
        let failure = RoundFailure::TooFewClients {
            phase,
            needed: 8,
            found: 7,
        };
        assert_eq!(round.run(), Err(failure));
    }
}

/// A client counts itself among the holders of its shares: t are left in all.
///
/// Spec.
#[test]
fn exactly_enough_survivors_end_the_round() {
    for at in [PhaseName::ShareKeys, PhaseName::MaskedInput] {
        let rule = complete(12, 3);
        assert_eq!((rule.threshold, rule.min_survivors), (8, 8));
        let mut round = round(3, rule, &[]);
        (0..4).for_each(|client| round.vanish(client, at));
        let aggregate = round.run().unwrap();
        assert_eq!(aggregate.sum, round.setup.plain_sum(4..12), "{at}");
    }
}

/// Spec.
#[test]
fn a_corrupt_share_is_named_and_the_round_still_ends() {
    let mut round = round(4, complete(12, 3), &[4]);
    round.processes[4].mischief = Some(Mischief::CorruptShares);
    let result = round.run();
    assert_eq!(justice::check(&round, &result), Vec::<String>::new());
    let aggregate = result.unwrap();
    assert_eq!(aggregate.clients.len(), 12);
    assert_eq!(aggregate.set_aside.len(), 12);
    let holders = aggregate.set_aside.iter().map(|s| s.holder);
    assert!(holders.into_iter().all(|holder| holder == RosterIndex(4)));
}

/// Each half of the clients is shown another U3, and signs it; then all see all statements.
///
/// Spec.
#[test]
fn split_survivors_are_refused_by_every_client() {
    let rule = complete(12, 3);
    let setup = Setup::new(6, 12, rule, BTreeSet::new());
    let everyone = setup.honest();
    let dice = Dice::new(6, 30);
    let groups = std::slice::from_ref(&everyone);
    let mut liar = Liar::open(setup, groups, false, dice, Trace::Silent);
    let shown = everyone.iter().map(|client| {
        let gone = u32::from(*client >= 6);
        let shown = Shown {
            directory: 0,
            sharers: everyone.iter().copied().collect(),
            survivors: (gone..12).collect(),
        };
        (*client, shown)
    });
    liar.play(&shown.collect(), &Tricks::default());
    for client in liar.honest.values() {
        assert_eq!(client.said.statements.len(), 1);
        assert!(client.said.answers.is_empty());
        let (phase, error) = client.said.refused.as_ref().unwrap();
        assert_eq!(*phase, PhaseName::Unmask);
        let few = ProtocolError::TooFew {
            what: "witnesses' signatures on this client's view",
            needed: 8,
            found: 6,
        };
        assert_eq!(*error, few);
    }
}

#[test]
fn a_masked_input_looks_uniform() {
    let rule = complete(8, 2);
    let setup = Setup::sized(5, 8, rule, BTreeSet::new(), (4096, 16));
    let mut round = Round::new(setup, Weather::Calm, Dice::new(5, 30), Trace::Silent);
    round.run().unwrap();
    for process in &round.processes {
        // Mean of the high byte under the uniform distribution: 127.5, standard error 1.15.
        let upload = process.client.said.upload.as_ref().unwrap();
        let high: f64 = upload.elements().map(|e| f64::from((e >> 8) as u8)).sum();
        assert!((high / upload.len() as f64 - 127.5).abs() < 7.0);
    }
}
