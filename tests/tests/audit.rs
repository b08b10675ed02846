//! Clients remember the audit log's head: whoever rewrites what the service wrote down before is
//! noticed by each of them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::path::Path;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};
use undertone_client::{AuditHead, ClientError, Summary};
use undertone_protocol::audit::{Chain, Follower, content_digest};
use undertone_server::audit::{Actor, Event};
use undertone_server::driver::now_ms;
use undertone_server::store::{self, Store, TaskControl};
use undertone_tests::cli::Cli;
use undertone_tests::client::{Inputs, spawn};
use undertone_tests::database::Database;
use undertone_tests::task::Task;

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");
const CLIENTS: u16 = 3;

/// A task of one round that is over; its clients remember how its log ended.
struct Finished {
    database: Database,
    task: Task,
    server: String,
    state: tempfile::TempDir,
}

impl Finished {
    async fn new() -> Self {
        let database = Database::sqlite();
        let task = Task::create(database.url(), CLIENTS, 1, [60_000; 5]).await;
        let server = task.serve().await;
        let finished = Self {
            database,
            task,
            server,
            state: tempfile::tempdir().unwrap(),
        };
        let clients: Vec<_> = (0..usize::from(CLIENTS))
            .map(|i| finished.join(i))
            .collect();
        for client in clients {
            assert_eq!(client.await.unwrap().rounds_finished, 1);
        }
        finished
    }

    /// A client joins, with the state that it has from before.
    fn join(&self, index: usize) -> impl Future<Output = Result<Summary, ClientError>> + use<> {
        let inputs = Inputs::default();
        let running = spawn(
            &self.task,
            index,
            &self.server,
            self.state.path(),
            &inputs,
            None,
        );
        async move { running.await.unwrap() }
    }

    fn chain(&self) -> Chain {
        Chain::Task(self.task.id)
    }

    fn memory(&self, index: usize, suffix: &str) -> std::path::PathBuf {
        let folder = self.state.path().join(format!("client-{index}/audit"));
        folder.join(format!("{}{suffix}.json", self.task.id))
    }

