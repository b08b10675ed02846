//! The admin API of the real service, from the command line, on both stores: tasks made, controlled
//! while a round runs, and their results taken; clients enrolled; old data erased.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

#[path = "admin/enrolment.rs"]
mod enrolment;
#[path = "admin/privacy.rs"]
mod privacy;
#[path = "admin/retention.rs"]
mod retention;
#[path = "admin/tasks.rs"]
mod tasks;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::keys::{IdentityKey, Secret32};
use undertone_protocol::params::Trust;
use undertone_protocol::roster::Roster;
use undertone_server::store::AnyStore;
use undertone_tests::cli::{Cli, at};
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
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    pub(crate) database: Database,
    pub(crate) service: Service,
    pub(crate) admin: Cli,
    /// The id that the roster binds.
    pub(crate) task: String,
}

impl Scene {
    pub(crate) async fn new(database: Database) -> Self {
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

    pub(crate) fn file(&self, name: &str) -> String {
        at(self.folder.path(), name)
    }

    /// The command that makes the task.
    pub(crate) fn create(&self) -> Vec<String> {
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
    pub(crate) async fn task(&self) -> Task {
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
    pub(crate) async fn shows(&self, command: &str, what: impl Fn(&serde_json::Value) -> bool) {
        for _ in 0..600 {
            if what(&self.admin.json(&["task", command, &self.task])) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{}", self.admin.json(&["task", command, &self.task]));
    }
}

pub(crate) fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

macro_rules! on_both {
    ($($module:ident::$name:ident;)*) => {
        mod sqlite {
            use super::Database;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$module::$name(Database::sqlite()).await;
            })*
        }

        mod postgres {
            use super::Database;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$module::$name(Database::postgres().await).await;
            })*
        }
    };
}

on_both! {
    tasks::made_and_shown;
    tasks::tokens_are_kept_to;
    tasks::controlled_while_a_round_runs;
    enrolment::enrolled;
    privacy::a_task_stops_at_its_budget;
    privacy::a_client_holds_to_its_budget;
    privacy::meaningless_settings_are_refused;
    retention::old_rounds_are_erased_and_the_task_goes_on;
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
