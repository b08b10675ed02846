//! The crate's error.

use std::net::SocketAddr;

use undertone_federated::FederatedError;
use undertone_privacy::PrivacyError;
use undertone_protocol::ProtocolError;
use undertone_protocol::adapter::AdapterError;
use undertone_protocol::audit::Chain;

use crate::config::ConfigError;
use crate::store::StoreError;

/// Why the service does not start, or does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The service stopped with an error.
    #[error("the service stopped: {0}")]
    Serve(std::io::Error),
    /// Logs, metrics or traces cannot be set up.
    #[error("telemetry: {0}")]
    Telemetry(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task's settings are refused.
    #[error("the task is refused: {0}")]
    Task(String),
    /// A token cannot be made as it was wished for.
    #[error("the token is refused: {0}")]
    Token(&'static str),
    /// The key that signs audit heads cannot be used.
    #[error("the audit key cannot be used: {0}")]
    AuditKey(String),
    /// The audit log has no such chain.
    #[error("the audit log has no chain {0}; name a task's id, or `service`")]
    NoChain(Chain),
    /// Stored or given protocol data is refused.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The mechanism is refused.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    /// The server's optimiser or an algorithm's coordinates are refused.
    #[error(transparent)]
    Federated(#[from] FederatedError),
    /// An adapter is refused.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The system's random generator failed.
    #[error("the system's random generator failed: {0}")]
    Randomness(#[from] getrandom::Error),
    /// A computation was cut off.
    #[error("a computation was cut off: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}
