//! Processor time.

use rustix::time::{ClockId, clock_gettime};

/// Processor time of this thread, in seconds.
pub(super) fn thread_seconds() -> f64 {
    seconds(ClockId::ThreadCPUTime)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    #[allow(clippy::cast_precision_loss, reason = "below 2^53")]
    let (whole, part) = (time.tv_sec as f64, time.tv_nsec as f64);
    whole + part / 1e9
}

/// Processor time of the whole process, in seconds.
pub(super) fn process_seconds() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}
