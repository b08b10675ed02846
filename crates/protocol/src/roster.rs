//! The roster: the identity keys that may take part in a task, signed by the task authority.
//!
//! Specification: chapter 4, "Roster and round parameters", section 4.2.

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::codec::{self, Label};
use crate::error::ProtocolError;
use crate::id::{RosterDigest, RosterIndex, TaskId};
use crate::keys::{IdentityKey, IdentityPublicKey, SignatureBytes};

#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Body {
    task: TaskId,
    members: Vec<IdentityPublicKey>,
}

#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Wire {
    body: Body,
    authority: IdentityPublicKey,
    signature: SignatureBytes,
}

/// A roster whose authority signature verified. Members are in index order, none twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    wire: Wire,
    digest: RosterDigest,
}

impl Roster {
    /// Signs a roster.
    ///
    /// # Errors
    /// [`ProtocolError::Params`] if a key stands twice or there are none.
    pub fn sign(
        authority: &IdentityKey,
        task: TaskId,
        members: Vec<IdentityPublicKey>,
    ) -> Result<Self, ProtocolError> {
        let body = Body { task, members };
        let encoding = codec::encode("roster", &body)?;
        let signature = authority.sign(Label::RosterSignature, &[], &encoding);
        Self::checked(Wire {
            body,
            authority: authority.public(),
            signature,
        })
    }

    /// Reads a signed roster and verifies it under the pinned key of the authority.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`], [`ProtocolError::BadSignature`] (also where another authority
    /// signed) or [`ProtocolError::Params`].
    pub fn decode(bytes: &[u8], pinned: IdentityPublicKey) -> Result<Self, ProtocolError> {
        let wire: Wire = codec::decode("roster", bytes)?;
        if wire.authority != pinned {
            let signer = format!(
                "authority {} instead of the pinned {pinned}",
                wire.authority
            );
            return Err(ProtocolError::BadSignature {
                signer,
                what: "the roster",
            });
        }
        Self::checked(wire)
    }

    /// Reads a roster that this party stored itself: the authority is the one named inside.
    ///
    /// # Errors
    /// As [`Roster::decode`].
    pub fn decode_own(bytes: &[u8]) -> Result<Self, ProtocolError> {
        Self::checked(codec::decode("roster", bytes)?)
    }

    fn checked(wire: Wire) -> Result<Self, ProtocolError> {
        let encoding = codec::encode("roster", &wire.body)?;
        wire.authority.verify(
            Label::RosterSignature,
            &[],
            &encoding,
            &wire.signature,
            (&"the task authority", "the roster"),
        )?;
        let mut sorted = wire.body.members.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.is_empty() || sorted.len() != wire.body.members.len() {
            let reason = "the roster is empty or a key stands in it twice".to_owned();
            return Err(ProtocolError::Params(reason));
        }
        let digest = codec::hash(Label::Roster, &[&encoding]);
        Ok(Self {
            wire,
            digest: RosterDigest::from(*digest.as_bytes()),
        })
    }

    /// The wire form.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] if the roster is too long to encode.
    pub fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        codec::encode("roster", &self.wire)
    }

    /// The identity key of a member.
    ///
    /// # Errors
    /// [`ProtocolError::NotOnRoster`].
    pub fn key(&self, index: RosterIndex) -> Result<IdentityPublicKey, ProtocolError> {
        usize::try_from(index.0)
            .ok()
            .and_then(|i| self.wire.body.members.get(i))
            .copied()
            .ok_or(ProtocolError::NotOnRoster(index))
    }

    /// The index of a key.
    pub fn index_of(&self, key: IdentityPublicKey) -> Option<RosterIndex> {
        let position = self
            .wire
            .body
            .members
            .iter()
            .position(|member| *member == key)?;
        u32::try_from(position).ok().map(RosterIndex)
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.wire.body.members.len()
    }

    /// Never: an empty roster is refused.
    pub fn is_empty(&self) -> bool {
        self.wire.body.members.is_empty()
    }

    /// The task that the roster is for.
    pub fn task(&self) -> TaskId {
        self.wire.body.task
    }

    /// The authority that signed.
    pub fn authority(&self) -> IdentityPublicKey {
        self.wire.authority
    }

    /// The digest that the round parameters carry.
    pub fn digest(&self) -> RosterDigest {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Secret32;

    fn key(seed: u8) -> IdentityKey {
        IdentityKey::from_seed(&Secret32::from([seed; 32]))
    }

    /// Spec.
    #[test]
    fn pinned_authority_only() {
        let members = vec![key(1).public(), key(2).public()];
        let roster = Roster::sign(&key(9), TaskId::from([0; 16]), members).unwrap();
        let bytes = roster.encode().unwrap();
        assert_eq!(Roster::decode(&bytes, key(9).public()).unwrap(), roster);
        assert!(matches!(
            Roster::decode(&bytes, key(8).public()),
            Err(ProtocolError::BadSignature { .. })
        ));
        assert_eq!(roster.index_of(key(2).public()), Some(RosterIndex(1)));
        assert_eq!(
            roster.key(RosterIndex(2)),
            Err(ProtocolError::NotOnRoster(RosterIndex(2)))
        );
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 4;
            assert!(Roster::decode(&bad, key(9).public()).is_err(), "byte {i}");
        }
    }

    /// Spec.
    #[test]
    fn empty_or_with_a_key_twice_it_is_refused() {
        for members in [vec![key(1).public(), key(1).public()], Vec::new()] {
            let refused = Roster::sign(&key(9), TaskId::from([0; 16]), members.clone());
            assert!(matches!(refused, Err(ProtocolError::Params(_))));
            // Nor is one taken that the authority signed all the same.
            let task = TaskId::from([0; 16]);
            let body = Body { task, members };
            let encoding = codec::encode("roster", &body).unwrap();
            let wire = Wire {
                body,
                authority: key(9).public(),
                signature: key(9).sign(Label::RosterSignature, &[], &encoding),
            };
            let bytes = codec::encode("roster", &wire).unwrap();
            let refused = Roster::decode(&bytes, key(9).public());
            assert!(matches!(refused, Err(ProtocolError::Params(_))));
        }
    }
}
