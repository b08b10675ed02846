//! Opening a database by its address, and bringing its schema up to date.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqlSafeStr};

use super::session::Pools;
use super::{Result, StoreError};

// Applied migrations are never edited: a database that has others than these is refused.
const POSTGRES: &[(i64, &str)] = &[
    (
        1,
        include_str!("../../../../migrations/postgres/0001_tasks_and_rounds.sql"),
    ),
    (
        2,
        include_str!("../../../../migrations/postgres/0002_barred.sql"),
    ),
    (
        5,
        include_str!("../../../../migrations/postgres/0005_admin.sql"),
    ),
    (
        6,
        include_str!("../../../../migrations/postgres/0006_audit.sql"),
    ),
    (
        7,
        include_str!("../../../../migrations/postgres/0007_replicas.sql"),
    ),
    (
        9,
        include_str!("../../../../migrations/postgres/0009_attendance.sql"),
    ),
    (
        10,
        include_str!("../../../../migrations/postgres/0010_page_sessions.sql"),
    ),
    (
        11,
        include_str!("../../../../migrations/postgres/0011_server_optimizers.sql"),
    ),
    (
        12,
        include_str!("../../../../migrations/postgres/0012_task_budgets.sql"),
    ),
];
const SQLITE: &[(i64, &str)] = &[
    (
        1,
        include_str!("../../../../migrations/sqlite/0001_tasks_and_rounds.sql"),
    ),
    (
        2,
        include_str!("../../../../migrations/sqlite/0002_barred.sql"),
    ),
    (
        5,
        include_str!("../../../../migrations/sqlite/0005_admin.sql"),
    ),
    (
        6,
        include_str!("../../../../migrations/sqlite/0006_audit.sql"),
    ),
    (
        7,
        include_str!("../../../../migrations/sqlite/0007_replicas.sql"),
    ),
    (
        9,
        include_str!("../../../../migrations/sqlite/0009_attendance.sql"),
    ),
    (
        10,
        include_str!("../../../../migrations/sqlite/0010_page_sessions.sql"),
    ),
    (
        11,
        include_str!("../../../../migrations/sqlite/0011_server_optimizers.sql"),
    ),
    (
        12,
        include_str!("../../../../migrations/sqlite/0012_task_budgets.sql"),
    ),
];

/// The migrations as the library runs them. Listed here and not by its macro, which would build
/// both database drivers a second time.
fn migrator(migrations: &[(i64, &'static str)]) -> Migrator {
    let migration = |(version, sql): &(i64, &'static str)| {
        let kind = MigrationType::Simple;
        Migration::new(
            *version,
            "undertone".into(),
            kind,
            sql.into_sql_str(),
            false,
        )
    };
    Migrator::with_migrations(migrations.iter().map(migration).collect())
}

/// How long to try to reach a database at start.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a step waits for a free connection: longer than that is overload, and shed.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(8);
/// How long to wait for SQLite's file lock, which only another process can hold.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before a busy file is tried again, where SQLite does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// A step holds a connection for one or two fsyncs; more connections would only queue at the disk.
const POSTGRES_CONNECTIONS: u32 = 16;
const SQLITE_READERS: u32 = 4;

/// What becomes of a schema that is not the one that this version needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// It is brought up to date.
    Migrate,
    /// It is an error.
    Require,
    /// It stays as it is.
    Leave,
}

/// Opens the database at `url`.
pub(super) async fn open(url: &str, schema: Schema) -> Result<Pools> {
    let pools = reach_pools(url, schema).await?;
    if schema == Schema::Require
        && let Err(error) = require(&pools).await
    {
        pools.close().await;
        return Err(error);
    }
    Ok(pools)
}

async fn reach_pools(url: &str, schema: Schema) -> Result<Pools> {
    match url.split_once(':').map(|(scheme, _)| scheme) {
        Some("postgres" | "postgresql") => open_postgres(url, schema).await,
        Some("sqlite") => open_sqlite(url, schema).await,
        _ => Err(bad_address(url)),
    }
}

async fn open_postgres(url: &str, schema: Schema) -> Result<Pools> {
    let options = PgConnectOptions::from_str(url).map_err(|_| bad_address(url))?;
    let options = options.application_name("undertone").options([
        // An acknowledged input is on disk, whatever the server's default is.
        ("synchronous_commit", "on"),
        // A process that hangs in a transaction must not hold a round's locks for long.
        ("idle_in_transaction_session_timeout", "10s"),
        ("lock_timeout", "10s"),
    ]);
    // A pool retries a refused connection and then reports only that it timed out. One connection
    // first gives the reason.
    reach(|| shown(&options), options.connect())
        .await?
        .close()
        .await?;
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options);
    if schema == Schema::Migrate {
        migrator(POSTGRES).run(&pool).await?;
    }
    Ok(Pools::Postgres(pool))
}

