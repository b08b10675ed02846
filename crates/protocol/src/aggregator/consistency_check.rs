//! Phase 4, ConsistencyCheck: the witnesses among the survivors state what they saw.
//!
//! Specification: chapter 9, "Phase 4: ConsistencyCheck", section 9.4.

use super::{MaskedInputPhase, RoundContext, UnmaskPhase, enough};
use crate::bitmap::Bitmap;
use crate::codec;
use crate::error::{ProtocolError, RoundFailure};
use crate::id::{Position, RosterIndex};
use crate::message::{ConsistencyCheck, Signed};
use crate::transcript::View;

/// Witnesses in U3 sign what they saw.
#[derive(Debug, Clone)]
pub struct ConsistencyCheckPhase {
    pub(super) masked: MaskedInputPhase,
    pub(super) survivors: Bitmap,
    pub(super) view: View,
}

impl ConsistencyCheckPhase {
    /// What every phase knows.
    pub fn context(&self) -> &RoundContext {
        &self.masked.context
    }

    /// The set U3.
    pub fn survivors(&self) -> &Bitmap {
        &self.survivors
    }

    /// The encoded bitmap of U3, as survivors fetch it.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] beyond 2^32 clients.
    pub fn survivors_encoded(&self) -> Result<Vec<u8>, ProtocolError> {
        self.survivors.encode("the set U3")
    }

    /// The survivors' roster indices, ascending.
    pub fn survivor_indices(&self) -> Vec<RosterIndex> {
        self.survivors
            .iter()
            .filter_map(|position| Some(self.masked.directory.entry(position).ok()?.sender))
            .collect()
    }

    /// How many statements can come: the witnesses among the survivors.
    pub fn expected(&self) -> usize {
        let graph = self.masked.directory.graph();
        graph
            .witnesses()
            .filter(|witness| self.survivors.contains(*witness))
            .count()
    }

    /// Checks one statement: signed by a surviving witness, and the same as this aggregator's own view.
    ///
    /// # Errors
    /// [`ProtocolError`] says why it is refused.
    pub fn check(&self, bytes: &[u8]) -> Result<Signed<ConsistencyCheck>, ProtocolError> {
        let signed = self.masked.context.verified::<ConsistencyCheck>(bytes)?;
        let client = signed.message.sender;
        let position = self.survivor(client)?;
        if !self.masked.directory.graph().is_witness(position) {
            let set = "the witnesses";
            return Err(ProtocolError::NotInSet { client, set });
        }
        if !signed
            .message
            .agrees(&self.view.statement(signed.message.sender))
        {
            return Err(ProtocolError::ViewMismatch {
                what: "the statement of directory, U2, U3",
            });
        }
        Ok(signed)
    }

    /// Hands the statements on.
    ///
    /// # Errors
    /// [`RoundFailure::TooFewClients`] if they are fewer than the witnesses' threshold: no client
    /// would answer.
    pub fn close(self, received: &[Signed<ConsistencyCheck>]) -> Result<UnmaskPhase, RoundFailure> {
        let needed = self.context().params.witness_threshold();
        enough("ConsistencyCheck", needed, received.len())?;
        let statements = codec::encode("the witnesses' statements", &received)
            .map_err(|e| super::inconsistent(&e))?;
        Ok(UnmaskPhase {
            checked: self,
            statements,
        })
    }

    pub(super) fn survivor(&self, client: RosterIndex) -> Result<Position, ProtocolError> {
        let position = self.masked.directory.position(client)?;
        if self.survivors.contains(position) {
            Ok(position)
        } else {
            Err(ProtocolError::NotInSet {
                client,
                set: "the survivors U3",
            })
        }
    }
}
