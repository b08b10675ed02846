//! Room for masked vectors: a number of bytes, of which every upload in progress has its part.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::{Problem, ProblemKind};
use crate::telemetry::name;
use crate::upload::UploadSettings;

/// What room is counted in, in bytes.
const UNIT: usize = 1024;

/// The memory for masked vectors of this process.
#[derive(Debug)]
pub(crate) struct Memory {
    free: Arc<Semaphore>,
    /// In units.
    total: u32,
    wait: Duration,
}

/// Room for one vector, given back when dropped.
#[derive(Debug)]
pub(crate) struct Room(OwnedSemaphorePermit);

impl Memory {
    pub(super) fn new(settings: &UploadSettings) -> Self {
        let total = units(settings.memory_bytes);
        Self {
            free: Arc::new(Semaphore::new(
                usize::try_from(total).unwrap_or(Semaphore::MAX_PERMITS),
            )),
            total,
            wait: settings.room_wait(),
        }
    }

    /// Whether a vector of `bytes` bytes is longer than all the room there is. It goes in all the
    /// same, alone.
    pub(crate) fn exceeded_by(&self, bytes: usize) -> bool {
        units(bytes) > self.total
    }

    /// Room for `bytes` bytes, as soon as there is; whoever waits longest comes first.
    ///
    /// # Errors
    /// [`ProblemKind::Overloaded`] if there is none soon.
    pub(super) async fn room(&self, bytes: usize) -> Result<Room, Problem> {
        let units = units(bytes).min(self.total);
        let room = self.free.clone().acquire_many_owned(units);
        match tokio::time::timeout(self.wait, room).await {
            Ok(Ok(permit)) => {
                bytes_in_flight().increment(bytes_of(&permit));
                Ok(Room(permit))
            }
            _ => Err(overloaded("memory", "other masked inputs fill the memory")),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        bytes_in_flight().decrement(bytes_of(&self.0));
    }
}

fn units(bytes: usize) -> u32 {
    // The semaphore takes no more than 2^32 units in one go: 4 TiB.
    u32::try_from(bytes.div_ceil(UNIT))
        .unwrap_or(u32::MAX)
        .max(1)
}

fn bytes_of(permit: &OwnedSemaphorePermit) -> f64 {
    let units = u32::try_from(permit.num_permits()).unwrap_or(u32::MAX);
    f64::from(units) * 1024.0
}

fn bytes_in_flight() -> metrics::Gauge {
    metrics::gauge!(name::UPLOAD_BYTES)
}

/// The answer to an upload that there is no room for now, and a count of it.
pub(super) fn overloaded(what: &'static str, why: &str) -> Problem {
    metrics::counter!(name::UPLOAD_OVERLOADED, "what" => what).increment(1);
    Problem::new(
        ProblemKind::Overloaded,
        format!("{why}; send the same bytes again later"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(bytes: usize) -> Memory {
        Memory::new(&UploadSettings {
            memory_bytes: bytes,
            room_wait_ms: 500,
            ..UploadSettings::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_there_is() {
        let memory = memory(10 * UNIT);
        let first = memory.room(4 * UNIT).await.unwrap();
        let _second = memory.room(6 * UNIT).await.unwrap();
        let before = tokio::time::Instant::now();
        let refused = memory.room(1).await.unwrap_err();
        assert_eq!(refused.kind(), ProblemKind::Overloaded);
        assert_eq!(before.elapsed(), Duration::from_millis(500));
        let (room, ()) = tokio::join!(memory.room(3 * UNIT + 1), async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            drop(first);
        });
        drop(room.unwrap());
    }

    /// A vector that is longer than the memory does not wait for ever: it goes in alone.
    #[tokio::test(start_paused = true)]
    async fn the_longest_goes_in_alone() {
        let memory = memory(10 * UNIT);
        assert!(memory.exceeded_by(10 * UNIT + 1) && !memory.exceeded_by(10 * UNIT));
        let small = memory.room(1).await.unwrap();
        assert!(memory.room(1000 * UNIT).await.is_err());
        drop(small);
        let long = memory.room(1000 * UNIT).await.unwrap();
        assert!(memory.room(1).await.is_err());
        drop(long);
        assert!(memory.room(10 * UNIT).await.is_ok());
    }
}
