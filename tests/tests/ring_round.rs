//! A round on the permuted ring: clients of the SDK against the real service, with drop-outs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::time::Duration;

use tokio::sync::watch;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::params::RoundParams;
use undertone_protocol::threshold::Shape;
use undertone_server::store::{GraphSettings, GraphShape};
use undertone_tests::client::{Hold, Inputs, Moment, spawn};
use undertone_tests::database::Database;
use undertone_tests::service::Service;
use undertone_tests::task::{Task, sum_of};

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");
const CLIENTS: u16 = 14;
const SLOW: usize = 5;

/// Two of 14 vanish, each before another message, and one is slow: it looks for the survivors when
/// the witnesses have signed long ago. Each masks with 8 neighbours.
///
/// Spec.
#[tokio::test(flavor = "multi_thread")]
async fn vanishing_and_slow_clients_on_the_ring() {
    let database = Database::postgres().await;
    let graph = GraphSettings {
        shape: Some(GraphShape::Ring),
        corrupt: Some(0.1),
        dropout: 0.2,
    };
    let deadlines = [60_000, 60_000, 5_000, 5_000, 8_000];
    let task = Task::with_graph(database.url(), CLIENTS, 1, deadlines, graph).await;
    let service = Service::start(BINARY, database.url()).await;
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let (_never, gone) = watch::channel(false);
    let (release, slow) = watch::channel(false);
    let held = [
        (3, PhaseName::MaskedInput, Moment::Sending, gone.clone()),
        (9, PhaseName::Unmask, Moment::Sending, gone),
        (SLOW, PhaseName::ConsistencyCheck, Moment::Waiting, slow),
    ];
    let mut clients: Vec<_> = (0..usize::from(CLIENTS))
        .map(|index| {
            let hold = held.iter().find(|(client, ..)| *client == index);
            let hold = hold.map(|(_, phase, at, released)| Hold {
                round: 1,
                phase: *phase,
                at: *at,
                released: released.clone(),
            });
            spawn(&task, index, &service.url(), state.path(), &inputs, hold)
        })
        .collect();
    task.leaves(PhaseName::ConsistencyCheck).await;
    release.send(true).unwrap();
    for gone in [9, 3] {
        clients.remove(gone).abort();
    }
    for client in clients {
        let done = tokio::time::timeout(Duration::from_secs(90), client).await;
        let summary = done.expect("a client hangs").unwrap().unwrap();
        assert_eq!(summary.rounds_finished, 1, "{summary:?}");
    }
    let round = &task.rounds().await[0];
    let rule = RoundParams::decode(&round.params).unwrap().rule;
    assert_eq!(rule.shape(), Shape::Ring);
    assert_eq!((rule.neighbours, rule.threshold, rule.corrupt), (8, 6, 1));
    let (sum, survivors) = sum_of(round);
    assert_eq!(survivors.len(), 13);
    assert_eq!(sum, inputs.sum(1, &survivors));
}
