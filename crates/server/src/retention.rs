//! Nothing is kept for longer than it is of use: what is left of old rounds, tokens and enrolments is
//! erased in the background.
//!
//! Masked state does not wait for this: it goes in the transaction that ends its round. The audit
//! log is never cut.

use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::config::settings;
use crate::store::{Old, Store, StoreError};
use crate::telemetry::name;

/// Between two batches other transactions get their turn.
const PAUSE: Duration = Duration::from_millis(50);

const DAY_MS: u64 = 86_400_000;

settings! {
    /// How long things are kept.
    pub struct RetentionSettings {
        /// Days after its end for which a round's messages, parameters and sum are kept, and after
        /// its expiry an admin token or an enrolment. 0: erased at the next sweep.
        metadata_days: u32 = 30,
        /// Days after its end for which the adapter that a round started from is kept. Not set: as
        /// long as the task. A task's current adapter is never erased.
        adapter_days: Option<u32> = None,
        /// Milliseconds between two sweeps. At least 100.
        sweep_ms: u64 = 3_600_000,
    }
}

impl RetentionSettings {
    /// What is wrong, if anything is: the setting, and what to do.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.sweep_ms >= 100 {
            return Ok(());
        }
        let reason = format!("it is {}; set it to at least 100", self.sweep_ms);
        Err(("retention.sweep_ms", reason))
    }

    /// How long one kind of thing is kept, in milliseconds; `None` for ever.
    fn keeps(&self, what: Old) -> Option<u64> {
        let days = match what {
            Old::Rounds | Old::Enrolments | Old::Tokens => Some(self.metadata_days),
            Old::Adapters => self.adapter_days,
        };
        days.map(|days| u64::from(days).saturating_mul(DAY_MS))
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.sweep_ms.max(100))
    }
}

/// Sweeps again and again until the future is dropped. A failure is logged; the next sweep goes on
/// where this one stopped. Processes that share a database share the work.
pub(crate) async fn run<S: Store>(app: Arc<App<S>>) {
    let settings = &app.settings().retention;
    loop {
        tokio::time::sleep(settings.interval()).await;
        for what in Old::ALL {
            if let Err(error) = sweep(app.store(), settings, what).await {
                tracing::warn!(what = what.text(), %error, "old data was not erased; later again");
                metrics::counter!(name::RETENTION_FAILURES).increment(1);
            }
        }
    }
}

/// Erases what is due of one kind, batch by batch.
async fn sweep<S: Store>(
    store: &S,
    settings: &RetentionSettings,
    what: Old,
) -> Result<(), StoreError> {
    let Some(keeps) = settings.keeps(what) else {
        return Ok(());
    };
    let now = store.now().await?;
    let before = now.saturating_sub(keeps);
    let mut total = 0;
    loop {
        let erased = store.erase(what, before, now).await?;
        if erased == 0 {
            break;
        }
        total += erased;
        metrics::counter!(name::RETENTION_ERASED, "what" => what.text()).increment(erased);
        tokio::time::sleep(PAUSE).await;
    }
    if total > 0 {
        tracing::info!(what = what.text(), total, "old data erased");
    }
    Ok(())
}
