//! The round driver: opens rounds, closes phases by count or deadline, ends rounds.
//!
//! | what | module |
//! |---|---|
//! | which tasks this process drives | `lease` |
//! | what wakes it, here and in other processes | [`signals`] |
//! | a new round | `open` |
//! | from phase to phase | `advance` |
//! | masks off the sum | `unmask` |
//! | how a round ends | `conclude` |
//!
//! A task is driven by the process that holds its lease, and by another one once the lease has run
//! out. Every change is a compare-and-set in the store, so nothing rests on that: any number of
//! drivers may run against one database, and one that dies in the middle leaves a round that the
//! next one goes on with. Deadlines are compared with the database's clock.

mod advance;
mod conclude;
mod lease;
mod open;
mod settings;
pub mod signals;
pub(crate) mod unmask;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;
use tokio::time::Instant;
use undertone_protocol::id::TaskId;

pub use settings::DriverSettings;

use crate::app::App;
use crate::store::Store;
use crate::telemetry::name;
use crate::watch;

/// Messages that come within so long are looked at together.
const GATHER: Duration = Duration::from_millis(10);

/// After a failure a task is looked at again this much later.
const RETRY: Duration = Duration::from_millis(500);

/// The driver sleeps no longer; by then the keeper of the leases has woken it anyway.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Milliseconds since the Unix epoch by this process's clock; 0 before it. What processes must
/// agree on goes by the database's clock: [`Store::now`].
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The driver of a process, at work until it is stopped or dropped.
#[derive(Debug)]
pub struct Driver {
    loops: JoinSet<()>,
}

impl Driver {
    /// Starts it.
    pub fn start<S: Store>(app: &Arc<App<S>>) -> Self {
        let mut loops = JoinSet::new();
        loops.spawn(run(app.clone()));
        loops.spawn(lease::keep(app.clone()));
        loops.spawn(signals::hear(app.clone()));
        loops.spawn(signals::tell(app.clone()));
        loops.spawn(unmask::work(app.clone()));
        loops.spawn(watch::run(app.clone()));
        Self { loops }
    }

    /// Stops it where it stands, and gives its leases up so that others need not wait for them.
    pub async fn stop<S: Store>(mut self, app: &App<S>) {
        self.loops.shutdown().await;
        if let Err(error) = app.store().release_leases(app.replica()).await {
            tracing::warn!(%error, "leases are not given up; they run out by themselves");
        }
    }
}

/// Drives the tasks that this process holds until the future is dropped. Failures of the store are
/// logged and met by trying again: nothing that was acknowledged depends on this loop.
async fn run<S: Store>(app: Arc<App<S>>) {
    let mut alarms = BTreeMap::new();
    loop {
        for task in due(&app, &alarms).await {
            match advance::task(&app, task).await {
                Ok(None) => {
                    alarms.remove(&task);
                }
                Ok(Some(left)) => {
                    alarms.insert(task, Instant::now() + left);
                }
                Err(error) => {
                    tracing::error!(%task, %error, "the driver failed; it tries again");
                    metrics::counter!(name::DRIVER_FAILURES).increment(1);
                    alarms.insert(task, Instant::now() + RETRY);
                }
            }
        }
        alarms.retain(|task, _| app.signals().holds(*task));
        tokio::time::sleep(GATHER).await;
    }
}

/// Waits until there are tasks to look at: that something happened to, or whose time is up.
async fn due<S: Store>(app: &App<S>, alarms: &BTreeMap<TaskId, Instant>) -> BTreeSet<TaskId> {
    let longest = Instant::now() + LONGEST_SLEEP;
    let first = alarms.values().min().map_or(longest, |at| longest.min(*at));
    // Whether woken or not, what is due decides.
    let _ = tokio::time::timeout_at(first, app.signals().woken()).await;
    let now = Instant::now();
    let rung = alarms.iter().filter(|(_, at)| **at <= now);
    let mut due = app.signals().take();
    due.extend(rung.map(|(task, _)| *task));
    due
}
