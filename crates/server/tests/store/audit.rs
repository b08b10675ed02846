//! The audit log: every change leaves its entry, in one unbroken chain that cannot be edited.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tokio::task::JoinSet;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::audit::{Chain, Follower, clients_digest, content_digest};
use undertone_protocol::id::{ModelDigest, RosterIndex, RoundId, TaskId};
use undertone_protocol::keys::Secret32;
use undertone_server::audit::{Actor, AdminOutcome, Event, acting};
use undertone_server::store::{AnyStore, Outcome, Store, StoreError, StoredResult};

use crate::fixture::{self, NOW, advance, message, new_round, new_task, soon};
use crate::postgres;

/// The contents of a chain, after a check that it is unbroken up to its head.
async fn contents<S: Store>(store: &S, chain: Chain) -> Vec<Value> {
    let entries = store.audit_entries(chain, 0, u32::MAX).await.unwrap();
    let mut follower = Follower::start(chain);
    let mut contents = Vec::new();
    for (at, entry) in (0..).zip(&entries) {
        assert_eq!(entry.sequence, at);
        let head = follower.follow(content_digest(entry.content.as_bytes()));
        assert_eq!(head.digest, entry.digest, "entry {at}");
        contents.push(serde_json::from_str(&entry.content).unwrap());
    }
    assert_eq!(store.audit_head(chain).await.unwrap(), follower.head());
    contents
}

async fn kinds<S: Store>(store: &S, task: TaskId) -> Vec<String> {
    let contents = contents(store, Chain::Task(task)).await;
    let kind = |content: &Value| content["event"]["kind"].as_str().unwrap().to_owned();
    contents.iter().map(kind).collect()
}

fn failed(culprit: Option<u32>) -> Outcome {
    Outcome::Failed {
        reason: "a test".to_owned(),
        culprit: culprit.map(RosterIndex),
    }
}

pub(crate) async fn every_change_leaves_its_entry<S: Store>(store: &S) {
    let task = new_task(2);
    store.create_task(&task).await.unwrap();
    let first = new_round(task.id, 1);
    assert!(store.open_round(&first).await.unwrap());
    for sender in [4, 1] {
        let message = message(sender, "keys");
        let put = store.put_message(first.id, PhaseName::AdvertiseKeys, &message);
        put.await.unwrap();
    }
    let from = PhaseName::AdvertiseKeys;
    advance(store, first.id, from, PhaseName::MaskedInput).await;
    fixture::put(store, first.id, 4, &fixture::vector(24, 10, 4)).await;
    let phase = PhaseName::MaskedInput;
    advance(store, first.id, phase, PhaseName::Unmask).await;
    let result = StoredResult {
        sum: vec![1],
        survivors: vec![RosterIndex(4)],
        transcript: fixture::random::<32>().into(),
        set_aside: Vec::new(),
    };
    let transcript = result.transcript;
    let adapter = b"another".to_vec();
    let optimizer = Vec::new();
    let outcome = Outcome::Finished {
        result,
        adapter,
        optimizer,
    };
    let ended = store.end_round(first.id, PhaseName::Unmask, &outcome, NOW);
    assert!(ended.await.unwrap());
    let second = new_round(task.id, 2);
    assert!(store.open_round(&second).await.unwrap());
    let outcome = failed(Some(4));
    let ended = store.end_round(second.id, from, &outcome, NOW);
    assert!(ended.await.unwrap());

    let expected = [
        "task-created",
        "round-opened",
        "phase-closed",
        "phase-closed",
        "phase-closed",
        "phase-closed",
        "phase-closed",
        "round-finished",
        "privacy-spent",
        "round-opened",
        "round-failed",
        "privacy-spent",
        "client-barred",
        "task-finished",
    ];
    assert_eq!(kinds(store, task.id).await, expected);
    let contents = contents(store, Chain::Task(task.id)).await;
    let closed = &contents[2]["event"];
    let senders = clients_digest([1, 4].map(RosterIndex)).to_string();
    assert_eq!(
        (&closed["received"], &closed["senders"]),
        (&2.into(), &senders.into())
    );
    assert_eq!(closed["why"], "count");
    assert_eq!(contents[4]["event"]["received"], 1, "masked inputs count");
    let finished = &contents[7]["event"];
    assert_eq!(finished["transcript"], transcript.to_string());
    assert_eq!(finished["model_before"], fixture::model(&task).to_string());
    let after = ModelDigest::of(b"another").to_string();
    assert_eq!(finished["model_after"], after);
    let spent = |at: usize| {
        let event = &contents[at]["event"];
        (event["revealed"].clone(), event["rounds"].clone())
    };
    assert_eq!(spent(8), ("sum".into(), 1.into()));
    assert_eq!(spent(11), ("nothing".into(), 1.into()));
}

