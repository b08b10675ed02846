//! Round parameters: what a round is. Their digest is the round's id, and everything binds it.
//!
//! Specification: chapter 4, "Roster and round parameters", sections 4.3 to 4.5.

use std::ops::{Deref, RangeInclusive};

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::codec::{self, Label};
use crate::error::ProtocolError;
use crate::id::{
    MechanismDigest, ModelDigest, RosterDigest, RoundId, RoundNumber, TaskId, TrainingDigest,
};
use crate::message::MASKED_INPUT_HEADER;
use crate::roster::Roster;
use crate::threshold::{self, Rule, Shape};
use crate::vector::Ring;

/// The protocol version that this crate speaks.
pub const VERSION: u16 = 1;

/// The suite: X25519, Ed25519, HKDF-SHA256, ChaCha20-Poly1305, ChaCha20 masks, GF(256) Shamir.
pub const SUITE: u16 = 1;

/// The failure probability that the rules of a ring must stay below is 2^-80: an aggregator can try
/// many directories until the permutation suits it, a few milliseconds a try.
pub const SECURITY_BITS: u32 = 80;

/// How long each phase stays open at most, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct PhaseDeadlines {
    /// AdvertiseKeys; this one covers the local training, which comes before any key.
    pub advertise_keys: u32,
    /// ShareKeys.
    pub share_keys: u32,
    /// MaskedInput.
    pub masked_input: u32,
    /// ConsistencyCheck.
    pub consistency_check: u32,
    /// Unmask.
    pub unmask: u32,
}

/// The fields of the round parameters, before they are checked.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct ParamsFields {
    /// Protocol version, [`VERSION`].
    pub version: u16,
    /// Cryptographic suite, [`SUITE`].
    pub suite: u16,
    /// The task that the round belongs to.
    pub task: TaskId,
    /// The round's number within the task, from 1.
    pub round: RoundNumber,
    /// Fresh randomness of the aggregator, so that no two rounds share an id.
    pub nonce: [u8; 32],
    /// Vector length d, at least 1.
    pub length: u32,
    /// Ring width b: inputs are vectors over `Z_2^b`, 8 to 64.
    pub bits: u8,
    /// Who masks with whom, and which thresholds hold.
    pub rule: Rule,
    /// Digest of the roster.
    pub roster: RosterDigest,
    /// Digest of the adapter that the round starts from.
    pub model: ModelDigest,
    /// Digest of the training settings.
    pub training: TrainingDigest,
    /// Digest of the mechanism.
    pub mechanism: MechanismDigest,
    /// The phases' deadlines.
    pub deadlines: PhaseDeadlines,
}

/// Round parameters that passed every check, with their encoding and its digest.
///
/// They are sound for the number c of corrupt clients that they state. Whether that is enough
/// depends on the roster: [`RoundParams::check_roster`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundParams {
    fields: ParamsFields,
    ring: Ring,
    encoding: Vec<u8>,
    id: RoundId,
}

/// What a client assumes about the others, and never takes on trust from the aggregator.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Trust {
    /// The fraction of the *roster* that may be corrupt; `None`: less than a third of at most 255
    /// members, a tenth of more. Of the roster and not of the directory, because the aggregator
    /// decides who gets into the directory.
    pub corrupt: Option<f64>,
}

impl RoundParams {
    /// Checks the fields and computes the round's id.
    ///
    /// # Errors
    /// [`ProtocolError::Unsupported`] or [`ProtocolError::Params`] naming the rule that is broken.
    pub fn new(fields: ParamsFields) -> Result<Self, ProtocolError> {
        if (fields.version, fields.suite) != (VERSION, SUITE) {
            let (version, suite) = (fields.version, fields.suite);
            return Err(ProtocolError::Unsupported { version, suite });
        }
        let refuse = |reason: String| Err(ProtocolError::Params(reason));
        let ring = Ring::new(fields.bits)?;
        if fields.length == 0 {
            return refuse("the vector length d must be at least 1".into());
        }
        if fields.round.0 == 0 {
            return refuse("rounds are numbered from 1".into());
        }
        if let Err(reason) = fields.rule.check(SECURITY_BITS) {
            return refuse(reason);
        }
        let encoding = codec::encode("round parameters", &fields)?;
        let id = RoundId::from(*codec::hash(Label::Round, &[&encoding]).as_bytes());
        Ok(Self {
            fields,
            ring,
            encoding,
            id,
        })
    }

