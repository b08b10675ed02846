//! The crate's error: one line, and what to do next.

use std::io;
use std::path::PathBuf;

use undertone_client::ClientError;
use undertone_privacy::PrivacyError;
use undertone_protocol::ProtocolError;
use undertone_protocol::adapter::AdapterError;
use undertone_protocol::threshold::Infeasible;
use undertone_server::ServerError;
use undertone_server::store::StoreError;
use undertone_training::TrainingError;

use crate::account::AccountError;
use crate::report::ReportError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Save {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Standard output cannot be written to.
    #[error("cannot write to standard output: {0}")]
    Write(#[from] io::Error),
    /// Something is wrong with an audit log.
    #[error("the audit log does not verify: {0}")]
    AuditLog(String),
    /// Something is wrong with a client's receipts.
    #[error("the receipts do not verify: {0}")]
    Receipts(String),
    /// An input is refused.
    #[error("{0}")]
    Input(String),
    /// The async runtime did not start.
    #[error("the async runtime did not start: {0}")]
    Runtime(io::Error),
    /// The system's random generator failed.
    #[error("the system's random generator failed: {0}")]
    Randomness(#[from] getrandom::Error),
    /// The service failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The client failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A measurement failed.
    #[error(transparent)]
    Bench(#[from] undertone_bench::BenchError),
    /// A study failed.
    #[error(transparent)]
    Study(#[from] undertone_study::StudyError),
    /// Training failed.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// Protocol data is refused.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// An adapter is refused.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// A privacy setting is refused.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    /// Accounting failed.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// No parameters fit.
    #[error(transparent)]
    Infeasible(#[from] Infeasible),
    /// The report could not be written.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A value has no JSON form.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl CliError {
    /// The exit status: 2 where the command line asks for what does not exist, else 1.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Infeasible(_) => 2,
            _ => 1,
        }
    }

    /// For `map_err` on reading a file.
    pub(crate) fn read(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    /// For `map_err` on writing a file.
    pub(crate) fn save(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Save { path, source }
    }
}
