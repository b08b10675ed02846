//! Old data is erased in the background while the task goes on.

use std::fs;
use std::time::Duration;

use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::audit::{Follower, content_digest};
use undertone_protocol::params::RoundParams;
use undertone_protocol::vector::RingVector;
use undertone_server::audit::Chain;
use undertone_server::retention::RetentionSettings;
use undertone_server::store::{RoundRecord, Store};
use undertone_server::{App, Settings, app};
use undertone_tests::client::{Hold, Inputs, Moment, spawn};
use undertone_tests::database::Database;
use undertone_tests::task::Task;

use super::{Scene, strs};

/// A service that keeps metadata for no time at all.
fn forgetful() -> Settings {
    Settings {
        retention: RetentionSettings {
            metadata_days: 0,
            adapter_days: Some(0),
            sweep_ms: 100,
        },
        ..Settings::default()
    }
}

/// Round 1 ends under a service that keeps everything. It is killed, and another one, which keeps
/// nothing, takes its place and erases the round while the second one is open. The task goes on all
/// the same, the log is whole, and the result can still be taken.
pub(crate) async fn old_rounds_are_erased_and_the_task_goes_on(database: Database) {
    let mut scene = Scene::new(database).await;
    scene.admin.succeeds(&strs(&scene.create()));
    let task = scene.task().await;
    let (state, inputs) = (tempfile::tempdir().unwrap(), Inputs::default());
    let server = scene.service.url();
    let (release, released) = tokio::sync::watch::channel(false);
    let clients: Vec<_> = (0..4)
        .map(|index| {
            let hold = (index == 0).then(|| Hold {
                round: 2,
                phase: PhaseName::ShareKeys,
                at: Moment::Sending,
                released: released.clone(),
            });
            spawn(&task, index, &server, state.path(), &inputs, hold)
        })
        .collect();
    let second = |rounds: &serde_json::Value| rounds[1]["phase"] == "share-keys";
    scene.shows("rounds", second).await;
    let first = task.rounds().await.remove(0);
    let kept = task.store.count(first.id, PhaseName::AdvertiseKeys).await;
    assert_eq!(kept.unwrap(), 4, "what is public stays for a while");
    nothing_masked(&task, &first).await;
    scene.service.kill().await;
    serve_at(&task, &server, forgetful()).await;
    let erased = |rounds: &serde_json::Value| rounds[0]["erased_at_ms"].is_u64();
    scene.shows("rounds", erased).await;

    erased_and_open(&task, &server).await;
    let admin = &scene.admin;
    let shown = admin.json(&["task", "result", &scene.task, "--round", "1"]);
    assert_eq!(
        shown["clients"],
        serde_json::json!([0, 1, 2, 3]),
        "who took part stays"
    );

    release.send(true).unwrap();
    for client in clients {
        let summary = tokio::time::timeout(Duration::from_mins(1), client).await;
        let summary = summary.expect("a client hangs").unwrap().unwrap();
        assert_eq!(summary.rounds_finished, 3, "{summary:?}");
    }
    let file = scene.file("last.safetensors");
    admin.succeeds(&["task", "result", &scene.task, "--out", &file]);
    Adapter::from_bytes(&fs::read(&file).unwrap()).unwrap();
    log_is_whole(&task).await;
}

/// Serves where another service was that has just been killed.
async fn serve_at(task: &Task, url: &str, settings: Settings) {
    let address = url.strip_prefix("http://").unwrap().parse().unwrap();
    for _ in 0..100 {
        if let Ok(listener) = app::listen(address).await {
            let app = App::new(task.store.clone(), settings);
            tokio::spawn(app::serve(app, listener, std::future::pending()));
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{address} does not become free");
}

/// The end of the round erased what could tell about one client, and did not wait for the sweep.
async fn nothing_masked(task: &Task, round: &RoundRecord) {
    let params = RoundParams::decode(&round.params).unwrap();
    let (ring, length) = (params.ring(), params.vector_length());
    let sum = task
        .store
        .running_sum(round.id, ring, length)
        .await
        .unwrap();
    assert_eq!(sum, RingVector::zeros(ring, length));
    for phase in [PhaseName::ShareKeys, PhaseName::Unmask] {
        assert_eq!(
            task.store.count(round.id, phase).await.unwrap(),
            0,
            "{phase}"
        );
    }
}

/// Nothing of the first round is left but its line; the second one has its messages.
async fn erased_and_open(task: &Task, server: &str) {
    let rounds = task.rounds().await;
    for phase in PhaseName::ALL {
        assert_eq!(
            task.store.count(rounds[0].id, phase).await.unwrap(),
            0,
            "{phase}"
        );
    }
    assert!(rounds[1].erased_at.is_none());
    // The HTTP library wants a TLS provider even for plain HTTP; a second install is refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    for (what, status) in [
        ("params", 410),
        ("sum", 410),
        ("adapter", 410),
        ("result", 200),
    ] {
        let url = format!("{server}/v1/rounds/{}/{what}", rounds[0].id);
        let answer = reqwest::get(url).await.unwrap();
        assert_eq!(answer.status(), status, "{what}");
        let text = answer.text().await.unwrap();
        assert_eq!(
            text.contains("problem:erased"),
            status == 410,
            "{what}: {text}"
        );
    }
}

/// Every entry from the first on is there, chained, and says that something was erased.
async fn log_is_whole(task: &Task) {
    let chain = Chain::Task(task.id);
    let entries = task.store.audit_entries(chain, 0, 10_000).await.unwrap();
    let mut follower = Follower::start(chain);
    for entry in &entries {
        let head = follower.follow(content_digest(entry.content.as_bytes()));
        assert_eq!(head.digest, entry.digest);
    }
    let erased = entries
        .iter()
        .filter(|entry| entry.content.contains("\"kind\":\"retention\""));
    assert!(erased.count() >= 2);
}
