//! What an operator sees of the service: metrics, logs and traces.
//!
//! | idea | module |
//! |---|---|
//! | what can be set | `settings` |
//! | every metric, with its meaning | [`table`] |
//! | counting and `/metrics` | `exporter`, `process` |
//! | requests | `http` |
//! | what happens to rounds | [`rounds`] |
//! | logs, and where spans go | `subscriber` |
//! | one trace a round | [`trace`] |
//!
//! Nothing here holds a secret, an address or the name of a client in a label.

mod exporter;
pub(crate) mod http;
mod process;
pub mod rounds;
mod settings;
mod subscriber;
pub mod table;
pub mod trace;

pub use exporter::{install, render};
pub(crate) use exporter::{router, serve};
pub use settings::{LogFormat, LogSettings, MetricsSettings, OtelSettings};
pub use subscriber::{Guard, spans, start};
pub use table::name;

/// Counts itself in a gauge for as long as it lives.
#[derive(Debug)]
pub struct InFlight(&'static str);

impl InFlight {
    /// Adds 1 to the gauge `name`, one of [`table::name`].
    pub fn new(name: &'static str) -> Self {
        metrics::gauge!(name).increment(1.0);
        Self(name)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!(self.0).decrement(1.0);
    }
}
