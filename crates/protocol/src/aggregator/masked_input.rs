//! Phase 3, MaskedInput: closing fixes the survivors U3.
//!
//! Specification: chapter 8, "Phase 3: MaskedInput", section 8.5.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ConsistencyCheckPhase, RoundContext, enough, inconsistent};
use crate::bitmap::Bitmap;
use crate::client::masked_input::DealtToClient;
use crate::codec::{self, Label, PartHash};
use crate::directory::Directory;
use crate::error::{ProtocolError, RoundFailure};
use crate::id::{Digest, Position, RosterIndex};
use crate::message::{Delivery, MASKED_INPUT_HEADER, MaskedInput, ShareKeysBody};
use crate::transcript::View;
use crate::vector::{Ring, RingVector};

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
    /// Its header.
    pub header: CheckedHeader,
    /// The masked vector.
    pub vector: RingVector,
}

/// The header of a masked input, checked; the vector is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedHeader {
    /// Who sent it.
    pub sender: RosterIndex,
    /// The signed header, encoded: what is kept of the message.
    pub bytes: Vec<u8>,
    /// The digest that the packed vector must have.
    pub payload: Digest,
}

/// Checks a packed vector against its header's digest, piece by piece as it comes in. Nothing of
/// it is kept.
#[derive(Debug, Clone)]
pub struct PayloadCheck {
    ring: Ring,
    /// Elements.
    length: usize,
    digest: Digest,
    hash: PartHash,
    /// Bytes so far.
    taken: usize,
    last: u8,
}

impl PayloadCheck {
    fn new(ring: Ring, length: usize, digest: Digest) -> Self {
        Self {
            ring,
            length,
            digest,
            hash: PartHash::new(Label::Payload, ring.packed_length(length)),
            taken: 0,
            last: 0,
        }
    }

    /// How many bytes are still to come.
    pub fn missing(&self) -> usize {
        self.ring
            .packed_length(self.length)
            .saturating_sub(self.taken)
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`ProtocolError::WrongLength`] if there are more than are missing.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        let taken = self.taken.saturating_add(bytes.len());
        if bytes.len() > self.missing() {
            return Err(self.wrong_length(taken));
        }
        self.taken = taken;
        self.last = bytes.last().copied().unwrap_or(self.last);
        self.hash.update(bytes);
        Ok(())
    }

    /// Whether what came was the vector that the header names.
    ///
    /// # Errors
    /// [`ProtocolError::WrongLength`] if bytes are missing, [`ProtocolError::ViewMismatch`] if the
    /// digest is another, [`ProtocolError::Malformed`] if spare bits are set.
    pub fn finish(self) -> Result<(), ProtocolError> {
        if self.missing() != 0 {
            return Err(self.wrong_length(self.taken));
        }
        if self.hash.finish() != self.digest {
            return Err(ProtocolError::ViewMismatch {
                what: "the digest of the packed vector",
            });
        }
        self.ring.check_spare_bits(self.length, self.last)
    }

    fn wrong_length(&self, found: usize) -> ProtocolError {
        ProtocolError::WrongLength {
            what: "packed vector in bytes",
            expected: self.ring.packed_length(self.length),
            found,
        }
    }
}

impl MaskedInputPhase {
    /// The length in bytes of a signed header; the packed vector follows it.
    pub const HEADER_LENGTH: usize = MASKED_INPUT_HEADER;

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

    /// Checks a whole body: length, then as [`MaskedInputPhase::check_header`] and
    /// [`MaskedInputPhase::payload_check`].
    ///
    /// # Errors
    /// [`ProtocolError`] says why it is refused.
    pub fn check(&self, body: &[u8]) -> Result<CheckedInput, ProtocolError> {
        let params = &self.context.params;
        let length = |found| ProtocolError::WrongLength {
            what: "masked input in bytes",
            expected: self.body_length(),
            found,
        };
        if body.len() != self.body_length() {
            return Err(length(body.len()));
        }
        let (header, payload) = body
            .split_at_checked(Self::HEADER_LENGTH)
            .ok_or_else(|| length(body.len()))?;
        let checked = self.check_header(header)?;
        let mut check = self.payload_check(&checked);
        check.update(payload)?;
        check.finish()?;
        Ok(CheckedInput {
            vector: RingVector::unpack(params.ring(), params.vector_length(), payload)?,
            header: checked,
        })
    }

    /// Checks the first [`MaskedInputPhase::HEADER_LENGTH`] bytes of a body: signature, sender,
    /// and the digest of U2. Whoever passes is a client of this round, and answers for the vector
    /// that follows: nothing of it need be read before.
    ///
    /// # Errors
    /// [`ProtocolError`] says why it is refused.
    pub fn check_header(&self, header: &[u8]) -> Result<CheckedHeader, ProtocolError> {
        let round = self.context.params.id();
        let MaskedInput {
            sender,
            sharers,
            payload,
        } = self.context.verified::<MaskedInput>(header)?.message;
        self.sharer(sender)?;
        if sharers != self.sharers.digest(round, self.directory.digest()) {
            return Err(ProtocolError::ViewMismatch {
                what: "the digest of U2",
            });
        }
        Ok(CheckedHeader {
            sender,
            bytes: header.to_vec(),
            payload,
        })
    }

    /// The check of the packed vector that follows a header.
    pub fn payload_check(&self, header: &CheckedHeader) -> PayloadCheck {
        let params = &self.context.params;
        PayloadCheck::new(params.ring(), params.vector_length(), header.payload)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::masked_input::payload_digest;

    /// Spec.
    #[test]
    fn a_vector_may_come_in_pieces() {
        let (ring, length) = (Ring::new(12).unwrap(), 1001);
        let elements: Vec<u64> = (0..1001).map(|i| i * 4093).collect();
        let packed = RingVector::from_elements(ring, &elements).pack();
        let check = |packed: &[u8], size| {
            let mut check = PayloadCheck::new(ring, length, payload_digest(packed));
            for piece in packed.chunks(size) {
                check.update(piece)?;
            }
            check.finish()
        };
        for size in [1, 64, 1501, 1502] {
            check(&packed, size).unwrap();
            let error = check(&packed[1..], size).unwrap_err();
            assert!(matches!(
                error,
                ProtocolError::WrongLength { found: 1501, .. }
            ));
            let long = [&packed[..], &[0]].concat();
            let error = check(&long, size).unwrap_err();
            assert!(matches!(error, ProtocolError::WrongLength { .. }));
            let mut spare = packed.clone();
            *spare.last_mut().unwrap() |= 0x10;
            let error = check(&spare, size).unwrap_err();
            assert!(matches!(error, ProtocolError::Malformed { .. }), "{error}");
        }
        let mut other = PayloadCheck::new(ring, length, payload_digest(&packed));
        assert_eq!(other.missing(), 1502);
        other.update(&packed[1..]).unwrap();
        assert_eq!(other.missing(), 1);
        other.update(&packed[..1]).unwrap();
        let error = other.finish().unwrap_err();
        assert!(matches!(error, ProtocolError::ViewMismatch { .. }));
    }
}
