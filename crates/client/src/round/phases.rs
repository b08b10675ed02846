//! The five phases, in order. Each secret lives in the state of one phase, and is gone with it.

use chacha20::ChaCha20Rng;
use undertone_protocol::aggregator::PhaseName::{
    AdvertiseKeys, ConsistencyCheck, MaskedInput, ShareKeys, Unmask,
};
use undertone_protocol::client::{Participant, SentInput, SignedStatement};
use undertone_protocol::shamir::SystemSplitter;
use undertone_protocol::vector::RingVector;

use super::seat::Seat;
use super::{Stop, off_runtime};
use crate::api::RoundResult;
use crate::error::{LostReason, RequestError};
use crate::observer::Observer;
use crate::problem::ProblemKind;

impl<O: Observer> Seat<'_, O> {
    /// Goes through the round with this input. The journal says that it was begun.
    pub(super) async fn take_part(
        mut self,
        participant: Participant,
        input: RingVector,
        rng: ChaCha20Rng,
    ) -> Result<RoundResult, Stop> {
        let state = self.send_input(participant, input, rng).await?;
        let state = self.sign_view(state).await?;
        self.reveal(state).await?;
        self.result().await
    }

    /// AdvertiseKeys, ShareKeys and MaskedInput.
    async fn send_input(
        &mut self,
        participant: Participant,
        input: RingVector,
        mut rng: ChaCha20Rng,
    ) -> Result<SentInput, Stop> {
        let (state, message) = participant.advertise_keys(&mut rng)?;
        self.send(AdvertiseKeys, message).await?;

        self.wait_for(AdvertiseKeys, ShareKeys).await?;
        let path = format!("directory/{}", self.index);
        let directory = self.fetch(ShareKeys, &path).await?;
        let step = move || state.share_keys(&directory, &mut SystemSplitter, &mut rng);
        let (state, message) = off_runtime(step).await??;
        self.send(ShareKeys, message).await?;

        self.wait_for(ShareKeys, MaskedInput).await?;
        let path = format!("dealt/{}", self.index);
        let dealt = self.fetch(MaskedInput, &path).await?;
        let (state, message) = off_runtime(move || state.masked_input(&dealt, input)).await??;
        // From here on the cost is paid, whether the message arrives or not.
        let receipts = std::mem::take(&mut self.receipts);
        self.journal.spend(self.round, receipts).await?;
        self.send(MaskedInput, message).await?;
        Ok(state)
    }

    /// ConsistencyCheck: a witness signs one statement a round, ever.
    async fn sign_view(&mut self, state: SentInput) -> Result<SignedStatement, Stop> {
        let open = self.wait_to_pass(MaskedInput, ConsistencyCheck).await?;
        let survivors = self.fetch(ConsistencyCheck, "survivors").await?;
        let (state, message) = state.consistency_check(&survivors)?;
        // Also where this client is no witness: its view of the round is fixed from here on.
        self.journal.sign(self.round).await?;
        // The phase closes when the other witnesses have signed, or at its deadline. Whoever comes
        // later does not sign, but is needed in Unmask all the same.
        if let Some(message) = message.filter(|_| open == ConsistencyCheck) {
            let sent = self.send(ConsistencyCheck, message).await;
            unless_refused(sent, &ProblemKind::LateMessage)?;
        }
        Ok(state)
    }

    /// Unmask: one answer a round, ever, whatever happens to this process.
    async fn reveal(&mut self, state: SignedStatement) -> Result<(), Stop> {
        self.wait_for(ConsistencyCheck, Unmask).await?;
        let statements = self.fetch(Unmask, "statements").await?;
        let message = off_runtime(move || state.unmask(&statements)).await??;
        self.journal.answer(self.round).await?;
        // The answer to an earlier attempt may have been lost: the result says what became of the
        // round.
        unless_refused(self.send(Unmask, message).await, &ProblemKind::RoundEnded)
    }
}

/// Takes a refusal of this kind for no failure.
fn unless_refused(sent: Result<(), Stop>, kind: &ProblemKind) -> Result<(), Stop> {
    match sent {
        Err(Stop::Lost(LostReason::Request(RequestError::Refused(problem))))
            if problem.kind == *kind =>
        {
            Ok(())
        }
        sent => sent,
    }
}
