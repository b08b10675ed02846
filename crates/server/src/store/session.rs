//! One door to either database: the same statements run on Postgres and on SQLite.
//!
//! Both drivers take `$1` parameters, so a statement is written once. The two differ in how rows
//! are locked: Postgres by a clause of the statement, SQLite by having one writer at a time.

use std::time::Instant;

use metrics::histogram;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{
    ColumnIndex, Decode, Encode, PgConnection, PgPool, Postgres, Row as _, Sqlite,
    SqliteConnection, SqlitePool, Transaction, Type,
};

use super::{Result, Signal, StoreError, signals};
use crate::telemetry::name;

/// The connections to a database.
#[derive(Debug, Clone)]
pub(super) enum Pools {
    /// Any number of processes share the database.
    Postgres(PgPool),
    /// This process has the database file. The writer is one connection: its queue is fair, which
    /// waiting for SQLite's own lock is not. Readers do not block it.
    Sqlite {
        /// The one connection that writes.
        writer: SqlitePool,
        /// Connections that only read.
        readers: SqlitePool,
    },
}

impl Pools {
    /// A session for one statement that reads.
    pub(super) async fn read(&self) -> Result<Session> {
        Ok(match self {
            Self::Postgres(pool) => Session::Postgres(waited(POSTGRES, pool.acquire()).await?),
            Self::Sqlite { readers, .. } => {
                Session::Sqlite(waited(READERS, readers.acquire()).await?)
            }
        })
    }

    /// A session that is one transaction. Dropping it undoes what it did.
    ///
    /// The isolation level is stated, whatever the database's default: row locks do the rest, and
    /// each statement must see what was committed while it waited for one.
    pub(super) async fn begin(&self) -> Result<Session> {
        Ok(match self {
            Self::Postgres(pool) => {
                let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
                Session::PostgresWrite(waited(POSTGRES, pool.begin_with(begin)).await?)
            }
            Self::Sqlite { writer, .. } => {
                let begin = writer.begin_with("BEGIN IMMEDIATE");
                Session::SqliteWrite(waited(WRITER, begin).await?)
            }
        })
    }

    /// How the connections are used now.
    pub(super) fn in_use(&self) -> Vec<PoolUse> {
        match self {
            Self::Postgres(pool) => vec![PoolUse::of(POSTGRES, pool)],
            Self::Sqlite { writer, readers } => {
                vec![PoolUse::of(WRITER, writer), PoolUse::of(READERS, readers)]
            }
        }
    }

    /// Empties SQLite's write-ahead log. What was overwritten in the file would otherwise stand in
    /// the log until later writes happen to cover it. A failure is no reason to fail what was done:
    /// the next call makes up for it.
    pub(super) async fn empty_log(&self) {
        let Self::Sqlite { writer, .. } = self else {
            return;
        };
        let emptied = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(writer);
        if let Err(error) = emptied.await {
            tracing::warn!(%error, "the write-ahead log could not be emptied");
        }
    }

