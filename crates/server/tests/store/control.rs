//! Pausing, resuming and cancelling tasks; pages of tasks and rounds.

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::TaskId;
use undertone_server::store::{
    Actor, ControlOutcome, Outcome, RoundStanding, RoundState, Store, StoreError, TaskControl,
    TaskState,
};

use crate::fixture::{
    NOW, advance, message, model, new_round, new_task, put, random, round_in, vector,
};

async fn control<S: Store>(store: &S, task: TaskId, to: TaskControl) -> ControlOutcome {
    let set = store.control_task(task, to, NOW + 50, Actor::Database);
    set.await.unwrap()
}

async fn state<S: Store>(store: &S, task: TaskId) -> TaskState {
    store.task(task).await.unwrap().unwrap().state()
}

pub(crate) async fn paused_tasks_open_no_round<S: Store>(store: &S) {
    let task = new_task(2);
    store.create_task(&task).await.unwrap();
    assert_eq!(state(store, task.id).await, TaskState::Running);
    let paused = control(store, task.id, TaskControl::Paused).await;
    assert_eq!(paused, ControlOutcome::Changed);
    let again = control(store, task.id, TaskControl::Paused).await;
    assert_eq!(again, ControlOutcome::Unchanged);
    assert_eq!(state(store, task.id).await, TaskState::Paused);
    let round = new_round(task.id, 1);
    assert!(!store.open_round(&round).await.unwrap());

    let resumed = control(store, task.id, TaskControl::Run).await;
    assert_eq!(resumed, ControlOutcome::Changed);
    assert!(store.open_round(&round).await.unwrap());

    // What is open goes on.
    control(store, task.id, TaskControl::Paused).await;
    let (first, second) = (PhaseName::AdvertiseKeys, PhaseName::ShareKeys);
    advance(store, round.id, first, second).await;
    let (outcome, now) = (failed("too few"), NOW + 60);
    let ended = store.end_round(round.id, second, &outcome, now).await;
    assert!(ended.unwrap());
    assert!(!store.open_round(&new_round(task.id, 2)).await.unwrap());
}

fn failed(reason: &str) -> Outcome {
    Outcome::Failed {
        reason: reason.to_owned(),
        culprit: None,
    }
}

pub(crate) async fn cancelled_tasks_end_for_ever<S: Store>(store: &S) {
    let round = round_in(store, PhaseName::MaskedInput).await;
    let (task, input) = (round.task, vector(24, 10, 1));
    put(store, round.id, 1, &input).await;
    let cancelled = control(store, task, TaskControl::Cancelled).await;
    assert_eq!(cancelled, ControlOutcome::Changed);
    assert_eq!(state(store, task).await, TaskState::Cancelled);

    let ended = store.round(round.id).await.unwrap().unwrap();
    assert_eq!(ended.ended_at, Some(NOW + 50));
    let RoundState::Failed { reason } = ended.state else {
        panic!("{:?}", ended.state);
    };
    assert!(reason.contains("cancelled by"), "{reason}");
    // Its masked state is gone.
    let ring = undertone_protocol::vector::Ring::new(24).unwrap();
    let sum = store.running_sum(round.id, ring, 10).await.unwrap();
    let zero = undertone_protocol::vector::RingVector::zeros(ring, 10);
    assert_eq!(sum, zero);

    assert!(!store.open_round(&new_round(task, 2)).await.unwrap());
    for to in [TaskControl::Run, TaskControl::Paused] {
        assert_eq!(control(store, task, to).await, ControlOutcome::Cancelled);
    }
    let again = control(store, task, TaskControl::Cancelled).await;
    assert_eq!(again, ControlOutcome::Unchanged);
    assert_eq!(state(store, task).await, TaskState::Cancelled);
}

pub(crate) async fn finished_tasks_are_not_controlled<S: Store>(store: &S) {
    let task = new_task(1);
    store.create_task(&task).await.unwrap();
    let round = new_round(task.id, 1);
    assert!(store.open_round(&round).await.unwrap());
    let (phase, outcome) = (PhaseName::AdvertiseKeys, failed("nobody came"));
    let end = store.end_round(round.id, phase, &outcome, NOW + 9);
    assert!(end.await.unwrap());
    for to in [TaskControl::Paused, TaskControl::Cancelled] {
        let refused = control(store, task.id, to).await;
        assert_eq!(refused, ControlOutcome::Finished);
    }
    assert_eq!(state(store, task.id).await, TaskState::Finished);

    let unknown = TaskId::from(random::<16>());
    let error = store.control_task(unknown, TaskControl::Run, NOW, Actor::Service);
    let error = error.await;
    assert!(matches!(error, Err(StoreError::Missing(_))), "{error:?}");
}

pub(crate) async fn listed_page_by_page<S: Store>(store: &S) {
    let mut made = Vec::new();
    for rounds in 2..7 {
        let task = new_task(rounds);
        store.create_task(&task).await.unwrap();
        made.push(task);
    }
    let all = store.task_page(0, 500).await.unwrap();
    let first = all.iter().position(|t| t.id == made[0].id).unwrap();
    let mut after = all[first].made;
    for pair in made[1..].chunks(2) {
        let page = store.task_page(after, 2).await.unwrap();
        let found: Vec<_> = page.iter().map(|t| (t.id, t.rounds_total)).collect();
        let expected: Vec<_> = pair.iter().map(|t| (t.id, t.settings.rounds)).collect();
        assert_eq!(found, expected);
        assert_eq!(
            (&page[0].name, page[0].model),
            (&pair[0].name, model(&pair[0]))
        );
        after = page.last().unwrap().made;
    }
}

pub(crate) async fn rounds_tell_who_dropped_out<S: Store>(store: &S) {
    let round = round_in(store, PhaseName::AdvertiseKeys).await;
    for (phase, messages) in PhaseName::ALL.into_iter().zip([5, 4, 0, 2]) {
        for sender in 0..messages {
            let message = message(sender, "m");
            store.put_message(round.id, phase, &message).await.unwrap();
        }
        if phase == PhaseName::MaskedInput {
            for sender in 0..3 {
                put(store, round.id, sender, &vector(24, 10, sender)).await;
            }
        }
        let next = PhaseName::ALL.into_iter().find(|next| *next > phase);
        advance(store, round.id, phase, next.unwrap()).await;
    }
    let open = &store.round_page(round.task, 0, 10).await.unwrap()[0];
    assert_eq!((open.standing, open.received), (RoundStanding::Open, None));
    assert_eq!(open.phase, PhaseName::Unmask);
    let task = store.task(round.task).await.unwrap().unwrap();
    assert_eq!(open.model, Some(task.model));

    let (phase, outcome) = (PhaseName::Unmask, failed("too few"));
    let end = store.end_round(round.id, phase, &outcome, NOW + 9);
    assert!(end.await.unwrap());
    assert!(store.open_round(&new_round(round.task, 2)).await.unwrap());
    let rounds = store.round_page(round.task, 0, 10).await.unwrap();
    assert_eq!(rounds.len(), 2);
    let ended = &rounds[0];
    assert_eq!(ended.received, Some([5, 4, 3, 2, 0]));
    assert_eq!(ended.standing, RoundStanding::Failed);
    assert_eq!(ended.reason.as_deref(), Some("too few"));
    assert_eq!((ended.ended_at, ended.erased_at), (Some(NOW + 9), None));
    let rest = store.round_page(round.task, 1, 10).await.unwrap();
    assert_eq!(rest, rounds[1..]);
    assert_eq!(
        store.round_page(round.task, 0, 1).await.unwrap(),
        rounds[..1]
    );
}