    /// Runs statements as someone does who holds the database's file.
    async fn tamper(&self, statements: &[String]) {
        let mut database = SqliteConnection::connect(self.database.url())
            .await
            .unwrap();
        let triggers = sqlx::query("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            .fetch_all(&mut database)
            .await
            .unwrap();
        for trigger in triggers {
            let name: String = trigger.get(0);
            let drop = AssertSqlSafe(format!("DROP TRIGGER {name}"));
            sqlx::query(drop).execute(&mut database).await.unwrap();
        }
        for statement in statements {
            let statement = AssertSqlSafe(statement.clone());
            sqlx::query(statement).execute(&mut database).await.unwrap();
        }
        database.close().await.unwrap();
    }

    /// Writes the chain anew, with `contents` in place of what it holds, and right digests.
    async fn rewrite(&self, contents: &[String]) {
        let (chain, mut follower) = (self.chain(), Follower::start(self.chain()));
        let mut statements = vec![
            "PRAGMA foreign_keys = OFF".to_owned(),
            format!("DELETE FROM audit_entries WHERE chain = '{chain}'"),
        ];
        for content in contents {
            let head = follower.follow(content_digest(content.as_bytes()));
            statements.push(format!(
                "INSERT INTO audit_entries VALUES ('{chain}', {}, '{content}', x'{}')",
                head.sequence, head.digest
            ));
        }
        statements.push(format!(
            "UPDATE audit_chains SET entries = {}, head = x'{}' WHERE chain = '{chain}'",
            contents.len(),
            follower.digest()
        ));
        self.tamper(&statements).await;
    }

    async fn contents(&self) -> Vec<String> {
        let entries = self.task.store.audit_entries(self.chain(), 0, u32::MAX);
        let entries = entries.await.unwrap();
        entries.into_iter().map(|entry| entry.content).collect()
    }

    /// The client refuses what the service shows; says why.
    async fn refused(&self, index: usize) -> String {
        match self.join(index).await {
            Err(ClientError::AuditLog { what, .. }) => what,
            other => panic!("the client did not refuse: {other:?}"),
        }
    }
}

fn head(path: &Path) -> AuditHead {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Spec.
#[tokio::test]
async fn a_history_that_goes_on_is_accepted() {
    let finished = Finished::new().await;
    let before = head(&finished.memory(0, ""));
    finished.join(0).await.unwrap();
    let event = Event::TaskFinished { rounds: 1 };
    for _ in 0..1000 {
        let append = finished
            .task
            .store
            .append_audit(finished.chain(), &Actor::Retention, &event);
        append.await.unwrap();
    }
    finished.join(0).await.unwrap();
    let after = head(&finished.memory(0, ""));
    assert_eq!(
        after.sequence,
        before.sequence + 1000,
        "more than a page of links"
    );
}

/// One entry long ago says something else, and all later digests follow from it.
///
/// Spec.
#[tokio::test]
async fn a_rewritten_history_is_noticed() {
    let finished = Finished::new().await;
    let mut contents = finished.contents().await;
    contents[1] = contents[1].replace("round-opened", "round-dreamt");
    finished.rewrite(&contents).await;
    assert!(finished.refused(0).await.contains("history was rewritten"));

    // Also when it has grown since.
    contents.push(contents[2].clone());
    finished.rewrite(&contents).await;
    assert!(finished.refused(1).await.contains("history was rewritten"));
    let (old, new) = (
        head(&finished.memory(1, "")),
        head(&finished.memory(1, ".refused")),
    );
    assert_eq!(old.key, new.key, "both are evidence");
    assert_eq!(new.sequence, old.sequence + 1);

    // Whoever removes the file accepts the new history.
    std::fs::remove_file(finished.memory(1, "")).unwrap();
    finished.join(1).await.unwrap();
    assert_eq!(head(&finished.memory(1, "")).head, new.head);
}

/// Spec.
#[tokio::test]
async fn a_history_cut_off_is_noticed() {
    let finished = Finished::new().await;
    let mut contents = finished.contents().await;
    contents.pop();
    finished.rewrite(&contents).await;
    assert!(finished.refused(0).await.contains("history was cut off"));

    let forget = format!(
        "DELETE FROM audit_entries WHERE chain = '{}'",
        finished.chain()
    );
    let chains = forget.replace("audit_entries", "audit_chains");
    finished.tamper(&[forget, chains]).await;
    assert!(finished.refused(1).await.contains("shows none any more"));
}

/// Spec.
#[tokio::test]
async fn another_audit_key_is_noticed() {
    let finished = Finished::new().await;
    let key = "UPDATE audit_key SET seed = randomblob(32)".to_owned();
    finished.tamper(&[key]).await;
    // A process keeps the key that it started with.
    let finished = Finished {
        server: finished.task.serve().await,
        ..finished
    };
    assert!(finished.refused(0).await.contains("its key was"));
}

/// A round that goes on while history is rewritten ends the clients' part in the task.
///
/// Spec.
#[tokio::test]
async fn a_history_rewritten_between_rounds_stops_the_clients() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), CLIENTS, 2, [60_000; 5]).await;
    let finished = Finished {
        server: task.serve().await,
        database,
        task,
        state: tempfile::tempdir().unwrap(),
    };
    let task = &finished.task;
    let control = |to| {
        let control = task
            .store
            .control_task(task.id, to, now_ms(), store::Actor::Database);
        async { control.await.unwrap() }
    };
    // The second round waits until the log is rewritten.
    until(async || !task.rounds().await.is_empty()).await;
    control(TaskControl::Paused).await;
    let clients: Vec<_> = (0..usize::from(CLIENTS))
        .map(|i| finished.join(i))
        .collect();
    let clients = tokio::spawn(async move {
        let mut ends = Vec::new();
        for client in clients {
            ends.push(client.await);
        }
        ends
    });
    for index in 0..usize::from(CLIENTS) {
        let memory = finished.memory(index, "");
        // The task was made, the round opened, five phases closed; then the round's end.
        until(async || memory.exists() && head(&memory).sequence >= 7).await;
    }
    let mut contents = finished.contents().await;
    contents[3] = contents[3].replace("phase-closed", "phase-opened");
    finished.rewrite(&contents).await;
    control(TaskControl::Run).await;
    for end in clients.await.unwrap() {
        assert!(matches!(end, Err(ClientError::AuditLog { .. })), "{end:?}");
    }
}

/// Runs `undertone audit` on the task's database; what it prints, or what it complains of.
///
/// It blocks its thread: the service, which may hold the file's lock, needs another one to go on.
fn audit(finished: &Finished, args: &[&str]) -> Result<String, String> {
    let output = std::process::Command::new(BINARY)
        .arg("audit")
        .args(args)
        .env("UNDERTONE__DATABASE", finished.database.url())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        return Ok(text(output.stdout));
    }
    assert_eq!(output.status.code(), Some(1));
    Err(text(output.stdout) + &text(output.stderr))
}

