//! Rounds: opening, closing phases, ending.

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{Digest, ModelDigest, RosterIndex, RoundId, TaskId};
use undertone_server::store::{
    Outcome, PutOutcome, RoundRecord, RoundState, Store, StoreError, StoredResult, TaskStatus,
};

use crate::fixture::{
    NOW, advance, input, message, model, new_round, new_task, open, put, put_one, random, ring,
    round_in, sqlite_url, sum_of, vector,
};

fn finished(adapter: &[u8]) -> Outcome {
    Outcome::Finished {
        result: StoredResult {
            sum: vec![0, 9, 255],
            survivors: vec![RosterIndex(2), RosterIndex(u32::MAX)],
            transcript: Digest::from([7; 32]),
            set_aside: vec![(RosterIndex(2), RosterIndex(5))],
        },
        adapter: adapter.to_vec(),
        optimizer: [b"state of ", adapter].concat(),
    }
}

fn failed() -> Outcome {
    Outcome::Failed {
        reason: "7 of 12 clients are left; the threshold is 8".to_owned(),
        culprit: Some(RosterIndex(3)),
    }
}

pub(crate) async fn opened_in_order_one_at_a_time<S: Store>(store: &S) {
    let task = new_task(2);
    store.create_task(&task).await.unwrap();
    for number in [2, 3, u32::MAX] {
        assert!(!store.open_round(&new_round(task.id, number)).await.unwrap());
    }
    assert_eq!(store.open_round_of(task.id).await.unwrap(), None);

    let round = new_round(task.id, 1);
    assert!(store.open_round(&round).await.unwrap());
    let record = RoundRecord {
        id: round.id,
        task: task.id,
        number: round.number,
        params: round.params.clone(),
        state: RoundState::Open {
            phase: PhaseName::AdvertiseKeys,
            deadline: round.deadline,
        },
        opened_at: round.opened_at,
        unmasking_at: None,
        ended_at: None,
        admitted: Some(round.admitted),
        min_interval_ms: round.min_interval_ms,
        erased_at: None,
    };
    assert_eq!(store.round(round.id).await.unwrap().as_ref(), Some(&record));
    let brief = store.round_without_sum(round.id).await.unwrap();
    assert_eq!(brief.as_ref(), Some(&record));
    assert_eq!(store.open_round_of(task.id).await.unwrap(), Some(record));

    assert!(!store.open_round(&round).await.unwrap());
    for number in [1, 2] {
        assert!(!store.open_round(&new_round(task.id, number)).await.unwrap());
    }
    assert_eq!(store.rounds(task.id).await.unwrap().len(), 1);
}

pub(crate) async fn phases_close_in_order<S: Store>(store: &S) {
    let round = round_in(store, PhaseName::AdvertiseKeys).await;
    for (step, open) in PhaseName::ALL.into_iter().enumerate() {
        for from in PhaseName::ALL {
            for to in PhaseName::ALL {
                let next = PhaseName::ALL.get(step + 1) == Some(&to);
                if from != open || !next {
                    let closed = store.close_phase(round.id, from, to, NOW + 1);
                    assert!(
                        !closed.await.unwrap(),
                        "{from} to {to} while {open} is open"
                    );
                }
            }
        }
        if let Some(next) = PhaseName::ALL.get(step + 1) {
            let deadline = NOW + 10 * step as u64;
            let closed = store.close_phase(round.id, open, *next, deadline);
            assert!(closed.await.unwrap());
            let state = store.round(round.id).await.unwrap().unwrap().state;
            let phase = *next;
            assert_eq!(state, RoundState::Open { phase, deadline });
        }
    }
}

pub(crate) async fn ended_with_a_sum<S: Store>(store: &S) {
    let round = round_in(store, PhaseName::AdvertiseKeys).await;
    let id = round.id;
    for (phase, next) in PhaseName::ALL.iter().zip(&PhaseName::ALL[1..]) {
        fill(store, id, *phase).await;
        assert!(store.close_phase(id, *phase, *next, NOW).await.unwrap());
    }
    fill(store, id, PhaseName::Unmask).await;

    // Not in the phase that is open.
    let outcome = finished(b"the next adapter");
    let early = store.end_round(id, PhaseName::MaskedInput, &outcome, NOW + 5);
    assert!(!early.await.unwrap());
    let held = store.running_sum(id, ring(20), 300).await.unwrap();
    assert_eq!(held, sum_of(20, 300, [4, 9]));

    let end = || store.end_round(id, PhaseName::Unmask, &outcome, NOW + 5);
    assert!(end().await.unwrap());
    assert!(!end().await.unwrap());

    let Outcome::Finished {
        result,
        adapter,
        optimizer,
    } = outcome
    else {
        unreachable!()
    };
    let record = store.round(id).await.unwrap().unwrap();
    assert_eq!(record.state, RoundState::Finished(result.clone()));
    let brief = store.round_without_sum(id).await.unwrap().unwrap();
    let sum = Vec::new();
    let state = RoundState::Finished(StoredResult { sum, ..result });
    assert_eq!(
        brief,
        RoundRecord {
            state,
            ..record.clone()
        }
    );
    assert_eq!(record.ended_at, Some(NOW + 5));
    assert_eq!(record.params, round.params);
    assert_eq!(store.open_round_of(round.task).await.unwrap(), None);

    let task = store.task(round.task).await.unwrap().unwrap();
    assert_eq!(task.model, ModelDigest::of(&adapter));
    assert_eq!((task.rounds_ended, task.status), (1, TaskStatus::Running));
    let bytes = store.adapter(round.task, task.model).await.unwrap();
    assert_eq!(bytes, Some(adapter));
    let kept = || store.optimizer_state(round.task);
    assert_eq!(kept().await.unwrap(), Some(optimizer));
    erased(store, id).await;

    // The next round has the next number.
    assert!(!store.open_round(&new_round(round.task, 1)).await.unwrap());
    assert!(store.open_round(&new_round(round.task, 2)).await.unwrap());
}

