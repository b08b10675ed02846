//! What the audit log says of rounds: appended in the transactions that open them, close their
//! phases and end them.

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::audit::{self as chain, Chain};
use undertone_protocol::id::{ModelDigest, RosterIndex, RoundId, TaskId};

use super::audit::{append, append_spend};
use super::session::Session;
use super::{NewRound, Outcome, Result, clock, messages};
use crate::audit::canonical::Hex;
use crate::audit::{Actor, Closed, Event, Revealed, count};

/// A round as a transaction finds it that moves it on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    pub(super) task: TaskId,
    pub(super) round: RoundId,
    pub(super) number: u32,
    /// When the phase that is open closes at the latest.
    pub(super) deadline: u64,
    /// Whether the Unmask phase has closed and the masks are taken off.
    pub(super) unmasking: bool,
}

impl Subject {
    async fn append(&self, session: &mut Session, event: &Event) -> Result<()> {
        let chain = Chain::Task(self.task);
        append(session, chain, &Actor::current(), event).await?;
        Ok(())
    }

    /// A phase was closed.
    pub(super) async fn closed(&self, session: &mut Session, phase: PhaseName) -> Result<()> {
        let senders = messages::senders(session, self.round, phase).await?;
        self.closed_with(session, phase, &senders).await
    }

    async fn closed_with(
        &self,
        session: &mut Session,
        phase: PhaseName,
        senders: &[RosterIndex],
    ) -> Result<()> {
        // A phase that has everything is closed at once, one that has not when its time is up.
        let why = if clock::now(session).await? < self.deadline {
            Closed::Count
        } else {
            Closed::Deadline
        };
        let event = Event::phase_closed(self.round, phase, senders, why);
        self.append(session, &event).await
    }

    /// The Unmask phase was closed, and the masks are being taken off.
    pub(super) async fn unmasking(&self, session: &mut Session) -> Result<()> {
        self.closed(session, PhaseName::Unmask).await?;
        let round = Hex(self.round);
        self.append(session, &Event::UnmaskBegun { round }).await
    }

    /// The round ended in `phase`. Comes before messages are erased.
    pub(super) async fn ended(
        &self,
        session: &mut Session,
        phase: PhaseName,
        outcome: &Outcome,
        (before, after): (ModelDigest, ModelDigest),
    ) -> Result<()> {
        let shares = messages::senders(session, self.round, PhaseName::Unmask).await?;
        let inputs = messages::senders(session, self.round, PhaseName::MaskedInput).await?;
        let event = match outcome {
            Outcome::Finished { result, .. } => {
                if !self.unmasking {
                    self.closed_with(session, phase, &shares).await?;
                }
                Event::RoundFinished {
                    round: Hex(self.round),
                    number: self.number,
                    survivors: count(result.survivors.len()),
                    survivors_digest: Hex(chain::clients_digest(result.survivors.iter().copied())),
                    transcript: Hex(result.transcript),
                    set_aside: count(result.set_aside.len()),
                    model_before: Hex(before),
                    model_after: Hex(after),
                }
            }
            Outcome::Failed { reason, culprit } => Event::RoundFailed {
                round: Hex(self.round),
                number: self.number,
                phase: phase.text().to_owned(),
                reason: reason.clone(),
                culprit: culprit.map(|client| client.0),
            },
        };
        self.append(session, &event).await?;
        let revealed = match outcome {
            Outcome::Finished { .. } => Revealed::Sum,
            Outcome::Failed { .. } if !shares.is_empty() => Revealed::UnmaskShares,
            Outcome::Failed { .. } if !inputs.is_empty() => Revealed::MaskedInputs,
            Outcome::Failed { .. } => Revealed::Nothing,
        };
        let clients = count(inputs.len());
        append_spend(session, self.task, self.round, revealed, clients).await
    }

    /// The task ended with this round.
    pub(super) async fn task_finished(&self, session: &mut Session, rounds: u32) -> Result<()> {
        self.append(session, &Event::TaskFinished { rounds }).await
    }
}

/// A round was opened.
pub(super) async fn opened(session: &mut Session, round: &NewRound) -> Result<()> {
    let event = Event::RoundOpened {
        round: Hex(round.id),
        number: round.number.0,
        deadline: round.deadline,
    };
    append(session, Chain::Task(round.task), &Actor::current(), &event).await?;
    Ok(())
}
