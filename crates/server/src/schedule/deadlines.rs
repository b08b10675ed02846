//! Phase deadlines that follow what was observed.
//!
//! A phase closes when everyone has answered, so its deadline matters only when someone vanished:
//! then everybody else waits for it. A deadline well above what answers usually take loses little;
//! one far above it loses minutes for each client that vanishes.

use super::{PastPhase, PastRound};

/// The part of the answers, late ones included, whose latency a deadline must leave room for.
const NEARLY_ALL: f64 = 0.95;

/// A deadline is so many times the latency that was observed.
const ROOM: u64 = 3;

/// No phase is given less, in milliseconds, unless the task's own deadline is shorter: a client may
/// wait ten seconds before it tries again (chapter 14 of the specification).
const SHORTEST_MS: u64 = 15_000;

/// When more clients than usual were too late, the next deadline is so many times the last one.
const GROWTH: u64 = 2;

/// The latency within which `NEARLY_ALL` answers came: the smallest one that at least that part
/// of them does not exceed. Sorts its input. `None` without answers.
pub fn latency(latencies_ms: &mut [u64]) -> Option<u64> {
    latencies_ms.sort_unstable();
    let answers = u32::try_from(latencies_ms.len()).unwrap_or(u32::MAX);
    let rank = (1..=answers).find(|rank| f64::from(*rank) >= NEARLY_ALL * f64::from(answers))?;
    let index = usize::try_from(rank).ok()?.checked_sub(1)?;
    latencies_ms.get(index).copied()
}

/// The deadlines of the next round, in milliseconds, in phase order: never beyond the `longest`.
///
/// For each phase the largest of what past rounds (the latest first) ask for: three times the
/// latency of nearly all answers, or, where the part of clients that were missing at the deadline
/// is above the expected `dropout`, twice what that round allowed: those were not gone but slow,
/// and how slow was not seen. Without any past round it is the longest.
pub fn round_deadlines(longest: [u32; 5], dropout: f64, past: &[PastRound]) -> [u32; 5] {
    let mut deadlines = longest;
    for (phase, deadline) in deadlines.iter_mut().enumerate() {
        let seen = past.iter().filter_map(|round| *round.phases.get(phase)?);
        let Some(asked) = seen.filter_map(|phase| asked_for(phase, dropout)).max() else {
            continue;
        };
        let asked = u32::try_from(asked.max(SHORTEST_MS)).unwrap_or(u32::MAX);
        *deadline = asked.min(*deadline);
    }
    deadlines
}

fn asked_for(phase: PastPhase, dropout: f64) -> Option<u64> {
    let missing = f64::from(phase.expected.saturating_sub(phase.received));
    if missing > dropout * f64::from(phase.expected) {
        return Some(u64::from(phase.allowed_ms).saturating_mul(GROWTH));
    }
    phase.latency_ms.map(|latency| latency.saturating_mul(ROOM))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: [u32; 5] = [600_000, 600_000, 600_000, 10_000, 600_000];

    fn round(phase: PastPhase) -> PastRound {
        PastRound {
            clients: 10,
            survivors: Some(10),
            phases: [Some(phase); 5],
        }
    }

    fn phase(latency_ms: u64, received: u32) -> PastPhase {
        PastPhase {
            allowed_ms: 60_000,
            latency_ms: Some(latency_ms),
            expected: 10,
            received,
        }
    }

    #[test]
    fn nearly_all_answers() {
        assert_eq!(latency(&mut []), None);
        assert_eq!(latency(&mut [7]), Some(7));
        let mut hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(latency(&mut hundred), Some(95));
        let mut twenty: Vec<u64> = (1..=20).rev().collect();
        assert_eq!(latency(&mut twenty), Some(19));
    }

    #[test]
    fn follow_the_slowest_of_the_past_rounds_within_bounds() {
        assert_eq!(round_deadlines(LONGEST, 0.1, &[]), LONGEST);
        let past = [round(phase(20_000, 10)), round(phase(30_000, 10))];
        let adapted = [90_000, 90_000, 90_000, 10_000, 90_000];
        assert_eq!(round_deadlines(LONGEST, 0.1, &past), adapted);
        // Quick answers do not make a deadline that a retry would miss.
        let quick = [15_000, 15_000, 15_000, 10_000, 15_000];
        assert_eq!(round_deadlines(LONGEST, 0.1, &[round(phase(5, 10))]), quick);
        assert_eq!(
            round_deadlines(LONGEST, 0.1, &[round(phase(u64::MAX, 10))]),
            LONGEST
        );
    }

    #[test]
    fn grow_when_more_than_usual_were_too_late() {
        // One of ten is the usual dropout; two are not.
        let usual = round_deadlines(LONGEST, 0.1, &[round(phase(20_000, 9))]);
        assert_eq!(usual, [60_000, 60_000, 60_000, 10_000, 60_000]);
        let slow = round_deadlines(LONGEST, 0.1, &[round(phase(20_000, 8))]);
        assert_eq!(slow, [120_000, 120_000, 120_000, 10_000, 120_000]);
    }

    #[test]
    fn what_was_never_reached_changes_nothing() {
        let mut early = round(phase(20_000, 10));
        early.phases[2..].fill(None);
        let deadlines = round_deadlines(LONGEST, 0.1, &[early]);
        assert_eq!(deadlines, [60_000, 60_000, 600_000, 10_000, 600_000]);
    }
}
