//! Many calls at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use undertone_protocol::aggregator::PhaseName;
use undertone_server::store::{Outcome, PackedInput, PutOutcome, Store};

use crate::fixture::{
    NOW, input, message, new_round, new_task, open, put, put_one, ring, round_in, soon, sum_of,
    vector,
};

const PHASE: PhaseName = PhaseName::MaskedInput;
const NEXT: PhaseName = PhaseName::ConsistencyCheck;

pub(crate) async fn inputs_at_once_sum_exactly<S: Store>(store: &S) {
    let (bits, length, senders) = (20, 70_000, 48);
    let round = round_in(store, PHASE).await.id;
    let mut puts = JoinSet::new();
    for sender in 0..senders {
        let store = store.clone();
        let vector = vector(bits, length, sender);
        puts.spawn(async move { put(&store, round, sender, &vector).await });
    }
    let outcomes = soon(puts.join_all()).await;
    assert_eq!(outcomes, vec![PutOutcome::Accepted; senders as usize]);
    let sum = store.running_sum(round, ring(bits), length).await.unwrap();
    assert_eq!(sum, sum_of(bits, length, 0..senders));
}

pub(crate) async fn one_sender_at_once_is_added_once<S: Store>(store: &S) {
    let (bits, length) = (20, 5000);
    let round = round_in(store, PHASE).await.id;
    let mut puts = JoinSet::new();
    for attempt in 0..16 {
        let store = store.clone();
        let vector = vector(bits, length, 3);
        // Half of them with another header: one of the two headers wins.
        let input = PackedInput {
            header: message(3, if attempt % 2 == 0 { "even" } else { "odd" }),
            ..input(3, &vector)
        };
        puts.spawn(async move { put_one(&store, round, &vector, input).await.unwrap() });
    }
    let outcomes = soon(puts.join_all()).await;
    let count = |outcome| outcomes.iter().filter(|o| **o == outcome).count();
    assert_eq!(count(PutOutcome::Accepted), 1);
    assert_eq!(count(PutOutcome::Repeated), 7);
    assert_eq!(count(PutOutcome::Conflict), 8);
    let sum = store.running_sum(round, ring(bits), length).await.unwrap();
    assert_eq!(sum, sum_of(bits, length, [3]));
}

/// Batches that share senders, each in another order: every sender is added once, and no batch
/// waits for another in a circle.
pub(crate) async fn batches_at_once_sum_exactly<S: Store>(store: &S) {
    let (bits, length, senders) = (20, 140_000, 24);
    let round = round_in(store, PHASE).await.id;
    let inputs: Vec<PackedInput> = (0..senders)
        .map(|sender| input(sender, &vector(bits, length, sender)))
        .collect();
    let mut puts = JoinSet::new();
    for batch in 0..12_usize {
        let store = store.clone();
        let mut inputs = inputs.clone();
        inputs.rotate_left(5 * batch % 24);
        if batch % 2 == 0 {
            inputs.reverse();
        }
        inputs.truncate(8);
        puts.spawn(async move {
            let put = store.put_inputs(round, ring(bits), length, &inputs);
            put.await.unwrap()
        });
    }
    let outcomes = soon(puts.join_all()).await.concat();
    let count = |outcome| outcomes.iter().filter(|o| **o == outcome).count();
    assert_eq!(count(PutOutcome::Accepted), senders as usize);
    assert_eq!(count(PutOutcome::Repeated), 12 * 8 - senders as usize);
    let sum = store.running_sum(round, ring(bits), length).await.unwrap();
    assert_eq!(sum, sum_of(bits, length, 0..senders));
}

pub(crate) async fn what_is_acknowledged_is_counted_when_a_phase_closes<S: Store>(store: &S) {
    for wait in [0, 1, 2, 4, 8, 16] {
        close_while_inputs_come(store, store, Duration::from_millis(wait)).await;
    }
}

/// What one store acknowledges is in the sum that another one finds after it closed the phase.
pub(crate) async fn two_stores_share_rounds<S: Store>(one: &S, two: &S) {
    for wait in [0, 2, 5, 10, 20] {
        close_while_inputs_come(one, two, Duration::from_millis(wait)).await;
    }
}

