//! Keeping the leases of tasks.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use tokio::time::Instant;

use crate::app::App;
use crate::store::{Store, StoreError};
use crate::telemetry::name;

/// Two looks at the leases are at least so far apart, whatever is signalled.
const GATHER: Duration = Duration::from_millis(20);

/// A process that has just started looks this often, for [`YOUTH`]: it may have taken the place of
/// one that was killed, whose connections the database has not noticed to be gone.
const YOUNG_RENEWAL: Duration = Duration::from_millis(100);

/// How long a process counts as just started.
const YOUTH: Duration = Duration::from_secs(2);

/// Renews the leases of this process, takes those that nobody has or that ran out, and has the
/// driver look at every task that it holds: what a lost signal should have told is found here.
pub(super) async fn keep<S: Store>(app: Arc<App<S>>) {
    let (started, mut starting) = (Instant::now(), true);
    loop {
        match renew(&app, starting).await {
            Ok(()) => starting = false,
            Err(error) => {
                tracing::error!(%error, "leases cannot be renewed; trying again");
                counter!(name::DRIVER_FAILURES).increment(1);
            }
        }
        tokio::time::sleep(GATHER).await;
        let renewal = if started.elapsed() < YOUTH {
            YOUNG_RENEWAL
        } else {
            app.settings().driver.renewal()
        };
        let rest = renewal.saturating_sub(GATHER);
        let _ = tokio::time::timeout(rest, app.signals().leases_changed()).await;
    }
}

async fn renew<S: Store>(app: &App<S>, starting: bool) -> Result<(), StoreError> {
    let (store, replica) = (app.store(), app.replica());
    let gone = store.bury(replica, starting).await?;
    let lease_ms = app.settings().driver.lease();
    let leases = store.renew_leases(replica, lease_ms).await?;
    if gone > 0 || leases.taken_over > 0 {
        let tasks = leases.taken_over;
        tracing::info!(gone, tasks, "taking over from a process that is gone");
    }
    counter!(name::LEASE_TAKEOVERS, "what" => "task").increment(leases.taken_over);
    app.signals().hold(leases.tasks);
    Ok(())
}
