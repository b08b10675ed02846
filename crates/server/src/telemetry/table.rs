//! Every metric of the service, in one table: name, type, unit, labels and meaning.
//!
//! To add one, add it here and emit it by its constant:
//!
//! ```ignore
//! use crate::telemetry::name;
//! metrics::counter!(name::LATE_MESSAGES, "phase" => phase.text()).increment(1);
//! ```
//!
//! Labels have few values, known beforehand: never an id, an address or a text of a client. Times
//! are seconds, sizes bytes (Prometheus, "Metric and label naming").

use undertone_protocol::aggregator::PhaseName;

use crate::problem::ProblemKind;
use crate::store::Old;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows, from 0 when the process starts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of observations at or below each of these bounds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// The type's name in Prometheus's text format.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// A label, and the values that it has.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// All its values, if they are known when the process starts; the metric then shows 0 for each
    /// from the start, so that a first failure is seen as a change.
    pub values: Option<fn() -> Vec<&'static str>>,
}

const fn listed(name: &'static str, values: fn() -> Vec<&'static str>) -> Label {
    let values = Some(values);
    Label { name, values }
}

/// A label whose values are names in the code, such as those of routes.
const fn open(name: &'static str) -> Label {
    let values = None;
    Label { name, values }
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The unit of its values; empty for plain numbers.
    pub unit: &'static str,
    /// What it counts or measures.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [Label],
}

/// From half a millisecond to half a minute: requests, steps of the store, batches.
const FAST: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// From a tenth of a second to a day: phases and rounds.
const SLOW: &[f64] = &[
    0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21600.0,
    86400.0,
];
/// Clients and inputs.
const COUNTS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0,
];

fn phases() -> Vec<&'static str> {
    PhaseName::ALL.iter().map(|phase| phase.text()).collect()
}

fn outcomes() -> Vec<&'static str> {
    vec!["finished", "failed"]
}

fn causes() -> Vec<&'static str> {
    vec![
        "too-few-clients",
        "below-threshold",
        "bad-dealer",
        "inconsistent",
    ]
}

fn receipts() -> Vec<&'static str> {
    vec!["accepted", "repeated", "conflict", "late"]
}

fn problems() -> Vec<&'static str> {
    ProblemKind::ALL.iter().map(|kind| kind.name()).collect()
}

fn pools() -> Vec<&'static str> {
    vec!["postgres", "sqlite-writer", "sqlite-readers"]
}

fn uses() -> Vec<&'static str> {
    vec!["idle", "used"]
}

fn overloads() -> Vec<&'static str> {
    vec!["queue", "memory", "displaced"]
}

fn leased() -> Vec<&'static str> {
    vec!["task", "chunk"]
}

fn limits() -> Vec<&'static str> {
    vec!["all", "address"]
}

fn chains() -> Vec<&'static str> {
    vec!["service", "task"]
}

fn olds() -> Vec<&'static str> {
    Old::ALL.iter().map(|old| old.text()).collect()
}

