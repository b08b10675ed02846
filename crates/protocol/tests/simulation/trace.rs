//! What happens in a round, for the eye.

/// Prints events, or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    Silent,
    Printed,
}

impl Trace {
    pub(crate) fn note(self, now: u64, what: impl FnOnce() -> String) {
        if self == Self::Printed {
            println!("{now:6} ms  {}", what());
        }
    }
}
