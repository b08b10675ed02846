//! Several replicas of the service on one PostgreSQL: any of them may die at any time, and the
//! database too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is test code"
)]

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use undertone_protocol::aggregator::PhaseName;
use undertone_server::store::{
    CHUNK, GraphSettings, RoundRecord, RoundState, Store, TaskStatus, chunk_count,
};
use undertone_tests::client::{Inputs, Running, spawn};
use undertone_tests::cluster::Cluster;
use undertone_tests::database::Database;
use undertone_tests::proxy::Proxy;
use undertone_tests::service::Service;
use undertone_tests::task::{Task, sum_of};

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");
const MORTAL: &str = env!("CARGO_BIN_EXE_mortal-under-test");

/// Replays a run: the seed that it printed.
const SEED: &str = "UNDERTONE_TEST_SEED";

const CLIENTS: u16 = 6;
const ROUNDS: u32 = 50;
/// Long enough that a client which was cut off a few times is back in time.
const DEADLINES: [u32; 5] = [4000; 5];

/// Between these many milliseconds.
fn between(rng: &mut ChaCha20Rng, least: u32, most: u32) -> Duration {
    Duration::from_millis((least + rng.next_u32() % (most - least)).into())
}

/// Kills a replica and starts it again, at moments that the seed decides, for ever.
async fn live_and_die(
    mut replica: Service,
    proxy: Proxy,
    mut rng: ChaCha20Rng,
    kills: Arc<AtomicU32>,
) {
    let address = replica.address();
    loop {
        proxy.add(address);
        sleep(between(&mut rng, 400, 4000)).await;
        // A proxy does not know at once that a replica is gone.
        let unnoticed = between(&mut rng, 1, 100);
        replica.kill().await;
        sleep(unnoticed).await;
        proxy.remove(address);
        kills.fetch_add(1, Ordering::Relaxed);
        sleep(between(&mut rng, 1, 1200)).await;
        replica.restart().await;
    }
}

