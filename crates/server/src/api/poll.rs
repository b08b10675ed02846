//! Long polls: wait for a change, for a bounded time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::app::App;
use crate::problem::Problem;
use crate::store::Store;
use crate::telemetry::{InFlight, name};
use crate::watch::{RECHECK, Snapshot};

/// The longest that a request is held, in seconds.
const LONGEST: u64 = 30;

/// What a poll finds in a snapshot.
pub(super) enum Glance<T> {
    /// What it waits for.
    News(T),
    /// What it knows.
    Same(T),
    /// Nothing: the thing is older, or newer, than what snapshots are of.
    Unknown,
}

/// Waits until there is news, or until `wait` seconds have passed; returns what was seen last.
///
/// While it waits, a poll looks at the snapshot of this process, by `glance`. Only a poll that does
/// not wait, or asks for what no snapshot knows, asks the database: by `look`, which says as well
/// whether it is news.
pub(super) async fn until<S, T, F>(
    app: &Arc<App<S>>,
    wait: Option<u64>,
    glance: impl Fn(&Snapshot) -> Glance<T>,
    look: impl Fn() -> F,
) -> Result<T, Problem>
where
    S: Store,
    F: Future<Output = Result<(T, bool), Problem>>,
{
    let wait = Duration::from_secs(wait.unwrap_or(0).min(LONGEST));
    if wait.is_zero() {
        return Ok(look().await?.0);
    }
    let end = Instant::now() + wait;
    let _waits = InFlight::new(name::LONG_POLLS);
    let (mut snapshots, mut stopping) = (app.watch().subscribe(), app.stopping());
    loop {
        let glanced = glance(&snapshots.borrow_and_update());
        let (seen, until) = match glanced {
            Glance::News(seen) => return Ok(seen),
            Glance::Same(seen) => (seen, end),
            Glance::Unknown => {
                let (seen, news) = look().await?;
                if news {
                    return Ok(seen);
                }
                (seen, end.min(Instant::now() + RECHECK))
            }
        };
        // Whether woken or timed out, the next glance decides.
        tokio::select! {
            _ = snapshots.changed() => {}
            () = tokio::time::sleep_until(until) => {
                if until == end {
                    return Ok(seen);
                }
            }
            // A poll does not hold up the stop.
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(seen),
        }
    }
}
