//! What an operator can set of logs, metrics and traces.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// How logs are written: to standard error, a line an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// For people, or for a log collector.
    pub format: LogFormat,
    /// What is logged: a level, or levels by module, as `info,undertone_server::store=debug`.
    /// The environment variable `RUST_LOG`, where it is set, goes before it.
    pub filter: String,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: "info".to_owned(),
        }
    }
}

/// The form of a line of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Time, level, module, text and fields.
    #[default]
    Text,
    /// One JSON object with the same parts.
    Json,
}

/// Where metrics are served. Nowhere by default: they tell how busy the service is, and the
/// service's own port is open to all clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSettings {
    /// Serve `/metrics` beside the clients' routes, on the service's own port.
    pub public: bool,
    /// Serve `/metrics` on this address as well, which should not be reachable from outside. It
    /// speaks plain HTTP.
    pub listen: Option<SocketAddr>,
}

/// Where traces are sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtelSettings {
    /// Address of an OpenTelemetry collector that takes OTLP over HTTP, such as
    /// `http://127.0.0.1:4318`; spans go to `/v1/traces` below it. Nothing is sent without one.
    pub endpoint: Option<String>,
    /// The share of requests that get a span of their own, 0 to 1. Phases, batches and everything
    /// else that does not grow with the number of clients always do.
    pub requests: f64,
}

impl Default for OtelSettings {
    fn default() -> Self {
        Self {
            endpoint: None,
            requests: 1.0,
        }
    }
}