    /// Closes all connections, after those in use have been given back.
    pub(super) async fn close(&self) {
        match self {
            Self::Postgres(pool) => pool.close().await,
            Self::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}

const POSTGRES: &str = "postgres";
const WRITER: &str = "sqlite-writer";
const READERS: &str = "sqlite-readers";

/// Waits for a connection, and notes how long.
async fn waited<C>(
    pool: &'static str,
    connection: impl Future<Output = sqlx::Result<C>>,
) -> Result<C> {
    let started = Instant::now();
    let connection = connection.await;
    histogram!(name::STORE_WAIT_SECONDS, "pool" => pool).record(started.elapsed());
    Ok(connection?)
}

/// How many connections of a pool are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolUse {
    /// The pool's name.
    pub name: &'static str,
    /// Connections that a step holds.
    pub used: usize,
    /// Open connections that none holds.
    pub idle: usize,
}

impl PoolUse {
    fn of<D: sqlx::Database>(name: &'static str, pool: &sqlx::Pool<D>) -> Self {
        let open = usize::try_from(pool.size()).unwrap_or(usize::MAX);
        let idle = pool.num_idle().min(open);
        let used = open - idle;
        Self { name, used, idle }
    }
}

/// A connection, held for one step; in a transaction if the step writes.
pub(super) enum Session {
    Postgres(PoolConnection<Postgres>),
    PostgresWrite(Transaction<'static, Postgres>),
    Sqlite(PoolConnection<Sqlite>),
    SqliteWrite(Transaction<'static, Sqlite>),
}

impl Session {
    /// Prepares a statement.
    pub(super) fn query(&mut self, statement: &'static str) -> Query<'_> {
        self.query_locking(statement, statement)
    }

    /// Prepares a statement that locks rows where the database has row locks; see [`locking!`].
    pub(super) fn query_locking(
        &mut self,
        postgres: &'static str,
        sqlite: &'static str,
    ) -> Query<'_> {
        match self {
            Self::Postgres(connection) => Query::Postgres(connection, sqlx::query(postgres)),
            Self::PostgresWrite(connection) => Query::Postgres(connection, sqlx::query(postgres)),
            Self::Sqlite(connection) => Query::Sqlite(connection, sqlx::query(sqlite)),
            Self::SqliteWrite(connection) => Query::Sqlite(connection, sqlx::query(sqlite)),
        }
    }

    /// The connection, for what only Postgres can do.
    pub(super) fn postgres(&mut self) -> Option<&mut PgConnection> {
        match self {
            Self::Postgres(connection) => Some(connection),
            Self::PostgresWrite(transaction) => Some(transaction),
            Self::Sqlite(_) | Self::SqliteWrite(_) => None,
        }
    }

    /// Tells all processes that listen, once the transaction is durable.
    ///
    /// Postgres lets transactions that notify commit one after the other: only rare changes do it,
    /// never the upload of a message.
    pub(super) async fn notify(&mut self, signal: Signal) -> Result<()> {
        if self.postgres().is_some() {
            self.query("SELECT pg_notify($1, $2)")
                .bind(signals::CHANNEL)
                .bind(signal.to_string())
                .row()
                .await?;
        }
        Ok(())
    }

    /// Makes the transaction durable.
    pub(super) async fn commit(self) -> Result<()> {
        let started = Instant::now();
        match self {
            Self::PostgresWrite(transaction) => transaction.commit().await?,
            Self::SqliteWrite(transaction) => transaction.commit().await?,
            Self::Postgres(_) | Self::Sqlite(_) => return Ok(()),
        }
        histogram!(name::STORE_COMMIT_SECONDS).record(started.elapsed());
        Ok(())
    }
}

/// A statement that locks the rows it reads: with `$lock` on Postgres, and as it stands on SQLite,
/// where a transaction that writes has the whole file.
macro_rules! locking {
    ($session:expr, $statement:literal, $lock:literal) => {
        $session.query_locking(concat!($statement, " ", $lock), $statement)
    };
}
pub(super) use locking;

/// A statement with the values bound so far.
pub(super) enum Query<'s> {
    Postgres(
        &'s mut PgConnection,
        sqlx::query::Query<'static, Postgres, PgArguments>,
    ),
    Sqlite(
        &'s mut SqliteConnection,
        sqlx::query::Query<'static, Sqlite, SqliteArguments>,
    ),
}

impl Query<'_> {
    /// Binds the next parameter.
    pub(super) fn bind<'v, T>(self, value: T) -> Self
    where
        T: Encode<'v, Postgres> + Type<Postgres> + Encode<'v, Sqlite> + Type<Sqlite>,
    {
        match self {
            Self::Postgres(connection, query) => Self::Postgres(connection, query.bind(value)),
            Self::Sqlite(connection, query) => Self::Sqlite(connection, query.bind(value)),
        }
    }

    /// Runs the statement; returns how many rows it changed.
    pub(super) async fn execute(self) -> Result<u64> {
        Ok(match self {
            Self::Postgres(connection, query) => query.execute(connection).await?.rows_affected(),
            Self::Sqlite(connection, query) => query.execute(connection).await?.rows_affected(),
        })
    }

    /// The row the statement finds, if any.
    pub(super) async fn row(self) -> Result<Option<Row>> {
        Ok(match self {
            Self::Postgres(connection, query) => {
                query.fetch_optional(connection).await?.map(Row::Postgres)
            }
            Self::Sqlite(connection, query) => {
                query.fetch_optional(connection).await?.map(Row::Sqlite)
            }
        })
    }

    /// All rows the statement finds.
    pub(super) async fn rows(self) -> Result<Vec<Row>> {
        Ok(match self {
            Self::Postgres(connection, query) => {
                let rows = query.fetch_all(connection).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
            Self::Sqlite(connection, query) => {
                let rows = query.fetch_all(connection).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
        })
    }
}

/// A row that a statement found.
pub(super) enum Row {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Self::Postgres(row)
    }
}

impl Row {
    /// The value in a column, by position or by name.
    pub(super) fn get<'r, T, I>(&'r self, column: I) -> Result<T>
    where
        T: Decode<'r, Postgres> + Type<Postgres> + Decode<'r, Sqlite> + Type<Sqlite>,
        I: ColumnIndex<PgRow> + ColumnIndex<SqliteRow>,
    {
        let value = match self {
            Self::Postgres(row) => row.try_get(column),
            Self::Sqlite(row) => row.try_get(column),
        };
        value.map_err(|error| StoreError::Corrupt(error.to_string()))
    }
}
