//! The service is killed (SIGKILL) at every named place on the way of a masked input, three times
//! in a round, and started again: no input that was acknowledged is lost, none is counted twice.
//!
//! Clients of the SDK send their inputs, the first ones one after the other, so that every place
//! is passed often enough, the others at once, so that batches are larger than one. Vectors have
//! two chunks, so that a batch can be killed between them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use undertone_protocol::aggregator::PhaseName;
use undertone_server::store::{CHUNK, GraphSettings};
use undertone_server::upload::fault::Point;
use undertone_tests::client::{Hold, Inputs, Moment, spawn};
use undertone_tests::database::Database;
use undertone_tests::service::Service;
use undertone_tests::task::{Task, sum_of};

const BINARY: &str = env!("CARGO_BIN_EXE_mortal-under-test");
const CLIENTS: u16 = 7;
const LONG: [u32; 5] = [120_000; 5];

/// So many of the clients wait for the one before them.
const IN_TURN: usize = 3;

/// In each of its lives the service dies at another passing of the place.
const PASSINGS: [u32; 3] = [1, 2, 3];

/// Services that run at once.
const AT_ONCE: usize = 6;

fn end_at(point: Point, passing: u32) -> Vec<(String, String)> {
    let end = format!("{}:{passing}", point.name());
    vec![("UNDERTONE_TEST_KILL_AT".to_owned(), end)]
}

/// One round of real clients in which the service dies at one place again and again.
async fn killed_at(point: Point, database: Database) {
    let name = point.name();
    let size = (CLIENTS, 1);
    let task = Task::with_length(
        database.url(),
        size,
        LONG,
        GraphSettings::default(),
        CHUNK + 4000,
    )
    .await;
    let environment = end_at(point, PASSINGS[0]);
    let mut service = Service::start_with(BINARY, database.url(), environment).await;
    let (state, inputs) = (tempfile::tempdir().unwrap(), Inputs::default());
    let mut clients = JoinSet::new();
    let mut turns = Vec::new();
    for index in 0..usize::from(CLIENTS) {
        let (turn, released) = watch::channel(false);
        turns.push(turn);
        let hold = Hold {
            round: 1,
            phase: PhaseName::MaskedInput,
            at: Moment::Sending,
            released,
        };
        let url = service.url();
        let client = spawn(&task, index, &url, state.path(), &inputs, Some(hold));
        clients.spawn(async move { client.await.unwrap().unwrap() });
    }
    let acknowledged = inputs.clone();
    let in_turn = tokio::spawn(async move {
        for (index, turn) in turns.iter().enumerate() {
            let before = index.min(IN_TURN);
            acknowledged
                .until_acknowledged(1, PhaseName::MaskedInput, before)
                .await;
            turn.send(true).unwrap();
        }
        // A turn that is dropped releases nobody.
        std::future::pending::<()>().await;
    });

    for passing in PASSINGS {
        let gone = tokio::time::timeout(Duration::from_secs(45), service.gone()).await;
        let status = gone.unwrap_or_else(|_| {
            panic!("{name} was not passed {passing} times: is it on the way of an upload?")
        });
        assert_eq!(status.signal(), Some(9), "{name}: {status}");
        let next = PASSINGS.into_iter().find(|next| *next > passing);
        let environment = next.map_or_else(Vec::new, |next| end_at(point, next));
        service.restart_with(environment).await;
    }

    while let Some(done) = tokio::time::timeout(Duration::from_secs(90), clients.join_next())
        .await
        .unwrap_or_else(|_| panic!("{name}: a client hangs"))
    {
        let summary = done.unwrap();
        assert_eq!(summary.rounds_finished, 1, "{name}: {summary:?}");
    }
    in_turn.abort();
    let round = task.rounds().await.remove(0);
    let (sum, survivors) = sum_of(&round);
    let acknowledged = inputs.acknowledged(1, PhaseName::MaskedInput);
    assert_eq!(acknowledged.len(), usize::from(CLIENTS), "{name}");
    assert_eq!(
        survivors, acknowledged,
        "{name}: who was acknowledged is in the sum"
    );
    assert!(
        sum == inputs.sum(1, &survivors),
        "{name}: the sum is not that of its survivors' inputs"
    );
}

/// Every place that has a name, several at a time.
async fn killed_everywhere(databases: Vec<Database>) {
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let mut cases = JoinSet::new();
    for (point, database) in Point::uploads().zip(databases) {
        let at_once = at_once.clone();
        cases.spawn(async move {
            let _permit = at_once.acquire_owned().await.unwrap();
            killed_at(point, database).await;
        });
    }
    let mut killed = 0;
    while let Some(case) = cases.join_next().await {
        case.unwrap();
        killed += 1;
    }
    assert_eq!(killed, Point::uploads().count());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_sqlite() {
    killed_everywhere(Point::uploads().map(|_| Database::sqlite()).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgres() {
    let mut databases = Vec::new();
    for _ in Point::uploads() {
        databases.push(Database::postgres().await);
    }
    killed_everywhere(databases).await;
}
