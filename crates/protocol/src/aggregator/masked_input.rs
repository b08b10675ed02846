//! Phase 3, MaskedInput: closing fixes the survivors U3.
//!
//! Specification: chapter 8, "Phase 3: MaskedInput", section 8.5.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ConsistencyCheckPhase, RoundContext, enough, inconsistent};
use crate::bitmap::Bitmap;
use crate::client::masked_input::{DealtToClient, payload_digest};
use crate::codec;
use crate::directory::Directory;
use crate::error::{ProtocolError, RoundFailure};
use crate::id::{Position, RosterIndex};
use crate::message::{Delivery, MaskedInput, ShareKeysBody, Signed};
use crate::transcript::View;
use crate::vector::RingVector;

/// Clients of U2 send masked inputs.
#[derive(Debug, Clone)]
pub struct MaskedInputPhase {
    pub(super) context: RoundContext,
    pub(super) directory: Arc<Directory>,
    pub(super) sharers: Bitmap,
    pub(super) dealt: Arc<BTreeMap<Position, ShareKeysBody>>,
}

/// A masked input that passed every check and may be added to the running sum.
#[derive(Debug, Clone)]
pub struct CheckedInput {
    /// Who sent it.
    pub sender: RosterIndex,
    /// The signed header, encoded: what is kept of the message.
    pub header: Vec<u8>,
    /// The masked vector.
    pub vector: RingVector,
}

impl MaskedInputPhase {
    /// What every phase knows.
    pub fn context(&self) -> &RoundContext {
        &self.context
    }

    /// The set U2.
    pub fn sharers(&self) -> &Bitmap {
        &self.sharers
    }

    /// What is handed to one client: U2 and the shares dealt to it ([`DealtToClient`], encoded).
    ///
    /// # Errors
    /// [`ProtocolError::NotInSet`] if the client is not in U2.
    pub fn dealt_to(&self, client: RosterIndex) -> Result<Vec<u8>, ProtocolError> {
        let holder = self.sharer(client)?;
        let graph = self.directory.graph();
        let mut dealers = graph.neighbours(holder);
        dealers.sort_unstable();
        let deliveries = dealers
            .into_iter()
            .filter_map(|dealer| {
                let body = self.dealt.get(&dealer)?;
                let slot = usize::from(graph.slot(dealer, holder)?);
                Some(Delivery {
                    header: body.header.clone(),
                    share: *body.dealing.shares.get(slot)?,
                })
            })
            .collect();
        codec::encode(
            "the shares dealt to a client",
            &DealtToClient {
                sharers: self.sharers.clone(),
                deliveries,
            },
        )
    }

    /// The one length in bytes that a masked input's body may have.
    pub fn body_length(&self) -> usize {
        self.context.params.masked_input_length()
    }

    /// Checks a body: header, signature, digest, length.
    ///
    /// # Errors
    /// [`ProtocolError`] says why it is refused.
    pub fn check(&self, body: &[u8]) -> Result<CheckedInput, ProtocolError> {
        let params = &self.context.params;
        let (expected, found) = (self.body_length(), body.len());
        if found != expected {
            let what = "masked input in bytes";
            return Err(ProtocolError::WrongLength {
                what,
                expected,
                found,
            });
        }
        let (signed, payload): (Signed<MaskedInput>, _) =
            codec::decode_prefix(Signed::<MaskedInput>::NAME, body)?;
        signed.verify(params.id(), &self.context.roster)?;
        self.sharer(signed.message.sender)?;
        if signed.message.sharers != self.sharers.digest(params.id(), self.directory.digest()) {
            return Err(ProtocolError::ViewMismatch {
                what: "the digest of U2",
            });
        }
        if signed.message.payload != payload_digest(payload) {
            return Err(ProtocolError::ViewMismatch {
                what: "the digest of the packed vector",
            });
        }
        let vector = RingVector::unpack(params.ring(), params.vector_length(), payload)?;
        Ok(CheckedInput {
            sender: signed.message.sender,
            header: signed.encode()?,
            vector,
        })
    }

    /// Fixes U3: the clients whose inputs are durably in the running sum.
    ///
    /// # Errors
    /// [`RoundFailure::TooFewClients`], [`RoundFailure::Inconsistent`].
    pub fn close(
        self,
        summed: impl IntoIterator<Item = RosterIndex>,
    ) -> Result<ConsistencyCheckPhase, RoundFailure> {
        let survivors = summed
            .into_iter()
            .map(|client| self.sharer(client))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| inconsistent(&e))?;
        let needed = self.context.params.min_survivors();
        enough("MaskedInput", needed, survivors.len())?;
        let survivors = Bitmap::new(self.directory.len(), survivors);
        let (round, directory) = (self.context.params.id(), self.directory.digest());
        let view = View {
            directory,
            sharers: self.sharers.digest(round, directory),
            survivors: survivors.digest(round, directory),
        };
        Ok(ConsistencyCheckPhase {
            masked: self,
            survivors,
            view,
        })
    }

    fn sharer(&self, client: RosterIndex) -> Result<Position, ProtocolError> {
        let position = self.directory.position(client)?;
        if self.sharers.contains(position) {
            Ok(position)
        } else {
            Err(ProtocolError::NotInSet {
                client,
                set: "the set U2",
            })
        }
    }
}
