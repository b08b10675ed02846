//! Leases: one process drives a task, and another one when it is gone.

use std::time::Duration;

use tokio::task::JoinSet;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::TaskId;
use undertone_server::store::{Actor, ReplicaId, Signal, Store, TaskControl};

use crate::fixture::{self, NOW, new_round, new_task, soon};
use crate::postgres;

/// Longer than any test.
const LONG: u64 = 3_600_000;

/// Whether the process holds the task after it renewed its leases.
async fn holds<S: Store>(store: &S, owner: ReplicaId, lease_ms: u64, task: TaskId) -> bool {
    let leases = store.renew_leases(owner, lease_ms).await.unwrap();
    leases.tasks.contains(&task)
}

/// The clock goes on, and is this machine's, as the database is.
pub(crate) async fn the_clock_is_the_databases<S: Store>(store: &S) {
    let (before, now) = (
        undertone_server::driver::now_ms(),
        store.now().await.unwrap(),
    );
    assert!(now.abs_diff(before) < 60_000, "{now} {before}");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let later = store.now().await.unwrap();
    assert!((15..60_000).contains(&(later - now)), "{now} {later}");
}

pub(crate) async fn are_held_by_one_until_they_run_out<S: Store>(store: &S) {
    let (one, two) = (ReplicaId::draw(), ReplicaId::draw());
    let task = new_task(1);
    store.create_task(&task).await.unwrap();
    // Other tests' tasks are in the database too.
    assert!(holds(store, one, LONG, task.id).await);
    assert!(!holds(store, two, LONG, task.id).await);
    // Renewed for a moment only, it runs out: by the database's clock.
    assert!(holds(store, one, 50, task.id).await);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let leases = store.renew_leases(two, LONG).await.unwrap();
    assert!(leases.tasks.contains(&task.id));
    assert!(leases.taken_over >= 1, "{leases:?}");
    assert!(!holds(store, one, LONG, task.id).await);
    let again = store.renew_leases(two, LONG).await.unwrap();
    assert_eq!(again.taken_over, 0, "its own are not taken over");

    store.release_leases(two).await.unwrap();
    let leases = store.renew_leases(one, LONG).await.unwrap();
    assert!(leases.tasks.contains(&task.id));
    assert_eq!(leases.taken_over, 0, "what was given up is not taken over");
    store.release_leases(one).await.unwrap();
}

pub(crate) async fn of_tasks_that_are_over_are_dropped<S: Store>(store: &S) {
    let owner = ReplicaId::draw();
    let (finished, cancelled, paused) = (new_task(1), new_task(1), new_task(1));
    for task in [&finished, &cancelled, &paused] {
        store.create_task(task).await.unwrap();
        assert!(holds(store, owner, LONG, task.id).await);
    }
    for (task, to) in [
        (&cancelled, TaskControl::Cancelled),
        (&paused, TaskControl::Paused),
    ] {
        let control = store.control_task(task.id, to, NOW, Actor::Database);
        control.await.unwrap();
    }
    let round = new_round(finished.id, 1);
    assert!(store.open_round(&round).await.unwrap());
    let outcome = undertone_server::store::Outcome::Failed {
        reason: "a test".to_owned(),
        culprit: None,
    };
    let end = store.end_round(round.id, PhaseName::AdvertiseKeys, &outcome, NOW);
    assert!(end.await.unwrap());
    let leases = store.renew_leases(owner, LONG).await.unwrap();
    assert!(!leases.tasks.contains(&finished.id));
    assert!(!leases.tasks.contains(&cancelled.id));
    // An open round of a paused task goes on.
    assert!(leases.tasks.contains(&paused.id));
    store.release_leases(owner).await.unwrap();
}

/// Whatever many processes do at once, no task has two drivers, and none is left without.
pub(crate) async fn one_of_many_holds_each<S: Store>(store: &S) {
    let mut tasks = Vec::new();
    for _ in 0..6 {
        let task = new_task(1);
        store.create_task(&task).await.unwrap();
        tasks.push(task.id);
    }
    let mut renewals = JoinSet::new();
    for _ in 0..8 {
        let (store, owner) = (store.clone(), ReplicaId::draw());
        renewals.spawn(async move {
            for _ in 0..5 {
                store.renew_leases(owner, LONG).await.unwrap();
            }
            let held = store.renew_leases(owner, LONG).await.unwrap().tasks;
            (owner, held)
        });
    }
    let held = soon(renewals.join_all()).await;
    for task in tasks {
        let holders = held.iter().filter(|(_, held)| held.contains(&task));
        assert_eq!(holders.count(), 1);
    }
    for (owner, _) in held {
        store.release_leases(owner).await.unwrap();
    }
}

