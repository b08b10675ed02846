//! What `threshold::choose` says that a round costs, against a round that is run and counted.

#![allow(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "this is test code"
)]

use std::sync::Arc;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use undertone_protocol::aggregator::RoundContext;
use undertone_protocol::aggregator::memory::MemoryAggregator;
use undertone_protocol::client::Participant;
use undertone_protocol::id::{
    MechanismDigest, ModelDigest, RosterIndex, RoundNumber, TaskId, TrainingDigest,
};
use undertone_protocol::keys::IdentityKey;
use undertone_protocol::params::{
    ParamsFields, PhaseDeadlines, RoundParams, SUITE, Trust, VERSION,
};
use undertone_protocol::roster::Roster;
use undertone_protocol::shamir::SystemSplitter;
use undertone_protocol::threshold::{Choice, Request, Shape, choose};
use undertone_protocol::vector::{Ring, RingVector};

const LENGTH: u32 = 50;
const BITS: u8 = 20;

/// Bytes that went through one client.
#[derive(Default, Clone, Copy)]
struct Bytes {
    sent: u64,
    received: u64,
}

fn params(choice: &Choice, roster: &Roster) -> RoundParams {
    RoundParams::new(ParamsFields {
        version: VERSION,
        suite: SUITE,
        task: roster.task(),
        round: RoundNumber(1),
        nonce: [1; 32],
        length: LENGTH,
        bits: BITS,
        rule: choice.rule().unwrap(),
        roster: roster.digest(),
        model: ModelDigest::of(b"model"),
        training: TrainingDigest::of(b"training"),
        mechanism: MechanismDigest::of(b"mechanism"),
        deadlines: PhaseDeadlines {
            advertise_keys: 1,
            share_keys: 1,
            masked_input: 1,
            consistency_check: 1,
            unmask: 1,
        },
    })
    .unwrap()
}

/// Runs a round in which the planned number of clients vanish after ShareKeys; returns the bytes of
/// each survivor, and of all clients together.
fn run(choice: &Choice) -> (Vec<Bytes>, Bytes) {
    let (n, task) = (choice.case.clients, TaskId::from([3; 16]));
    let mut rng = ChaCha20Rng::seed_from_u64(u64::from(n));
    let authority = IdentityKey::generate(&mut rng);
    let identities: Vec<_> = (0..n)
        .map(|_| Arc::new(IdentityKey::generate(&mut rng)))
        .collect();
    let members = identities.iter().map(|i| i.public()).collect();
    let roster = Arc::new(Roster::sign(&authority, task, members).unwrap());
    let params = Arc::new(params(choice, &roster));
    let context = RoundContext::new(params.clone(), roster.clone()).unwrap();
    let mut aggregator = MemoryAggregator::new(context, identities.len(), 0);
    let mut bytes = vec![Bytes::default(); identities.len()];
    let mut now = 0;
    let mut close = |aggregator: &mut MemoryAggregator| {
        now += 10;
        assert!(aggregator.advance(now));
    };
    let send = |aggregator: &mut MemoryAggregator, bytes: &mut Bytes, message: &[u8]| {
        bytes.sent += message.len() as u64;
        aggregator.receive(message).unwrap();
    };
    let fetch = |aggregator: &MemoryAggregator, bytes: &mut Bytes, client: usize| {
        let index = RosterIndex(u32::try_from(client).unwrap());
        let answer = aggregator.answer(index).unwrap().unwrap();
        bytes.received += answer.len() as u64;
        answer
    };

    let trust = Trust { corrupt: Some(0.0) };
    let mut states = Vec::new();
    for (client, identity) in identities.iter().enumerate() {
        let own = Participant::new(params.clone(), roster.clone(), identity.clone(), trust);
        let (state, message) = own.unwrap().advertise_keys(&mut rng).unwrap();
        send(&mut aggregator, &mut bytes[client], &message);
        states.push(state);
    }
    close(&mut aggregator);
    let mut sharing = Vec::new();
    for (client, state) in states.into_iter().enumerate() {
        let directory = fetch(&aggregator, &mut bytes[client], client);
        let step = state.share_keys(&directory, &mut SystemSplitter, &mut rng);
        let (state, message) = step.unwrap();
        send(&mut aggregator, &mut bytes[client], &message);
        sharing.push(state);
    }
    close(&mut aggregator);
    let gone = choice.case.dropped as usize;
    let input = RingVector::zeros(Ring::new(BITS).unwrap(), LENGTH as usize);
    let mut masked = Vec::new();
    for (client, state) in sharing.into_iter().enumerate().skip(gone) {
        let dealt = fetch(&aggregator, &mut bytes[client], client);
        let (state, message) = state.masked_input(&dealt, input.clone()).unwrap();
        send(&mut aggregator, &mut bytes[client], &message);
        masked.push((client, state));
    }
    close(&mut aggregator);
    let (mut signed, mut witnesses) = (Vec::new(), Vec::new());
    for (client, state) in masked {
        let survivors = fetch(&aggregator, &mut bytes[client], client);
        let (state, message) = state.consistency_check(&survivors).unwrap();
        if let Some(message) = message {
            send(&mut aggregator, &mut bytes[client], &message);
            witnesses.push(client);
        }
        signed.push((client, state));
    }
    close(&mut aggregator);
    for (client, state) in signed {
        let statements = fetch(&aggregator, &mut bytes[client], client);
        let message = state.unmask(&statements).unwrap();
        send(&mut aggregator, &mut bytes[client], &message);
    }
    close(&mut aggregator);
    assert!(aggregator.result().unwrap().is_ok());
    let all = bytes.iter().fold(Bytes::default(), |sum, one| Bytes {
        sent: sum.sent + one.sent,
        received: sum.received + one.received,
    });
    (
        witnesses.into_iter().map(|client| bytes[client]).collect(),
        all,
    )
}

/// What a client sends is exact. What it receives depends on how its neighbours lie in the Merkle
/// tree and how many of them and of the witnesses vanished; the mean is within two percent.
#[test]
fn a_round_costs_what_was_said() {
    for (clients, shape) in [(12, Shape::Complete), (120, Shape::Ring)] {
        let request = Request {
            shape: Some(shape),
            ..Request::new(clients, 0.02, 0.05)
        };
        let choice = choose(&request).unwrap();
        let cost = choice.cost(LENGTH, BITS);
        let (witnesses, all) = run(&choice);
        let near = |said: u64, counted: f64, what: &str| {
            let off = said as f64 / counted - 1.0;
            assert!(
                off.abs() < 0.02,
                "{clients} clients, {what}: {said} said, {counted} counted"
            );
        };
        let count = witnesses.len() as f64;
        let mean = |part: fn(&Bytes) -> u64| {
            witnesses
                .iter()
                .map(|bytes| part(bytes) as f64)
                .sum::<f64>()
                / count
        };
        near(cost.client.sent, mean(|b| b.sent), "sent by a client");
        near(
            cost.client.received,
            mean(|b| b.received),
            "received by a client",
        );
        near(
            cost.aggregator.received,
            all.sent as f64,
            "received by the aggregator",
        );
        near(
            cost.aggregator.sent,
            all.received as f64,
            "sent by the aggregator",
        );
    }
}
