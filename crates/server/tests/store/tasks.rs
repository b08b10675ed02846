//! Tasks and adapters.

use undertone_protocol::id::ModelDigest;
use undertone_server::store::{Store, StoreError, TaskControl, TaskRecord, TaskStatus};

use crate::fixture::{model, new_task};

pub(crate) async fn made_once_and_read_back<S: Store>(store: &S) {
    let task = new_task(7);
    assert_eq!(store.task(task.id).await.unwrap(), None);
    store.create_task(&task).await.unwrap();
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
    };
    assert_eq!(store.task(task.id).await.unwrap(), Some(stored.clone()));

    let bytes = store.adapter(task.id, model(&task)).await.unwrap();
    assert_eq!(bytes, Some(task.adapter.clone()));
    let unknown = ModelDigest::of(b"another");
    assert_eq!(store.adapter(task.id, unknown).await.unwrap(), None);

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