/// Two messages of a phase.
async fn fill<S: Store>(store: &S, round: RoundId, phase: PhaseName) {
    for sender in [9, 4] {
        let outcome = if phase == PhaseName::MaskedInput {
            put(store, round, sender, &vector(20, 300, sender)).await
        } else {
            let message = message(sender, phase.text());
            store.put_message(round, phase, &message).await.unwrap()
        };
        assert_eq!(outcome, PutOutcome::Accepted);
    }
}

/// Masked state and shares are gone; what is public and signed is not.
async fn erased<S: Store>(store: &S, round: RoundId) {
    let sum = store.running_sum(round, ring(20), 300).await.unwrap();
    assert_eq!(sum, sum_of(20, 300, []));
    for phase in PhaseName::ALL {
        let gone = matches!(phase, PhaseName::ShareKeys | PhaseName::Unmask);
        let left = if gone { 0 } else { 2 };
        assert_eq!(store.count(round, phase).await.unwrap(), left, "{phase}");
        assert_eq!(store.messages(round, phase).await.unwrap().len(), left);
    }
    let share = message(4, PhaseName::ShareKeys.text());
    let late = store.put_message(round, PhaseName::ShareKeys, &share);
    assert_eq!(late.await.unwrap(), PutOutcome::NotOpen);
    let check = message(4, PhaseName::ConsistencyCheck.text());
    let late = store.put_message(round, PhaseName::ConsistencyCheck, &check);
    assert_eq!(late.await.unwrap(), PutOutcome::Repeated);
    let late = put(store, round, 5, &vector(20, 300, 5)).await;
    assert_eq!(late, PutOutcome::NotOpen);
}

pub(crate) async fn ended_without_one<S: Store>(store: &S) {
    for phase in PhaseName::ALL {
        let round = round_in(store, phase).await;
        let before = store.task(round.task).await.unwrap().unwrap();
        let outcome = failed();
        let barred = |client| store.barred(round.task, RosterIndex(client));
        let end = || store.end_round(round.id, phase, &outcome, NOW + 6);
        assert!(end().await.unwrap());
        assert!(!end().await.unwrap());
        let record = store.round(round.id).await.unwrap().unwrap();
        let Outcome::Failed { reason, .. } = failed() else {
            unreachable!()
        };
        assert_eq!(record.state, RoundState::Failed { reason });
        assert_eq!(record.ended_at, Some(NOW + 6));
        assert_eq!(barred(3).await.unwrap(), Some(round.id));
        assert_eq!(barred(2).await.unwrap(), None);
        let task = store.task(round.task).await.unwrap().unwrap();
        assert_eq!(task.model, before.model);
        assert_eq!((task.rounds_ended, task.status), (1, TaskStatus::Running));
        // An ended round moves no more.
        if let Some(pair) = PhaseName::ALL.windows(2).find(|pair| pair[0] == phase) {
            let closed = store.close_phase(round.id, pair[0], pair[1], NOW);
            assert!(!closed.await.unwrap());
        }
    }
}