/// One process serves from a file: what an earlier one left is the next one's at once.
#[tokio::test(flavor = "multi_thread")]
async fn sqlite_leases_go_to_who_starts() {
    let folder = tempfile::tempdir().unwrap();
    let store = fixture::open(&fixture::sqlite_url(&folder)).await;
    let (one, two) = (ReplicaId::draw(), ReplicaId::draw());
    let task = new_task(1);
    store.create_task(&task).await.unwrap();
    assert!(holds(&store, one, LONG, task.id).await);
    assert_eq!(store.bury(two, false).await.unwrap(), 0);
    assert!(!holds(&store, two, LONG, task.id).await);
    assert_eq!(store.bury(two, true).await.unwrap(), 1);
    assert!(holds(&store, two, LONG, task.id).await);
    store.close().await;
}

/// A process that listens keeps its leases; when its connection is gone they are free at once.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_leases_of_the_dead_are_free() {
    let Some(database) = postgres::fresh().await else {
        return;
    };
    let store = fixture::open(&database.url).await;
    let (one, two) = (ReplicaId::draw(), ReplicaId::draw());
    let mut listener = store.listen(one).await.unwrap();
    let task = new_task(1);
    store.create_task(&task).await.unwrap();
    assert_eq!(
        soon(listener.next()).await.unwrap(),
        Signal::Changed(task.id)
    );
    assert!(holds(&store, one, LONG, task.id).await);
    assert_eq!(store.bury(two, true).await.unwrap(), 0);
    assert!(!holds(&store, two, LONG, task.id).await);

    listener.close().await;
    // The server ends the session of a closed connection in its own time.
    let buried = async {
        while store.bury(two, false).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(buried).await;
    let leases = store.renew_leases(two, LONG).await.unwrap();
    assert!(leases.tasks.contains(&task.id));
    assert_eq!(leases.taken_over, 1);
    // Who finds that it lost a lease does not take it back.
    assert!(!holds(&store, one, LONG, task.id).await);
    store.close().await;
    database.drop().await;
}

/// What one process changes another one hears of, and it hears that it may have missed something.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_changes_are_signalled() {
    let Some(database) = postgres::fresh().await else {
        return;
    };
    let (store, other) = (
        fixture::open(&database.url).await,
        fixture::open(&database.url).await,
    );
    let mut listener = other.listen(ReplicaId::draw()).await.unwrap();
    let task = new_task(2);
    let changed = Signal::Changed(task.id);
    store.create_task(&task).await.unwrap();
    assert_eq!(soon(listener.next()).await.unwrap(), changed);
    let round = new_round(task.id, 1);
    assert!(store.open_round(&round).await.unwrap());
    assert_eq!(soon(listener.next()).await.unwrap(), changed);
    // A message is not: it would have uploads wait for each other.
    let (keys, shares) = (PhaseName::AdvertiseKeys, PhaseName::ShareKeys);
    let message = fixture::message(1, "keys");
    let put = store.put_message(round.id, keys, &message);
    put.await.unwrap();
    assert!(
        store
            .close_phase(round.id, keys, shares, NOW)
            .await
            .unwrap()
    );
    assert_eq!(soon(listener.next()).await.unwrap(), changed);
    store.signal(Signal::Message(task.id)).await.unwrap();
    assert_eq!(
        soon(listener.next()).await.unwrap(),
        Signal::Message(task.id)
    );
    let cancelled = TaskControl::Cancelled;
    let control = store.control_task(task.id, cancelled, NOW, Actor::Database);
    control.await.unwrap();
    assert_eq!(soon(listener.next()).await.unwrap(), changed);

    assert!(database.break_connections().await >= 1);
    // The server says so before it closes the connection, or the connection is made anew.
    if let Ok(signal) = soon(listener.next()).await {
        assert_eq!(signal, Signal::Missed);
    } else {
        listener.close().await;
        listener = other.listen(ReplicaId::draw()).await.unwrap();
    }
    store.signal(Signal::Leases).await.unwrap();
    assert_eq!(soon(listener.next()).await.unwrap(), Signal::Leases);
    listener.close().await;
    other.close().await;
    store.close().await;
    database.drop().await;
}
