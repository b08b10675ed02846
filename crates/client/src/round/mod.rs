//! One round of one client: prepare, train, then the five phases.

mod phases;
mod prepare;
mod seat;

use chacha20::ChaCha20Rng;
use getrandom::SysRng;
use rand_core::{SeedableRng, TryRng};
use tokio::time::Instant;
use undertone_privacy::Noise;
use undertone_protocol::ProtocolError;
use undertone_protocol::id::{RoundId, RoundNumber};
use undertone_protocol::vector::RingVector;
use zeroize::Zeroizing;

use self::prepare::Prepared;
use self::seat::Seat;
use crate::api::RoundResult;
use crate::client::Client;
use crate::coding::GradientSum;
use crate::error::{ClientError, LostReason, RequestError};
use crate::journal::Beginning;
use crate::observer::{Event, Observer};
use crate::policy::DeclineReason;
use crate::problem::ProblemKind;
use crate::receipt::receipts;
use crate::trainer::{Trainer, Work};

/// Why a round does not end with a result for this client.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It was not begun.
    Declined(DeclineReason),
    /// It was lost; the next one may do better.
    Lost(LostReason),
    /// This client has to stop.
    Fatal(ClientError),
}

impl From<DeclineReason> for Stop {
    fn from(reason: DeclineReason) -> Self {
        Self::Declined(reason)
    }
}

impl From<LostReason> for Stop {
    fn from(reason: LostReason) -> Self {
        Self::Lost(reason)
    }
}

impl From<RequestError> for Stop {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(problem) if problem.kind == ProblemKind::Barred => {
                Self::Fatal(ClientError::Barred(problem))
            }
            error => Self::Lost(error.into()),
        }
    }
}

impl From<ProtocolError> for Stop {
    fn from(error: ProtocolError) -> Self {
        Self::Lost(error.into())
    }
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Self {
        Self::Fatal(error)
    }
}

impl<T: Trainer, O: Observer> Client<T, O> {
    /// Takes part in one round, from its parameters to its result.
    pub(crate) async fn round(
        &mut self,
        round: RoundId,
        number: RoundNumber,
    ) -> Result<RoundResult, Stop> {
        let prepared = self.prepare(round, number).await?;
        self.settle().await?;
        let (input, update, rng) = self.input(&prepared).await?;
        let event = Event::InputEncoded {
            number,
            round,
            update: &update,
            vector: &input,
        };
        self.observer.event(event).await;
        drop(update);
        let which = (self.config.task, round, number);
        let mechanism = prepared.participant.params().mechanism;
        let receipts = receipts(which, mechanism, &prepared.costs, &self.config.identity)?;
        let beginning = Beginning {
            task: self.config.task,
            round,
            number,
            costs: prepared.costs,
            mechanism,
            filters: prepared.filters,
        };
        self.journal.begin(beginning).await?;
        let seat = Seat {
            http: &self.http,
            observer: &mut self.observer,
            journal: &mut self.journal,
            round,
            number,
            index: self.index,
            params: prepared.participant.params().clone(),
            patience: self.config.patience,
            receipts,
        };
        seat.take_part(prepared.participant, input, rng).await
    }

    /// Tells the trainer whether the update that it made last is in its round's sum, if it asks. A
    /// round that the server no longer knows, or that failed, has no sum.
    async fn settle(&mut self) -> Result<(), Stop> {
        let trainer = |e: T::Error| ClientError::Trainer(Box::new(e));
        let Some(round) = self.trainer.unsettled(self.config.task).map_err(trainer)? else {
            return Ok(());
        };
        let counted = match self.link(None).survivors_of(round).await {
            Ok(survivors) => survivors.contains(&self.index),
            Err(RequestError::Refused(problem)) if problem.kind == ProblemKind::UnknownRound => {
                false
            }
            Err(error) => return Err(error.into()),
        };
        self.trainer.settle(counted).map_err(trainer)?;
        Ok(())
    }

    /// Trains and encodes: the input vector, the update it encodes, and the round's generator. Comes before any key is advertised: a client that is slow, or fails
    /// here, was never part of the round, and nobody has to recover from its loss.
    async fn input(
        &mut self,
        prepared: &Prepared,
    ) -> Result<(RingVector, Zeroizing<Vec<f32>>, ChaCha20Rng), Stop> {
        let number = prepared.participant.params().round;
        self.observer.event(Event::Training { number }).await;
        let started = Instant::now();
        let work = Work {
            task: self.config.task,
            id: prepared.participant.params().id(),
            round: number,
            adapter: &prepared.adapter,
            training: self.settings.training(),
            mechanism: &prepared.mechanism,
        };
        let by_examples = matches!(prepared.mechanism.noise, Noise::DistributedDpSgd { .. });
        let mut rng = generator()?;
        let trainer = |e: T::Error| ClientError::Trainer(Box::new(e));
        let trained = if by_examples {
            let sum = prepared.coding.gradients(generator()?)?;
            let sum = self.trainer.gradients(work, sum).await.map_err(trainer)?;
            Trained::Gradients(Box::new(sum.ok_or(ClientError::NoGradients)?))
        } else {
            let update = self.trainer.train(work).await.map_err(trainer)?;
            Trained::Update(Zeroizing::new(update))
        };
        let seconds = started.elapsed().as_secs_f64();
        self.observer
            .event(Event::Trained { number, seconds })
            .await;
        if let Trained::Update(update) = &trained
            && update.len() != prepared.adapter.len()
        {
            let (expected, found) = (prepared.adapter.len(), update.len());
            return Err(ClientError::UpdateLength { expected, found }.into());
        }
        let coding = prepared.coding.clone();
        let (vector, update, rng) = off_runtime(move || match trained {
            Trained::Update(update) => (coding.encode(&update, &mut rng), update, rng),
            Trained::Gradients(sum) => (coding.finish(*sum), Zeroizing::default(), rng),
        })
        .await?;
        Ok((vector?, update, rng))
    }
}

/// What training gives.
enum Trained {
    /// An update.
    Update(Zeroizing<Vec<f32>>),
    /// Gradients of single examples, encoded and summed.
    Gradients(Box<GradientSum>),
}

/// A cryptographic generator for one round, seeded by the operating system.
fn generator() -> Result<ChaCha20Rng, ClientError> {
    let mut seed = Zeroizing::new([0; 32]);
    SysRng
        .try_fill_bytes(&mut *seed)
        .map_err(|e| ClientError::Randomness(e.to_string()))?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

/// Runs a computation of more than a moment on a thread for such.
pub(crate) async fn off_runtime<R: Send + 'static>(
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<R, ClientError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ClientError::CutOff)
}