fn versions() -> Vec<&'static str> {
    vec![env!("CARGO_PKG_VERSION")]
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $id:ident = $name:literal, $kind:expr, $unit:literal,
       [$($label:expr),*];)*) => {
        /// The metrics' names.
        pub mod name {
            $($(#[doc = $help])+ pub const $id: &str = $name;)*
        }

        /// All metrics.
        pub const METRICS: &[Metric] = &[$(Metric {
            name: $name,
            kind: $kind,
            unit: $unit,
            help: concat!($($help),+).trim_ascii(),
            labels: &[$($label),*],
        },)*];
    };
}

metrics! {
    /// Rounds that this process opened.
    ROUNDS_OPENED = "undertone_rounds_opened_total", Kind::Counter, "", [];
    /// Rounds that this process ended, by outcome.
    ROUNDS_ENDED = "undertone_rounds_ended_total", Kind::Counter, "",
        [listed("outcome", outcomes)];
    /// Failures of rounds that this process found, by cause; another may find the same one.
    ROUND_FAILURES = "undertone_round_failures_total", Kind::Counter, "",
        [listed("cause", causes)];
    /// Time from the opening of a round to its end.
    ROUND_SECONDS = "undertone_round_duration_seconds", Kind::Histogram(SLOW), "seconds",
        [listed("outcome", outcomes)];
    /// Time for which a phase was open.
    PHASE_SECONDS = "undertone_phase_duration_seconds", Kind::Histogram(SLOW), "seconds",
        [listed("phase", phases)];
    /// Clients whose input is in the sum of a finished round.
    SURVIVORS = "undertone_round_survivors", Kind::Histogram(COUNTS), "", [];
    /// Clients that were expected in a phase and sent nothing before it closed.
    DROPOUTS = "undertone_dropouts_total", Kind::Counter, "", [listed("phase", phases)];
    /// Messages that came after their phase had closed.
    LATE_MESSAGES = "undertone_late_messages_total", Kind::Counter, "",
        [listed("phase", phases)];
    /// Messages that passed their checks, by what became of them.
    MESSAGES = "undertone_messages_total", Kind::Counter, "",
        [listed("phase", phases), listed("receipt", receipts)];
    /// Failures of the loop that moves rounds forward; it tries again.
    DRIVER_FAILURES = "undertone_driver_failures_total", Kind::Counter, "", [];
    /// Leases that this process took over because another one was gone or let them run out.
    LEASE_TAKEOVERS = "undertone_lease_takeovers_total", Kind::Counter, "",
        [listed("what", leased)];

    /// Time of one step of the store, retries included.
    STORE_STEP_SECONDS = "undertone_store_step_duration_seconds", Kind::Histogram(FAST), "seconds",
        [open("step")];
    /// Attempts of a step of the store that failed for a reason of the moment and were made again.
    STORE_RETRIES = "undertone_store_step_retries_total", Kind::Counter, "", [];
    /// Steps of the store that failed for good: the database did not answer or refused.
    STORE_FAILURES = "undertone_store_step_failures_total", Kind::Counter, "", [];
    /// Whether the database answered when it was asked last, by a step or a probe: 1 or 0.
    STORE_UP = "undertone_store_up", Kind::Gauge, "", [];
    /// Time that a step waited for a connection.
    STORE_WAIT_SECONDS = "undertone_store_wait_seconds", Kind::Histogram(FAST), "seconds",
        [listed("pool", pools)];
    /// Open connections to the database.
    STORE_CONNECTIONS = "undertone_store_connections", Kind::Gauge, "",
        [listed("pool", pools), listed("state", uses)];
    /// Time of one commit: until the database says that a step is on disk.
    STORE_COMMIT_SECONDS = "undertone_store_commit_seconds", Kind::Histogram(FAST), "seconds", [];

    /// Masked inputs that one transaction stored.
    UPLOAD_BATCH = "undertone_upload_batch_inputs", Kind::Histogram(COUNTS), "", [];
    /// Time of the commit of one batch of masked inputs.
    UPLOAD_COMMIT_SECONDS = "undertone_upload_commit_seconds", Kind::Histogram(FAST), "seconds", [];
    /// Masked inputs that wait for a transaction.
    UPLOAD_QUEUE = "undertone_upload_queue_inputs", Kind::Gauge, "", [];
    /// Memory set aside for masked inputs that are received or wait.
    UPLOAD_BYTES = "undertone_upload_in_flight_bytes", Kind::Gauge, "bytes", [];
    /// Masked inputs turned away because a queue or the memory was full, or the same client sent
    /// another one meanwhile.
    UPLOAD_OVERLOADED = "undertone_upload_overloaded_total", Kind::Counter, "",
        [listed("what", overloads)];
    /// Time in which the masks were taken off one chunk of a sum, reading and storing it included.
    UNMASK_CHUNK_SECONDS = "undertone_unmask_chunk_duration_seconds", Kind::Histogram(FAST),
        "seconds", [];
    /// Entries written to the audit log, undone ones included.
    AUDIT_ENTRIES = "undertone_audit_entries_total", Kind::Counter, "",
        [listed("chain", chains)];

    /// Rounds, adapters, enrolments and tokens that were erased because their time was up.
    RETENTION_ERASED = "undertone_retention_erased_total", Kind::Counter, "",
        [listed("what", olds)];
    /// Failures to erase what is due; the next sweep tries again.
    RETENTION_FAILURES = "undertone_retention_failures_total", Kind::Counter, "", [];

    /// Answered requests, by route (its template), method and status.
    HTTP_REQUESTS = "undertone_http_requests_total", Kind::Counter, "",
        [open("route"), open("method"), open("status")];
    /// Time from a request's head to the head of its answer; long polls include their wait.
    HTTP_SECONDS = "undertone_http_request_duration_seconds", Kind::Histogram(FAST), "seconds",
        [open("route")];
    /// Requests that are being answered.
    HTTP_IN_FLIGHT = "undertone_http_requests_in_flight", Kind::Gauge, "", [];
    /// Problems answered, by kind.
    PROBLEMS = "undertone_problems_total", Kind::Counter, "", [listed("kind", problems)];
    /// Requests that wait for a change of phase.
    LONG_POLLS = "undertone_long_polls", Kind::Gauge, "", [];

    /// Open connections to the service.
    CONNECTIONS = "undertone_connections", Kind::Gauge, "", [];
    /// Connections closed at once because there were too many, in all or from one address.
    CONNECTIONS_REFUSED = "undertone_connections_refused_total", Kind::Counter, "",
        [listed("limit", limits)];
    /// Connections cut off because the other end read nothing.
    CONNECTIONS_STALLED = "undertone_connections_stalled_total", Kind::Counter, "", [];
    /// When the certificate expires, in seconds since the Unix epoch; 0 without TLS.
    TLS_EXPIRES = "undertone_tls_certificate_expires_seconds", Kind::Gauge, "seconds", [];
    /// Times that changed certificate files could not be used; the certificate before stays.
    TLS_RELOAD_FAILURES = "undertone_tls_reload_failures_total", Kind::Counter, "", [];

    /// Facts of the build; always 1.
    BUILD_INFO = "undertone_build_info", Kind::Gauge, "", [listed("version", versions)];
    /// Memory of the process that is in RAM.
    PROCESS_RESIDENT = "process_resident_memory_bytes", Kind::Gauge, "bytes", [];
    /// Open file descriptors of the process.
    PROCESS_OPEN_FDS = "process_open_fds", Kind::Gauge, "", [];
    /// File descriptors that the process may open.
    PROCESS_MAX_FDS = "process_max_fds", Kind::Gauge, "", [];
    /// Threads of the process.
    PROCESS_THREADS = "process_threads", Kind::Gauge, "", [];
    /// When the process started, in seconds since the Unix epoch.
    PROCESS_START = "process_start_time_seconds", Kind::Gauge, "seconds", [];
}

/// The metric of a name, if it is in the table.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_and_are_not_used_twice() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            let name = metric.name;
            let prefix = name.starts_with("undertone_") || name.starts_with("process_");
            assert!(prefix, "{name}");
            assert_eq!(
                name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{name}"
            );
            let unit = ["seconds", "bytes"]
                .into_iter()
                .find(|unit| name.ends_with(unit));
            assert_eq!(unit.unwrap_or_default(), metric.unit, "{name}");
            assert!(
                metric.help.ends_with('.') || metric.help.ends_with('1'),
                "{name}"
            );
            if let Kind::Histogram(bounds) = metric.kind {
                assert!(bounds.is_sorted_by(|a, b| a < b), "{name}");
            }
        }
    }

    /// No metric is listed that nothing emits.
    #[test]
    fn every_metric_is_emitted_by_some_source() {
        let text = sources(std::path::Path::new(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src"
        )));
        for line in include_str!("table.rs").lines() {
            if let Some((id, _)) = line.trim().split_once(" = \"")
                && line.contains("Kind::")
            {
                assert!(text.contains(&format!("name::{id}")), "nothing emits {id}");
            }
        }
    }

    fn sources(folder: &std::path::Path) -> String {
        let entries = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries
            .map(|path| {
                if path.is_dir() {
                    sources(&path)
                } else {
                    std::fs::read_to_string(path).unwrap()
                }
            })
            .collect()
    }
}
