//! What an operator can set of logs, metrics and traces.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::config::{SecretUrl, settings};

settings! {
    /// How logs are written: to standard error, a line an event.
    pub struct LogSettings {
        /// `text` for people, `json` for a log collector: one object a line.
        format: LogFormat = LogFormat::Text,
        /// What is logged: a level, or levels by module, as `info,undertone_server::store=debug`.
        /// The environment variable `RUST_LOG`, where it is set, goes before it.
        filter: String = "info".to_owned(),
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

settings! {
    /// Where metrics are served. Nowhere by default: they tell how busy the service is, and the
    /// service's own port is open to all clients.
    pub struct MetricsSettings {
        /// Serve `/metrics` beside the clients' routes, on the service's own port.
        public: bool = false,
        /// Serve `/metrics` on this address as well, by plain HTTP. It should not be reachable from
        /// outside.
        listen: Option<SocketAddr> = None,
    }
}

settings! {
    /// Where traces are sent.
    pub struct OtelSettings {
        /// An OpenTelemetry collector that takes OTLP over HTTP, as `http://127.0.0.1:4318`; spans
        /// go to `/v1/traces` below it. Nothing is sent without one.
        endpoint: Option<SecretUrl> = None,
        /// The share of requests that get a span of their own, 0 to 1. Phases, batches and
        /// everything else that does not grow with the number of clients always do.
        requests: f64 = 1.0,
    }
}

impl OtelSettings {
    /// What is wrong, if anything is: the setting, and what to do.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        if (0.0..=1.0).contains(&self.requests) {
            return Ok(());
        }
        let reason = format!("it is {}; a share is 0 to 1", self.requests);
        Err(("otel.requests", reason))
    }
}
