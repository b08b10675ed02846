//! One upload at a time for each client of a round, so that no client of the roster holds all the
//! memory with uploads that never end. The newest counts: a client whose connection broke comes
//! again before the service knows that the old one is dead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use undertone_protocol::id::{RosterIndex, RoundId};

/// A client of a round.
type Key = (RoundId, RosterIndex);

/// Who is sending.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<Key, Arc<Notify>>>);

/// The turn of one upload, over when dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    key: Key,
    displaced: Arc<Notify>,
}

impl Turns {
    /// Begins an upload whose header is verified, and ends the one before it.
    pub(super) fn begin(&self, round: RoundId, client: RosterIndex) -> Turn<'_> {
        let displaced = Arc::new(Notify::new());
        let key = (round, client);
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = turns.insert(key, displaced.clone()) {
            before.notify_one();
        }
        Turn {
            turns: self,
            key,
            displaced,
        }
    }
}

impl Turn<'_> {
    /// Completes when another upload of the client has begun.
    pub(super) async fn displaced(&self) {
        self.displaced.notified().await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let turns = self.turns.0.lock();
        let mut turns = turns.unwrap_or_else(PoisonError::into_inner);
        let own = turns.get(&self.key);
        if own.is_some_and(|own| Arc::ptr_eq(own, &self.displaced)) {
            turns.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn the_newest_upload_of_a_client_displaces_the_one_before() {
        let turns = Turns::default();
        let round = RoundId::from([1; 32]);
        let is_displaced = async |turn: &Turn<'_>| {
            timeout(Duration::from_millis(20), turn.displaced())
                .await
                .is_ok()
        };
        let first = turns.begin(round, RosterIndex(1));
        let other = turns.begin(round, RosterIndex(2));
        assert!(!is_displaced(&first).await);
        let second = turns.begin(round, RosterIndex(1));
        assert!(is_displaced(&first).await);
        drop(first);
        // That the first is over does not end the turn of the second.
        let third = turns.begin(round, RosterIndex(1));
        assert!(is_displaced(&second).await);
        assert!(!is_displaced(&third).await && !is_displaced(&other).await);
        drop((second, third, other));
        assert!(turns.0.lock().unwrap().is_empty());
    }
}
