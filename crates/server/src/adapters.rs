//! Adapters on their way to clients: one copy of each in memory, however many fetch it at once.
//!
//! All clients of a round fetch its adapter in the moment that it opens, and some are slow: a copy
//! for each of them would make memory grow with clients.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use tokio::sync::OnceCell;
use undertone_protocol::id::{ModelDigest, TaskId};

use crate::store::{Store, StoreError};

/// How many adapters are kept when nobody fetches them any more. Those that somebody does stay as
/// long as it takes.
const KEPT: usize = 2;

type Key = (TaskId, ModelDigest);
type Slot = Arc<OnceCell<Bytes>>;

/// The adapters that were fetched last.
#[derive(Debug, Default)]
pub(crate) struct Adapters(Mutex<VecDeque<(Key, Slot)>>);

impl Adapters {
    /// The bytes of an adapter of a task; `None` if it is not there. Whoever asks while they are
    /// being read from the store waits for the same bytes.
    ///
    /// # Errors
    /// What the store fails with.
    pub(crate) async fn get(
        &self,
        store: &impl Store,
        task: TaskId,
        model: ModelDigest,
    ) -> Result<Option<Bytes>, StoreError> {
        let slot = self.slot((task, model));
        // What is not there leaves the slot empty: the next one looks again.
        let read = || async {
            let bytes = store.adapter(task, model).await.map_err(Some)?;
            bytes.map(Bytes::from).ok_or(None)
        };
        match slot.get_or_try_init(read).await {
            Ok(bytes) => Ok(Some(bytes.clone())),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    fn slot(&self, key: Key) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = match slots.iter().position(|(at, _)| *at == key) {
            Some(index) => slots.remove(index).map(|(_, slot)| slot),
            None => None,
        };
        let slot = slot.unwrap_or_default();
        slots.push_back((key, slot.clone()));
        if slots.len() > KEPT {
            slots.pop_front();
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(task: u8, model: u8) -> Key {
        (TaskId::from([task; 16]), ModelDigest::from([model; 32]))
    }

    #[test]
    fn the_latest_are_kept_and_shared() {
        let adapters = Adapters::default();
        let first = adapters.slot(key(1, 1));
        assert!(Arc::ptr_eq(&first, &adapters.slot(key(1, 1))));
        let second = adapters.slot(key(1, 2));
        // Used again: now the second is the oldest.
        adapters.slot(key(1, 1));
        adapters.slot(key(2, 1));
        assert!(Arc::ptr_eq(&first, &adapters.slot(key(1, 1))));
        assert!(!Arc::ptr_eq(&second, &adapters.slot(key(1, 2))));
        assert_eq!(adapters.0.lock().unwrap().len(), KEPT);
    }
}