/// A round that fails after inputs were taken has cost what one that finishes costs.
pub(crate) async fn failed_rounds_say_what_they_revealed<S: Store>(store: &S) {
    for (phase, revealed, rounds) in [
        (PhaseName::ShareKeys, "nothing", 0),
        (PhaseName::MaskedInput, "masked-inputs", 1),
        (PhaseName::Unmask, "unmask-shares", 1),
    ] {
        let round = fixture::round_in(store, phase.min(PhaseName::MaskedInput)).await;
        if phase >= PhaseName::MaskedInput {
            fixture::put(store, round.id, 2, &fixture::vector(24, 10, 2)).await;
            advance(store, round.id, PhaseName::MaskedInput, phase).await;
        }
        let message = message(2, "any");
        if phase == PhaseName::Unmask {
            let put = store.put_message(round.id, phase, &message);
            put.await.unwrap();
        }
        let outcome = failed(None);
        let ended = store.end_round(round.id, phase, &outcome, NOW);
        assert!(ended.await.unwrap());
        let contents = contents(store, Chain::Task(round.task)).await;
        let spent = &contents.last().unwrap()["event"];
        assert_eq!(spent["kind"], "privacy-spent");
        assert_eq!(
            (&spent["revealed"], &spent["rounds"]),
            (&revealed.into(), &rounds.into()),
            "{phase}"
        );
    }
}

/// A change that is not made leaves no entry.
pub(crate) async fn what_was_not_done_leaves_none<S: Store>(store: &S) {
    let round = fixture::round_in(store, PhaseName::ShareKeys).await;
    let before = kinds(store, round.task).await;
    let task = fixture::new_task(1);
    let again = undertone_server::store::NewTask {
        id: round.task,
        ..task
    };
    let made = store.create_task(&again).await;
    assert!(matches!(made, Err(StoreError::Exists(_))));
    assert!(!store.open_round(&new_round(round.task, 2)).await.unwrap());
    let (from, to) = (PhaseName::AdvertiseKeys, PhaseName::ShareKeys);
    let closed = store.close_phase(round.id, from, to, NOW);
    assert!(!closed.await.unwrap());
    let outcome = failed(None);
    let ended = store.end_round(round.id, from, &outcome, NOW);
    assert!(!ended.await.unwrap());
    assert_eq!(kinds(store, round.task).await, before);
}

fn denied(detail: String) -> Event {
    Event::Admin {
        action: "POST /admin/v1/tasks".to_owned(),
        outcome: AdminOutcome::Denied,
        detail: Some(detail),
    }
}

pub(crate) async fn entries_name_who_acts<S: Store>(store: &S) {
    let task = new_task(1);
    let token = Actor::Token {
        id: "0a".to_owned(),
    };
    let made = acting(token, async { store.create_task(&task).await });
    made.await.unwrap();
    store.open_round(&new_round(task.id, 1)).await.unwrap();
    let contents = contents(store, Chain::Task(task.id)).await;
    assert_eq!(contents[0]["actor"]["id"], "0a");
    assert_eq!(contents[1]["actor"]["kind"], "service");
}

/// Entries from many calls at once, over two stores, make one unbroken chain.
pub(crate) async fn appended_at_once_make_one_chain<S: Store>(one: &S, two: &S) {
    let chain = Chain::Task(TaskId::from(fixture::random()));
    let (writers, each) = (12_u32, 10_u32);
    let mut appends = JoinSet::new();
    for writer in 0..writers {
        let store = [one, two][writer as usize % 2].clone();
        appends.spawn(async move {
            for at in 0..each {
                let event = denied(format!("{writer} {at}"));
                let actor = Actor::Unknown;
                store.append_audit(chain, &actor, &event).await.unwrap();
            }
        });
    }
    soon(appends.join_all()).await;
    let mut next: BTreeMap<String, u32> = BTreeMap::new();
    let contents = contents(one, chain).await;
    assert_eq!(contents.len(), (writers * each) as usize);
    for content in contents {
        let detail = content["event"]["detail"].as_str().unwrap();
        let (writer, at) = detail.split_once(' ').unwrap();
        let next = next.entry(writer.to_owned()).or_default();
        assert_eq!(at, next.to_string(), "writer {writer}");
        *next += 1;
    }
}

pub(crate) async fn pages_and_chains<S: Store>(store: &S) {
    let task = TaskId::from(fixture::random());
    let chain = Chain::Task(task);
    assert_eq!(store.audit_head(chain).await.unwrap(), None);
    assert_eq!(store.audit_entries(chain, 0, 10).await.unwrap(), []);
    for at in 0..5 {
        let event = denied(at.to_string());
        let head = store.append_audit(chain, &Actor::Retention, &event).await;
        assert_eq!(head.unwrap().sequence, at);
    }
    let page = store.audit_entries(chain, 2, 2).await.unwrap();
    assert_eq!(page.iter().map(|e| e.sequence).collect::<Vec<_>>(), [2, 3]);
    let event = denied(String::new());
    let service = store.append_audit(Chain::Service, &Actor::Unknown, &event);
    service.await.unwrap();
    let chains = store.audit_chains().await.unwrap();
    assert_eq!(chains.last(), Some(&Chain::Service));
    assert!(chains.contains(&chain));
}

