//! What is long and fetched by many: adapters, sums, rosters. One copy of each is in memory, however
//! many fetch it at once.
//!
//! All clients of a round fetch its adapter in the moment that it opens, and some are slow, or mean
//! to be: a copy for each of them would make memory grow with clients.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use tokio::sync::OnceCell;
use undertone_protocol::id::{ModelDigest, RoundId, TaskId};

use crate::store::{RoundState, Store, StoreError};

/// How many of a kind are kept when nobody fetches them any more. Those that somebody does stay as
/// long as it takes.
const KEPT: usize = 2;

type Slot = Arc<OnceCell<Bytes>>;

/// What was fetched last.
#[derive(Debug, Default)]
pub(crate) struct Downloads {
    adapters: Kept<(TaskId, ModelDigest)>,
    sums: Kept<RoundId>,
    rosters: Kept<TaskId>,
}

impl Downloads {
    /// The bytes of an adapter of a task; `None` if it is not there.
    ///
    /// # Errors
    /// What the store fails with.
    pub(crate) async fn adapter(
        &self,
        store: &impl Store,
        task: TaskId,
        model: ModelDigest,
    ) -> Result<Option<Bytes>, StoreError> {
        let read = store.adapter(task, model);
        self.adapters.get((task, model), read).await
    }

    /// The packed sum of a round; `None` if there is none.
    ///
    /// # Errors
    /// What the store fails with.
    pub(crate) async fn sum(
        &self,
        store: &impl Store,
        round: RoundId,
    ) -> Result<Option<Bytes>, StoreError> {
        let read = async {
            let round = store.round(round).await?;
            Ok(match round.map(|round| round.state) {
                Some(RoundState::Finished(result)) => Some(result.sum),
                _ => None,
            })
        };
        self.sums.get(round, read).await
    }

    /// The signed roster of a task; `None` if there is no such task.
    ///
    /// # Errors
    /// What the store fails with.
    pub(crate) async fn roster(
        &self,
        store: &impl Store,
        task: TaskId,
    ) -> Result<Option<Bytes>, StoreError> {
        let read = async { Ok(store.task(task).await?.map(|task| task.roster)) };
        self.rosters.get(task, read).await
    }
}

/// The latest of one kind.
#[derive(Debug)]
struct Kept<K>(Mutex<VecDeque<(K, Slot)>>);

impl<K> Default for Kept<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: PartialEq> Kept<K> {
    /// The bytes under a key. Whoever asks while they are being read waits for the same bytes.
    async fn get(
        &self,
        key: K,
        read: impl Future<Output = Result<Option<Vec<u8>>, StoreError>> + Send,
    ) -> Result<Option<Bytes>, StoreError> {
        let slot = self.slot(key);
        // What is not there leaves the slot empty: the next one looks again.
        let read = || async {
            let bytes = read.await.map_err(Some)?;
            bytes.map(Bytes::from).ok_or(None)
        };
        match slot.get_or_try_init(read).await {
            Ok(bytes) => Ok(Some(bytes.clone())),
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    fn slot(&self, key: K) -> Slot {
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

    #[test]
    fn the_latest_are_kept_and_shared() {
        let kept = Kept::default();
        let first = kept.slot((1, 1));
        assert!(Arc::ptr_eq(&first, &kept.slot((1, 1))));
        let second = kept.slot((1, 2));
        // Used again: now the second is the oldest.
        kept.slot((1, 1));
        kept.slot((2, 1));
        assert!(Arc::ptr_eq(&first, &kept.slot((1, 1))));
        assert!(!Arc::ptr_eq(&second, &kept.slot((1, 2))));
        assert_eq!(kept.0.lock().unwrap().len(), KEPT);
    }

    /// Whoever fetches the same thing holds the same bytes, not a copy.
    #[tokio::test]
    async fn many_hold_one_copy() {
        let kept = Kept::default();
        let read = || async { Ok(Some(vec![7; 1000])) };
        let first = kept.get(1, read()).await.unwrap().unwrap();
        let second = kept.get(1, read()).await.unwrap().unwrap();
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_eq!(kept.get(2, async { Ok(None) }).await.unwrap(), None);
        assert!(
            kept.get(2, read()).await.unwrap().is_some(),
            "it is looked for again"
        );
    }
}