async fn close_while_inputs_come<S: Store>(uploads: &S, closer: &S, wait: Duration) {
    let (bits, length, senders) = (20, 3000, 40);
    let round = round_in(uploads, PHASE).await.id;
    let mut puts = JoinSet::new();
    for sender in 0..senders {
        let store = uploads.clone();
        let vector = vector(bits, length, sender);
        puts.spawn(async move { (sender, put(&store, round, sender, &vector).await) });
    }
    tokio::time::sleep(wait).await;
    let closed = soon(closer.close_phase(round, PHASE, NEXT, NOW)).await;
    assert!(closed.unwrap());
    // What is counted now is final, whatever is still under way.
    let counted = closer.messages(round, PHASE).await.unwrap();
    let sum = closer.running_sum(round, ring(bits), length).await.unwrap();

    let mut acknowledged = Vec::new();
    for (sender, outcome) in soon(puts.join_all()).await {
        match outcome {
            PutOutcome::Accepted => acknowledged.push(sender),
            PutOutcome::NotOpen => {}
            other => panic!("{other:?}"),
        }
    }
    acknowledged.sort_unstable();
    let counted: Vec<u32> = counted.iter().map(|m| m.sender.0).collect();
    assert_eq!(counted, acknowledged);
    assert_eq!(sum, sum_of(bits, length, acknowledged));
}

pub(crate) async fn one_of_many_opens_closes_and_ends<S: Store>(store: &S) {
    let task = new_task(1);
    store.create_task(&task).await.unwrap();
    let opened = winners(store, |store| {
        let round = new_round(task.id, 1);
        async move { store.open_round(&round).await.unwrap() }
    });
    assert_eq!(opened.await, 1);
    let round = store.open_round_of(task.id).await.unwrap().unwrap().id;

    for pair in PhaseName::ALL.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let closed = winners(store, |store| async move {
            store.close_phase(round, from, to, NOW).await.unwrap()
        });
        assert_eq!(closed.await, 1, "{from}");
    }
    let ended = winners(store, |store| async move {
        let reason = "a test".to_owned();
        let outcome = Outcome::Failed {
            reason,
            culprit: None,
        };
        let ended = store.end_round(round, PhaseName::Unmask, &outcome, NOW);
        ended.await.unwrap()
    });
    assert_eq!(ended.await, 1);
    assert_eq!(store.task(task.id).await.unwrap().unwrap().rounds_ended, 1);
}

/// How many of 12 calls at once say that they did it.
async fn winners<S: Store, F>(store: &S, call: impl Fn(S) -> F) -> usize
where
    F: Future<Output = bool> + Send + 'static,
{
    let mut calls = JoinSet::new();
    for _ in 0..12 {
        calls.spawn(call(store.clone()));
    }
    let outcomes = soon(calls.join_all()).await;
    outcomes.into_iter().filter(|won| *won).count()
}

/// A client that hangs up drops the call at any point.
pub(crate) async fn dropped_calls_leave_nothing_half_done<S: Store>(store: &S) {
    let (bits, length, senders) = (20, 70_000, 32);
    let round = round_in(store, PHASE).await.id;
    let finished = Arc::new(AtomicUsize::new(0));
    let mut puts = JoinSet::new();
    for sender in 0..senders {
        let (store, finished) = (store.clone(), Arc::clone(&finished));
        let vector = vector(bits, length, sender);
        puts.spawn(async move {
            let limit = Duration::from_micros(500 * u64::from(sender));
            let put = put(&store, round, sender, &vector);
            if tokio::time::timeout(limit, put).await.is_ok() {
                finished.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    soon(puts.join_all()).await;
    // No lock is left behind, and the sum is of those whose header is stored.
    let closed = soon(store.close_phase(round, PHASE, NEXT, NOW)).await;
    assert!(closed.unwrap());
    let headers = store.messages(round, PHASE).await.unwrap();
    let stored: Vec<u32> = headers.iter().map(|m| m.sender.0).collect();
    assert!(stored.len() >= finished.load(Ordering::Relaxed));
    let sum = store.running_sum(round, ring(bits), length).await.unwrap();
    assert_eq!(sum, sum_of(bits, length, stored));
}

/// Processes that start at once on an empty database: one makes the schema, all find it.
pub(crate) async fn many_start_at_once(url: &str) {
    let mut starts = JoinSet::new();
    for _ in 0..6 {
        let url = url.to_owned();
        starts.spawn(async move {
            let store = open(&url).await;
            store.create_task(&new_task(1)).await.unwrap();
            store.close().await;
        });
    }
    soon(starts.join_all()).await;
    let store = open(url).await;
    assert_eq!(store.tasks().await.unwrap().len(), 6);
    store.close().await;
}
