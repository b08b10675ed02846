//! What the schema itself refuses, below the store.

use sqlx::migrate::MigrateError;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use undertone_protocol::aggregator::PhaseName;
use undertone_server::store::{AnyStore, StoreError};

use crate::{fixture, postgres};

/// Statements that would break a promise. One task has one round open, with one message.
const REFUSED: [&str; 13] = [
    // Rows of tasks and rounds that are not there.
    "UPDATE tasks SET model = zeroblob32",
    "DELETE FROM adapters",
    "DELETE FROM rounds",
    "UPDATE messages SET round = zeroblob32",
    // Ids and digests of another length.
    "UPDATE rounds SET id = zeroblob16",
    // Statuses that contradict the counts.
    "UPDATE tasks SET status = 'finished'",
    "UPDATE tasks SET rounds_ended = rounds",
    "UPDATE tasks SET rounds_ended = rounds + 1, status = 'finished'",
    // Rounds that ended and did not, or ended two ways.
    "UPDATE rounds SET state = 'finished', ended_at = 1",
    "UPDATE rounds SET state = 'failed', reason = 'none'",
    "UPDATE rounds SET sum = zeroblob32",
    // Words that are not phases, and two messages of one sender.
    "UPDATE messages SET phase = 'gossip'",
    "INSERT INTO messages SELECT * FROM messages",
];

async fn fill(url: &str) {
    let store = fixture::open(url).await;
    let round = fixture::round_in(&store, PhaseName::ShareKeys).await;
    let message = fixture::message(1, "shares");
    let put = undertone_server::store::Store::put_message;
    put(&store, round.id, PhaseName::ShareKeys, &message)
        .await
        .unwrap();
    store.close().await;
}

/// The statement, with bytes written the database's way.
fn with_bytes(statement: &str, bytes: impl Fn(usize) -> String) -> AssertSqlSafe<String> {
    let statement = statement.replace("zeroblob32", &bytes(32));
    AssertSqlSafe(statement.replace("zeroblob16", &bytes(16)))
}

#[tokio::test]
async fn sqlite_refuses_what_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let url = fixture::sqlite_url(&folder);
    fill(&url).await;
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    for statement in REFUSED {
        let sql = with_bytes(statement, |n| format!("zeroblob({n})"));
        let error = sqlx::raw_sql(sql)
            .execute(&mut connection)
            .await
            .expect_err(statement);
        assert!(
            error.to_string().contains("constraint failed"),
            "{statement}: {error}"
        );
    }
    let text_as_bytes = "UPDATE adapters SET bytes = 'text'";
    let error = sqlx::raw_sql(text_as_bytes).execute(&mut connection).await;
    assert!(error.unwrap_err().to_string().contains("cannot store TEXT"));
}

#[tokio::test]
async fn postgres_refuses_what_cannot_be() {
    let Some(database) = postgres::fresh().await else {
        return;
    };
    fill(&database.url).await;
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    for statement in REFUSED {
        let sql = with_bytes(statement, |n| format!("'\\x{}'::bytea", "00".repeat(n)));
        let error = sqlx::raw_sql(sql)
            .execute(&mut connection)
            .await
            .expect_err(statement);
        // Class 23 of the SQL standard: integrity constraint violation.
        let code = error
            .as_database_error()
            .and_then(|e| e.code().map(String::from));
        assert!(
            code.is_some_and(|c| c.starts_with("23")),
            "{statement}: {error}"
        );
    }
    connection.close().await.unwrap();
    database.drop().await;
}

/// A database that a later version changed is left alone.
#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let url = fixture::sqlite_url(&folder);
    fixture::open(&url).await.close().await;
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let later = "INSERT INTO _sqlx_migrations \
        (version, description, success, checksum, execution_time) VALUES (9999, '', 1, x'00', 0)";
    sqlx::raw_sql(later).execute(&mut connection).await.unwrap();
    let error = AnyStore::connect(&url).await.map(|_| ()).unwrap_err();
    let version = matches!(
        error,
        StoreError::Migration(MigrateError::VersionMissing(9999))
    );
    assert!(version, "{error:?}");
}

/// Durability is what the acknowledgement promises: WAL, and a sync before every commit returns.
#[tokio::test]
async fn sqlite_writes_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let url = fixture::sqlite_url(&folder);
    fixture::open(&url).await.close().await;
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(mode, "wal");
}
