//! What comes out: every figure with what it was measured on.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::Serialize;
use undertone_protocol::aggregator::PhaseName;

use crate::floor::Floor;
use crate::plan::{Numbers, Plan};
use crate::protocol::lane_bytes;
use crate::record::Record;

/// What a measurement of the service found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Whether every round ended, with the plain sum of all clients' vectors.
    pub exact: bool,
    /// Requests answered with success, in a second of the rounds.
    pub requests_per_second: f64,
    /// How long a client's message of a phase took, from its first attempt to its receipt: half of
    /// them took no longer.
    pub p50_ms: BTreeMap<&'static str, f64>,
    /// The same: 99 of 100 took no longer.
    pub p99_ms: BTreeMap<&'static str, f64>,
    /// Requests that were not answered, or refused.
    pub failed_requests: u64,
    /// Answers that the service is overloaded, after which the client came again.
    pub retried_requests: u64,
    /// Requests answered with success.
    pub requests: u64,
    /// Bytes of messages that clients sent.
    pub sent_bytes: u64,
    /// The most memory that the service held (`VmHWM`).
    pub server_peak_rss_bytes: u64,
    /// What it held before the first round.
    pub server_start_rss_bytes: u64,
    /// Processor time that the service took for the rounds.
    pub server_cpu_seconds: f64,
    /// Time of the rounds, from their clients' beginning to the last one's end.
    pub wall_seconds: f64,
    /// The phases, over all rounds.
    pub phases: Vec<PhaseReport>,
    /// The rounds.
    pub rounds: Vec<RoundReport>,
    /// What went wrong, the first of it.
    pub failures: Vec<String>,
    /// What was asked for.
    pub settings: SettingsReport,
    /// What this machine does at the most, and how far the service is from it.
    pub floor: FloorReport,
    /// What it was measured on.
    pub environment: Environment,
}

/// A phase, over all rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhaseReport {
    /// Its name.
    pub phase: &'static str,
    /// Messages accepted.
    pub messages: usize,
    /// Half of the messages took no longer.
    pub message_p50_ms: f64,
    /// 99 of 100 messages took no longer.
    pub message_p99_ms: f64,
    /// No message took longer.
    pub message_max_ms: f64,
    /// Half of what was fetched for the messages took no longer.
    pub fetch_p50_ms: f64,
    /// 99 of 100 took no longer.
    pub fetch_p99_ms: f64,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoundReport {
    /// Its number.
    pub number: u32,
    /// From the clients' beginning to the last one's end.
    pub seconds: f64,
    /// Its phases, in order.
    pub phases: Vec<PhaseTimes>,
    /// Clients in the sum.
    pub survivors: usize,
    /// Whether the sum is the plain one of all clients.
    pub exact: bool,
}

/// One phase of one round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PhaseTimes {
    /// From the end of the phase before it to its own.
    pub seconds: f64,
    /// From its last message to its end. Of the last phase: unmasking.
    pub closing_seconds: f64,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SettingsReport {
    /// Clients.
    pub clients: u32,
    /// Elements of a vector.
    pub length: u32,
    /// Bits of an element.
    pub bits: u8,
    /// Rounds.
    pub rounds: u32,
    /// The graph's shape.
    pub graph: &'static str,
    /// Neighbours k of each client.
    pub neighbours: u16,
    /// Shares t that recover a secret.
    pub threshold: u16,
    /// The fraction of clients that may be corrupt.
    pub corrupt: f64,
    /// The fraction of clients that may drop out.
    pub dropout: f64,
}

/// What this machine does at the most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FloorReport {
    /// Its rates.
    #[serde(flatten)]
    pub rates: Floor,
    /// Seconds of one core that a round's key stream, hashing and moving of vectors take at the
    /// least, times the rounds: each vector is read from the network, hashed and added once, and
    /// each client's self mask is expanded once.
    pub server_seconds: f64,
    /// The service's processor time, over that.
    pub server_ratio: f64,
    /// Seconds of one core that expanding the self masks takes, times the rounds.
    pub unmask_seconds: f64,
    /// The time from the last message of Unmask to the round's end, over that.
    pub unmask_ratio: f64,
}

/// What a measurement ran on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Environment {
    /// Processors that this process may use.
    pub cores: usize,
    /// Their model.
    pub processor: Option<String>,
    /// Memory of the machine.
    pub memory_bytes: Option<u64>,
    /// Version of undertone.
    pub version: &'static str,
    /// The commit that it was built from, where that can be found out.
    pub commit: Option<String>,
    /// Whether it was built with optimisations.
    pub release: bool,
    /// The database.
    pub database: String,
}

/// What was seen from outside.
pub(crate) struct Measured {
    pub(crate) rounds: Vec<RoundReport>,
    pub(crate) stopped: Option<String>,
    pub(crate) server_cpu_seconds: f64,
    pub(crate) server_start_rss_bytes: u64,
    pub(crate) server_peak_rss_bytes: u64,
    pub(crate) floor: Floor,
    pub(crate) environment: Environment,
}

