//! Tasks: made, shown, controlled; tokens; results.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::encoding::FixedPoint;
use undertone_protocol::id::RosterIndex;
use undertone_server::audit::Chain;
use undertone_server::driver::now_ms;
use undertone_server::store::Store;
use undertone_tests::client::{Hold, Inputs, Moment, spawn};
use undertone_tests::database::Database;

use super::{SETTINGS, Scene, strs};

/// Made once however often it is sent, listed, shown; what is wrong with another one is said.
pub(crate) async fn made_and_shown(database: Database) {
    let scene = Scene::new(database).await;
    let (admin, create) = (&scene.admin, scene.create());
    let create = strs(&create);
    assert_eq!(admin.json(&["task", "list"]), serde_json::json!([]));
    assert_eq!(admin.succeeds(&create), scene.task);
    assert_eq!(admin.succeeds(&create), scene.task, "the same again");

    let listed = admin.json(&["task", "list"]);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(listed[0]["task"], scene.task.as_str());
    let shown = admin.json(&["task", "show", &scene.task]);
    assert_eq!(shown["state"], "running");
    assert_eq!(shown["settings"]["cohort"], 4);
    let human = admin.succeeds(&["task", "show", &scene.task]);
    assert!(
        human.contains("from afar: running, 0 of 3 rounds"),
        "{human}"
    );

    // Documents reach clients byte by byte: numbers that JSON cannot hold exactly stay what they are.
    let task = scene.task().await;
    let stored = task.store.task(task.id).await;
    let stored = stored.unwrap().unwrap();
    let training = String::from_utf8(stored.training).unwrap();
    assert!(training.contains("\"learning_rate\":0.7"), "{training}");
    let chain = Chain::Task(task.id);
    let first = task.store.audit_entries(chain, 0, 1).await;
    let first = first.unwrap().remove(0).content;
    assert!(
        first.contains("task-created") && first.contains("\"token\""),
        "{first}"
    );

    let copy = scene.file("copy.roster");
    admin.succeeds(&["task", "roster", &scene.task, "--out", &copy]);
    assert_eq!(
        fs::read(&copy).unwrap(),
        fs::read(scene.file("task.roster")).unwrap()
    );
    let roster = admin.json(&["task", "roster", &scene.task]);
    assert_eq!(roster["members"].as_array().unwrap().len(), 4);

    // Another task of the same id.
    fs::write(
        scene.file("task.toml"),
        SETTINGS.replace("rounds = 3", "rounds = 4"),
    )
    .unwrap();
    let line = admin.fails(&create);
    assert!(line.contains("already-exists"), "{line}");
    // Tasks that cannot be: the answer names what to change.
    for (from, to, says) in [
        ("cohort = 4", "cohort = 5", "it has 4"),
        ("bits = 32", "bits = 32\ncolour = 1", "colour"),
        ("bits = 32", "bits = 12", "bits"),
        ("update_clip = 100.0", "update_clip = -1.0", "update_clip"),
        ("name = \"from afar\"", "name = \"\"", "name"),
    ] {
        fs::write(scene.file("task.toml"), SETTINGS.replace(from, to)).unwrap();
        let line = admin.fails(&create);
        assert!(line.contains(says), "{to}: {line}");
    }
    let line = admin.fails(&["task", "show", &"0".repeat(32)]);
    assert!(line.contains("unknown-task"), "{line}");
    let line = admin.fails(&["task", "result", &scene.task, "--round", "9"]);
    assert!(line.contains("unknown-round"), "{line}");
}

/// What a token does not allow is refused, and so is one that is over.
pub(crate) async fn tokens_are_kept_to(database: Database) {
    let scene = Scene::new(database).await;
    let (admin, create) = (&scene.admin, scene.create());
    admin.succeeds(&strs(&create));
    let token = |scopes: &str, expires: &str| {
        let args = ["token", "create", "--name", "t", "--scopes", scopes];
        let made = admin.json(&[&args[..], &["--expires", expires]].concat());
        let secret = made["secret"].as_str().unwrap().to_owned();
        (
            made["token"].as_str().unwrap().to_owned(),
            admin.with(&secret),
        )
    };
    let (id, reader) = token("read", "1h");
    reader.succeeds(&["task", "list"]);
    for forbidden in [
        &["task", "pause", &scene.task][..],
        &["token", "list"],
        &["token", "create", "--name", "x"],
        &strs(&create),
    ] {
        let line = reader.fails(forbidden);
        assert!(line.contains("forbidden"), "{line}");
    }
    assert_eq!(
        admin.json(&["task", "show", &scene.task])["state"],
        "running"
    );
    // A token makes none that is mightier than itself.
    let (_, maker) = token("tokens,read", "1h");
    let line = maker.fails(&["token", "create", "--name", "x", "--scopes", "read,tasks"]);
    assert!(
        line.contains("forbidden") && line.contains("tasks"),
        "{line}"
    );

    // Nor does what it makes outlive it.
    let long = [
        "token",
        "create",
        "--name",
        "x",
        "--scopes",
        "read",
        "--expires",
        "365d",
    ];
    let child = maker.json(&long);
    let hour = now_ms() + 3_600_000;
    assert!(child["expires_at_ms"].as_u64().unwrap() <= hour, "{child}");
    let child = child["token"].as_str().unwrap();
    assert_eq!(admin.json(&["token", "revoke", child])["revoked_now"], true);

    assert_eq!(admin.json(&["token", "revoke", &id])["revoked_now"], true);
    assert_eq!(admin.json(&["token", "revoke", &id])["revoked_now"], false);
    assert!(reader.fails(&["task", "list"]).contains("unauthorized"));
    let (_, brief) = token("read", "1s");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(brief.fails(&["task", "list"]).contains("unauthorized"));
    let line = admin.with("ut_00").fails(&["task", "list"]);
    assert!(line.contains("unauthorized"), "{line}");
    let line = admin.with("no token").fails(&["task", "list"]);
    assert!(line.contains("undertone token create"), "{line}");
    let valid = admin.json(&["token", "list"]);
    let valid = valid
        .as_array()
        .unwrap()
        .iter()
        .filter(|t| t["valid"] == true);
    assert_eq!(valid.count(), 2, "the first one and the maker");
}

