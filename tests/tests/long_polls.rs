//! Long polls: many wait for what one asks for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "this is test code")]

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use undertone_protocol::aggregator::PhaseName;
use undertone_server::Settings;
use undertone_server::store::{Actor, RoundRecord, Store, TaskControl};
use undertone_server::telemetry::{self, MetricsSettings};
use undertone_tests::database::Database;
use undertone_tests::task::Task;

const POLLS: usize = 400;

/// How many steps of the store a process has taken.
fn steps() -> u64 {
    let text = telemetry::render();
    let counts = text
        .lines()
        .filter(|line| line.starts_with("undertone_store_step_duration_seconds_count"));
    counts
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum()
}

async fn open_round(task: &Task) -> RoundRecord {
    loop {
        if let Some(round) = task.store.open_round_of(task.id).await.unwrap() {
            return round;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Polls until `end`, and says what was answered when.
fn polls(urls: &[String]) -> JoinSet<(serde_json::Value, Instant)> {
    let mut waiting = JoinSet::new();
    let client = reqwest::Client::new();
    for index in 0..POLLS {
        let request = client.get(&urls[index % urls.len()]);
        waiting.spawn(async move {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let text = answer.text().await.unwrap();
            (serde_json::from_str(&text).unwrap(), Instant::now())
        });
    }
    waiting
}

/// Hundreds of polls that wait cost no queries of their own, on either of two replicas, and all are
/// answered when another replica changes something.
///
/// One test in all, as a process has one set of metrics.
#[tokio::test(flavor = "multi_thread")]
async fn many_wait_for_what_one_asks_for() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let database = Database::postgres().await;
    let task = Task::create(database.url(), 5, 3, [3_600_000; 5]).await;
    let metrics = MetricsSettings {
        public: true,
        listen: None,
    };
    let settings = Settings {
        metrics,
        ..Settings::default()
    };
    let servers = [
        task.serve_with(settings.clone()).await,
        task.serve_with(settings).await,
    ];
    let round = open_round(&task).await;
    let status = |server: &String| format!("{server}/v1/rounds/{}/status", round.id);
    let urls = servers.each_ref().map(|server| {
        let status = status(server);
        format!("{status}?seen=advertise-keys&wait=30")
    });
    let mut waiting = polls(&urls);
    sleep(Duration::from_secs(2)).await;
    let (before, wait) = (steps(), Duration::from_secs(5));
    sleep(wait).await;
    let asked = steps() - before;
    // Two processes look once a second at how all stands, at their leases, for chunks, and at the
    // one task: some ten steps each. If polls asked by themselves, it were thousands.
    assert!(asked < 200, "{asked} steps in {wait:?}");
    assert!(waiting.try_join_next().is_none(), "a poll did not wait");

    // Changed beside both: they hear of it through the database.
    let (keys, shares) = (PhaseName::AdvertiseKeys, PhaseName::ShareKeys);
    let closed = task
        .store
        .close_phase(round.id, keys, shares, u64::MAX >> 2);
    assert!(closed.await.unwrap());
    let changed = Instant::now();
    let mut slowest = Duration::ZERO;
    for _ in 0..POLLS {
        let next = timeout(Duration::from_secs(20), waiting.join_next()).await;
        let (answer, at) = next.unwrap().unwrap().unwrap();
        // Nobody's keys are there: the round fails, and some see that at once.
        assert_ne!(answer["phase"], "advertise-keys", "{answer}");
        slowest = slowest.max(at - changed);
    }
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");

    waits_for_the_next_round(&task, &servers).await;
}

/// Who waits for a round is told when one opens, and when none will.
async fn waits_for_the_next_round(task: &Task, servers: &[String; 2]) {
    let path = format!("/v1/tasks/{}/round", task.id);
    let urls = servers
        .each_ref()
        .map(|server| format!("{server}{path}?after=2&wait=30"));
    let mut waiting = polls(&urls);
    sleep(Duration::from_secs(1)).await;
    assert!(waiting.try_join_next().is_none(), "a poll did not wait");
    let cancelled = TaskControl::Cancelled;
    let control = task
        .store
        .control_task(task.id, cancelled, 1, Actor::Database);
    control.await.unwrap();
    for _ in 0..POLLS {
        let next = timeout(Duration::from_secs(20), waiting.join_next()).await;
        let (answer, _) = next.unwrap().unwrap().unwrap();
        assert_eq!(answer["status"], "finished");
    }
}
