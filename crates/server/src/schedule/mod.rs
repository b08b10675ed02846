//! How a round is planned from the rounds before it: how many clients to admit, and how long each
//! phase may take at most.
//!
//! Pure functions of a task's settings and its history; nothing here reads a clock or a database.

mod cohort;
mod deadlines;

use serde::{Deserialize, Serialize};

pub use cohort::{admitted, expected_dropout};
pub use deadlines::{latency, round_deadlines};

use crate::store::TaskSettings;

/// How many past rounds a plan looks at.
pub const WINDOW: u32 = 16;

/// How the rounds of a task are scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScheduleSettings {
    /// How many survivors are wanted in the sum. If set, AdvertiseKeys closes once so many clients
    /// are there that this many are left after the dropouts that the task has seen so far (at
    /// first: `graph.dropout`), at most the cohort. If not set, it closes at the cohort.
    pub survivors: Option<u32>,
    /// Whether phase deadlines follow the latencies that were observed. `deadlines_ms` are then
    /// the longest that a phase may take, not what it takes whenever a client vanishes.
    pub adapt_deadlines: bool,
    /// The shortest time in milliseconds between the openings of two rounds in which the same
    /// client puts an input; 0 for none.
    pub min_interval_ms: u64,
}

/// What a plan needs to know of a past round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastRound {
    /// Clients in the directory U1; 0 if the round ended before there was one.
    pub clients: u32,
    /// Clients in the sum, U3; `None` if the round ended before MaskedInput closed.
    pub survivors: Option<u32>,
    /// The phases, in order; `None` for those that the round never got to.
    pub phases: [Option<PastPhase>; 5],
}

impl PastRound {
    /// A round of which these phases were opened.
    pub fn of(phases: [Option<PastPhase>; 5]) -> Self {
        let [keys, shares, inputs, checks, _] = phases;
        // Closed for good only where the next phase was opened.
        Self {
            clients: shares.and(keys).map_or(0, |keys| keys.received),
            survivors: checks.and(inputs).map(|inputs| inputs.received),
            phases,
        }
    }
}

/// What a plan needs to know of a phase of a past round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastPhase {
    /// How long it was allowed to take, in milliseconds.
    pub allowed_ms: u32,
    /// The latency in milliseconds within which nearly all answers came, late ones included
    /// ([`latency`]); `None` if none came.
    pub latency_ms: Option<u64>,
    /// How many messages were awaited.
    pub expected: u32,
    /// How many came in time.
    pub received: u32,
}

/// What is decided when a round opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// AdvertiseKeys closes once so many clients are there.
    pub admitted: u32,
    /// The longest that each phase may take, in milliseconds, in phase order.
    pub deadlines_ms: [u32; 5],
}

/// Plans the next round from the last rounds, the latest first.
pub fn plan(settings: &TaskSettings, past: &[PastRound]) -> Plan {
    let dropout = expected_dropout(settings.graph.dropout, settings.cohort, past);
    let admitted = match settings.schedule.survivors {
        Some(wanted) => admitted(wanted, dropout, settings.cohort),
        None => settings.cohort,
    };
    let deadlines_ms = if settings.schedule.adapt_deadlines {
        round_deadlines(settings.deadlines_ms, dropout, past)
    } else {
        settings.deadlines_ms
    };
    Plan {
        admitted,
        deadlines_ms,
    }
}
