//! Phase 3, MaskedInput: the input under its self mask and all pairwise masks.
//!
//! Specification: chapter 8, "Phase 3: MaskedInput".

use std::collections::BTreeMap;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use super::share_keys::seal_context;
use super::{Participant, SharedKeys};
use crate::bitmap::Bitmap;
use crate::codec::{self, Label};
use crate::directory::LocalDirectory;
use crate::error::ProtocolError;
use crate::id::{Digest, Position};
use crate::mask;
use crate::message::{Delivery, MASKED_INPUT_HEADER, MaskedInput, ShareKeys};
use crate::seal::SharePair;
use crate::vector::{RingVector, Sign};

/// What the aggregator hands to one client when ShareKeys has closed: the set U2 and the shares
/// that its neighbours in U2 dealt to it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct DealtToClient {
    /// The set U2 over the directory.
    pub sharers: Bitmap,
    /// One delivery for each neighbour in U2, in directory order.
    pub deliveries: Vec<Delivery>,
}

/// A client that sent its masked input and waits for U3.
#[derive(Debug)]
pub struct SentInput {
    pub(super) participant: Participant,
    pub(super) directory: LocalDirectory,
    pub(super) sharers: Bitmap,
    /// The good shares that this client holds, its own among them on the complete graph.
    pub(super) held: BTreeMap<Position, SharePair>,
}

impl SharedKeys {
    /// Checks U2, opens the shares and masks the input. Returns the bytes to send: the signed
    /// header and the packed vector.
    ///
    /// Every neighbour in U2 must show that it shared its keys under this client's directory:
    /// its signed header. A share that does not open, or that is not the one its dealer committed
    /// to, is set aside and never revealed; this client goes on. If too few holders have good
    /// shares of that dealer, the round fails at the end and names it.
    ///
    /// # Errors
    /// [`ProtocolError`] if U2 or a header is refused, deliveries are missing, or the input has
    /// another length or ring than the parameters say.
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
        let DealtToClient {
            sharers,
            deliveries,
        } = codec::decode("the shares dealt to a client", dealt)?;
        check_set(&self.participant, &self.directory, &sharers, "U2")?;
        let dealers = self.check_dealers(&sharers, &deliveries)?;
        self.apply_masks(&mut input, &dealers)?;
        let mut held = self.open_shares(&dealers, &deliveries)?;

        // The header goes before the packed vector, whose digest it holds: there is one buffer for both.
        let mut bytes = input.pack_after(MASKED_INPUT_HEADER);
        drop(input);
        let (place, payload) = bytes.split_at_mut(MASKED_INPUT_HEADER);
        let header = MaskedInput {
            sender: self.participant.index,
            sharers: sharers.digest(self.participant.round(), self.directory.digest()),
            payload: payload_digest(payload),
        };
        place.copy_from_slice(&self.participant.sign(header)?);

        let Self {
            participant,
            directory,
            own_shares,
            ..
        } = self;
        held.extend(own_shares.map(|own| (directory.position(), own)));
        Ok((
            SentInput {
                participant,
                directory,
                sharers,
                held,
            },
            bytes,
        ))
    }

    /// The neighbours in U2, ascending: exactly those that are delivered, each with a header that
    /// it signed under this directory. A neighbour without one could be a client of another
    /// directory of the same round, where the aggregator can have its mask key revealed.
    fn check_dealers(
        &self,
        sharers: &Bitmap,
        deliveries: &[Delivery],
    ) -> Result<Vec<Position>, ProtocolError> {
        let mut dealers = self.directory.neighbours().to_vec();
        dealers.retain(|v| sharers.contains(*v));
        dealers.sort_unstable();
        let mismatch = Err(ProtocolError::ViewMismatch {
            what: "the list of dealers in U2",
        });
        if dealers.len() != deliveries.len() {
            return mismatch;
        }
        for (dealer, Delivery { header, .. }) in dealers.iter().zip(deliveries) {
            let ShareKeys {
                sender, directory, ..
            } = header.message;
            if sender != self.directory.entry(*dealer)?.sender
                || directory != self.directory.digest()
            {
                return mismatch;
            }
            header.verify(self.participant.round(), &self.participant.roster)?;
        }
        Ok(dealers)
    }

    /// Adds `PRG(b_u)`, and for each neighbour v of U2 the pairwise mask: + if pos(u) < pos(v).
    fn apply_masks(
        &self,
        input: &mut RingVector,
        neighbours: &[Position],
    ) -> Result<(), ProtocolError> {
        let (round, position) = (self.participant.round(), self.directory.position());
        let mut masks = vec![(mask::self_mask_key(&self.seed, round), Sign::Plus)];
        let own = (self.directory.entry(position)?, &self.mask);
        for v in neighbours {
            let peer = self.directory.entry(*v)?;
            let key = mask::pairwise_mask_key(own, peer, round, self.directory.digest())?;
            let sign = if position < *v {
                Sign::Plus
            } else {
                Sign::Minus
            };
            masks.push((key, sign));
        }
        input.mask(&masks);
        Ok(())
    }

    fn open_shares(
        &self,
        dealers: &[Position],
        deliveries: &[Delivery],
    ) -> Result<BTreeMap<Position, SharePair>, ProtocolError> {
        let round = self.participant.round();
        let me = self.directory.entry(self.directory.position())?;
        let mut held = BTreeMap::new();
        for (dealer, Delivery { share, .. }) in dealers.iter().zip(deliveries) {
            let entry = self.directory.entry(*dealer)?;
            let context = seal_context(round, &self.directory, entry, me);
            let slot = self.directory.slot(*dealer);
            let slot = slot.ok_or(ProtocolError::Sharing("a dealer that is no neighbour"))?;
            if let Some(shared) = self.ciphers.get(dealer)
                && let Ok(pair) = context.open(shared, &share.sealed)
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

/// Checks that hold for U2 and U3 alike: it is a set over the directory, this client is in it, it
/// is large enough to be unmasked at all, and enough holders of this client's shares are in it.
pub(super) fn check_set(
    participant: &Participant,
    directory: &LocalDirectory,
    set: &Bitmap,
    name: &'static str,
) -> Result<(), ProtocolError> {
    let params = &participant.params;
    if set.size() != directory.size() {
        return Err(ProtocolError::WrongLength {
            what: name,
            expected: directory.size(),
            found: set.size(),
        });
    }
    if !set.contains(directory.position()) {
        return Err(ProtocolError::NotInSet {
            client: participant.index,
            set: name,
        });
    }
    let enough = |what, needed, found| {
        if found < needed {
            return Err(ProtocolError::TooFew {
                what,
                needed,
                found,
            });
        }
        Ok(())
    };
    enough(name, params.min_survivors(), set.count())?;
    let holders = directory.holders_in(set);
    enough(
        "holders of this client's shares",
        params.threshold(),
        holders,
    )
}