/// The first key that is offered stays.
pub(crate) async fn the_key_is_made_once<S: Store>(store: &S) {
    assert!(store.audit_key(None).await.unwrap().is_none());
    for candidate in [1, 2] {
        let candidate = Secret32::from([candidate; 32]);
        let kept = store.audit_key(Some(&candidate)).await.unwrap().unwrap();
        assert_eq!(kept.expose(), &[1; 32]);
    }
}

/// Runs a statement, which may be several, beside the store.
async fn run(url: &str, statement: String) -> Result<(), sqlx::Error> {
    let statement = AssertSqlSafe(statement);
    if url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(url).await?;
        sqlx::raw_sql(statement).execute(&mut connection).await?;
        connection.close().await
    } else {
        let mut connection = PgConnection::connect(url).await?;
        sqlx::raw_sql(statement).execute(&mut connection).await?;
        connection.close().await
    }
}

/// A transaction that fails after its entry was appended takes the entry with it.
async fn undone(url: &str, break_it: &str, mend_it: &str) {
    let store = AnyStore::connect(url).await.unwrap();
    let round = fixture::round_in(&store, PhaseName::ShareKeys).await;
    let before = kinds(&store, round.task).await;
    run(url, break_it.to_owned()).await.unwrap();
    let end = |round: RoundId| {
        let store = store.clone();
        async move {
            let outcome = failed(Some(1));
            store
                .end_round(round, PhaseName::ShareKeys, &outcome, NOW)
                .await
        }
    };
    end(round.id).await.unwrap_err();
    assert_eq!(kinds(&store, round.task).await, before);
    run(url, mend_it.to_owned()).await.unwrap();
    assert!(end(round.id).await.unwrap());
    let after = kinds(&store, round.task).await;
    assert_eq!(
        after[before.len()..],
        ["round-failed", "privacy-spent", "client-barred"]
    );
    store.close().await;
}

/// Spec.
#[tokio::test]
async fn sqlite_undoes_entry_and_change_together() {
    let folder = tempfile::tempdir().unwrap();
    let break_it = "CREATE TRIGGER broken BEFORE UPDATE OF rounds_ended ON tasks \
                    BEGIN SELECT RAISE(ABORT, 'broken'); END";
    undone(
        &fixture::sqlite_url(&folder),
        break_it,
        "DROP TRIGGER broken",
    )
    .await;
}

/// Spec.
#[tokio::test]
async fn postgres_undoes_entry_and_change_together() {
    let Some(database) = postgres::fresh().await else {
        return;
    };
    let break_it = "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS \
                    $$ BEGIN RAISE EXCEPTION 'broken'; END $$; \
                    CREATE TRIGGER broken BEFORE UPDATE OF rounds_ended ON tasks \
                    FOR EACH ROW EXECUTE FUNCTION broken()";
    undone(&database.url, break_it, "DROP TRIGGER broken ON tasks").await;
    database.drop().await;
}

/// Edits that the triggers refuse.
const EDITS: [&str; 8] = [
    "UPDATE audit_entries SET content = '{}' WHERE sequence = 0",
    "UPDATE audit_entries SET sequence = 999 WHERE sequence = 0",
    "DELETE FROM audit_entries WHERE sequence = 0",
    "DELETE FROM audit_entries",
    "DELETE FROM audit_chains",
    "UPDATE audit_chains SET entries = entries - 1",
    "UPDATE audit_chains SET entries = entries + 1",
    "UPDATE audit_chains SET head = (SELECT digest FROM audit_entries WHERE sequence = 0 LIMIT 1)",
];

async fn edits_are_refused(url: &str, more: &[&str]) {
    let store = AnyStore::connect(url).await.unwrap();
    let round = fixture::round_in(&store, PhaseName::Unmask).await;
    let before = contents(&store, Chain::Task(round.task)).await;
    for edit in EDITS.iter().chain(more) {
        let refused = run(url, (*edit).to_owned()).await;
        let text = refused.map_or_else(|error| error.to_string(), |()| "done".to_owned());
        assert!(text.contains("append-only"), "{edit}: {text}");
    }
    assert_eq!(contents(&store, Chain::Task(round.task)).await, before);
    store.close().await;
}

#[tokio::test]
async fn sqlite_refuses_edits_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let more = [
        "INSERT OR REPLACE INTO audit_entries SELECT chain, sequence, '{}', digest \
         FROM audit_entries",
        "INSERT OR REPLACE INTO audit_chains SELECT chain, 0, head FROM audit_chains",
    ];
    edits_are_refused(&fixture::sqlite_url(&folder), &more).await;
}

#[tokio::test]
async fn postgres_refuses_edits_of_the_log() {
    let Some(database) = postgres::fresh().await else {
        return;
    };
    let more = [
        "TRUNCATE audit_entries CASCADE",
        "TRUNCATE audit_chains CASCADE",
    ];
    edits_are_refused(&database.url, &more).await;
    database.drop().await;
}
