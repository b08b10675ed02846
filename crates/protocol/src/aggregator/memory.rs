//! A whole aggregator in memory: the phases and the messages they accepted. It serves tests,
//! simulations and embedding; the service keeps the same messages in its database.

use std::collections::BTreeMap;

use super::{
    AdvertiseKeysPhase, Aggregate, ConsistencyCheckPhase, MaskedInputPhase, PhaseName,
    RoundContext, ShareKeysPhase, UnmaskPhase, schedule,
};
use crate::error::{ProtocolError, RoundFailure};
use crate::id::RosterIndex;
use crate::message::{AdvertiseKeys, ConsistencyCheck, ShareKeysBody, Signed, Unmask};
use crate::vector::RingVector;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It is accepted.
    Accepted,
    /// The same bytes were accepted before.
    Repeated,
    /// Other bytes of the same sender were accepted before; these are refused.
    Conflict,
}

#[derive(Debug, Clone)]
enum State {
    AdvertiseKeys(
        AdvertiseKeysPhase,
        BTreeMap<RosterIndex, Signed<AdvertiseKeys>>,
    ),
    ShareKeys(ShareKeysPhase, BTreeMap<RosterIndex, ShareKeysBody>),
    MaskedInput(MaskedInputPhase, BTreeMap<RosterIndex, Vec<u8>>, RingVector),
    ConsistencyCheck(
        ConsistencyCheckPhase,
        BTreeMap<RosterIndex, Signed<ConsistencyCheck>>,
        RingVector,
    ),
    Unmask(
        UnmaskPhase,
        BTreeMap<RosterIndex, Signed<Unmask>>,
        RingVector,
    ),
    Finished(Result<Aggregate, RoundFailure>),
}

/// One round, driven by messages and times that are passed in.
#[derive(Debug, Clone)]
pub struct MemoryAggregator {
    state: State,
    context: RoundContext,
    cohort: usize,
    deadline: u64,
}

impl MemoryAggregator {
    /// Opens a round at time `now` (milliseconds) that waits for at most `cohort` clients.
    pub fn new(context: RoundContext, cohort: usize, now: u64) -> Self {
        let phase = AdvertiseKeysPhase::new(context.clone());
        let mut round = Self {
            state: State::AdvertiseKeys(phase, BTreeMap::new()),
            context,
            cohort,
            deadline: 0,
        };
        round.set_deadline(now);
        round
    }

    /// The phase that is open; `None` once the round is finished.
    pub fn phase(&self) -> Option<PhaseName> {
        match &self.state {
            State::AdvertiseKeys(..) => Some(PhaseName::AdvertiseKeys),
            State::ShareKeys(..) => Some(PhaseName::ShareKeys),
            State::MaskedInput(..) => Some(PhaseName::MaskedInput),
            State::ConsistencyCheck(..) => Some(PhaseName::ConsistencyCheck),
            State::Unmask(..) => Some(PhaseName::Unmask),
            State::Finished(_) => None,
        }
    }

    /// The result, once the round is finished.
    pub fn result(&self) -> Option<&Result<Aggregate, RoundFailure>> {
        match &self.state {
            State::Finished(result) => Some(result),
            _ => None,
        }
    }

    /// What the open phase hands to a client: the directory, the shares dealt to it, U3 or the
    /// witnesses' statements. `None` in AdvertiseKeys and after the end.
    ///
    /// # Errors
    /// [`ProtocolError::NotInSet`] if the client has no part in the phase.
    pub fn answer(&self, client: RosterIndex) -> Result<Option<Vec<u8>>, ProtocolError> {
        match &self.state {
            State::AdvertiseKeys(..) | State::Finished(_) => Ok(None),
            State::ShareKeys(phase, _) => phase.directory().encode_for(client).map(Some),
            State::MaskedInput(phase, ..) => phase.dealt_to(client).map(Some),
            State::ConsistencyCheck(..) => self.survivors(),
            State::Unmask(phase, ..) => Ok(Some(phase.statements().to_vec())),
        }
    }

