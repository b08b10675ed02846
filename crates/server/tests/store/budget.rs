//! A task's own privacy budget: it stops the task, durably, and for ever.

use undertone_privacy::{
    Delta, Epsilon, Mechanism, Noise, NoiseMultiplier, PrivacyUnit, Releases, SamplingRate,
    SubsampledGaussian,
};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::audit::Chain;
use undertone_protocol::id::{RosterIndex, TaskId};
use undertone_server::budget::{Beyond, TaskBudget};
use undertone_server::store::{
    Actor, ControlOutcome, NewTask, Outcome, Store, TaskControl, TaskState, TaskStatus,
};

use crate::fixture::{NOW, advance, new_round, new_task, put, vector};

fn mechanism() -> Mechanism {
    Mechanism {
        update_clip: 1.0,
        scale: 1.0,
        rotation: None,
        noise: Noise::LocalDpSgd {
            clip_norm: 1.0,
            per_round: SubsampledGaussian {
                sampling_rate: SamplingRate::new(0.1).unwrap(),
                noise_multiplier: NoiseMultiplier::new(1.1).unwrap(),
                steps: 4,
            },
        },
    }
}

/// A task of ten rounds whose budget covers two.
fn task_for_two_rounds() -> NewTask {
    let mut task = new_task(10);
    task.mechanism = serde_json::to_vec(&mechanism()).unwrap();
    let mut budget = TaskBudget {
        epsilon: Epsilon::new(0.0).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
        unit: PrivacyUnit::Example,
        beyond: Beyond::Stop,
    };
    let covers = |budget: &TaskBudget| budget.rounds(&mechanism()).unwrap();
    while covers(&budget) < 2 {
        budget.epsilon = Epsilon::new(budget.epsilon.get() + 0.02).unwrap();
    }
    assert_eq!(covers(&budget), 2);
    task.settings.budget = Some(budget);
    task
}

/// Runs a round to its failure, with an input if it is to cost anything.
async fn failed_round<S: Store>(store: &S, task: TaskId, number: u32, input: bool) {
    let round = new_round(task, number);
    assert!(store.open_round(&round).await.unwrap(), "round {number}");
    let phase = PhaseName::MaskedInput;
    advance(store, round.id, PhaseName::AdvertiseKeys, phase).await;
    if input {
        put(store, round.id, 1, &vector(24, 10, 1)).await;
    }
    let outcome = Outcome::Failed {
        reason: "too few".to_owned(),
        culprit: None,
    };
    assert!(
        store
            .end_round(round.id, phase, &outcome, NOW + 5)
            .await
            .unwrap()
    );
}

async fn kinds<S: Store>(store: &S, task: TaskId) -> Vec<serde_json::Value> {
    let entries = store
        .audit_entries(Chain::Task(task), 0, 100)
        .await
        .unwrap();
    let event =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["event"].clone();
    entries.iter().map(|entry| event(&entry.content)).collect()
}

pub(crate) async fn stops_the_task_for_ever<S: Store>(store: &S) {
    let task = task_for_two_rounds();
    store.create_task(&task).await.unwrap();
    let state = async || store.task(task.id).await.unwrap().unwrap();
    // A round that ends before any input was taken costs nothing.
    failed_round(store, task.id, 1, false).await;
    failed_round(store, task.id, 2, true).await;
    assert_eq!(state().await.state(), TaskState::Running);
    let seen = Releases { inputs: 1, sums: 0 };
    assert_eq!(store.releases(task.id).await.unwrap(), seen);
    failed_round(store, task.id, 3, true).await;

    let stopped = state().await;
    assert_eq!(stopped.state(), TaskState::Exhausted);
    assert_eq!(
        (stopped.status, stopped.rounds_ended),
        (TaskStatus::Running, 3)
    );
    assert_eq!(stopped.exhausted_at, Some(NOW + 5));
    assert!(!store.open_round(&new_round(task.id, 4)).await.unwrap());
    // It has nothing to do any more, and nobody can make it go on.
    let standing = store.standing().await.unwrap();
    assert!(standing.lines.iter().all(|line| line.task != task.id));
    for to in [
        TaskControl::Run,
        TaskControl::Paused,
        TaskControl::Cancelled,
    ] {
        let set = store
            .control_task(task.id, to, NOW + 6, Actor::Database)
            .await;
        let expected = match to {
            TaskControl::Run => ControlOutcome::Unchanged,
            _ => ControlOutcome::Exhausted,
        };
        assert_eq!(set.unwrap(), expected);
    }
    assert_eq!(state().await, stopped);

    let events = kinds(store, task.id).await;
    let spent: Vec<_> = events
        .iter()
        .filter(|e| e["kind"] == "privacy-spent")
        .collect();
    let rounds: Vec<_> = spent
        .iter()
        .map(|e| e["rounds"].as_u64().unwrap())
        .collect();
    assert_eq!(rounds, [0, 1, 2]);
    // Each is a receipt: mechanism, round and cost, in an entry that the head covers.
    for entry in &spent {
        assert_eq!(entry["mechanism"].as_str().unwrap().len(), 64);
        assert_eq!(entry["costs"][0]["unit"], "example");
        assert_eq!(entry["costs"][0]["event"]["noise_multiplier"], "1.1");
        assert_eq!(entry["sums"], 0);
    }
    let last = events.last().unwrap();
    assert_eq!(last["kind"], "budget-exhausted");
    assert_eq!(
        (&last["rounds"], &last["budget"]["unit"]),
        (&2.into(), &"example".into())
    );
    assert_eq!(
        events
            .iter()
            .filter(|e| e["kind"] == "budget-exhausted")
            .count(),
        1
    );
}

/// One that runs out in its last round has finished like any other.
pub(crate) async fn that_lasts_to_the_end_stops_nothing<S: Store>(store: &S) {
    let mut task = task_for_two_rounds();
    task.settings.rounds = 2;
    store.create_task(&task).await.unwrap();
    failed_round(store, task.id, 1, true).await;
    failed_round(store, task.id, 2, true).await;
    let ended = store.task(task.id).await.unwrap().unwrap();
    assert_eq!(ended.state(), TaskState::Finished);
    assert_eq!(ended.exhausted_at, None);
}

/// What an older version let pass, or accounted otherwise, is found when the next round is opened.
pub(crate) async fn is_looked_at_before_a_round_opens<S: Store>(store: &S) {
    let mut task = task_for_two_rounds();
    let budget = task.settings.budget.as_mut().unwrap();
    budget.epsilon = Epsilon::new(0.01).unwrap();
    store.create_task(&task).await.unwrap();
    assert!(!store.open_round(&new_round(task.id, 1)).await.unwrap());
    let stopped = store.task(task.id).await.unwrap().unwrap();
    assert_eq!(stopped.state(), TaskState::Exhausted);
    let events = kinds(store, task.id).await;
    assert_eq!(events.last().unwrap()["kind"], "budget-exhausted");
}

pub(crate) async fn participants_are_counted<S: Store>(store: &S) {
    let task = task_for_two_rounds();
    store.create_task(&task).await.unwrap();
    failed_round(store, task.id, 1, true).await;
    failed_round(store, task.id, 2, false).await;
    let all = store.participants(task.id).await.unwrap();
    let seen = Releases { inputs: 1, sums: 0 };
    let one: Vec<_> = all.iter().map(|p| (p.client, p.seen, p.late)).collect();
    assert_eq!(one, [(RosterIndex(1), seen, 0)]);
}
