//! The service is killed (SIGKILL) in each phase and started again: the round ends with the exact
//! sum, on both stores.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "this is test code"
)]

use std::time::Duration;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use tokio::sync::watch;
use undertone_protocol::aggregator::PhaseName;
use undertone_server::store::{RoundState, Store};
use undertone_tests::client::{Hold, Inputs, Moment, spawn};
use undertone_tests::database::Database;
use undertone_tests::service::Service;
use undertone_tests::task::{Task, sum_of};

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");
const CLIENTS: u16 = 5;
const LONG: [u32; 5] = [60_000; 5];

/// One client is held before it sends its message of `phase`. When the four others' are
/// acknowledged, the service is killed and started again; then the fifth goes on. Were anything
/// that was acknowledged lost, the phase could not complete by count.
async fn killed_in(database: Database, phase: PhaseName) {
    let task = Task::create(database.url(), CLIENTS, 2, LONG).await;
    let mut service = Service::start(BINARY, database.url()).await;
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let (release, released) = watch::channel(false);
    let clients: Vec<_> = (0..usize::from(CLIENTS))
        .map(|index| {
            let hold = (index == 0).then(|| Hold {
                round: 1,
                phase,
                at: Moment::Sending,
                released: released.clone(),
            });
            spawn(&task, index, &service.url(), state.path(), &inputs, hold)
        })
        .collect();

    wait_for(&task, phase, usize::from(CLIENTS) - 1).await;
    service.kill().await;
    service.restart().await;
    release.send(true).unwrap();

    for client in clients {
        let summary = tokio::time::timeout(Duration::from_secs(90), client).await;
        let summary = summary.expect("a client hangs").unwrap().unwrap();
        assert_eq!(summary.rounds_finished, 2, "{phase}: {summary:?}");
    }
    let rounds = task.rounds().await;
    assert_eq!(rounds.len(), 2);
    for round in rounds {
        let (sum, survivors) = sum_of(&round);
        assert_eq!(survivors.len(), usize::from(CLIENTS), "{phase}");
        assert_eq!(sum, inputs.sum(round.number.0, &survivors), "{phase}");
    }
    assert!(task.finished().await);
}

async fn wait_for(task: &Task, phase: PhaseName, count: usize) {
    for _ in 0..1200 {
        if let Some(round) = task.store.open_round_of(task.id).await.unwrap()
            && matches!(round.state, RoundState::Open { phase: open, .. } if open == phase)
            && task.store.count(round.id, phase).await.unwrap() == count
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the round never had {count} messages of {phase}");
}

/// The service is killed again and again at moments that a printed seed decides, while clients are
/// sending: every round ends exact all the same.
async fn killed_at_random(database: Database) {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let task = Task::create(database.url(), CLIENTS, 4, LONG).await;
    let mut service = Service::start(BINARY, database.url()).await;
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let clients: Vec<_> = (0..usize::from(CLIENTS))
        .map(|index| spawn(&task, index, &service.url(), state.path(), &inputs, None))
        .collect();
    let mut kills = 0;
    while !task.finished().await {
        tokio::time::sleep(Duration::from_millis(u64::from(rng.next_u32() % 200))).await;
        service.kill().await;
        service.restart().await;
        kills += 1;
        assert!(kills < 1000, "the task does not end");
        // Each life lasts long enough for something to happen.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    for client in clients {
        let summary = tokio::time::timeout(Duration::from_mins(2), client).await;
        summary.expect("a client hangs").unwrap().unwrap();
    }
    let rounds = task.rounds().await;
    assert_eq!(rounds.len(), 4);
    for round in rounds {
        let (sum, survivors) = sum_of(&round);
        assert_eq!(survivors.len(), usize::from(CLIENTS));
        assert_eq!(sum, inputs.sum(round.number.0, &survivors));
    }
    println!("{kills} kills");
}

macro_rules! phases {
    ($($name:ident: $phase:ident;)*) => {
        mod sqlite {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                killed_in(Database::sqlite(), PhaseName::$phase).await;
            })*

            /// Spec.
            #[tokio::test(flavor = "multi_thread")]
            async fn at_random() {
                killed_at_random(Database::sqlite()).await;
            }
        }

        mod postgres {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                killed_in(Database::postgres().await, PhaseName::$phase).await;
            })*

            /// Spec.
            #[tokio::test(flavor = "multi_thread")]
            async fn at_random() {
                killed_at_random(Database::postgres().await).await;
            }
        }
    };
}

phases! {
    advertise_keys: AdvertiseKeys;
    share_keys: ShareKeys;
    masked_input: MaskedInput;
    consistency_check: ConsistencyCheck;
    unmask: Unmask;
}
