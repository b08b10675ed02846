//! Group commit: inputs that wait go into the sum together, by one transaction and one fsync.
//!
//! A round has one batcher in each process, started by the first input that comes and gone when
//! none is left. While a transaction is under way the next inputs gather, so batches are as large
//! as they need be: of one input where there is no load, and no input waits for company.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tracing::Instrument;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::RoundId;
use undertone_protocol::vector::Ring;

use super::fault::{self, Point};
use super::memory::{Room, overloaded};
use crate::app::App;
use crate::problem::{Problem, ProblemKind};
use crate::store::{PackedInput, PutOutcome, Store};
use crate::telemetry::name;
use crate::telemetry::trace::{self, Place};

/// The inputs that wait, by round. A round that is in it has a batcher.
#[derive(Debug, Default)]
pub(super) struct Queues(Mutex<HashMap<RoundId, VecDeque<Waiting>>>);

#[derive(Debug)]
struct Waiting {
    input: PackedInput,
    /// Held until the outcome is told.
    _room: Room,
    outcome: oneshot::Sender<Result<PutOutcome, Problem>>,
}

/// What the inputs of a round have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) round: RoundId,
    pub(super) ring: Ring,
    pub(super) length: usize,
}

/// Stores an input with the next batch of its round. An input that was handed in is stored even if
/// nobody waits for its outcome any more.
///
/// # Errors
/// [`ProblemKind::Overloaded`] if the queue is full, and what the store's failures become.
pub(super) async fn store<S: Store>(
    app: &Arc<App<S>>,
    shape: Shape,
    input: PackedInput,
    room: Room,
) -> Result<PutOutcome, Problem> {
    let (outcome, told) = oneshot::channel();
    let waiting = Waiting {
        input,
        _room: room,
        outcome,
    };
    let uploads = app.uploads();
    if uploads
        .queues
        .add(shape.round, waiting, uploads.settings.queue)?
    {
        tokio::spawn(run(app.clone(), shape));
    }
    told.await.unwrap_or_else(|_| {
        let detail = "the service is stopping; send the same bytes again";
        Err(Problem::new(ProblemKind::Unavailable, detail))
    })
}

impl Queues {
    fn lock(&self) -> MutexGuard<'_, HashMap<RoundId, VecDeque<Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an input; returns whether the round needs a batcher.
    fn add(&self, round: RoundId, waiting: Waiting, most: usize) -> Result<bool, Problem> {
        let mut queues = self.lock();
        let first = !queues.contains_key(&round);
        let queue = queues.entry(round).or_default();
        if queue.len() >= most.max(1) {
            return Err(overloaded("queue", "too many masked inputs wait"));
        }
        queue.push_back(waiting);
        depth().increment(1.0);
        Ok(first)
    }

    /// The next batch, of at most `most` inputs. If there is none, the round has no batcher from
    /// now on.
    fn take(&self, round: RoundId, most: usize) -> Option<Vec<Waiting>> {
        let mut queues = self.lock();
        let queue = queues.get_mut(&round)?;
        let batch: Vec<_> = queue.drain(..queue.len().min(most.max(1))).collect();
        if batch.is_empty() {
            queues.remove(&round);
            return None;
        }
        depth().decrement(count(batch.len()));
        Some(batch)
    }
}

/// Whoever still waits when a batcher ends by a panic, or with the process, is told to come again.
struct Abandon<'a> {
    queues: &'a Queues,
    round: RoundId,
    ended: bool,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if !self.ended
            && let Some(queue) = self.queues.lock().remove(&self.round)
        {
            depth().decrement(count(queue.len()));
        }
    }
}