impl Report {
    pub(crate) fn new(plan: &Plan, numbers: Numbers, record: &Record, measured: Measured) -> Self {
        let rounds = measured.rounds;
        let wall_seconds: f64 = rounds.iter().map(|round| round.seconds).sum();
        let requests = record.requests.load(Ordering::Relaxed);
        let phases: Vec<_> = PhaseName::ALL
            .map(|phase| PhaseReport::of(phase, record))
            .into();
        let by_phase = |figure: fn(&PhaseReport) -> f64| {
            phases
                .iter()
                .map(|phase| (phase.phase, figure(phase)))
                .collect()
        };
        let mut failures = record.failures();
        failures.extend(measured.stopped);
        let all = u32::try_from(rounds.len()).is_ok_and(|ended| ended == plan.rounds);
        Self {
            exact: all && rounds.iter().all(|round| round.exact),
            requests_per_second: real64(requests) / wall_seconds.max(f64::MIN_POSITIVE),
            p50_ms: by_phase(|phase| phase.message_p50_ms),
            p99_ms: by_phase(|phase| phase.message_p99_ms),
            failed_requests: record.failed.load(Ordering::Relaxed),
            retried_requests: record.retried.load(Ordering::Relaxed),
            requests,
            sent_bytes: record.sent.load(Ordering::Relaxed),
            server_peak_rss_bytes: measured.server_peak_rss_bytes,
            server_start_rss_bytes: measured.server_start_rss_bytes,
            server_cpu_seconds: measured.server_cpu_seconds,
            wall_seconds,
            phases,
            failures,
            settings: SettingsReport {
                clients: plan.clients,
                length: plan.length,
                bits: plan.bits,
                rounds: plan.rounds,
                graph: numbers.graph.text(),
                neighbours: numbers.neighbours,
                threshold: numbers.threshold,
                corrupt: plan.corrupt,
                dropout: plan.dropout,
            },
            floor: FloorReport::of(plan, &rounds, measured.floor, measured.server_cpu_seconds),
            rounds,
            environment: measured.environment,
        }
    }
}

impl PhaseReport {
    fn of(phase: PhaseName, record: &Record) -> Self {
        let (messages, fetches) = (record.messages(phase), record.fetches(phase));
        Self {
            phase: phase.text(),
            messages: messages.count(),
            message_p50_ms: messages.percentile_ms(50),
            message_p99_ms: messages.percentile_ms(99),
            message_max_ms: messages.percentile_ms(100),
            fetch_p50_ms: fetches.percentile_ms(50),
            fetch_p99_ms: fetches.percentile_ms(99),
        }
    }
}

impl FloorReport {
    fn of(plan: &Plan, rounds: &[RoundReport], rates: Floor, server: f64) -> Self {
        let lane = real(lane_bytes(plan.bits));
        let vectors = real(rounds.len()) * f64::from(plan.clients);
        let elements = vectors * f64::from(plan.length);
        let (key_stream, packed) = (elements * lane, elements * f64::from(plan.bits) / 8.0);
        let server_seconds = rates.seconds(key_stream, packed, 2.0 * packed);
        let unmask_seconds = rates.seconds(key_stream, 0.0, 0.0);
        let last = rounds.iter().filter_map(|round| round.phases.last());
        let unmasking: f64 = last.map(|phase| phase.closing_seconds).sum();
        let over = |time: f64, floor: f64| if floor > 0.0 { time / floor } else { 0.0 };
        Self {
            rates,
            server_seconds,
            server_ratio: over(server, server_seconds),
            unmask_seconds,
            unmask_ratio: over(unmasking, unmask_seconds),
        }
    }
}

impl Environment {
    pub(crate) fn of(cluster: Option<&str>, database: &str) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            line.split_once(':')
                .map(|(_, value)| value.trim().to_owned())
        };
        let memory = value(&read("/proc/meminfo"), "MemTotal");
        let memory = memory.and_then(|kib| kib.split_whitespace().next()?.parse::<u64>().ok());
        // An address may hold a password.
        let scheme = database.split_once(':').map_or("", |(scheme, _)| scheme);
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: value(&read("/proc/cpuinfo"), "model name"),
            memory_bytes: memory.map(|kib| kib.saturating_mul(1024)),
            version: env!("CARGO_PKG_VERSION"),
            commit: commit(),
            release: !cfg!(debug_assertions),
            database: cluster.map_or_else(
                || scheme.to_owned(),
                |version| format!("{version}, started for the measurement with its defaults"),
            ),
        }
    }
}

/// The commit of the working copy that this runs in, if it is one of undertone; what the
/// environment says goes before it.
pub fn commit() -> Option<String> {
    if let Ok(commit) = std::env::var("UNDERTONE_COMMIT") {
        return Some(commit);
    }
    if !std::path::Path::new("crates/bench/Cargo.toml").is_file() {
        return None;
    }
    let described = std::process::Command::new("git")
        .args([
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
            "--exclude=*",
        ])
        .output()
        .ok()?;
    let text = String::from_utf8(described.stdout).ok()?;
    let text = text.trim();
    (described.status.success() && !text.is_empty()).then(|| text.to_owned())
}

/// As a real number; exact below 2^53.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn real64(number: u64) -> f64 {
    number as f64
}

/// As a real number; exact below 2^53.
pub(crate) fn real(number: usize) -> f64 {
    real64(u64::try_from(number).unwrap_or(u64::MAX))
}
