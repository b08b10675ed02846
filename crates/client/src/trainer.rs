//! What the embedding application supplies: local training.

use std::error::Error;
use std::future::Future;

use undertone_privacy::Mechanism;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::id::{RoundId, RoundNumber, TaskId};

use crate::coding::GradientSum;

/// One round's work for a [`Trainer`]. Everything in it matches the digests that the round's id
/// binds.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// The task.
    pub task: TaskId,
    /// The round.
    pub id: RoundId,
    /// The round's number within the task, from 1.
    pub round: RoundNumber,
    /// The global adapter that the round starts from.
    pub adapter: &'a Adapter,
    /// The training settings: JSON, exactly the bytes that the training digest covers.
    pub training: &'a [u8],
    /// The mechanism that the local policy accepted and that the ledger will be charged for.
    pub mechanism: &'a Mechanism,
}

/// Local training on the data that stays here.
pub trait Trainer: Send {
    /// Why training failed.
    type Error: Error + Send + Sync + 'static;

    /// Trains from `work.adapter` on local data and returns the update: trained values less
    /// starting values, `[work.adapter.len()]`, in the adapter's canonical order, all finite.
    ///
    /// It must run the mechanism that `work.mechanism` names, and refuse training settings that
    /// disagree with it: the privacy ledger is charged for the mechanism, whatever was run.
    /// It must not block the runtime's thread; computation belongs on a thread of its own.
    ///
    /// # Errors
    /// An error ends [`Client::run`](crate::Client::run). Nothing has left this machine by then.
    fn train(
        &mut self,
        work: Work<'_>,
    ) -> impl Future<Output = Result<Vec<f32>, Self::Error>> + Send;

    /// The round of `task` whose update this trainer made last, if it has yet to be told whether
    /// that update reached the sum. Only an algorithm that remembers something from round to round
    /// asks, and after a restart it still does.
    ///
    /// # Errors
    /// As [`Trainer::train`].
    fn unsettled(&mut self, task: TaskId) -> Result<Option<RoundId>, Self::Error> {
        let _ = task;
        Ok(None)
    }

    /// Whether the update of the unsettled round is in that round's sum. Comes before the next
    /// [`Trainer::train`].
    ///
    /// # Errors
    /// As [`Trainer::train`].
    fn settle(&mut self, counted: bool) -> Result<(), Self::Error> {
        let _ = counted;
        Ok(())
    }

    /// One step's gradients, under a mechanism of the kind `distributed-dp-sgd` (then
    /// [`Trainer::train`] is not called).
    ///
    /// It takes each local example into the sample with probability `sampling_rate` of
    /// `work.mechanism`, independently and in secret, and gives `sum` the contribution of each
    /// sampled one by itself ([`GradientSum::add`]), at the values of `work.adapter`. An empty sample
    /// is one, too. The promise for an example rests on exactly that: one contribution for each
    /// sampled example, which depends on no other.
    ///
    /// `None`, unless it is implemented: this trainer gives no gradients of single examples.
    ///
    /// # Errors
    /// As [`Trainer::train`].
    fn gradients(
        &mut self,
        work: Work<'_>,
        sum: GradientSum,
    ) -> impl Future<Output = Result<Option<GradientSum>, Self::Error>> + Send {
        let _ = (work, sum);
        std::future::ready(Ok(None))
    }
}
