//! What the operating system says of this process: `/proc` on Linux, nothing elsewhere.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::gauge;

use super::table::name;

/// Notes the time of the start.
pub(super) fn started() {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    gauge!(name::PROCESS_START).set(since.unwrap_or_default().as_secs_f64());
    observe();
}

/// Reads memory, threads and file descriptors.
pub(super) fn observe() {
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        if let Some(kibibytes) = number(&status, "VmRSS:") {
            gauge!(name::PROCESS_RESIDENT).set(kibibytes * 1024.0);
        }
        if let Some(threads) = number(&status, "Threads:") {
            gauge!(name::PROCESS_THREADS).set(threads);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is the folder that is being read.
        let open = u32::try_from(open.count().saturating_sub(1)).unwrap_or(u32::MAX);
        gauge!(name::PROCESS_OPEN_FDS).set(f64::from(open));
    }
    if let Ok(limits) = fs::read_to_string("/proc/self/limits")
        && let Some(most) = number(&limits, "Max open files")
    {
        gauge!(name::PROCESS_MAX_FDS).set(most);
    }
}

/// The first number on the line that starts with `key`.
fn number(text: &str, key: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_proc() {
        let status = "Name:\tundertone\nVmRSS:\t   10240 kB\nThreads:\t3\n";
        assert_eq!(number(status, "VmRSS:"), Some(10240.0));
        assert_eq!(number(status, "Threads:"), Some(3.0));
        assert_eq!(number(status, "VmSwap:"), None);
        let limits = "Max open files            1024                 524288               files\n";
        assert_eq!(number(limits, "Max open files"), Some(1024.0));
        assert_eq!(number("Max open files  unlimited", "Max open files"), None);
    }
}
