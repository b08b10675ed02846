//! A fresh Postgres database for one test.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use tokio::task::JoinSet;
use undertone_protocol::aggregator::PhaseName;
use undertone_server::store::{PutOutcome, Store};

use crate::fixture::{self, random};

const VARIABLE: &str = "UNDERTONE_TEST_POSTGRES";

/// A database that no other test uses.
pub(crate) struct Database {
    server: PgConnectOptions,
    name: String,
    pub(crate) url: String,
}

/// Makes a database; `None` if the environment says to skip Postgres.
pub(crate) async fn fresh() -> Option<Database> {
    let server = std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!(
            "{VARIABLE} is not set: run the tests with `make test`, which starts a throw-away \
             PostgreSQL, or set it to the address of a server where databases may be made, or to \
             `skip`"
        )
    });
    if server == "skip" {
        return None;
    }
    let (start, _) = server.rsplit_once('/').unwrap();
    let name = format!("undertone_test_{:016x}", u64::from_le_bytes(random()));
    let database = Database {
        url: format!("{start}/{name}"),
        server: PgConnectOptions::from_str(&server).unwrap(),
        name,
    };
    database.run("CREATE DATABASE").await;
    Some(database)
}

impl Database {
    /// Removes the database.
    pub(crate) async fn drop(self) {
        self.run("DROP DATABASE").await;
    }

    /// Ends every connection to the database, as a server does that is told to stop. Returns how
    /// many there were.
    pub(crate) async fn break_connections(&self) -> usize {
        let mut connection = self.server.connect().await.unwrap();
        let ended = sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = $1 AND application_name = 'undertone'",
        )
        .bind(&self.name)
        .fetch_all(&mut connection)
        .await
        .unwrap();
        connection.close().await.unwrap();
        ended.len()
    }

    async fn run(&self, statement: &str) {
        let mut connection = self.server.connect().await.unwrap();
        // The name is made of hexadecimal digits.
        let statement = AssertSqlSafe(format!("{statement} {}", self.name));
        sqlx::raw_sql(statement)
            .execute(&mut connection)
            .await
            .unwrap();
        connection.close().await.unwrap();
    }
}

/// Connections are ended while inputs are under way, three times; no call fails, and each input is
/// in the sum once.
pub(crate) async fn broken_connections_are_replaced(database: &Database) {
    let (bits, length, senders) = (24, 200_000, 24);
    let store = fixture::open(&database.url).await;
    let round = fixture::round_in(&store, PhaseName::MaskedInput).await.id;
    let mut puts = JoinSet::new();
    for sender in 0..senders {
        let store = store.clone();
        let vector = fixture::vector(bits, length, sender);
        puts.spawn(async move { fixture::put(&store, round, sender, &vector).await });
    }
    // Inputs that wait to be tried again have no connection, so a single break may find none.
    let mut ended = 0;
    for wait in [15, 60, 250] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        ended += database.break_connections().await;
    }
    assert!(ended > 0);
    for outcome in fixture::soon(puts.join_all()).await {
        // A commit whose answer was lost is found when it is tried again.
        assert!(matches!(
            outcome,
            PutOutcome::Accepted | PutOutcome::Repeated
        ));
    }
    let sum = store.running_sum(round, fixture::ring(bits), length).await;
    assert_eq!(sum.unwrap(), fixture::sum_of(bits, length, 0..senders));
    store.close().await;
}
