//! The chunks of a sum whose masks are taken off.

use std::time::Duration;

use tokio::task::JoinSet;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::RoundId;
use undertone_server::store::{
    ChunkLease, Outcome, Progress, PutOutcome, ReplicaId, Store, StoredResult,
};

use crate::fixture::{NOW, message, random, round_in, soon};

const LONG: u64 = 3_600_000;

fn new_chunk(chunk: usize) -> ChunkLease {
    let taken_over = false;
    ChunkLease { chunk, taken_over }
}

fn finished() -> Outcome {
    Outcome::Finished {
        result: StoredResult {
            sum: vec![1],
            survivors: Vec::new(),
            transcript: random::<32>().into(),
            set_aside: Vec::new(),
        },
        adapter: random::<10>().to_vec(),
        optimizer: Vec::new(),
    }
}

/// From when unmasking begins, the shares are those that are stored.
pub(crate) async fn begins_once_and_closes_the_phase<S: Store>(store: &S) {
    let early = round_in(store, PhaseName::ConsistencyCheck).await.id;
    assert!(!store.begin_unmasking(early, 3).await.unwrap());

    let phase = PhaseName::Unmask;
    let round = round_in(store, phase).await.id;
    let (one, two) = (message(1, "shares"), message(2, "shares"));
    let put = |message| store.put_message(round, phase, message);
    assert_eq!(put(&one).await.unwrap(), PutOutcome::Accepted);
    assert_eq!(
        store.round(round).await.unwrap().unwrap().unmasking_at,
        None
    );
    assert!(store.begin_unmasking(round, 3).await.unwrap());
    assert!(!store.begin_unmasking(round, 3).await.unwrap());
    assert!(
        store
            .round(round)
            .await
            .unwrap()
            .unwrap()
            .unmasking_at
            .is_some()
    );
    assert_eq!(put(&one).await.unwrap(), PutOutcome::Repeated);
    assert_eq!(put(&two).await.unwrap(), PutOutcome::NotOpen);
    assert_eq!(store.messages(round, phase).await.unwrap(), [one]);
    let progress = store.unmasking_progress(round).await.unwrap();
    assert_eq!(progress, Progress { done: 0, total: 3 });
}

pub(crate) async fn chunks_are_done_once_and_erased<S: Store>(store: &S) {
    let round = round_in(store, PhaseName::Unmask).await.id;
    let (one, two) = (ReplicaId::draw(), ReplicaId::draw());
    assert_eq!(store.lease_chunk(round, one, LONG).await.unwrap(), None);
    assert!(store.begin_unmasking(round, 3).await.unwrap());
    let waits = || async { store.unmasking().await.unwrap().contains(&round) };
    let lease = |owner, lease_ms| store.lease_chunk(round, owner, lease_ms);
    assert!(waits().await);
    assert_eq!(lease(one, LONG).await.unwrap(), Some(new_chunk(0)));
    assert_eq!(lease(two, LONG).await.unwrap(), Some(new_chunk(1)));
    assert_eq!(lease(one, 1).await.unwrap(), Some(new_chunk(2)));
    tokio::time::sleep(Duration::from_millis(20)).await;

    // The third ran out; once another one has it, its first owner has not.
    assert!(waits().await);
    let taken_over = ChunkLease {
        chunk: 2,
        taken_over: true,
    };
    assert_eq!(lease(two, LONG).await.unwrap(), Some(taken_over));
    assert!(!waits().await);
    assert_eq!(lease(one, LONG).await.unwrap(), None);
    assert!(!store.renew_chunk(round, 2, one, LONG).await.unwrap());
    assert!(store.renew_chunk(round, 2, two, LONG).await.unwrap());

    // Whoever is first stores it, and it stays.
    assert_eq!(store.unmasked_chunk(round, 2).await.unwrap(), None);
    assert!(store.put_unmasked(round, 2, &[7, 8]).await.unwrap());
    assert!(!store.put_unmasked(round, 2, &[9, 9]).await.unwrap());
    assert!(!store.renew_chunk(round, 2, two, LONG).await.unwrap());
    assert_eq!(
        store.unmasked_chunk(round, 2).await.unwrap(),
        Some(vec![7, 8])
    );

    // What a process gives up is free at once.
    store.release_leases(one).await.unwrap();
    assert_eq!(lease(two, LONG).await.unwrap(), Some(new_chunk(0)));
    for chunk in [0, 1] {
        assert!(store.put_unmasked(round, chunk, &[1]).await.unwrap());
    }
    assert_eq!(lease(one, LONG).await.unwrap(), None);
    let progress = store.unmasking_progress(round).await.unwrap();
    assert_eq!(progress, Progress { done: 3, total: 3 });

    let outcome = finished();
    let ended = store.end_round(round, PhaseName::Unmask, &outcome, NOW);
    assert!(ended.await.unwrap());
    let progress = store.unmasking_progress(round).await.unwrap();
    assert_eq!(progress, Progress { done: 0, total: 0 }, "erased");
    // Who was at one comes too late.
    assert!(!store.put_unmasked(round, 0, &[1]).await.unwrap());
    assert_eq!(store.unmasked_chunk(round, 0).await.unwrap(), None);
}

/// Whatever many processes do at once, each chunk is leased to one.
pub(crate) async fn chunks_go_to_one_each<S: Store>(store: &S) {
    let (round, chunks) = (round_in(store, PhaseName::Unmask).await.id, 40);
    assert!(store.begin_unmasking(round, chunks).await.unwrap());
    let mut workers = JoinSet::new();
    for _ in 0..8 {
        workers.spawn(all_it_gets(store.clone(), round));
    }
    let mut leased = soon(workers.join_all()).await.concat();
    leased.sort_unstable();
    assert_eq!(leased, (0..chunks).collect::<Vec<_>>());
    let progress = store.unmasking_progress(round).await.unwrap();
    assert_eq!((progress.done, progress.total), (chunks, chunks));
}

async fn all_it_gets<S: Store>(store: S, round: RoundId) -> Vec<usize> {
    let owner = ReplicaId::draw();
    let mut leased = Vec::new();
    while let Some(lease) = store.lease_chunk(round, owner, LONG).await.unwrap() {
        leased.push(lease.chunk);
        assert!(store.put_unmasked(round, lease.chunk, &[1]).await.unwrap());
    }
    leased
}
