//! Tasks, rounds and vectors to test with. Ids are random: all tests share one database.

use std::time::Duration;

use tempfile::TempDir;
use undertone_federated::optimizer::Adaptive;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{ModelDigest, RosterIndex, RoundId, RoundNumber, TaskId};
use undertone_protocol::vector::{Ring, RingVector};
use undertone_server::schedule::ScheduleSettings;
use undertone_server::store::{
    AnyStore, GraphSettings, NewRound, NewTask, PackedInput, PutOutcome, ServerOptimizer, Store,
    StoreError, StoredMessage, TaskSettings,
};

/// A time to start from.
pub(crate) const NOW: u64 = 1_800_000_000_000;

pub(crate) async fn open(url: &str) -> AnyStore {
    AnyStore::connect(url).await.unwrap()
}

pub(crate) fn sqlite_url(folder: &TempDir) -> String {
    format!("sqlite:{}", folder.path().join("undertone.db").display())
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// A task of `rounds` rounds with fields that are all different.
pub(crate) fn new_task(rounds: u32) -> NewTask {
    NewTask {
        id: TaskId::from(random::<16>()),
        name: "spam filter \u{2013} it's \"ours\"".to_owned(),
        roster: vec![1, 0, 255],
        training: b"training".to_vec(),
        mechanism: b"mechanism".to_vec(),
        settings: TaskSettings {
            rounds,
            cohort: 12,
            min_survivors: 8,
            graph: GraphSettings::default(),
            schedule: ScheduleSettings::default(),
            bits: 24,
            server_optimizer: ServerOptimizer::FedAdam(Adaptive::new(0.1)),
            deadlines_ms: [1, 2, 3, 4, u32::MAX],
            budget: None,
        },
        adapter: random::<100>().to_vec(),
        created_at: NOW,
    }
}

pub(crate) fn new_round(task: TaskId, number: u32) -> NewRound {
    NewRound {
        id: RoundId::from(random::<32>()),
        task,
        number: RoundNumber(number),
        params: random::<40>().to_vec(),
        opened_at: NOW + 1,
        deadline: NOW + 1000,
        admitted: 3,
        min_interval_ms: 0,
    }
}

/// A stored task with its first round open in `phase`.
pub(crate) async fn round_in<S: Store>(store: &S, phase: PhaseName) -> NewRound {
    let task = new_task(3);
    store.create_task(&task).await.unwrap();
    let round = new_round(task.id, 1);
    assert!(store.open_round(&round).await.unwrap());
    advance(store, round.id, PhaseName::AdvertiseKeys, phase).await;
    round
}

/// Closes phase after phase.
pub(crate) async fn advance<S: Store>(store: &S, round: RoundId, from: PhaseName, to: PhaseName) {
    let place = |phase| PhaseName::ALL.iter().position(|p| *p == phase).unwrap();
    for pair in PhaseName::ALL[place(from)..=place(to)].windows(2) {
        let closed = store.close_phase(round, pair[0], pair[1], NOW + 2000);
        assert!(closed.await.unwrap());
    }
}

pub(crate) fn message(sender: u32, text: &str) -> StoredMessage {
    StoredMessage {
        sender: RosterIndex(sender),
        bytes: text.as_bytes().to_vec(),
    }
}

pub(crate) fn ring(bits: u8) -> Ring {
    Ring::new(bits).unwrap()
}

/// A vector that differs from sender to sender, and fills the ring.
pub(crate) fn vector(bits: u8, length: usize, sender: u32) -> RingVector {
    let elements: Vec<u64> = (0..length as u64)
        .map(|i| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15 ^ u64::from(sender)))
        .collect();
    RingVector::from_elements(ring(bits), &elements)
}

/// The sum of several senders' vectors.
pub(crate) fn sum_of(
    bits: u8,
    length: usize,
    senders: impl IntoIterator<Item = u32>,
) -> RingVector {
    let mut sum = RingVector::zeros(ring(bits), length);
    for sender in senders {
        sum.add(&vector(bits, length, sender)).unwrap();
    }
    sum
}

/// The input of one sender.
pub(crate) fn input(sender: u32, vector: &RingVector) -> PackedInput {
    PackedInput {
        header: message(sender, &format!("header of {sender}")),
        packed: vector.pack().into(),
    }
}

/// Puts the vector of one sender.
pub(crate) async fn put<S: Store>(
    store: &S,
    round: RoundId,
    sender: u32,
    vector: &RingVector,
) -> PutOutcome {
    put_one(store, round, vector, input(sender, vector))
        .await
        .unwrap()
}

/// Puts one input of the ring and length of `like`.
pub(crate) async fn put_one<S: Store>(
    store: &S,
    round: RoundId,
    like: &RingVector,
    input: PackedInput,
) -> Result<PutOutcome, StoreError> {
    let batch = [input];
    let put = store.put_inputs(round, like.ring(), like.len(), &batch);
    let outcomes = put.await?;
    assert_eq!(outcomes.len(), 1);
    Ok(outcomes[0])
}

/// Fails, rather than hangs, where a lock is never given back.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_mins(1);
    tokio::time::timeout(limit, future).await.unwrap()
}

pub(crate) fn model(task: &NewTask) -> ModelDigest {
    ModelDigest::of(&task.adapter)
}
