//! What a party has seen of a round, as digests that others can compare.
//!
//! Specification: chapter 11, "Result, transcript, failures", section 11.2; the commitment is
//! section 7.2.

use crate::codec::{self, Label};
use crate::id::{Digest, DirectoryDigest, RosterIndex, RoundId, SetDigest};
use crate::keys::Secret32;
use crate::message::ConsistencyCheck;
use crate::vector::RingVector;

/// The three things that every party of a round must agree on before anything is unmasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The directory U1.
    pub directory: DirectoryDigest,
    /// The set U2: who shared keys.
    pub sharers: SetDigest,
    /// The set U3: whose input is in the sum.
    pub survivors: SetDigest,
}

impl View {
    /// The statement by which `sender` says that this is what it saw.
    pub fn statement(&self, sender: RosterIndex) -> ConsistencyCheck {
        let Self {
            directory,
            sharers,
            survivors,
        } = *self;
        ConsistencyCheck {
            sender,
            directory,
            sharers,
            survivors,
        }
    }

    /// The transcript digest that is published with the sum.
    pub fn digest(&self, round: RoundId, sum: &RingVector) -> Digest {
        self.digest_packed(round, &sum.pack())
    }

    /// The same of a sum that is packed already.
    pub fn digest_packed(&self, round: RoundId, packed: &[u8]) -> Digest {
        let parts: [&[u8]; 5] = [
            round.as_bytes(),
            self.directory.as_bytes(),
            self.sharers.as_bytes(),
            self.survivors.as_bytes(),
            packed,
        ];
        codec::hash(Label::Transcript, &parts)
    }
}

/// The commitment H(b) of a dealer to its self-mask seed.
pub fn seed_commitment(seed: &Secret32, round: RoundId, dealer: RosterIndex) -> Digest {
    let parts: [&[u8]; 3] = [round.as_bytes(), &dealer.0.to_be_bytes(), seed.expose()];
    codec::hash(Label::SeedCommitment, &parts)
}
