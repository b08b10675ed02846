//! Tasks and adapters.

use undertone_protocol::id::ModelDigest;
use undertone_server::store::{NewTask, Store, StoreError, TaskControl, TaskRecord, TaskStatus};

use crate::fixture::{model, new_task};

pub(crate) async fn made_once_and_read_back<S: Store>(store: &S) {
    let task = new_task(7);
    assert_eq!(store.task(task.id).await.unwrap(), None);
    assert!(store.create_task(&task).await.unwrap());
    let stored = TaskRecord {
        id: task.id,
        name: task.name.clone(),
        roster: task.roster.clone(),
        training: task.training.clone(),
        mechanism: task.mechanism.clone(),
        settings: task.settings.clone(),
        model: model(&task),
        status: TaskStatus::Running,
        control: TaskControl::Run,
        rounds_ended: 0,
        created_at: task.created_at,
        exhausted_at: None,
    };
    assert_eq!(store.task(task.id).await.unwrap(), Some(stored.clone()));

    let bytes = store.adapter(task.id, model(&task)).await.unwrap();
    assert_eq!(bytes, Some(task.adapter.clone()));
    let unknown = ModelDigest::of(b"another");
    assert_eq!(store.adapter(task.id, unknown).await.unwrap(), None);

    // The same again is there already, whenever it was sent; also once the task has moved on.
    let mut same = task.clone();
    same.created_at += 1000;
    assert!(!store.create_task(&same).await.unwrap());
    for change in [
        (|task| task.name.push('.')) as fn(&mut NewTask),
        |task| task.roster.push(1),
        |task| task.training.push(1),
        |task| task.mechanism.push(1),
        |task| task.settings.cohort += 1,
        |task| task.adapter[0] ^= 1,
    ] {
        let mut other = task.clone();
        change(&mut other);
        let error = store.create_task(&other).await.unwrap_err();
        assert!(matches!(error, StoreError::Exists(_)), "{error}");
    }

    let mut again = new_task(2);
    again.id = task.id;
    let error = store.create_task(&again).await.unwrap_err();
    assert!(matches!(error, StoreError::Exists(_)), "{error}");
    assert_eq!(store.task(task.id).await.unwrap(), Some(stored));
    assert_eq!(store.adapter(task.id, model(&again)).await.unwrap(), None);
}

pub(crate) async fn listed_in_order<S: Store>(store: &S) {
    let mut made = Vec::new();
    for _ in 0..5 {
        let task = new_task(1);
        store.create_task(&task).await.unwrap();
        made.push(task.id);
    }
    let listed: Vec<_> = store.tasks().await.unwrap().iter().map(|t| t.id).collect();
    assert!(listed.ends_with(&made), "{listed:?} ends with {made:?}");
}
