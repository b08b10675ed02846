//! What happens to rounds, counted and traced: called by whoever brought it about.

use std::time::Duration;

use metrics::{counter, histogram};
use undertone_protocol::RoundFailure;
use undertone_protocol::aggregator::PhaseName;

use super::table::name;
use super::trace;
use crate::driver::now_ms;
use crate::store::{Outcome, PutOutcome, RoundRecord};

/// This process opened a round.
pub fn opened() {
    counter!(name::ROUNDS_OPENED).increment(1);
}

/// This process closed a phase that was open since `opened_at`, in milliseconds since the Unix
/// epoch. `received` messages had come of at most `expected`.
pub fn phase_closed(
    round: &RoundRecord,
    phase: PhaseName,
    opened_at: u64,
    received: usize,
    expected: usize,
) {
    histogram!(name::PHASE_SECONDS, "phase" => phase.text()).record(since(opened_at));
    let missing = u64::try_from(expected.saturating_sub(received)).unwrap_or(u64::MAX);
    counter!(name::DROPOUTS, "phase" => phase.text()).increment(missing);
    trace::phase_closed(round.id, phase, opened_at, [received, expected]);
}

/// This process ended a round.
pub fn ended(round: &RoundRecord, outcome: &Outcome) {
    let (text, failure) = match outcome {
        Outcome::Finished { result, .. } => {
            let survivors = u32::try_from(result.survivors.len()).unwrap_or(u32::MAX);
            histogram!(name::SURVIVORS).record(f64::from(survivors));
            ("finished", None)
        }
        Outcome::Failed { reason, .. } => ("failed", Some(reason.as_str())),
    };
    counter!(name::ROUNDS_ENDED, "outcome" => text).increment(1);
    histogram!(name::ROUND_SECONDS, "outcome" => text).record(since(round.opened_at));
    trace::round_ended(round.id, round.task, round.opened_at, failure);
}

/// This process found that a round fails.
pub fn failed(failure: &RoundFailure) {
    let cause = match failure {
        RoundFailure::TooFewClients { .. } => "too-few-clients",
        RoundFailure::BelowThreshold { .. } => "below-threshold",
        RoundFailure::BadDealer { .. } => "bad-dealer",
        RoundFailure::Inconsistent(_) => "inconsistent",
    };
    counter!(name::ROUND_FAILURES, "cause" => cause).increment(1);
}

/// A message that passed its checks was stored, or not.
pub fn received(phase: PhaseName, outcome: PutOutcome) {
    let receipt = match outcome {
        PutOutcome::Accepted => "accepted",
        PutOutcome::Repeated => "repeated",
        PutOutcome::Conflict => "conflict",
        PutOutcome::NotOpen => {
            counter!(name::LATE_MESSAGES, "phase" => phase.text()).increment(1);
            "late"
        }
    };
    let labels = [("phase", phase.text()), ("receipt", receipt)];
    counter!(name::MESSAGES, &labels).increment(1);
}

fn since(opened_at: u64) -> Duration {
    Duration::from_millis(now_ms().saturating_sub(opened_at))
}
