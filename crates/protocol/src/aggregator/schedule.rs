//! When a phase closes: a pure function of counts and times.
//!
//! Specification: chapter 17, "Registries", section 17.3.

/// Whether a phase that has `received` of at most `expected` messages closes at `now`, given that
/// it must close at `deadline` (both in milliseconds since the same epoch).
pub fn closes(received: usize, expected: usize, now: u64, deadline: u64) -> bool {
    received >= expected || now >= deadline
}

#[cfg(test)]
mod tests {
    use super::closes;

    #[test]
    fn by_count_or_deadline() {
        assert!(closes(3, 3, 0, 10));
        assert!(closes(0, 3, 10, 10));
        assert!(!closes(2, 3, 9, 10));
    }
}
