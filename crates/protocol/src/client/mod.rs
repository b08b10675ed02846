//! The client's side of a round, one type for each state. Every step consumes its state, so no
//! step is done twice and a state's secrets are wiped when it is left.
//!
//! ```text
//! Participant -> AdvertisedKeys -> SharedKeys -> SentInput -> SignedStatement -> (done)
//!     advertise_keys    share_keys    masked_input  consistency_check    unmask
//! ```
//!
//! Each step takes what the aggregator answered and returns the bytes to send next. A step that
//! returns an error ends the round for this client: the state is gone, and with it its secrets.
//!
//! Specification: chapters 6 to 10, the sections "Client".

mod advertise_keys;
mod consistency_check;
pub mod masked_input;
mod share_keys;
mod unmask;

use std::sync::Arc;

pub use advertise_keys::AdvertisedKeys;
pub use consistency_check::SignedStatement;
pub use masked_input::SentInput;
pub use share_keys::SharedKeys;

use crate::error::ProtocolError;
use crate::id::{RosterIndex, RoundId};
use crate::keys::IdentityKey;
use crate::message::{Message, Signed};
use crate::params::{RoundParams, Trust};
use crate::roster::Roster;

/// A client that is ready for one round: it checked parameters and roster, found itself in it, and
/// has its training behind it. Not `Clone`: two runs of one round would sign two statements.
#[derive(Debug)]
pub struct Participant {
    params: Arc<RoundParams>,
    roster: Arc<Roster>,
    identity: Arc<IdentityKey>,
    index: RosterIndex,
}

impl Participant {
    /// Joins parameters, roster and identity.
    ///
    /// # Errors
    /// As [`RoundParams::check_roster`] and [`RoundParams::check_trust`]; and
    /// [`ProtocolError::Params`] if the identity is not in the roster.
    pub fn new(
        params: Arc<RoundParams>,
        roster: Arc<Roster>,
        identity: Arc<IdentityKey>,
        trust: Trust,
    ) -> Result<Self, ProtocolError> {
        params.check_roster(&roster)?;
        params.check_trust(&roster, trust)?;
        let index = roster.index_of(identity.public()).ok_or_else(|| {
            let key = identity.public();
            ProtocolError::Params(format!("the identity key {key} is not in the roster"))
        })?;
        Ok(Self {
            params,
            roster,
            identity,
            index,
        })
    }

    /// The round's parameters.
    pub fn params(&self) -> &RoundParams {
        &self.params
    }

    /// This client's index in the roster.
    pub fn index(&self) -> RosterIndex {
        self.index
    }

    fn round(&self) -> RoundId {
        self.params.id()
    }

    fn sign<M: Message>(&self, message: M) -> Result<Vec<u8>, ProtocolError> {
        Signed::sign(message, self.round(), &self.identity)?.encode()
    }
}
