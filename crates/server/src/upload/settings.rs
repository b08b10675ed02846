//! What an operator can set about masked inputs.

use std::time::Duration;

use crate::config::settings;

settings! {
    /// How masked inputs are taken in.
    pub struct UploadSettings {
        /// Bytes of masked vectors that are in memory at once, over all rounds. A vector that is
        /// longer than that goes in alone.
        memory_bytes: usize = 64 * 1024 * 1024,
        /// How long an upload waits for room in that memory before it is told to come again later,
        /// in milliseconds. Who waits costs little; who is sent away sends all again.
        room_wait_ms: u64 = 10_000,
        /// The most inputs that are stored in one transaction, at least 1.
        max_batch: usize = 32,
        /// The most inputs of one round that wait for their transaction.
        queue: usize = 1024,
        /// How long nothing may come of a body before its sender is cut off, in milliseconds.
        silence_ms: u64 = 30_000,
        /// The fewest bytes of a body that must come in a second, on average. The default is half
        /// of what clients take for the slowest link that works.
        min_bytes_per_second: u64 = 16 * 1024,
        /// How long a body may be behind that rate, in milliseconds.
        grace_ms: u64 = 10_000,
    }
}

impl UploadSettings {
    /// What is wrong, if anything is: the setting, and what to do.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let least = |name, value: u64| {
            let reason = || (name, format!("it is {value}; set it to at least 1"));
            (value > 0).then_some(()).ok_or_else(reason)
        };
        least("upload.memory_bytes", count(self.memory_bytes))?;
        least("upload.max_batch", count(self.max_batch))?;
        least("upload.queue", count(self.queue))?;
        least("upload.min_bytes_per_second", self.min_bytes_per_second)
    }

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

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
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