    /// The set U3, encoded, from ConsistencyCheck to the end of the round: a slow client that is no
    /// witness may ask for it when the witnesses have signed already.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] beyond 2^30 clients.
    pub fn survivors(&self) -> Result<Option<Vec<u8>>, ProtocolError> {
        match &self.state {
            State::ConsistencyCheck(phase, ..) => phase.survivors_encoded().map(Some),
            State::Unmask(phase, ..) => phase.checked().survivors_encoded().map(Some),
            _ => Ok(None),
        }
    }

    /// Takes one message for the open phase.
    ///
    /// # Errors
    /// [`ProtocolError`] says why it is refused; the round is as it was.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Receipt, ProtocolError> {
        match &mut self.state {
            State::AdvertiseKeys(phase, received) => {
                let signed = phase.check(bytes)?;
                Ok(keep(received, signed.message.sender, signed))
            }
            State::ShareKeys(phase, received) => {
                let body = phase.check(bytes)?;
                Ok(keep(received, body.header.message.sender, body))
            }
            State::MaskedInput(phase, received, sum) => {
                let input = phase.check(bytes)?;
                let receipt = keep(received, input.header.sender, input.header.bytes);
                if receipt == Receipt::Accepted {
                    sum.add(&input.vector)?;
                }
                Ok(receipt)
            }
            State::ConsistencyCheck(phase, received, _) => {
                let signed = phase.check(bytes)?;
                Ok(keep(received, signed.message.sender, signed))
            }
            State::Unmask(phase, received, _) => {
                let signed = phase.check(bytes)?;
                Ok(keep(received, signed.message.sender, signed))
            }
            State::Finished(_) => Err(ProtocolError::ViewMismatch {
                what: "the round is finished; its state",
            }),
        }
    }

    /// Closes the open phase if it is complete or its deadline has passed. Returns whether it did.
    pub fn advance(&mut self, now: u64) -> bool {
        let (received, expected) = match &self.state {
            State::AdvertiseKeys(_, received) => (received.len(), self.cohort),
            State::ShareKeys(phase, received) => (received.len(), phase.directory().len()),
            State::MaskedInput(phase, received, _) => (received.len(), phase.sharers().count()),
            State::ConsistencyCheck(phase, received, _) => (received.len(), phase.expected()),
            State::Unmask(phase, received, _) => {
                (received.len(), phase.checked().survivors().count())
            }
            State::Finished(_) => return false,
        };
        if !schedule::closes(received, expected, now, self.deadline) {
            return false;
        }
        self.state = self
            .next_state()
            .unwrap_or_else(|failure| State::Finished(Err(failure)));
        self.set_deadline(now);
        true
    }

    fn next_state(&self) -> Result<State, RoundFailure> {
        let params = self.context.params();
        Ok(match self.state.clone() {
            State::AdvertiseKeys(phase, received) => State::ShareKeys(
                phase.close(received.into_values().collect())?,
                BTreeMap::new(),
            ),
            State::ShareKeys(phase, received) => State::MaskedInput(
                phase.close(received.into_values().collect())?,
                BTreeMap::new(),
                RingVector::zeros(params.ring(), params.vector_length()),
            ),
            State::MaskedInput(phase, received, sum) => {
                State::ConsistencyCheck(phase.close(received.into_keys())?, BTreeMap::new(), sum)
            }
            State::ConsistencyCheck(phase, received, sum) => {
                let statements: Vec<_> = received.into_values().collect();
                State::Unmask(phase.close(&statements)?, BTreeMap::new(), sum)
            }
            State::Unmask(phase, received, sum) => {
                let revealed: Vec<_> = received.into_values().collect();
                let recovery = phase.recover(&revealed)?;
                State::Finished(Ok(phase.aggregate(&recovery, sum)))
            }
            finished @ State::Finished(_) => finished,
        })
    }

    fn set_deadline(&mut self, now: u64) {
        if let Some(phase) = self.phase() {
            let open = u64::from(phase.deadline_ms(self.context.params()));
            self.deadline = now.saturating_add(open);
        }
    }
}

fn keep<V: PartialEq>(
    received: &mut BTreeMap<RosterIndex, V>,
    sender: RosterIndex,
    message: V,
) -> Receipt {
    match received.get(&sender) {
        Some(earlier) if *earlier == message => Receipt::Repeated,
        Some(_) => Receipt::Conflict,
        None => {
            received.insert(sender, message);
            Receipt::Accepted
        }
    }
}
