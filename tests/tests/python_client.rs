//! The client in `protocol-spec/python`, written from the specification alone, takes part in rounds
//! of the real service beside clients of the SDK.
//!
//! It needs Python with the package `cryptography`; `scripts/python-client.sh` finds or makes one.
//! Where that fails, the tests say so on standard error and pass without having checked anything.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "this is test code"
)]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rand_core::{Rng, SeedableRng};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::RosterIndex;
use undertone_protocol::params::RoundParams;
use undertone_protocol::vector::RingVector;
use undertone_server::store::{GraphSettings, GraphShape};
use undertone_tests::client::{Hold, Inputs, Moment, spawn};
use undertone_tests::database::Database;
use undertone_tests::service::Service;
use undertone_tests::task::{LENGTH, Task, sum_of};

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");

/// Python starts slowly on a loaded machine; the third is waited for in full, since one vanishes.
const DEADLINES: [u32; 5] = [60_000, 30_000, 8_000, 30_000, 30_000];

/// The client checks survivors and transcript of the result against its own.
///
/// Spec.
#[tokio::test(flavor = "multi_thread")]
async fn on_the_complete_graph() {
    let graph = GraphSettings::default();
    mixed_round(5, 2, graph).await;
}

/// As on the complete graph; here permutation, slots, witnesses and proofs have to be the same too.
#[tokio::test(flavor = "multi_thread")]
async fn on_the_ring() {
    let graph = GraphSettings {
        shape: Some(GraphShape::Ring),
        corrupt: Some(0.1),
        dropout: 0.2,
    };
    mixed_round(14, 5, graph).await;
}

/// What the vectors say of a client holds for it, byte by byte.
#[tokio::test]
async fn it_agrees_with_the_test_vectors() {
    let Some(python) = interpreter().await else {
        return;
    };
    let mut check = Command::new(python);
    check.arg(repository().join("protocol-spec/python/check_vectors.py"));
    let output = check.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// The first `pythons` of the clients are Python's, the others the SDK's. The last one vanishes after
/// ShareKeys, so that shares of its mask key are needed, also from Python's clients.
async fn mixed_round(clients: u16, pythons: u16, graph: GraphSettings) {
    let Some(python) = interpreter().await else {
        return;
    };
    let database = Database::sqlite();
    let task = Task::with_graph(database.url(), clients, 1, DEADLINES, graph).await;
    let service = Service::start(BINARY, database.url()).await;
    let state = tempfile::tempdir().unwrap();
    let mut updates = Vec::new();
    let mut running = Vec::new();
    for index in 0..pythons {
        let update = whole_numbers(index);
        running.push(join(
            &python,
            &task,
            index,
            &update,
            &service.url(),
            state.path(),
        ));
        updates.push(update);
    }
    let inputs = Inputs::default();
    let (_never, released) = watch::channel(false);
    let vanishing = clients - 1;
    let hold = Hold {
        round: 1,
        phase: PhaseName::MaskedInput,
        at: Moment::Sending,
        released,
    };
    let of_the_sdk: Vec<_> = (pythons..clients)
        .map(|index| {
            let hold = (index == vanishing).then(|| hold.clone());
            spawn(
                &task,
                index.into(),
                &service.url(),
                state.path(),
                &inputs,
                hold,
            )
        })
        .collect();

    for (index, client) in running.into_iter().enumerate() {
        let done = tokio::time::timeout(Duration::from_mins(3), client.wait_with_output()).await;
        let output = done.expect("a Python client hangs").unwrap();
        // It ends with 0 only if it was among the survivors and the transcript is its own.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "Python client {index}: {said}");
    }
    let rounds = task.rounds().await;
    let (sum, survivors) = sum_of(&rounds[0]);
    let all_but_last: Vec<_> = (0..u32::from(vanishing)).map(RosterIndex).collect();
    assert_eq!(survivors, all_but_last);
    let mut expected = inputs.sum(1, &survivors[pythons.into()..]);
    let ring = RoundParams::decode(&rounds[0].params).unwrap().ring();
    for update in &updates {
        let elements: Vec<_> = update
            .iter()
            .map(|&value| ring.element(value.into()))
            .collect();
        expected
            .add(&RingVector::from_elements(ring, &elements))
            .unwrap();
    }
    assert_eq!(sum, expected);
    for client in of_the_sdk {
        client.abort();
    }
}

/// An update in ring units: whole numbers need no rounding, so the encoded input is known.
fn whole_numbers(seed: u16) -> Vec<i32> {
    let mut rng = chacha20::ChaCha20Rng::seed_from_u64(seed.into());
    (0..LENGTH)
        .map(|_| (rng.next_u32() % 2001).cast_signed() - 1000)
        .collect()
}

/// Starts a client of Python with this update.
fn join(
    python: &Path,
    task: &Task,
    index: u16,
    update: &[i32],
    server: &str,
    state: &Path,
) -> Child {
    let file = |name: &str| state.join(format!("python-{index}.{name}"));
    let mut key = String::new();
    for byte in task.identities[usize::from(index)].seed().expose() {
        write!(key, "{byte:02x}").unwrap();
    }
    std::fs::write(file("key"), key + "\n").unwrap();
    // 1024 ring units are 1: the task's scale.
    let values: Vec<_> = update
        .iter()
        .map(|&value| f64::from(value) / 1024.0)
        .collect();
    std::fs::write(file("update"), format!("{values:?}")).unwrap();
    let mut client = Command::new(python);
    client.arg(repository().join("protocol-spec/python/undertone_client.py"));
    if let Some(corrupt) = task.trust.corrupt {
        client.args(["--corrupt", &corrupt.to_string()]);
    }
    client
        .args(["--server", server, "--task", &task.id.to_string()])
        .args(["--authority", &task.authority.to_string()])
        .arg("--identity")
        .arg(file("key"))
        .arg("--record")
        .arg(file("record"))
        .arg("--update")
        .arg(file("update"))
        .args([
            "--new",
            "--allow-no-noise",
            "--min-honest",
            "2",
            "--rounds",
            "1",
        ])
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// A Python that can run the client, or nothing, with the reason on standard error.
async fn interpreter() -> Option<PathBuf> {
    let script = repository().join("scripts/python-client.sh");
    let output = Command::new(script).output().await.unwrap();
    if output.status.success() {
        return Some(String::from_utf8(output.stdout).unwrap().trim().into());
    }
    eprintln!("SKIPPED: {}", String::from_utf8_lossy(&output.stderr));
    None
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
