//! The crate's error: one line, and what to do next.

use std::io;
use std::path::PathBuf;

use undertone_privacy::PrivacyError;
use undertone_protocol::ProtocolError;
use undertone_protocol::adapter::AdapterError;
use undertone_protocol::threshold::Infeasible;
use undertone_server::ServerError;
use undertone_server::store::StoreError;

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The plan makes no sense.
    #[error("{0}")]
    Plan(String),
    /// No parameters fit.
    #[error(transparent)]
    Infeasible(#[from] Infeasible),
    /// The task is refused.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A step of the protocol failed.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The adapter is refused.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The mechanism is refused.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    /// There is no PostgreSQL server to start.
    #[error(
        "there is no PostgreSQL server to start: initdb and pg_ctl are in no usual place; install \
         it (Debian: apt-get install postgresql), or name a database with --database"
    )]
    NoPostgres,
    /// PostgreSQL did not start.
    #[error("PostgreSQL did not start: {0}")]
    Postgres(String),
    /// The service did not start.
    #[error("the service did not start: {0}")]
    Start(String),
    /// Something about a process could not be found out.
    #[error("cannot read {path}: {source}")]
    Process {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// More connections than the system allows.
    #[error(
        "{needed} connections need as many open files, the limit is {limit}; raise it (ulimit -Hn, \
         LimitNOFILE=) or ask for fewer"
    )]
    OpenFiles {
        /// Open files needed.
        needed: u64,
        /// The hard limit.
        limit: u64,
    },
    /// A request failed for good.
    #[error("{method} {path} failed: {reason}")]
    Request {
        /// The method.
        method: &'static str,
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// The service says what cannot be.
    #[error("the service misbehaves: {0}")]
    Misbehaving(String),
    /// A round ended without a sum.
    #[error("round {number} failed: {reason}")]
    RoundFailed {
        /// The round's number.
        number: u32,
        /// Why.
        reason: String,
    },
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be made: {0}")]
    Http(String),
    /// The system's random generator failed.
    #[error("the system's random generator failed: {0}")]
    Randomness(#[from] getrandom::Error),
    /// A file or a connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A computation panicked: a defect of this crate.
    #[error("a computation was cut off: {0}")]
    CutOff(#[from] tokio::task::JoinError),
}