pub(crate) async fn last_round_finishes_the_task<S: Store>(store: &S) {
    let task = new_task(2);
    store.create_task(&task).await.unwrap();
    // The first round leads back to the same adapter.
    for (number, adapter) in [(1, task.adapter.as_slice()), (2, b"second")] {
        let round = new_round(task.id, number);
        assert!(store.open_round(&round).await.unwrap());
        advance(store, round.id, PhaseName::AdvertiseKeys, PhaseName::Unmask).await;
        let outcome = finished(adapter);
        let ended = store.end_round(round.id, PhaseName::Unmask, &outcome, NOW);
        assert!(ended.await.unwrap());
        let now = store.task(task.id).await.unwrap().unwrap();
        assert_eq!(now.model, ModelDigest::of(adapter));
        assert_eq!(now.rounds_ended, number);
        assert_eq!(now.status == TaskStatus::Finished, number == 2);
        // The last round leaves nothing to go on with.
        let kept = store.optimizer_state(task.id).await.unwrap();
        assert_eq!(kept.is_some(), number == 1);
    }
    assert!(!store.open_round(&new_round(task.id, 3)).await.unwrap());
    let rounds = store.rounds(task.id).await.unwrap();
    let numbers: Vec<u32> = rounds.iter().map(|r| r.number.0).collect();
    assert_eq!(numbers, [1, 2]);
    // Old adapters stay.
    let first = store.adapter(task.id, model(&task)).await.unwrap();
    assert_eq!(first, Some(task.adapter));
}

pub(crate) async fn unknown_ids<S: Store>(store: &S) {
    let (task, id) = (TaskId::from(random::<16>()), RoundId::from(random::<32>()));
    assert_eq!(store.round(id).await.unwrap(), None);
    assert_eq!(store.rounds(task).await.unwrap(), []);
    assert_eq!(store.open_round_of(task).await.unwrap(), None);
    let (one, two) = (PhaseName::AdvertiseKeys, PhaseName::ShareKeys);
    let errors = [
        store.open_round(&new_round(task, 1)).await.err(),
        store.close_phase(id, one, two, NOW).await.err(),
        store.end_round(id, one, &failed(), NOW).await.err(),
        store.put_message(id, one, &message(1, "")).await.err(),
        put_one(store, id, &vector(8, 1, 1), input(1, &vector(8, 1, 1)))
            .await
            .err(),
    ];
    for error in errors {
        assert!(matches!(error, Some(StoreError::Missing(_))), "{error:?}");
    }
}

/// Opens the database again after each step of a round.
pub(crate) async fn survive_a_new_start(url: &str) {
    let store = open(url).await;
    let round = round_in(&store, PhaseName::MaskedInput).await;
    let length = 70_000;
    put(&store, round.id, 3, &vector(33, length, 3)).await;
    let tasks = store.tasks().await.unwrap();
    let rounds = store.rounds(round.task).await.unwrap();
    let headers = store
        .messages(round.id, PhaseName::MaskedInput)
        .await
        .unwrap();
    assert_eq!(headers.len(), 1);
    store.close().await;

    let store = open(url).await;
    assert_eq!(store.tasks().await.unwrap(), tasks);
    assert_eq!(store.rounds(round.task).await.unwrap(), rounds);
    let again = store
        .messages(round.id, PhaseName::MaskedInput)
        .await
        .unwrap();
    assert_eq!(again, headers);
    let repeated = put(&store, round.id, 3, &vector(33, length, 3)).await;
    assert_eq!(repeated, PutOutcome::Repeated);
    put(&store, round.id, 8, &vector(33, length, 8)).await;
    store.close().await;

    let store = open(url).await;
    let sum = store.running_sum(round.id, ring(33), length).await.unwrap();
    assert_eq!(sum, sum_of(33, length, [3, 8]));
    advance(&store, round.id, PhaseName::MaskedInput, PhaseName::Unmask).await;
    let outcome = finished(b"adapter");
    let ended = store.end_round(round.id, PhaseName::Unmask, &outcome, NOW);
    assert!(ended.await.unwrap());
    let ended = store.round(round.id).await.unwrap();
    store.close().await;

    let store = open(url).await;
    assert_eq!(store.round(round.id).await.unwrap(), ended);
    let task = store.task(round.task).await.unwrap().unwrap();
    assert_eq!(task.model, ModelDigest::of(b"adapter"));
    store.close().await;
}

/// What a round's end erases is in none of the database's files any more.
#[tokio::test]
async fn sqlite_erases_from_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&sqlite_url(&folder)).await;
    let round = round_in(&store, PhaseName::ShareKeys).await;
    let marker = RoundId::from(random::<32>()).to_string();
    let message = message(4, &marker);
    let put = store.put_message(round.id, PhaseName::ShareKeys, &message);
    put.await.unwrap();
    let found = || {
        let files = std::fs::read_dir(folder.path()).unwrap();
        files
            .filter(|file| {
                let bytes = std::fs::read(file.as_ref().unwrap().path()).unwrap();
                bytes
                    .windows(marker.len())
                    .any(|part| part == marker.as_bytes())
            })
            .count()
    };
    assert!(found() > 0);
    let outcome = Outcome::Failed {
        reason: "a test".to_owned(),
        culprit: None,
    };
    let ended = store.end_round(round.id, PhaseName::ShareKeys, &outcome, NOW);
    assert!(ended.await.unwrap());
    assert_eq!(found(), 0);
    store.close().await;
}
