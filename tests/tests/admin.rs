//! Tasks from the command line, over the admin API of the real service, on both stores: made,
//! controlled while a round runs, and their results taken.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::keys::{IdentityKey, Secret32};
use undertone_protocol::params::Trust;
use undertone_protocol::roster::Roster;
use undertone_server::store::AnyStore;
use undertone_tests::cli::{Cli, at};
use undertone_tests::client::{Hold, Inputs, Moment, spawn};
use undertone_tests::database::Database;
use undertone_tests::service::Service;
use undertone_tests::task::Task;

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");

/// The training settings are of no account: the clients' updates are made up.
const SETTINGS: &str = r#"
name = "from afar"

[rounds]
rounds = 3
cohort = 4
min_survivors = 3
bits = 32
server_learning_rate = 1.0
deadlines_ms = [60000, 60000, 60000, 60000, 60000]

[mechanism]
update_clip = 100.0
scale = 65536.0
noise = { kind = "none" }

[training]
sequence_length = 12
labels = 2
head_bias = true
feature_scale = 0.1
sampling_rate = 0.3
local_steps = 3
learning_rate = 0.7
momentum = 0.5
"#;

/// A service with its database, an admin, and the files of a task that is not made yet.
struct Scene {
    folder: TempDir,
    database: Database,
    service: Service,
    admin: Cli,
    /// The id that the roster binds.
    task: String,
}

impl Scene {
    async fn new(database: Database) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::start(BINARY, database.url()).await;
        let admin = Cli::new(BINARY, &service.url(), database.url());
        let file = |name: &str| at(folder.path(), name);
        let authority = file("authority.key");
        admin.succeeds(&["authority", "init", "--out", &authority]);
        let mut members = String::new();
        for client in 0..4 {
            let key = file(&format!("client-{client}.key"));
            let public = admin.succeeds(&["identity", "new", "--out", &key]);
            writeln!(members, "{public}  # client {client}").unwrap();
        }
        fs::write(file("members.txt"), members).unwrap();
        fs::write(file("task.toml"), SETTINGS).unwrap();
        let values = BTreeMap::from([("w".to_owned(), (vec![50], vec![0.5; 50]))]);
        let adapter = Adapter::new(values).unwrap();
        fs::write(file("first.safetensors"), adapter.to_bytes().unwrap()).unwrap();
        let (members, roster) = (file("members.txt"), file("task.roster"));
        let sign = ["authority", "sign", "--authority", &authority];
        let task =
            admin.succeeds(&[&sign[..], &["--members", &members, "--out", &roster]].concat());
        Self {
            folder,
            database,
            service,
            admin,
            task,
        }
    }

    fn file(&self, name: &str) -> String {
        at(self.folder.path(), name)
    }

    /// The command that makes the task.
    fn create(&self) -> Vec<String> {
        let (roster, settings) = (self.file("task.roster"), self.file("task.toml"));
        let adapter = self.file("first.safetensors");
        let words = [
            "task",
            "create",
            "--roster",
            &roster,
            "--settings",
            &settings,
        ];
        let words = [&words[..], &["--adapter", &adapter]].concat();
        words.into_iter().map(str::to_owned).collect()
    }

    /// The task with everybody's keys, for clients.
    async fn task(&self) -> Task {
        let key = |client: usize| {
            let text = fs::read_to_string(self.file(&format!("client-{client}.key"))).unwrap();
            let mut seed = [0; 32];
            hex::decode_to_slice(text.trim(), &mut seed).unwrap();
            Arc::new(IdentityKey::from_seed(&Secret32::from(seed)))
        };
        let roster = fs::read(self.file("task.roster")).unwrap();
        let roster = Roster::decode_own(&roster).unwrap();
        Task {
            id: roster.task(),
            authority: roster.authority(),
            identities: (0..4).map(key).collect(),
            roster: Arc::new(roster),
            trust: Trust { corrupt: None },
            store: AnyStore::connect(self.database.url()).await.unwrap(),
        }
    }

    /// Waits until the task's JSON is as it should be.
    async fn shows(&self, command: &str, what: impl Fn(&serde_json::Value) -> bool) {
        for _ in 0..600 {
            if what(&self.admin.json(&["task", command, &self.task])) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{}", self.admin.json(&["task", command, &self.task]));
    }
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Made once however often it is sent, listed, shown; what is wrong with another one is said.
async fn made_and_shown(database: Database) {
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
    let stored = undertone_server::store::Store::task(&task.store, task.id).await;
    let stored = stored.unwrap().unwrap();
    let training = String::from_utf8(stored.training).unwrap();
    assert!(training.contains("\"learning_rate\":0.7"), "{training}");
    let chain = undertone_server::audit::Chain::Task(task.id);
    let first = undertone_server::store::Store::audit_entries(&task.store, chain, 0, 1).await;
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
async fn tokens_are_kept_to(database: Database) {
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
async fn controlled_while_a_round_runs(database: Database) {
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
    let clients = [0, 1, 2, 3].map(undertone_protocol::id::RosterIndex);
    let sum = inputs.sum(1, &clients);
    let encoding = undertone_protocol::encoding::FixedPoint::new(sum.ring(), 100.0, 65536.0, 4);
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

macro_rules! on_both {
    ($($name:ident;)*) => {
        mod sqlite {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(Database::sqlite()).await;
            })*
        }

        mod postgres {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(Database::postgres().await).await;
            })*
        }
    };
}

on_both! {
    made_and_shown;
    tokens_are_kept_to;
    controlled_while_a_round_runs;
    enrolled;
}