async fn open_sqlite(url: &str, schema: Schema) -> Result<Pools> {
    let options = SqliteConnectOptions::from_str(url).map_err(|_| bad_address(url))?;
    // A database in memory forgets what was acknowledged, and SQLite takes no name for a file that
    // it deletes.
    let unnamed = matches!(url, "sqlite:" | "sqlite://");
    if unnamed || url.contains(":memory:") || url.contains("mode=memory") {
        return Err(bad_address(url));
    }
    let options = options
        .create_if_missing(schema != Schema::Require)
        .foreign_keys(true)
        // In WAL mode anything less loses acknowledged inputs when the power goes.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        // What a round's end erases is overwritten, not left in free pages.
        .pragma("secure_delete", "on");
    let mut first = reach(|| url.to_owned(), first_of_sqlite(&options)).await?;
    if schema == Schema::Migrate {
        migrate_sqlite(&mut first).await?;
    }
    let pool = |connections| -> SqlitePool {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options.clone())
    };
    let (writer, readers) = (pool(1), pool(SQLITE_READERS));
    // Whoever closes a file last takes its log away, and locks out whoever opens it then: the
    // writer has it open before the first connection closes.
    writer.acquire().await?;
    first.close().await?;
    Ok(Pools::Sqlite { writer, readers })
}

/// Whether the schema is the one of this version.
async fn require(pools: &Pools) -> Result<()> {
    let (known, applied) = (known(pools), applied(pools).await?);
    if let Some(unknown) = applied.iter().find(|version| !known.contains(version)) {
        // What `Migrator` says of a database that a newer version has migrated.
        return Err(MigrateError::VersionMissing(*unknown).into());
    }
    let missing = missing(pools).await?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(StoreError::OldSchema { missing })
}

/// The migrations that the database lacks, ascending.
pub(super) async fn missing(pools: &Pools) -> Result<Vec<i64>> {
    let applied = applied(pools).await?;
    let mut missing = known(pools);
    missing.retain(|version| !applied.contains(version));
    Ok(missing)
}

/// The migrations of this version, ascending.
fn known(pools: &Pools) -> Vec<i64> {
    let migrations = match pools {
        Pools::Postgres(_) => POSTGRES,
        Pools::Sqlite { .. } => SQLITE,
    };
    migrations.iter().map(|(version, _)| *version).collect()
}

/// The migrations that the database has, ascending.
async fn applied(pools: &Pools) -> Result<Vec<i64>> {
    let there = match pools {
        Pools::Postgres(_) => "SELECT to_regclass('_sqlx_migrations')::text AS name",
        Pools::Sqlite { .. } => {
            "SELECT max(name) AS name FROM sqlite_master WHERE name = '_sqlx_migrations'"
        }
    };
    let mut session = pools.read().await?;
    let table: Option<String> = match session.query(there).row().await? {
        Some(row) => row.get("name")?,
        None => None,
    };
    let mut applied = Vec::new();
    if table.is_some() {
        let statement = "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";
        for row in session.query(statement).rows().await? {
            applied.push(row.get::<i64, _>("version")?);
        }
    }
    Ok(applied)
}

/// The connection that sets the file up. The file stays in WAL mode, so no later one asks for it.
///
/// To change the mode takes the whole file for a moment. SQLite does not wait for that as it waits
/// for other locks: two processes that both have the file open would wait for each other. It says
/// that the file is busy, and one comes again.
async fn first_of_sqlite(options: &SqliteConnectOptions) -> sqlx::Result<SqliteConnection> {
    let options = options.clone().journal_mode(SqliteJournalMode::Wal);
    loop {
        match options.connect().await {
            Err(error) if is_busy(&error) => tokio::time::sleep(BUSY_PAUSE).await,
            result => return result,
        }
    }
}

/// Whether another process has the file (`SQLITE_BUSY` and its extended codes).
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.and_then(|code| code.parse::<u32>().ok())
        .is_some_and(|code| code & 0xff == 5)
}

/// All in one transaction that has the file from its start: of processes that start at once, one
/// makes the schema and the others wait and find it made. (Postgres has an advisory lock for this.)
async fn migrate_sqlite(connection: &mut SqliteConnection) -> Result<()> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let migrator = migrator(SQLITE);
    // Not `run`, whose bounds no spawned task meets.
    migrator.run_direct(None, &mut *transaction, false).await?;
    Ok(transaction.commit().await?)
}

/// Waits for a first connection; `address` is shown to the user.
async fn reach<C>(
    address: impl FnOnce() -> String,
    connect: impl Future<Output = sqlx::Result<C>>,
) -> Result<C> {
    let reason = match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
        Ok(Ok(connection)) => return Ok(connection),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
    };
    let url = address();
    Err(StoreError::Unreachable { url, reason })
}

/// The address as it was understood. The password is not among what the driver tells.
fn shown(options: &PgConnectOptions) -> String {
    let (user, port) = (options.get_username(), options.get_port());
    let database = options.get_database().unwrap_or(user);
    let socket = options.get_socket().map(|path| path.to_string_lossy());
    let host = socket.unwrap_or_else(|| options.get_host().into());
    format!("postgres://{user}@{host}:{port}/{database}")
}

/// An address that was not understood is shown only if it has no place for a password.
fn bad_address(url: &str) -> StoreError {
    let url = match url.split_once("://") {
        Some((scheme, rest)) if rest.contains(['@', '?']) => format!("{scheme}://..."),
        _ => url.to_owned(),
    };
    StoreError::Address { url }
}
