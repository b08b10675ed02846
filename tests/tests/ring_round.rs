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
use undertone_tests::client::{Hold, Inputs, spawn};
use undertone_tests::database::Database;
use undertone_tests::service::Service;
use undertone_tests::task::{Task, sum_of};

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");
const CLIENTS: u16 = 14;

/// Two of 14 vanish, each before another message; each masks with 8 neighbours.
#[tokio::test(flavor = "multi_thread")]
async fn vanishing_clients_on_the_ring() {
    let database = Database::postgres().await;
    let graph = GraphSettings {
        shape: Some(GraphShape::Ring),
        corrupt: Some(0.1),
        dropout: 0.2,
    };
    let deadlines = [60_000, 60_000, 5_000, 60_000, 5_000];
    let task = Task::with_graph(database.url(), CLIENTS, 1, deadlines, graph).await;
    let service = Service::start(BINARY, database.url()).await;
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let (_never, released) = watch::channel(false);
    let vanishing = [(3, PhaseName::MaskedInput), (9, PhaseName::Unmask)];
    let clients: Vec<_> = (0..usize::from(CLIENTS))
        .map(|index| {
            let at = vanishing.iter().find(|(client, _)| *client == index);
            let hold = at.map(|(_, phase)| Hold {
                round: 1,
                phase: *phase,
                released: released.clone(),
            });
            spawn(&task, index, &service.url(), state.path(), &inputs, hold)
        })
        .collect();
    for (index, client) in clients.into_iter().enumerate() {
        if vanishing.iter().any(|(client, _)| *client == index) {
            continue;
        }
        let done = tokio::time::timeout(Duration::from_secs(90), client).await;
        done.expect("a client hangs").unwrap().unwrap();
    }
    let round = &task.rounds().await[0];
    let rule = RoundParams::decode(&round.params).unwrap().rule;
    assert_eq!(rule.shape(), Shape::Ring);
    assert_eq!((rule.neighbours, rule.threshold, rule.corrupt), (8, 6, 1));
    let (sum, survivors) = sum_of(round);
    assert_eq!(survivors.len(), 13);
    assert_eq!(sum, inputs.sum(1, &survivors));
}