    /// Reads the canonical encoding and checks it.
    ///
    /// # Errors
    /// As [`RoundParams::new`], and [`ProtocolError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        Self::new(codec::decode("round parameters", bytes)?)
    }

    /// Checks that the parameters bind this roster.
    ///
    /// # Errors
    /// [`ProtocolError::ViewMismatch`].
    pub fn check_roster(&self, roster: &Roster) -> Result<(), ProtocolError> {
        if self.fields.roster != roster.digest() || self.fields.task != roster.task() {
            return Err(ProtocolError::ViewMismatch {
                what: "the digest or the task of the roster",
            });
        }
        Ok(())
    }

    /// Checks that the parameters are made for as many corrupt clients as this party assumes.
    ///
    /// # Errors
    /// [`ProtocolError::Params`] names both numbers.
    pub fn check_trust(&self, roster: &Roster, trust: Trust) -> Result<(), ProtocolError> {
        let members = u32::try_from(roster.len()).unwrap_or(u32::MAX);
        let assumed = match trust.corrupt {
            Some(fraction) => threshold::corruptions(fraction, members),
            None => threshold::default_corruptions(members),
        };
        if self.fields.rule.corrupt < assumed {
            return Err(ProtocolError::Params(format!(
                "they are made for {} corrupt clients; of a roster of {members} this party \
                 assumes up to {assumed}",
                self.fields.rule.corrupt
            )));
        }
        Ok(())
    }

    /// The canonical encoding.
    pub fn encoding(&self) -> &[u8] {
        &self.encoding
    }

    /// The round's id: the digest of the encoding.
    pub fn id(&self) -> RoundId {
        self.id
    }

    /// The ring `Z_2^b` of the inputs.
    pub fn ring(&self) -> Ring {
        self.ring
    }

    /// The vector length d.
    pub fn vector_length(&self) -> usize {
        usize::try_from(self.fields.length).unwrap_or(usize::MAX)
    }

    /// The one length in bytes that the body of a masked input may have: header and packed vector.
    pub fn masked_input_length(&self) -> usize {
        MASKED_INPUT_HEADER.saturating_add(self.ring.packed_length(self.vector_length()))
    }

    /// The Shamir threshold t.
    pub fn threshold(&self) -> usize {
        usize::from(self.fields.rule.threshold)
    }

    /// The witnesses' threshold `t_w`.
    pub fn witness_threshold(&self) -> usize {
        usize::from(self.fields.rule.witness_threshold)
    }

    /// The fewest clients whose sum may be unmasked.
    pub fn min_survivors(&self) -> usize {
        size(self.fields.rule.min_survivors)
    }

    /// The fewest and the most clients of a directory.
    pub fn directory_sizes(&self) -> RangeInclusive<usize> {
        size(self.fields.rule.min_clients)..=size(self.fields.rule.max_clients)
    }

    /// The shape of the masking graph.
    pub fn shape(&self) -> Shape {
        self.fields.rule.shape()
    }
}

fn size(clients: u32) -> usize {
    usize::try_from(clients).unwrap_or(usize::MAX)
}

impl Deref for RoundParams {
    type Target = ParamsFields;

    fn deref(&self) -> &ParamsFields {
        &self.fields
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn fields(clients: u16) -> ParamsFields {
        ParamsFields {
            version: VERSION,
            suite: SUITE,
            task: TaskId::from([1; 16]),
            round: RoundNumber(1),
            nonce: [2; 32],
            length: 5,
            bits: 20,
            rule: Rule::complete(clients.into(), u32::from(clients - 1) / 3),
            roster: RosterDigest::from([3; 32]),
            model: ModelDigest::from([4; 32]),
            training: TrainingDigest::from([5; 32]),
            mechanism: MechanismDigest::from([6; 32]),
            deadlines: PhaseDeadlines {
                advertise_keys: 1,
                share_keys: 2,
                masked_input: 3,
                consistency_check: 4,
                unmask: 5,
            },
        }
    }

    #[test]
    fn round_trip_and_id_binds_every_byte() {
        let params = RoundParams::new(fields(10)).unwrap();
        assert_eq!(RoundParams::decode(params.encoding()).unwrap(), params);
        for i in 0..params.encoding().len() {
            let mut bytes = params.encoding().to_vec();
            bytes[i] ^= 1;
            assert_ne!(
                RoundParams::decode(&bytes).map(|p| p.id()),
                Ok(params.id()),
                "byte {i}"
            );
        }
    }

    /// Spec.
    #[test]
    fn weak_parameters_are_refused() {
        let weaken: [fn(&mut ParamsFields); 13] = [
            |f| f.rule.threshold = 1,
            |f| f.rule.threshold -= 1,
            |f| f.rule.witness_threshold -= 1,
            |f| f.rule.witnesses -= 1,
            |f| f.rule.neighbours = 0,
            |f| f.rule.min_survivors -= 1,
            |f| f.rule.max_clients = 300,
            |f| f.bits = 7,
            |f| f.length = 0,
            |f| f.suite = 9,
            |f| f.version = 2,
            |f| f.round = RoundNumber(0),
            |f| f.bits = 65,
        ];
        for (i, weaken) in weaken.iter().enumerate() {
            let mut f = fields(10);
            weaken(&mut f);
            assert!(RoundParams::new(f).is_err(), "case {i}");
        }
    }
}
