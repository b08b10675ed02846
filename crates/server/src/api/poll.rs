//! Long polls: wait for a change of phase, for a bounded time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::app::App;
use crate::problem::Problem;
use crate::store::Store;
use crate::telemetry::{InFlight, name};

/// The longest that a request is held, in seconds.
const LONGEST: u64 = 30;

/// How long a change made by another process may go unnoticed.
const RECHECK: Duration = Duration::from_secs(1);

/// Looks until `look` says that there is news, or until `wait` seconds have passed; returns what
/// it saw last.
pub(super) async fn until<S, T, F>(
    app: &Arc<App<S>>,
    wait: Option<u64>,
    mut look: impl FnMut() -> F,
) -> Result<T, Problem>
where
    S: Store,
    F: Future<Output = Result<(T, bool), Problem>>,
{
    let end = Instant::now() + Duration::from_secs(wait.unwrap_or(0).min(LONGEST));
    let _waits = InFlight::new(name::LONG_POLLS);
    let mut changes = app.phase_changes();
    loop {
        changes.mark_unchanged();
        let (seen, news) = look().await?;
        let left = end.saturating_duration_since(Instant::now());
        if news || left.is_zero() {
            return Ok(seen);
        }
        // Whether woken or timed out, the next look decides.
        let _ = tokio::time::timeout(left.min(RECHECK), changes.changed()).await;
    }
}
