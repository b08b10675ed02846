//! A round's phases, rebuilt from the store.
//!
//! A phase is a function of the messages that closed the ones before it, so it can be computed
//! again after a restart or on another replica. What was computed is kept in a bounded cache.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use undertone_protocol::aggregator::{
    AdvertiseKeysPhase, ConsistencyCheckPhase, MaskedInputPhase, PhaseName, RoundContext,
    ShareKeysPhase, UnmaskPhase,
};
use undertone_protocol::codec::{self, Encodable};
use undertone_protocol::id::{RosterIndex, RoundId};
use undertone_protocol::params::RoundParams;
use undertone_protocol::roster::Roster;
use undertone_protocol::{ProtocolError, RoundFailure};

use crate::error::ServerError;
use crate::store::{RoundRecord, Store, StoreError, StoredMessage};

/// How many phases are kept in memory.
const CACHED: usize = 64;

/// An open or past phase of a round.
#[derive(Debug)]
pub enum Phase {
    /// AdvertiseKeys.
    AdvertiseKeys(AdvertiseKeysPhase),
    /// ShareKeys.
    ShareKeys(ShareKeysPhase),
    /// MaskedInput.
    MaskedInput(MaskedInputPhase),
    /// ConsistencyCheck.
    ConsistencyCheck(ConsistencyCheckPhase),
    /// Unmask.
    Unmask(UnmaskPhase),
}

impl Phase {
    /// What every phase knows.
    pub fn context(&self) -> &RoundContext {
        match self {
            Self::AdvertiseKeys(phase) => phase.context(),
            Self::ShareKeys(phase) => phase.context(),
            Self::MaskedInput(phase) => phase.context(),
            Self::ConsistencyCheck(phase) => phase.context(),
            Self::Unmask(phase) => phase.context(),
        }
    }

    /// Checks one message of the phase and says who sent it.
    ///
    /// # Errors
    /// [`ProtocolError`] says why it is refused.
    pub fn check(&self, bytes: &[u8]) -> Result<RosterIndex, ProtocolError> {
        Ok(match self {
            Self::AdvertiseKeys(phase) => phase.check(bytes)?.message.sender,
            Self::ShareKeys(phase) => phase.check(bytes)?.header.message.sender,
            Self::MaskedInput(phase) => phase.check(bytes)?.header.sender,
            Self::ConsistencyCheck(phase) => phase.check(bytes)?.message.sender,
            Self::Unmask(phase) => phase.check(bytes)?.message.sender,
        })
    }

    /// How many messages complete the phase; `None` for AdvertiseKeys, where the task says.
    pub fn expected(&self) -> Option<usize> {
        match self {
            Self::AdvertiseKeys(_) => None,
            Self::ShareKeys(phase) => Some(phase.directory().len()),
            Self::MaskedInput(phase) => Some(phase.sharers().count()),
            Self::ConsistencyCheck(phase) => Some(phase.expected()),
            Self::Unmask(phase) => Some(phase.checked().survivors().count()),
        }
    }
}

/// The phase, or why the round cannot get there.
pub type Rebuilt = Result<Arc<Phase>, RoundFailure>;

/// Rebuilds phases and keeps the latest.
#[derive(Debug, Default)]
pub struct Phases {
    cache: Mutex<VecDeque<(RoundId, PhaseName, Arc<Phase>)>>,
    /// Held by whoever rebuilds a phase: all clients ask for one at once when it opens, and its
    /// messages should be in memory once.
    rebuilding: tokio::sync::Mutex<()>,
}

