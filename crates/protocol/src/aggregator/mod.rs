//! The aggregator's side of a round: five phases as immutable values, one type each.
//!
//! A phase holds what is fixed by now (parameters, roster, directory, sets), never what is still
//! coming in. It offers a `check` for one message, without side effects, and a `close` that takes
//! every message accepted so far and returns the next phase. Where accepted messages are kept is
//! the caller's business: the service keeps them in its database, [`memory::MemoryAggregator`] in
//! maps. Since closing is a function of the accepted messages, a restarted process rebuilds the
//! phase it was in by closing the earlier ones again.
//!
//! ```text
//! AdvertiseKeysPhase -> ShareKeysPhase -> MaskedInputPhase -> ConsistencyCheckPhase -> UnmaskPhase
//!                  U1              U2                U3                                 -> Recovery
//! ```
//!
//! Specification: chapters 6 to 10, the sections "Aggregator", and chapter 11.

mod advertise_keys;
mod consistency_check;
mod masked_input;
pub mod memory;
mod recover;
pub mod schedule;
mod share_keys;
mod unmask;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub use advertise_keys::AdvertiseKeysPhase;
pub use consistency_check::ConsistencyCheckPhase;
pub use masked_input::{CheckedHeader, CheckedInput, MaskedInputPhase, PayloadCheck};
pub use recover::{Recovery, SetAside};
pub use share_keys::ShareKeysPhase;
pub use unmask::UnmaskPhase;

use crate::bitmap::Bitmap;
use crate::error::{ProtocolError, RoundFailure};
use crate::id::Digest;
use crate::id::RosterIndex;
use crate::message::{Message, Signed};
use crate::params::RoundParams;
use crate::roster::Roster;
use crate::vector::RingVector;

/// The name of a phase, in the order that a round goes through them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PhaseName {
    /// Clients advertise keys; closing fixes U1.
    AdvertiseKeys,
    /// Clients share their secrets; closing fixes U2.
    ShareKeys,
    /// Clients send masked inputs; closing fixes U3.
    MaskedInput,
    /// Clients sign what they saw.
    ConsistencyCheck,
    /// Clients reveal shares.
    Unmask,
}

impl PhaseName {
    /// All phases in order.
    pub const ALL: [Self; 5] = [
        Self::AdvertiseKeys,
        Self::ShareKeys,
        Self::MaskedInput,
        Self::ConsistencyCheck,
        Self::Unmask,
    ];

    /// The phase's name on the wire and in the database.
    pub const fn text(self) -> &'static str {
        match self {
            Self::AdvertiseKeys => "advertise-keys",
            Self::ShareKeys => "share-keys",
            Self::MaskedInput => "masked-input",
            Self::ConsistencyCheck => "consistency-check",
            Self::Unmask => "unmask",
        }
    }

    /// How long the phase stays open at most, in milliseconds.
    pub fn deadline_ms(self, params: &RoundParams) -> u32 {
        let deadlines = &params.deadlines;
        match self {
            Self::AdvertiseKeys => deadlines.advertise_keys,
            Self::ShareKeys => deadlines.share_keys,
            Self::MaskedInput => deadlines.masked_input,
            Self::ConsistencyCheck => deadlines.consistency_check,
            Self::Unmask => deadlines.unmask,
        }
    }
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl FromStr for PhaseName {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        Self::ALL
            .into_iter()
            .find(|phase| phase.text() == text)
            .ok_or_else(|| ProtocolError::Malformed {
                what: "phase name",
                detail: format!("unknown: {text}"),
            })
    }
}

/// What every phase knows: the round's parameters and the roster they bind.
#[derive(Debug, Clone)]
pub struct RoundContext {
    params: Arc<RoundParams>,
    roster: Arc<Roster>,
}

impl RoundContext {
    /// Joins parameters and roster.
    ///
    /// # Errors
    /// As [`RoundParams::check_roster`].
    pub fn new(params: Arc<RoundParams>, roster: Arc<Roster>) -> Result<Self, ProtocolError> {
        params.check_roster(&roster)?;
        Ok(Self { params, roster })
    }

    /// The round's parameters.
    pub fn params(&self) -> &RoundParams {
        &self.params
    }

    /// The roster.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Decodes a message and verifies its signature.
    fn verified<M: Message>(&self, bytes: &[u8]) -> Result<Signed<M>, ProtocolError> {
        let signed = Signed::<M>::decode(bytes)?;
        signed.verify(self.params.id(), &self.roster)?;
        Ok(signed)
    }
}

fn enough(phase: &'static str, needed: usize, found: usize) -> Result<(), RoundFailure> {
    if found < needed {
        return Err(RoundFailure::TooFewClients {
            phase,
            needed,
            found,
        });
    }
    Ok(())
}

/// What a finished round publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregate {
    /// The sum over the survivors, element by element in `Z_2^b`.
    pub sum: RingVector,
    /// Who is in the sum: U3 over the directory.
    pub survivors: Bitmap,
    /// The survivors' roster indices, ascending.
    pub clients: Vec<RosterIndex>,
    /// Digest of parameters, directory, U2, U3 and sum.
    pub transcript: Digest,
    /// Shares that failed their commitment.
    pub set_aside: Vec<SetAside>,
}

/// A message that was stored after it passed `check`: failing now means the store was changed.
fn inconsistent(error: &ProtocolError) -> RoundFailure {
    RoundFailure::Inconsistent(error.to_string())
}