async fn run<S: Store>(app: Arc<App<S>>, shape: Shape) {
    let uploads = app.uploads();
    let mut abandon = Abandon {
        queues: &uploads.queues,
        round: shape.round,
        ended: false,
    };
    while let Some(batch) = uploads.queues.take(shape.round, uploads.settings.max_batch) {
        metrics::histogram!(name::UPLOAD_BATCH).record(count(batch.len()));
        fault::at(Point::BeforeBegin);
        let inputs: Vec<_> = batch.iter().map(|waiting| waiting.input.clone()).collect();
        let Shape {
            round,
            ring,
            length,
        } = shape;
        let span = tracing::info_span!("batch", inputs = batch.len());
        trace::within(&span, Place::phase(round, PhaseName::MaskedInput));
        let stored = app.store().put_inputs(round, ring, length, &inputs);
        let outcomes = stored.instrument(span).await;
        fault::at(Point::BeforeWake);
        // An outcome that nobody waits for is dropped: the client will ask again.
        match outcomes.map_err(Problem::from) {
            Ok(outcomes) => {
                for (waiting, outcome) in batch.into_iter().zip(outcomes) {
                    let _ = waiting.outcome.send(Ok(outcome));
                }
            }
            Err(problem) => {
                for waiting in batch {
                    let _ = waiting.outcome.send(Err(problem.clone()));
                }
            }
        }
    }
    abandon.ended = true;
}

fn depth() -> metrics::Gauge {
    metrics::gauge!(name::UPLOAD_QUEUE)
}

fn count(inputs: usize) -> f64 {
    f64::from(u32::try_from(inputs).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use undertone_protocol::id::RosterIndex;

    use super::*;
    use crate::store::StoredMessage;
    use crate::upload::UploadSettings;
    use crate::upload::memory::Memory;

    type Told = oneshot::Receiver<Result<PutOutcome, Problem>>;

    async fn waiting(sender: u32) -> (Waiting, Told) {
        let memory = Memory::new(&UploadSettings::default());
        let (outcome, told) = oneshot::channel();
        let header = StoredMessage {
            sender: RosterIndex(sender),
            bytes: Vec::new(),
        };
        let input = PackedInput {
            header,
            packed: vec![1].into(),
        };
        let room = memory.room(1).await.unwrap();
        let waiting = Waiting {
            input,
            _room: room,
            outcome,
        };
        (waiting, told)
    }

    fn senders(batch: Option<Vec<Waiting>>) -> Option<Vec<u32>> {
        let batch = batch?.into_iter();
        Some(batch.map(|waiting| waiting.input.header.sender.0).collect())
    }

    #[tokio::test]
    async fn a_queue_is_bounded_and_in_order() {
        let (queues, round) = (Queues::default(), RoundId::from([1; 32]));
        for sender in 0..5 {
            let first = queues.add(round, waiting(sender).await.0, 5).unwrap();
            assert_eq!(first, sender == 0, "one batcher, started by the first");
        }
        let (late, told) = waiting(5).await;
        let refused = queues.add(round, late, 5).unwrap_err();
        assert_eq!(refused.kind(), ProblemKind::Overloaded);
        assert!(told.await.is_err());
        // Another round has a queue of its own.
        let other = RoundId::from([2; 32]);
        assert!(queues.add(other, waiting(9).await.0, 5).unwrap());

        assert_eq!(senders(queues.take(round, 3)), Some(vec![0, 1, 2]));
        assert!(!queues.add(round, waiting(6).await.0, 5).unwrap());
        assert_eq!(senders(queues.take(round, 3)), Some(vec![3, 4, 6]));
        // Until it finds nothing, the round's batcher is there.
        assert!(!queues.add(round, waiting(7).await.0, 5).unwrap());
        assert_eq!(senders(queues.take(round, 3)), Some(vec![7]));
        assert_eq!(senders(queues.take(round, 3)), None);
        assert!(queues.add(round, waiting(8).await.0, 5).unwrap());
    }

    #[tokio::test]
    async fn a_batcher_that_dies_leaves_nobody_waiting() {
        let (queues, round) = (Queues::default(), RoundId::from([1; 32]));
        let (input, told) = waiting(1).await;
        queues.add(round, input, 5).unwrap();
        drop(Abandon {
            queues: &queues,
            round,
            ended: false,
        });
        assert!(told.await.is_err());
        assert!(queues.add(round, waiting(2).await.0, 5).unwrap());
    }
}
