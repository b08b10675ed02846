//! Over-selection, deadlines that follow what was observed, rest between a client's rounds, and
//! the record of who was in which round: the real service and clients of the SDK.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::time::Duration;

use tokio::sync::watch;
use undertone_client::Summary;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::RosterIndex;
use undertone_protocol::params::RoundParams;
use undertone_server::store::{RoundState, Store};
use undertone_tests::client::{Hold, Inputs, Moment, Running, spawn};
use undertone_tests::database::Database;
use undertone_tests::task::{LENGTH, Task, sum_of};

async fn summary(running: Running) -> Summary {
    let done = tokio::time::timeout(Duration::from_secs(90), running).await;
    done.expect("a client hangs").unwrap().unwrap()
}

/// Five survivors are wanted of six clients, and none has vanished yet: AdvertiseKeys closes with
/// the fifth. The sixth comes late, which is put on record.
async fn over_selection(database: Database) {
    let task = Task::with(database.url(), (6, 1), LENGTH, |settings| {
        settings.schedule.survivors = Some(5);
        settings.graph.dropout = 0.0;
    })
    .await;
    let server = task.serve().await;
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let phase = PhaseName::AdvertiseKeys;
    let (release, released) = watch::channel(false);
    let hold = Hold {
        round: 1,
        phase,
        at: Moment::Sending,
        released,
    };
    // Another one is held so that the round is still open when the straggler comes.
    let (go_on, gate) = watch::channel(false);
    let gate = Hold {
        phase: PhaseName::Unmask,
        released: gate,
        ..hold.clone()
    };
    let join = |index, hold| spawn(&task, index, &server, state.path(), &inputs, hold);
    let straggler = join(5, Some(hold));
    let mut clients = vec![join(0, Some(gate))];
    clients.extend((1..5).map(|index| join(index, None)));
    task.leaves(phase).await;
    release.send(true).unwrap();
    let late = async || {
        let client = RosterIndex(5);
        task.store
            .client_rounds(task.id, client, 0, 9)
            .await
            .unwrap()
    };
    for _ in 0..600 {
        if !late().await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    go_on.send(true).unwrap();
    for client in clients {
        assert_eq!(summary(client).await.rounds_finished, 1);
    }
    let lost = summary(straggler).await;
    assert_eq!((lost.rounds_finished, lost.rounds_lost), (0, 1));
    let rounds = task.rounds().await;
    let (sum, survivors) = sum_of(&rounds[0]);
    assert_eq!(survivors, (0..5).map(RosterIndex).collect::<Vec<_>>());
    assert_eq!(sum, inputs.sum(1, &survivors));
    let record = late().await;
    assert_eq!(record.len(), 1);
    assert!(record[0].phases[0].unwrap().late && !record[0].gave_input());
    let first = task.store.client_rounds(task.id, RosterIndex(0), 0, 9);
    let first = first.await.unwrap();
    assert!(first[0].gave_input());
    assert!(
        first[0]
            .phases
            .iter()
            .all(|phase| phase.is_some_and(|p| !p.late))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_over_selection() {
    over_selection(Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_over_selection() {
    over_selection(Database::postgres().await).await;
}

/// Answers took milliseconds: what the second round allows follows from that, not from the hour
/// that the task allows.
#[tokio::test(flavor = "multi_thread")]
async fn deadlines_follow_the_first_round() {
    let database = Database::sqlite();
    let task = Task::with(database.url(), (4, 2), LENGTH, |settings| {
        settings.deadlines_ms = [3_600_000; 5];
        settings.schedule.adapt_deadlines = true;
    })
    .await;
    let server = task.serve().await;
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let clients: Vec<_> = (0..4)
        .map(|index| spawn(&task, index, &server, state.path(), &inputs, None))
        .collect();
    for client in clients {
        assert_eq!(summary(client).await.rounds_finished, 2);
    }
    let rounds = task.rounds().await;
    for (round, low, high) in [
        (&rounds[0], 3_600_000, 3_600_000),
        (&rounds[1], 15_000, 90_000),
    ] {
        let params = RoundParams::decode(&round.params).unwrap();
        for phase in PhaseName::ALL {
            let deadline = phase.deadline_ms(&params);
            assert!((low..=high).contains(&deadline), "{phase}: {deadline} ms");
        }
    }
}

/// Whose input was taken leaves the next round out, and is back in the one after.
#[tokio::test(flavor = "multi_thread")]
async fn clients_rest_between_rounds() {
    const REST: u64 = 6_000;
    let database = Database::sqlite();
    let task = Task::with(database.url(), (4, 3), LENGTH, |settings| {
        settings.deadlines_ms[0] = 8_000;
        settings.schedule.min_interval_ms = REST;
    })
    .await;
    let server = task.serve().await;
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let clients: Vec<_> = (0..4)
        .map(|index| spawn(&task, index, &server, state.path(), &inputs, None))
        .collect();
    for client in clients {
        let summary = summary(client).await;
        assert_eq!((summary.rounds_finished, summary.rounds_lost), (2, 1));
    }
    let rounds = task.rounds().await;
    assert!(matches!(rounds[0].state, RoundState::Finished(_)));
    assert!(matches!(rounds[1].state, RoundState::Failed { .. }));
    assert!(matches!(rounds[2].state, RoundState::Finished(_)));
    assert!(rounds[1].opened_at < rounds[0].opened_at + REST);
    assert!(rounds[2].opened_at >= rounds[0].opened_at + REST);
}