/// Crashes the database when so many rounds have ended, and starts it again.
async fn crash_at(cluster: &Cluster, task: &Task, rounds: u32) {
    loop {
        // The database may be anything but well.
        if let Ok(Some(now)) = task.store.task(task.id).await
            && now.rounds_ended >= rounds
        {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    cluster.crash().await;
    sleep(Duration::from_millis(300)).await;
    cluster.up().await;
}

async fn until_finished(task: &Task) {
    loop {
        let now = task.store.task(task.id).await;
        if now.is_ok_and(|task| task.unwrap().status == TaskStatus::Finished) {
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// A round that ended: with the sum of its survivors' inputs, among whom is everybody whose input
/// was acknowledged; or for a reason. Returns whether it has a sum.
fn check(round: &RoundRecord, inputs: &Inputs) -> bool {
    let number = round.number.0;
    match &round.state {
        RoundState::Finished(_) => {
            let (sum, survivors) = sum_of(round);
            let exact = sum == inputs.sum(number, &survivors);
            assert!(exact, "round {number} is not the sum of {survivors:?}");
            for client in inputs.acknowledged(number, PhaseName::MaskedInput) {
                let message = "was acknowledged and is not in the sum";
                assert!(
                    survivors.contains(&client),
                    "round {number}: {client} {message}"
                );
            }
            true
        }
        RoundState::Failed { reason } => {
            assert!(!reason.is_empty(), "round {number}");
            println!("round {number} failed: {reason}");
            false
        }
        RoundState::Open { .. } => panic!("round {number} is open"),
    }
}

/// Three replicas behind a proxy are killed and started again at random through fifty rounds, and
/// the database crashes twice: every round ends exact or fails for a reason, and nothing that was
/// acknowledged is missing.
///
/// Spec.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_through_fifty_rounds() {
    let drawn = || u64::from(getrandom::u32().unwrap());
    let seed = std::env::var(SEED).map_or_else(|_| drawn(), |seed| seed.parse().unwrap());
    println!("{SEED}={seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let cluster = Cluster::start().await;
    let task = Task::create(&cluster.url(), CLIENTS, ROUNDS, DEADLINES).await;
    let (proxy, kills) = (Proxy::start().await, Arc::new(AtomicU32::new(0)));
    let mut replicas = JoinSet::new();
    for _ in 0..3 {
        let replica = Service::start(BINARY, &cluster.url()).await;
        let own = ChaCha20Rng::seed_from_u64(rng.next_u64());
        replicas.spawn(live_and_die(replica, proxy.clone(), own, kills.clone()));
    }
    let (state, inputs) = (tempfile::tempdir().unwrap(), Inputs::default());
    let clients: Vec<_> = (0..usize::from(CLIENTS))
        .map(|index| spawn(&task, index, &proxy.url(), state.path(), &inputs, None))
        .collect();

    let started = Instant::now();
    let whole = async {
        for rounds in [ROUNDS / 3, ROUNDS * 2 / 3] {
            crash_at(&cluster, &task, rounds).await;
        }
        until_finished(&task).await;
    };
    let ended = timeout(Duration::from_mins(8), whole).await;
    let standing = task.store.round_page(task.id, 0, 100).await;
    assert!(ended.is_ok(), "the task hangs: {standing:?}");
    for client in clients {
        let summary = timeout(Duration::from_mins(1), client).await;
        summary.expect("a client hangs").unwrap().unwrap();
    }
    replicas.shutdown().await;
    let rounds = task.rounds().await;
    assert_eq!(rounds.len(), usize::try_from(ROUNDS).unwrap());
    let exact = rounds.iter().filter(|round| check(round, &inputs)).count();
    let (kills, took) = (kills.load(Ordering::Relaxed), started.elapsed());
    println!("{exact} of {ROUNDS} rounds exact, {kills} kills, {took:?}");
    // Failing is allowed; failing always would show nothing.
    assert!(exact >= 10, "{exact}");
    assert!(kills >= 10, "{kills}");
}

fn spawn_some(task: &Task, clients: u16, server: &str, state: &tempfile::TempDir) -> Clients {
    let inputs = Inputs::default();
    let running = (0..usize::from(clients))
        .map(|index| spawn(task, index, server, state.path(), &inputs, None))
        .collect();
    Clients { running, inputs }
}

struct Clients {
    running: Vec<Running>,
    inputs: Inputs,
}

impl Clients {
    /// Waits until all are done; every round of the task has these clients in its sum.
    async fn finish(self, task: &Task, rounds: usize) {
        let everybody = self.running.len();
        for client in self.running {
            let summary = timeout(Duration::from_secs(90), client).await;
            summary.expect("a client hangs").unwrap().unwrap();
        }
        let ended = task.rounds().await;
        assert_eq!(ended.len(), rounds);
        for round in ended {
            assert!(check(&round, &self.inputs));
            assert_eq!(sum_of(&round).1.len(), everybody);
        }
    }
}

/// One client never comes, so that the first phase waits for its deadline; of three replicas the one
/// that drives the task hangs and another is killed. The third makes the deadline, once the lease
/// of the first has run out.
#[tokio::test(flavor = "multi_thread")]
async fn deadlines_fire_with_one_replica_left() {
    let database = Database::postgres().await;
    let task = Task::create(database.url(), CLIENTS, 1, [5000; 5]).await;
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Service::start(BINARY, database.url()).await);
    }
    let last = replicas.pop().unwrap();
    let state = tempfile::tempdir().unwrap();
    let clients = spawn_some(&task, CLIENTS - 1, &last.url(), &state);
    let keys = PhaseName::AdvertiseKeys;
    let all = usize::from(CLIENTS - 1);
    clients.inputs.until_acknowledged(1, keys, all).await;
    // Whoever was there first has the lease, and shows that it lives for as long as it hangs.
    replicas[0].freeze();
    replicas[1].kill().await;
    let started = Instant::now();
    clients.finish(&task, 1).await;
    // The deadline, or the lease of 5 s, or the 10 s after which the database ends the transaction
    // of a process that hangs in one; and what a slow machine takes for the rest.
    let took = started.elapsed();
    assert!(took < Duration::from_secs(45), "{took:?}");
}

/// A replica dies when it has unmasked a part of the chunks; another one does the rest.
///
/// It dies when it is at one chunk more than it does at once: then it has stored one.
async fn unmasking_is_taken_over(database: Database, point: &str) {
    let at_once = std::thread::available_parallelism().unwrap().get();
    let (graph, length) = (GraphSettings::default(), (2 * at_once + 4) * CHUNK + 100);
    let size = (CLIENTS, 1);
    let task = Task::with_length(database.url(), size, [60_000; 5], graph, length).await;
    let end = (
        "UNDERTONE_TEST_KILL_AT".to_owned(),
        format!("{point}:{}", at_once + 1),
    );
    let mut mortal = Service::start_with(MORTAL, database.url(), vec![end]).await;
    let state = tempfile::tempdir().unwrap();
    let clients = spawn_some(&task, CLIENTS, &mortal.url(), &state);
    let status = timeout(Duration::from_secs(90), mortal.gone()).await;
    assert_eq!(status.expect("it does not die").signal(), Some(9));

    let round = task.rounds().await.remove(0);
    assert!(matches!(round.state, RoundState::Open { .. }), "{round:?}");
    let progress = task.store.unmasking_progress(round.id).await.unwrap();
    assert_eq!(progress.total, chunk_count(length));
    assert!((1..progress.total).contains(&progress.done), "{progress:?}");
    // On the same port, for the clients, but another process.
    mortal.restart_with(Vec::new()).await;
    clients.finish(&task, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unmasking_is_taken_over_on_postgres() {
    unmasking_is_taken_over(Database::postgres().await, "chunk-unmasked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unmasking_is_taken_over_on_sqlite() {
    unmasking_is_taken_over(Database::sqlite(), "after-unmasked").await;
}
