//! A client of the SDK vanishes before its message of each phase, against the real service on both
//! stores: the round ends with the exact sum of those whose input was in it, and the client is back
//! in the next round.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::time::Duration;

use tokio::sync::watch;
use undertone_protocol::aggregator::PhaseName;
use undertone_tests::client::{Hold, Inputs, Moment, spawn};
use undertone_tests::database::Database;
use undertone_tests::service::Service;
use undertone_tests::task::{Task, sum_of};

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");
const CLIENTS: u16 = 5;

/// Long enough for everyone who is still there on a loaded machine; whoever vanished is waited for
/// this long.
const SHORT: [u32; 5] = [4_000; 5];

async fn vanishing_in(database: Database, phase: PhaseName) {
    let task = Task::create(database.url(), CLIENTS, 2, SHORT).await;
    let service = Service::start(BINARY, database.url()).await;
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let (_never, released) = watch::channel(false);
    let hold = Hold {
        round: 1,
        phase,
        at: Moment::Sending,
        released,
    };
    let join = |index, hold| spawn(&task, index, &service.url(), state.path(), &inputs, hold);
    let vanishing = join(0, Some(hold));
    let others: Vec<_> = (1..usize::from(CLIENTS))
        .map(|index| join(index, None))
        .collect();

    // Held before its message; as soon as the phase has closed without it, it is gone for good.
    task.leaves(phase).await;
    vanishing.abort();
    assert!(vanishing.await.unwrap_err().is_cancelled());
    let back = join(0, None);

    for client in others.into_iter().chain([back]) {
        let done = tokio::time::timeout(Duration::from_secs(90), client).await;
        done.expect("a client hangs").unwrap().unwrap();
    }
    let rounds = task.rounds().await;
    let expected = if phase > PhaseName::MaskedInput { 5 } else { 4 };
    for (round, expected) in rounds.iter().zip([expected, 5]) {
        let (sum, survivors) = sum_of(round);
        assert_eq!(survivors.len(), expected, "{phase}, round {}", round.number);
        assert_eq!(sum, inputs.sum(round.number.0, &survivors), "{phase}");
    }
    assert!(task.finished().await);
}

macro_rules! phases {
    ($($name:ident: $phase:ident;)*) => {
        mod sqlite {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                vanishing_in(Database::sqlite(), PhaseName::$phase).await;
            })*
        }

        mod postgres {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                vanishing_in(Database::postgres().await, PhaseName::$phase).await;
            })*
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
