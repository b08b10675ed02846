//! What happened to requests, and how long messages took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use undertone_protocol::aggregator::PhaseName;

/// How many failures are told in full.
const TOLD: usize = 10;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A client's message of a phase.
    Message(PhaseName),
    /// What a client needs to make its message of a phase.
    Fetch(PhaseName),
    /// A wait for a change.
    Poll,
}

/// What has happened so far, of all clients.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Answered with success.
    pub(crate) requests: AtomicU64,
    /// Answered that the service is overloaded, and made again.
    pub(crate) retried: AtomicU64,
    /// Not answered, or answered otherwise.
    pub(crate) failed: AtomicU64,
    /// Bytes of bodies sent.
    pub(crate) sent: AtomicU64,
    failures: Mutex<Vec<String>>,
    messages: [Mutex<Vec<Duration>>; 5],
    fetches: [Mutex<Vec<Duration>>; 5],
}

impl Record {
    pub(crate) fn succeeded(&self, purpose: Purpose, took: Duration, sent: usize) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let sent = u64::try_from(sent).unwrap_or(u64::MAX);
        self.sent.fetch_add(sent, Ordering::Relaxed);
        let (of, phase) = match purpose {
            Purpose::Message(phase) => (&self.messages, phase),
            Purpose::Fetch(phase) => (&self.fetches, phase),
            Purpose::Poll => return,
        };
        if let Some(times) = of.get(place(phase)) {
            let mut times = times.lock().unwrap_or_else(PoisonError::into_inner);
            times.push(took);
        }
    }

    pub(crate) fn retried(&self) {
        self.retried.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self, what: String) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() < TOLD {
            failures.push(what);
        }
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        let failures = self.failures.lock();
        failures.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How long messages of a phase took, from the first attempt to the answer.
    pub(crate) fn messages(&self, phase: PhaseName) -> Times {
        Times::of(self.messages.get(place(phase)))
    }

    /// How long fetching took before a phase's message.
    pub(crate) fn fetches(&self, phase: PhaseName) -> Times {
        Times::of(self.fetches.get(place(phase)))
    }
}

fn place(phase: PhaseName) -> usize {
    PhaseName::ALL.iter().take_while(|at| **at < phase).count()
}

/// Durations, ascending.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    fn of(times: Option<&Mutex<Vec<Duration>>>) -> Self {
        let times = times.map(|times| times.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let mut times = times.unwrap_or_default();
        times.sort_unstable();
        Self(times)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest of them that at least `percent` per cent do not exceed (nearest rank), in
    /// milliseconds.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        let rank = self.0.len().saturating_mul(percent).div_ceil(100);
        let at = self.0.get(rank.saturating_sub(1));
        at.map_or(0.0, |time| time.as_secs_f64() * 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_nearest_rank() {
        let record = Record::default();
        let purpose = Purpose::Message(PhaseName::MaskedInput);
        for ms in (1..=200).rev() {
            record.succeeded(purpose, Duration::from_millis(ms), 10);
        }
        let times = record.messages(PhaseName::MaskedInput);
        assert_eq!(times.count(), 200);
        for (percent, expected) in [(50, 100.0), (99, 198.0), (100, 200.0), (1, 2.0)] {
            let found: f64 = times.percentile_ms(percent);
            assert!((found - expected).abs() < 0.5, "{percent}: {found} ms");
        }
        assert_eq!(record.messages(PhaseName::Unmask).count(), 0);
        let none = record.fetches(PhaseName::MaskedInput);
        assert!(none.percentile_ms(99).abs() < 0.5);
        assert_eq!(record.sent.load(Ordering::Relaxed), 2000);
    }
}
