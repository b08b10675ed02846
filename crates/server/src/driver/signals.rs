//! What wakes the loops of this process, and those of others.
//!
//! A change is signalled where it is made and, through the database, to all processes. A message is
//! signalled to the process that drives its task: here by a flag, elsewhere through the database,
//! once for all messages that come within `GATHER`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use undertone_protocol::id::TaskId;

use crate::app::App;
use crate::store::{Signal, Store, StoreError};

/// Messages whose task another process drives are signalled together once in so long: a signal is a
/// transaction, and Postgres commits those that notify one after the other.
const GATHER: Duration = Duration::from_millis(50);

/// How long to wait before listening again after a failure.
const PAUSE: Duration = Duration::from_millis(500);

/// The flags of one process.
#[derive(Debug, Default)]
pub struct Signals {
    tasks: Mutex<Tasks>,
    woken: Notify,
    leases: Notify,
    elsewhere: Notify,
    unmasking: Notify,
}

#[derive(Debug, Default)]
struct Tasks {
    /// Those that this process drives.
    held: BTreeSet<TaskId>,
    /// Those of them that the driver should look at.
    due: BTreeSet<TaskId>,
    /// Those that another process should look at.
    elsewhere: BTreeSet<TaskId>,
}

impl Signals {
    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message of the task's open round is stored.
    pub(crate) fn message(&self, task: TaskId) {
        let mut tasks = self.lock();
        if tasks.held.contains(&task) {
            tasks.due.insert(task);
            self.woken.notify_one();
        } else {
            tasks.elsewhere.insert(task);
            self.elsewhere.notify_one();
        }
    }

    /// The task is in another state.
    pub(crate) fn changed(&self, task: TaskId) {
        self.unmasking.notify_one();
        let mut tasks = self.lock();
        if tasks.held.contains(&task) {
            tasks.due.insert(task);
            self.woken.notify_one();
        } else {
            // It may be new, and nobody's yet.
            self.leases.notify_one();
        }
    }

    /// Anything may have changed.
    pub(crate) fn anything(&self) {
        self.leases.notify_one();
    }

    fn heard(&self, signal: Signal) {
        match signal {
            Signal::Changed(task) => self.changed(task),
            Signal::Message(task) => {
                let mut tasks = self.lock();
                if tasks.held.contains(&task) {
                    tasks.due.insert(task);
                    self.woken.notify_one();
                }
            }
            Signal::Leases | Signal::Missed => self.anything(),
        }
    }

    /// These are the tasks that this process drives from now on; all are looked at.
    pub(super) fn hold(&self, held: BTreeSet<TaskId>) {
        let mut tasks = self.lock();
        tasks.due.clone_from(&held);
        tasks.held = held;
        self.woken.notify_one();
    }

    /// Whether this process drives the task.
    pub(super) fn holds(&self, task: TaskId) -> bool {
        self.lock().held.contains(&task)
    }

    /// The tasks that the driver should look at.
    pub(super) fn take(&self) -> BTreeSet<TaskId> {
        std::mem::take(&mut self.lock().due)
    }

    /// Waits for tasks that the driver should look at.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Waits for a reason to look at the leases.
    pub(super) async fn leases_changed(&self) {
        self.leases.notified().await;
    }

    /// Waits for a change that may have left chunks to unmask.
    pub(super) async fn unmasking(&self) {
        self.unmasking.notified().await;
    }

    fn take_elsewhere(&self) -> BTreeSet<TaskId> {
        let mut tasks = self.lock();
        let elsewhere = std::mem::take(&mut tasks.elsewhere);
        // What this process has come to drive since then, it looks at itself.
        let (own, others) = elsewhere
            .into_iter()
            .partition::<BTreeSet<_>, _>(|task| tasks.held.contains(task));
        if !own.is_empty() {
            tasks.due.extend(own);
            self.woken.notify_one();
        }
        others
    }
}

/// Hands on what other processes signal.
pub(super) async fn hear<S: Store>(app: Arc<App<S>>) {
    loop {
        if let Err(error) = listen(&app).await {
            tracing::warn!(%error, "signals of other processes are not heard; listening again");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn listen<S: Store>(app: &App<S>) -> Result<(), StoreError> {
    let mut listener = app.store().listen(app.replica()).await?;
    let mut signal = Signal::Missed;
    loop {
        app.signals().heard(signal);
        if !matches!(signal, Signal::Message(_)) {
            app.announce();
        }
        signal = listener.next().await?;
    }
}

/// Signals messages to the processes that drive their tasks.
pub(super) async fn tell<S: Store>(app: Arc<App<S>>) {
    let signals = app.signals();
    loop {
        signals.elsewhere.notified().await;
        tokio::time::sleep(GATHER).await;
        for task in signals.take_elsewhere() {
            if let Err(error) = app.store().signal(Signal::Message(task)).await {
                // Whoever drives the task looks by itself within a second.
                tracing::debug!(%error, "a message is not signalled");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: u8) -> TaskId {
        TaskId::from([number; 16])
    }

    #[test]
    fn messages_go_to_who_drives_their_task() {
        let signals = Signals::default();
        signals.message(task(1));
        signals.message(task(2));
        assert!(signals.take().is_empty());
        signals.hold(BTreeSet::from([task(1)]));
        assert_eq!(
            signals.take(),
            BTreeSet::from([task(1)]),
            "a new one is looked at"
        );
        // One that this process has taken meanwhile is not told to others.
        assert_eq!(signals.take_elsewhere(), BTreeSet::from([task(2)]));
        assert_eq!(signals.take(), BTreeSet::from([task(1)]));
        signals.heard(Signal::Message(task(1)));
        signals.heard(Signal::Message(task(2)));
        signals.heard(Signal::Changed(task(2)));
        assert_eq!(signals.take(), BTreeSet::from([task(1)]));
        assert!(signals.take_elsewhere().is_empty(), "no echo");
        signals.hold(BTreeSet::new());
        assert!(!signals.holds(task(1)));
        assert!(signals.take().is_empty());
    }
}
