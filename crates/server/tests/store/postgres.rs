//! A fresh Postgres database for one test.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::fixture::random;

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