/// Paused while a round runs: the round ends, and none opens, whoever is killed. Resumed, the next
/// one opens. Cancelled while that one runs: it fails, and clients are told that the task is over.
pub(crate) async fn controlled_while_a_round_runs(database: Database) {
    let mut scene = Scene::new(database).await;
    scene.admin.succeeds(&strs(&scene.create()));
    let task = scene.task().await;
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let url = scene.service.url();
    let (first, released) = watch::channel(false);
    let (_second, never) = watch::channel(false);
    let clients: Vec<_> = (0..4)
        .map(|index| {
            let hold = |round, released: &watch::Receiver<bool>| Hold {
                round,
                phase: PhaseName::MaskedInput,
                at: Moment::Sending,
                released: released.clone(),
            };
            let hold = match index {
                0 => Some(hold(1, &released)),
                1 => Some(hold(2, &never)),
                _ => None,
            };
            spawn(&task, index, &url, state.path(), &inputs, hold)
        })
        .collect();
    let in_masked_input = |number: usize| {
        move |rounds: &serde_json::Value| {
            rounds[number - 1]["phase"] == "masked-input" && rounds[number - 1]["state"] == "open"
        }
    };
    scene.shows("rounds", in_masked_input(1)).await;
    let paused = scene.admin.succeeds(&["task", "pause", &scene.task]);
    assert_eq!(paused, "from afar is paused");
    let line = scene.admin.fails(&["task", "result", &scene.task]);
    assert!(line.contains("no round of the task has ended"), "{line}");
    first.send(true).unwrap();
    scene
        .shows("rounds", |rounds| rounds[0]["state"] == "finished")
        .await;
    scene.service.kill().await;
    scene.service.restart().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let rounds = scene.admin.json(&["task", "rounds", &scene.task]);
    assert_eq!(rounds.as_array().unwrap().len(), 1, "{rounds}");
    assert_eq!(
        scene.admin.json(&["task", "show", &scene.task])["state"],
        "paused"
    );

    scene.admin.succeeds(&["task", "resume", &scene.task]);
    scene.shows("rounds", in_masked_input(2)).await;
    scene.admin.succeeds(&["task", "cancel", &scene.task]);
    let rounds = scene.admin.json(&["task", "rounds", &scene.task]);
    assert_eq!(rounds[1]["state"], "failed");
    let reason = rounds[1]["reason"].as_str().unwrap();
    assert!(reason.contains("cancelled by token"), "{reason}");
    let line = scene.admin.fails(&["task", "resume", &scene.task]);
    assert!(line.contains("task-ended"), "{line}");
    for (index, client) in clients.into_iter().enumerate() {
        if index == 1 {
            // It is still held: it would find the same when it went on.
            client.abort();
            continue;
        }
        let summary = tokio::time::timeout(Duration::from_mins(1), client).await;
        let summary = summary.expect("a client hangs").unwrap().unwrap();
        assert_eq!(summary.rounds_finished, 1, "{summary:?}");
    }
    results(&scene, &inputs);
}

/// The adapter after each round is there, and is the sum of what went in.
fn results(scene: &Scene, inputs: &Inputs) {
    let (one, two) = (scene.file("one.safetensors"), scene.file("two.safetensors"));
    let result = ["task", "result", &scene.task];
    let first = scene
        .admin
        .json(&[&result[..], &["--round", "1", "--out", &one]].concat());
    assert_eq!(first["clients"], serde_json::json!([0, 1, 2, 3]));
    assert_ne!(first["model_before"], first["model_after"]);
    assert!(first["audit"].is_object(), "{first}");
    let adapter = load(Path::new(&one));
    let clients = [0, 1, 2, 3].map(RosterIndex);
    let sum = inputs.sum(1, &clients);
    let encoding = FixedPoint::new(sum.ring(), 100.0, 65536.0, 4);
    let mean = encoding.unwrap().decode_mean(&sum, 4);
    for (value, update) in adapter.values().iter().zip(mean) {
        assert!((f64::from(*value) - 0.5 - update).abs() < 1e-6);
    }
    // The last one failed: it left the adapter as it was.
    let last = scene.admin.json(&[&result[..], &["--out", &two]].concat());
    assert_eq!(last["number"], 2);
    assert_eq!(last["model_after"], first["model_after"]);
    assert_eq!(fs::read(one).unwrap(), fs::read(two).unwrap());
}

fn load(path: &Path) -> Adapter {
    Adapter::from_bytes(&fs::read(path).unwrap()).unwrap()
}
