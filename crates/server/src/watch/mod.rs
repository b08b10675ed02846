//! Where tasks and rounds stand, as one process knows it: what long polls are answered from.
//!
//! A poll that waits costs no query. One loop reads how everything stands when something is
//! signalled, and once a second in case a signal was lost; whoever waits is woken when something
//! changed that a poll can see. So ten thousand polls cost what one costs.

mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

pub(crate) use snapshot::{Known, Snapshot};

use crate::app::App;
use crate::store::{Store, StoreError};

/// Changes that come within so long are read together.
const GATHER: Duration = Duration::from_millis(10);

/// How long a change may go unnoticed whose signal was lost.
pub(crate) const RECHECK: Duration = Duration::from_secs(1);

/// The latest snapshot of a process, and who waits for the next.
#[derive(Debug)]
pub(crate) struct Watch {
    latest: watch::Sender<Arc<Snapshot>>,
    changes: watch::Sender<()>,
    asked: Notify,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            latest: watch::Sender::new(Arc::default()),
            changes: watch::Sender::new(()),
            asked: Notify::new(),
        }
    }
}

impl Watch {
    /// Has everything read again.
    pub(crate) fn refresh(&self) {
        self.asked.notify_one();
    }

    /// Tells when something changed that a poll can see.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The latest snapshot and those to come.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.latest.subscribe()
    }
}

/// Keeps the snapshot of this process until the future is dropped.
pub(crate) async fn run<S: Store>(app: Arc<App<S>>) {
    loop {
        if let Err(error) = read(&app).await {
            // The store has counted and logged it.
            tracing::debug!(%error, "how rounds stand cannot be read; trying again");
        }
        tokio::time::sleep(GATHER).await;
        let _ = tokio::time::timeout(RECHECK, app.watch().asked.notified()).await;
    }
}

async fn read<S: Store>(app: &App<S>) -> Result<(), StoreError> {
    let before = app.watch().latest.borrow().clone();
    let mut snapshot = Snapshot::after(&before, app.store().standing().await?);
    for task in snapshot.left(&before) {
        snapshot.add(app.store().standing_of(task).await?);
    }
    // A round that has ended, here or elsewhere, leaves nothing in memory: its phases hold all that
    // its clients dealt, and whoever unmasked it has the keys of the masks.
    for round in snapshot.ended() {
        app.phases().forget(round);
        app.recovered().forget(round);
    }
    let snapshot = Arc::new(snapshot);
    let news = app.watch().latest.send_if_modified(|latest| {
        let news = snapshot.differs(latest);
        *latest = snapshot;
        news
    });
    if news {
        app.watch().changes.send_replace(());
    }
    Ok(())
}