/// Four clients are invited and hand in their keys; the roster that is signed from the list lets a
/// task be made. A token that leaks lets one key in, and only with the proof that it is one's own.
async fn enrolled(database: Database) {
    let mut scene = Scene::new(database).await;
    let admin = scene.admin.clone();
    let names = ["north", "south", "it's \"east\"", "west"];
    let invite = [
        &["enrol", "invite", "--list", "hospitals", "--expires", "1h"][..],
        &names,
    ]
    .concat();
    let made = admin.json(&invite);
    let secret = |at: usize| {
        made["invitations"][at]["secret"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let folder = scene.folder.path().to_owned();
    let accept = |token: &str, key: &str| {
        let file = at(&folder, "enrolment.token");
        fs::write(&file, token).unwrap();
        let key = at(&folder, &format!("client-{key}.key"));
        let accept = ["enrol", "accept", "--token-file", &file, "--identity", &key];
        accept.map(str::to_owned).to_vec()
    };
    for client in 0..4 {
        let accept = accept(&secret(client), &client.to_string());
        let receipt = admin.json(&strs(&accept));
        assert_eq!(receipt["receipt"], "accepted");
        assert_eq!(receipt["name"], names[client]);
        assert_eq!(admin.json(&strs(&accept))["receipt"], "repeated");
    }
    scene.service.kill().await;
    scene.service.restart().await;
    admin.succeeds(&["identity", "new", "--out", &scene.file("client-other.key")]);
    for (token, key, says) in [
        (secret(0), "other", "enrolment-refused"),
        (secret(0), "1", "enrolment-refused"),
        (
            format!("ue_{}_{}", "0".repeat(16), "0".repeat(64)),
            "other",
            "enrolment-refused",
        ),
        (
            secret(0).replace("ue_", "ut_"),
            "other",
            "it starts with ue_",
        ),
    ] {
        let line = admin.fails(&strs(&accept(&token, key)));
        assert!(line.contains(says), "{line}");
    }
    let brief = [
        "enrol",
        "invite",
        "--list",
        "late",
        "--expires",
        "1s",
        "slow",
    ];
    let brief = admin.json(&brief)["invitations"][0]["secret"]
        .as_str()
        .unwrap()
        .to_owned();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let line = admin.fails(&strs(&accept(&brief, "other")));
    assert!(line.contains("expired"), "{line}");

    let members = scene.file("enrolled.txt");
    let list = [
        "enrol",
        "list",
        "--list",
        "hospitals",
        "--members",
        &members,
    ];
    let listed = admin.json(&list);
    assert_eq!(listed.as_array().unwrap().len(), 4);
    assert!(
        listed
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["state"] == "enrolled")
    );
    let (key, roster) = (scene.file("authority.key"), scene.file("task.roster"));
    let sign = [
        "authority",
        "sign",
        "--authority",
        &key,
        "--members",
        &members,
    ];
    let task = admin.succeeds(&[&sign[..], &["--out", &roster]].concat());
    assert_eq!(admin.succeeds(&strs(&scene.create())), task);
    let roster = admin.json(&["task", "roster", &task]);
    let keys: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["key"].clone())
        .collect();
    assert_eq!(roster["members"], serde_json::Value::from(keys));
    let tokens_only = ["token", "create", "--name", "t", "--scopes", "tokens"];
    let nobody = admin.with(&admin.succeeds(&tokens_only));
    assert!(nobody.fails(&list).contains("forbidden"));
    impostor(&scene, &unused_token(&admin)).await;
}

/// A fresh token that nobody has used.
fn unused_token(admin: &Cli) -> String {
    let made = admin.json(&["enrol", "invite", "--list", "more", "someone"]);
    made["invitations"][0]["secret"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Whoever has a token but not the key's secret half does not get the key onto the list; of many
/// who come with one token at once, one does.
async fn impostor(scene: &Scene, token: &str) {
    let key = |seed: u8| IdentityKey::from_seed(&Secret32::from([seed; 32]));
    let id: [u8; 8] = hex::decode(&token[3..19]).unwrap().try_into().unwrap();
    let url = format!("{}/v1/enrolments", scene.service.url());
    // The HTTP library wants a TLS provider even for plain HTTP; a second install is refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let hand_in = |key: &IdentityKey, signer: &IdentityKey| {
        let proof = undertone_protocol::enrolment::prove(signer, id);
        let body = serde_json::json!({
            "token": token, "key": key.public().to_string(), "signature": proof.to_string(),
        });
        let request = client.post(&url).header("content-type", "application/json");
        request.body(body.to_string()).send()
    };
    let refused = hand_in(&key(1), &key(2)).await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("bad-signature"));
    let listed = scene.admin.json(&["enrol", "list", "--list", "more"]);
    assert_eq!(listed[0]["state"], "invited");

    let (one, two) = (key(3), key(4));
    let (first, second) = tokio::join!(hand_in(&one, &one), hand_in(&two, &two));
    let mut statuses = [
        first.unwrap().status().as_u16(),
        second.unwrap().status().as_u16(),
    ];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403]);
}

/// The authority's key is its owner's alone, and is never overwritten.
#[test]
fn an_authority_key_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = at(folder.path(), "authority.key");
    let run = || {
        std::process::Command::new(BINARY)
            .args(["authority", "init", "--out", &file])
            .output()
            .unwrap()
    };
    assert!(run().status.success());
    let key = fs::read(&file).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    assert_eq!(run().status.code(), Some(1));
    assert_eq!(fs::read(&file).unwrap(), key);
}
