//! What an operator can set about driving rounds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The settings of the driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriverSettings {
    /// How long, in milliseconds, a process may not be heard of before another one takes over what
    /// it was doing: tasks that it drives and chunks that it unmasks. At least 100.
    pub lease_ms: u64,
}

impl Default for DriverSettings {
    fn default() -> Self {
        Self { lease_ms: 5000 }
    }
}

impl DriverSettings {
    /// How long a lease is.
    pub(crate) fn lease(&self) -> u64 {
        self.lease_ms.max(100)
    }

    /// How often leases are renewed: often enough that one failure does not lose them, and at least
    /// once a second, as that is also when a process looks whether it missed anything.
    pub(crate) fn renewal(&self) -> Duration {
        Duration::from_millis(self.lease() / 3).min(Duration::from_secs(1))
    }
}
