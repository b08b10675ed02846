//! What an operator can set about driving rounds.

use std::time::Duration;

use crate::config::settings;

settings! {
    /// The settings of the driver.
    pub struct DriverSettings {
        /// How long, in milliseconds, a process may not be heard of before another one takes over
        /// what it was doing: tasks that it drives and chunks that it unmasks. At least 100.
        lease_ms: u64 = 5000,
    }
}

impl DriverSettings {
    /// What is wrong, if anything is: the setting, and what to do.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.lease_ms >= 100 {
            return Ok(());
        }
        let reason = format!("it is {}; set it to at least 100", self.lease_ms);
        Err(("driver.lease_ms", reason))
    }

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
