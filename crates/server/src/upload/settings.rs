//! What an operator can set about masked inputs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How masked inputs are taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UploadSettings {
    /// Bytes of masked vectors that are in memory at once, over all rounds; 64 MiB by default. A
    /// vector that is longer than that goes in alone.
    pub memory_bytes: usize,
    /// How long an upload waits for room in that memory before it is told to come again later, in
    /// milliseconds; 2000 by default.
    pub room_wait_ms: u64,
    /// The most inputs that are stored in one transaction, at least 1; 32 by default.
    pub max_batch: usize,
    /// The most inputs of one round that wait for their transaction; 1024 by default.
    pub queue: usize,
    /// How long nothing may come of a body before its sender is cut off, in milliseconds; 30000 by
    /// default.
    pub silence_ms: u64,
    /// The fewest bytes of a body that must come in a second, on average; 16384 by default. It is
    /// half of what clients take for the slowest link that works.
    pub min_bytes_per_second: u64,
    /// How long a body may be behind that rate, in milliseconds; 10000 by default.
    pub grace_ms: u64,
}

impl Default for UploadSettings {
    fn default() -> Self {
        Self {
            memory_bytes: 64 * 1024 * 1024,
            room_wait_ms: 2_000,
            max_batch: 32,
            queue: 1024,
            silence_ms: 30_000,
            min_bytes_per_second: 16 * 1024,
            grace_ms: 10_000,
        }
    }
}

impl UploadSettings {
    /// How long to wait for room.
    pub(crate) fn room_wait(&self) -> Duration {
        Duration::from_millis(self.room_wait_ms)
    }

    /// How long to wait for the next bytes of a body of which `received` came in `elapsed`: until
    /// its sender has been silent for too long, or is too far behind the least rate.
    pub(crate) fn patience(&self, received: u64, elapsed: Duration) -> Duration {
        let earned = received.saturating_mul(1000) / self.min_bytes_per_second.max(1);
        let behind = Duration::from_millis(self.grace_ms.saturating_add(earned));
        behind
            .saturating_sub(elapsed)
            .min(Duration::from_millis(self.silence_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_for_the_silent_and_for_the_slow() {
        let settings = UploadSettings {
            silence_ms: 30_000,
            min_bytes_per_second: 1000,
            grace_ms: 10_000,
            ..UploadSettings::default()
        };
        let patience = |received, seconds| {
            let left = settings.patience(received, Duration::from_secs(seconds));
            left.as_secs()
        };
        // Nothing yet: the grace is all there is.
        assert_eq!(
            [patience(0, 0), patience(0, 9), patience(0, 10)],
            [10, 1, 0]
        );
        // At twice the rate it is silence that counts, from the last bytes on.
        assert_eq!(patience(200_000, 100), 30);
        // At half the rate it is over 20 s after the start: 10 s worth of bytes came.
        assert_eq!([patience(9_500, 19), patience(10_000, 20)], [0, 0]);
        assert_eq!(patience(8_000, 16), 2);
    }
}