/// The auditor's way: an export, checked elsewhere, against what a client remembers.
#[tokio::test(flavor = "multi_thread")]
async fn an_export_shows_what_was_changed() {
    let finished = Finished::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (log, memory) = (path("audit.jsonl"), finished.memory(0, ""));
    let memory = memory.to_str().unwrap();
    audit(&finished, &["export", "--out", &log]).unwrap();
    let json = ["verify", &log, "--remembered", memory, "--json"];
    let report: serde_json::Value =
        serde_json::from_str(&audit(&finished, &json).unwrap()).unwrap();
    assert_eq!(report["valid"], true);
    let chains: Vec<_> = report["chains"].as_array().unwrap().iter().collect();
    assert_eq!(chains.len(), 2);
    assert_eq!(chains[0]["entries"], head(Path::new(memory)).sequence + 1);
    let key = chains[0]["key"].as_str().unwrap();
    audit(&finished, &["verify", &log, "--key", key]).unwrap();
    let other = "11".repeat(32);
    let refused = audit(&finished, &["verify", &log, "--key", &other]);
    assert!(refused.unwrap_err().contains("is signed by key"));

    // The database itself verifies, and every line of the file matters.
    audit(&finished, &["verify"]).unwrap();
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<_> = text.lines().collect();
    for at in 0..lines.len() {
        let (mut without, mut changed) = (lines.clone(), lines.clone());
        without.remove(at);
        let digit = changed[at].replace('1', "2");
        changed[at] = &digit;
        for (name, lines) in [("without", without), ("changed", changed)] {
            let copy = path(name);
            std::fs::write(&copy, lines.join("\n") + "\n").unwrap();
            let refused = audit(&finished, &["verify", &copy]);
            assert!(refused.is_err(), "line {}, {name}", at + 1);
        }
    }

    let id = finished.task.id.to_string();
    let shown = audit(&finished, &["show", &id, "--from", "1", "--limit", "2"]).unwrap();
    assert_eq!(shown.lines().count(), 2);
    assert!(shown.contains("  round-opened deadline="), "{shown}");
    assert!(shown.contains("(by service process="), "{shown}");

    // Rewritten as a whole, with the service's key: only who remembers sees it.
    let mut contents = finished.contents().await;
    contents[1] = contents[1].replace("round-opened", "round-dreamt");
    finished.rewrite(&contents).await;
    audit(&finished, &["verify"]).unwrap();
    let seen = audit(&finished, &["verify", "--remembered", memory]);
    assert!(seen.unwrap_err().contains("history was rewritten"));
    let unknown = audit(&finished, &["show", &"00".repeat(16)]);
    assert!(unknown.unwrap_err().contains("has no chain"));
}

/// Over the admin API the log is the same; and what a client did in which round is told.
#[tokio::test(flavor = "multi_thread")]
async fn the_service_tells_an_auditor() {
    let finished = Finished::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (served, stored) = (path("served"), path("stored"));
    let admin = Cli::new(BINARY, &finished.server, finished.database.url());
    audit(
        &finished,
        &["export", "--chain", "service", "--out", &stored],
    )
    .unwrap();
    admin.succeeds(&["audit", "export", "--chain", "service", "--out", &served]);
    let chain = |file: &str| -> Vec<String> {
        let text = std::fs::read_to_string(file).unwrap();
        let lines = text.lines().filter(|line| !line.contains("signed_head"));
        lines.map(str::to_owned).collect()
    };
    // The token was made after the service had started, and before the first export.
    assert_eq!(chain(&served), chain(&stored));
    admin.succeeds(&["audit", "verify"]);
    admin.succeeds(&["audit", "verify", &served]);

    let id = finished.task.id.to_string();
    let shown = admin.succeeds(&["audit", "show", &id]);
    assert!(shown.contains("round-finished"), "{shown}");
    let rounds = admin.json(&["task", "client", &id, "1"]);
    assert_eq!(rounds[0]["gave_input"], true);
    assert_eq!(rounds[0]["messages"].as_array().unwrap().len(), 5);
    let line = admin.succeeds(&["task", "client", &id, "1"]);
    assert!(line.contains("gave its input"), "{line}");
    assert_eq!(
        admin.json(&["task", "client", &id, "99"]),
        serde_json::json!([])
    );
}

async fn until(done: impl AsyncFn() -> bool) {
    for _ in 0..1200 {
        if done().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came so far");
}
