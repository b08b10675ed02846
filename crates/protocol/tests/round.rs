//! Whole rounds in memory, against the plain sum of the survivors' inputs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "this is test code"
)]

mod world;

use proptest::prelude::*;
use undertone_protocol::RoundFailure;
use undertone_protocol::aggregator::PhaseName;
use world::{Fault, World};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any clients may vanish before any phase: the round ends with the exact sum over U3, or
    /// fails because fewer than `min_survivors` were left.
    #[test]
    fn the_sum_is_exact_or_the_round_fails(
        seed in any::<u64>(),
        clients in 4_u16..14,
        bits in 8_u8..=64,
        vanish in proptest::collection::vec((0_usize..14, 0_usize..5), 0..6),
    ) {
        let mut world = World::new(seed, clients, bits, 33);
        for (client, phase) in vanish {
            world.vanish(client % usize::from(clients), PhaseName::ALL[phase]);
        }
        let left = world.left_after(PhaseName::MaskedInput);
        match world.run() {
            Ok(aggregate) => {
                prop_assert_eq!(aggregate.sum, world.plain_sum(&aggregate.clients));
                prop_assert_eq!(aggregate.clients.len(), left);
                prop_assert!(aggregate.set_aside.is_empty());
            }
            Err(failure) => {
                let answered = world.left_after(PhaseName::Unmask);
                prop_assert!(answered < world.threshold(), "{failure}: {answered} answered");
            }
        }
    }
}

#[test]
fn a_dropout_in_each_phase_is_survived() {
    for phase in PhaseName::ALL {
        let mut world = World::new(7, 12, 24, 100);
        world.vanish(3, phase);
        world.vanish(9, phase);
        let aggregate = world.run().unwrap_or_else(|e| panic!("{phase}: {e}"));
        let survivors = if phase > PhaseName::MaskedInput {
            12
        } else {
            10
        };
        assert_eq!(aggregate.clients.len(), survivors, "{phase}");
        assert_eq!(
            aggregate.sum,
            world.plain_sum(&aggregate.clients),
            "{phase}"
        );
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
        let mut world = World::new(7, 12, 24, 10);
        for client in 0..5 {
            world.vanish(client, at);
        }
        let (needed, found) = (8, 7);
        let failure = RoundFailure::TooFewClients {
            phase,
            needed,
            found,
        };
        assert_eq!(world.run().unwrap_err(), failure);
    }
}

/// Spec.
#[test]
fn a_corrupt_share_is_named_and_the_round_still_ends() {
    let mut world = World::new(11, 12, 32, 10);
    world.fault = Some(Fault::CorruptShares(4));
    let aggregate = world.run().unwrap();
    assert_eq!(aggregate.sum, world.plain_sum(&aggregate.clients));
    assert_eq!(aggregate.set_aside.len(), 12);
    assert!(aggregate.set_aside.iter().all(|s| s.holder.0 == 4));
}

/// Spec.
#[test]
fn split_survivors_are_refused_by_every_client() {
    let mut world = World::new(5, 12, 32, 10);
    world.fault = Some(Fault::SplitSurvivors);
    // Each half signs another U3; no client finds t statements that say what it saw.
    assert_eq!(
        world.run().unwrap_err(),
        RoundFailure::TooFewClients {
            phase: "ConsistencyCheck",
            needed: 8,
            found: 6,
        }
    );
    assert_eq!(world.answers_to_mixed_statements(), 0);
}

#[test]
fn a_masked_input_looks_uniform() {
    let mut world = World::new(3, 8, 16, 4096);
    world.run().unwrap();
    for upload in &world.uploads {
        // Mean of the high byte under the uniform distribution: 127.5, standard error 1.15.
        let high: f64 = upload
            .elements()
            .map(|e| f64::from((e >> 8) as u8))
            .sum::<f64>();
        assert!((high / upload.len() as f64 - 127.5).abs() < 7.0);
    }
}
