//! Phase 3, MaskedInput: the input under its self mask and all pairwise masks.

use std::collections::BTreeMap;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use super::share_keys::seal_context;
use super::{Participant, SharedKeys};
use crate::bitmap::Bitmap;
use crate::codec::{self, Label};
use crate::directory::Directory;
use crate::error::ProtocolError;
use crate::graph;
use crate::id::{Digest, Position};
use crate::mask;
use crate::message::{Delivery, MaskedInput};
use crate::seal::SharePair;
use crate::vector::{RingVector, Sign};

/// What the aggregator hands to one client when ShareKeys has closed: the set U2 and the shares
/// that its neighbours in U2 dealt to it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct DealtToClient {
    /// The encoded bitmap of U2.
    pub sharers: Vec<u8>,
    /// One delivery for each neighbour in U2, in directory order.
    pub deliveries: Vec<Delivery>,
}

/// A client that sent its masked input and waits for U3.
#[derive(Debug)]
pub struct SentInput {
    pub(super) participant: Participant,
    pub(super) directory: Directory,
    pub(super) position: Position,
    pub(super) sharers: Bitmap,
    /// The good shares that this client holds, its own among them.
    pub(super) held: BTreeMap<Position, SharePair>,
}

impl SharedKeys {
    /// Checks U2, opens the shares and masks the input. Returns the bytes to send: the signed
    /// header and the packed vector.
    ///
    /// A share that does not open, or that is not the one its dealer committed to, is set aside and
    /// never revealed; this client goes on. If too few holders have good shares of that dealer,
    /// the round fails at the end and names it.
    ///
    /// # Errors
    /// [`ProtocolError`] if U2 is refused, deliveries are missing, or the input has another length
    /// or ring than the parameters say.
    pub fn masked_input(
        self,
        dealt: &[u8],
        mut input: RingVector,
    ) -> Result<(SentInput, Vec<u8>), ProtocolError> {
        let params = &self.participant.params;
        if input.len() != params.vector_length() || input.ring() != params.ring() {
            let (expected, found) = (params.vector_length(), input.len());
            return Err(ProtocolError::WrongLength {
                what: "input vector",
                expected,
                found,
            });
        }
        let dealt: DealtToClient = codec::decode("the shares dealt to a client", dealt)?;
        let size = self.directory.len();
        let sharers = Bitmap::decode("the set U2", &dealt.sharers, size)?;
        check_set(
            &self.participant,
            &self.directory,
            self.position,
            &sharers,
            "U2",
        )?;

        let dealers: Vec<Position> = graph::neighbours(&self.directory, self.position)
            .into_iter()
            .filter(|v| sharers.contains(*v))
            .collect();
        if !dealers
            .iter()
            .eq(dealt.deliveries.iter().map(|d| &d.dealer))
        {
            return Err(ProtocolError::ViewMismatch {
                what: "the list of dealers in U2",
            });
        }
        self.apply_masks(&mut input, &dealers)?;
        let mut held = self.open_shares(&dealt.deliveries)?;

        let payload = input.pack();
        let header = MaskedInput {
            sender: self.participant.index,
            sharers: sharers.digest(self.participant.round(), self.directory.digest()),
            payload: payload_digest(&payload),
        };
        let mut bytes = self.participant.sign(header)?;
        bytes.extend_from_slice(&payload);

        let Self {
            participant,
            directory,
            position,
            own_shares,
            ..
        } = self;
        held.insert(position, own_shares);
        Ok((
            SentInput {
                participant,
                directory,
                position,
                sharers,
                held,
            },
            bytes,
        ))
    }

    /// Adds `PRG(b_u)`, and for each neighbour v of U2 the pairwise mask: + if pos(u) < pos(v).
    fn apply_masks(
        &self,
        input: &mut RingVector,
        neighbours: &[Position],
    ) -> Result<(), ProtocolError> {
        let round = self.participant.round();
        input.mask(&mask::self_mask_key(&self.seed, round), Sign::Plus);
        let own = (self.directory.entry(self.position)?, &self.mask);
        for v in neighbours {
            let peer = self.directory.entry(*v)?;
            let key = mask::pairwise_mask_key(own, peer, round, self.directory.digest())?;
            input.mask(
                &key,
                if self.position < *v {
                    Sign::Plus
                } else {
                    Sign::Minus
                },
            );
        }
        Ok(())
    }

    fn open_shares(
        &self,
        deliveries: &[Delivery],
    ) -> Result<BTreeMap<Position, SharePair>, ProtocolError> {
        let round = self.participant.round();
        let me = self.directory.entry(self.position)?;
        let mut held = BTreeMap::new();
        for Delivery { dealer, share } in deliveries {
            let entry = self.directory.entry(*dealer)?;
            let context = seal_context(round, &self.directory, entry, me);
            let slot = graph::slot(&self.directory, *dealer, self.position)
                .ok_or(ProtocolError::Sharing("a dealer that is no neighbour"))?;
            if let Ok(pair) = context.open(&self.cipher, &share.sealed)
                && pair.commitments(round, entry.sender, slot) == share.commitments
            {
                held.insert(*dealer, pair);
            }
        }
        Ok(held)
    }
}

/// The digest of a packed masked vector that its header carries.
pub fn payload_digest(payload: &[u8]) -> Digest {
    codec::hash(Label::Payload, &[payload])
}

/// Checks that hold for U2 and U3 alike: this client is in the set, the set is large enough to be
/// unmasked at all, and enough holders of this client's shares are in it.
pub(super) fn check_set(
    participant: &Participant,
    directory: &Directory,
    position: Position,
    set: &Bitmap,
    name: &'static str,
) -> Result<(), ProtocolError> {
    let params = &participant.params;
    if !set.contains(position) {
        return Err(ProtocolError::NotInSet {
            client: participant.index,
            set: name,
        });
    }
    let (needed, found) = (params.min_survivors(), set.count());
    if found < needed {
        return Err(ProtocolError::TooFew {
            what: name,
            needed,
            found,
        });
    }
    let holders = graph::holders(directory, position);
    let (needed, found) = (
        params.threshold(),
        holders.iter().filter(|v| set.contains(**v)).count(),
    );
    if found < needed {
        let what = "holders of this client's shares";
        return Err(ProtocolError::TooFew {
            what,
            needed,
            found,
        });
    }
    Ok(())
}