impl Phases {
    /// The phase `name` of a round that has reached it.
    ///
    /// # Errors
    /// [`ServerError`] if the store fails. That the round cannot get there is no error but a
    /// [`RoundFailure`] inside.
    pub async fn load(
        &self,
        store: &impl Store,
        round: &RoundRecord,
        name: PhaseName,
    ) -> Result<Rebuilt, ServerError> {
        if let Some((at, phase)) = self.latest(round.id, name)
            && at == name
        {
            return Ok(Ok(phase));
        }
        let _rebuilding = self.rebuilding.lock().await;
        let (mut at, mut phase) = if let Some(latest) = self.latest(round.id, name) {
            latest
        } else {
            let first = Arc::new(first(store, round).await?);
            self.keep((round.id, PhaseName::AdvertiseKeys, first.clone()));
            (PhaseName::AdvertiseKeys, first)
        };
        while at < name {
            phase = match next(store, round.id, at, phase).await? {
                Ok(next) => Arc::new(next),
                Err(failure) => return Ok(Err(failure)),
            };
            at = successor(at).unwrap_or(name);
            self.keep((round.id, at, phase.clone()));
        }
        Ok(Ok(phase))
    }

    /// The latest cached phase of a round that is not beyond `name`.
    fn latest(&self, round: RoundId, name: PhaseName) -> Option<(PhaseName, Arc<Phase>)> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache
            .iter()
            .filter(|(id, at, _)| *id == round && *at <= name)
            .max_by_key(|entry| entry.1)
            .map(|(_, at, phase)| (*at, phase.clone()))
    }

    /// Forgets the phases of a round that has ended.
    pub(crate) fn forget(&self, round: RoundId) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|(id, ..)| *id != round);
    }

    fn keep(&self, entry: (RoundId, PhaseName, Arc<Phase>)) {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= CACHED {
            cache.pop_front();
        }
        cache.push_back(entry);
    }
}

/// The phase after this one; `None` after Unmask.
pub fn successor(phase: PhaseName) -> Option<PhaseName> {
    PhaseName::ALL.into_iter().find(|next| *next > phase)
}

async fn first(store: &impl Store, round: &RoundRecord) -> Result<Phase, ServerError> {
    let task = store
        .task(round.task)
        .await?
        .ok_or_else(|| StoreError::Missing(format!("task {}", round.task)))?;
    let params = Arc::new(RoundParams::decode(&round.params)?);
    let roster = Arc::new(Roster::decode_own(&task.roster)?);
    Ok(Phase::AdvertiseKeys(AdvertiseKeysPhase::new(
        RoundContext::new(params, roster)?,
    )))
}

async fn next(
    store: &impl Store,
    round: RoundId,
    at: PhaseName,
    phase: Arc<Phase>,
) -> Result<Result<Phase, RoundFailure>, ServerError> {
    let messages = store.messages(round, at).await?;
    // Thousands of messages are decoded: off the threads that serve requests.
    Ok(tokio::task::spawn_blocking(move || close(&phase, messages)).await??)
}

/// The phase after `phase`, which these messages close.
fn close(
    phase: &Phase,
    messages: Vec<StoredMessage>,
) -> Result<Result<Phase, RoundFailure>, ProtocolError> {
    Ok(match phase {
        Phase::AdvertiseKeys(phase) => phase.clone().close(decode(messages)?).map(Phase::ShareKeys),
        Phase::ShareKeys(phase) => phase
            .clone()
            .close(decode(messages)?)
            .map(Phase::MaskedInput),
        Phase::MaskedInput(phase) => phase
            .clone()
            .close(messages.iter().map(|m| m.sender))
            .map(Phase::ConsistencyCheck),
        Phase::ConsistencyCheck(phase) => {
            phase.clone().close(&decode(messages)?).map(Phase::Unmask)
        }
        Phase::Unmask(_) => Err(RoundFailure::Inconsistent("no phase follows Unmask".into())),
    })
}

/// Decodes messages that were verified before they were stored. Each is dropped as it is decoded:
/// those of ShareKeys grow with clients times neighbours, and should be in memory once.
///
/// # Errors
/// [`ProtocolError::Malformed`] if the store was changed by something else.
pub fn decode<T: Encodable>(messages: Vec<StoredMessage>) -> Result<Vec<T>, ProtocolError> {
    messages
        .into_iter()
        .map(|message| codec::decode("a stored message", &message.bytes))
        .collect()
}
