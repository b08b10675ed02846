//! Receipts: what a client says, and signs, that it spent of its privacy budget in a round.
//!
//! A receipt is for whoever is to believe the client's own ledger later: its owner, an auditor. It
//! is not sent to the service. Unit and cost are texts here, signed as they stand; what they mean
//! is for accountants.
//!
//! Specification: chapter 4, "Roster and round parameters", section 4.8.

use std::fmt;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::codec::{self, Label};
use crate::error::ProtocolError;
use crate::id::{MechanismDigest, RoundId, RoundNumber, TaskId};
use crate::keys::{IdentityKey, IdentityPublicKey, SignatureBytes};

/// What is said: in this round of this task, so much was spent of the budget for this unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendStatement {
    /// The task.
    pub task: TaskId,
    /// The round.
    pub round: RoundId,
    /// Its number.
    pub number: RoundNumber,
    /// Digest of the mechanism that was followed.
    pub mechanism: MechanismDigest,
    /// Whose presence the budget is about: `example` or `client`.
    pub unit: String,
    /// What was spent: an event of the accountant as JSON text, or `null` where nothing bounds it.
    pub cost: String,
}

/// The encoding of a statement.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Encoded {
    task: TaskId,
    round: RoundId,
    number: u32,
    mechanism: MechanismDigest,
    unit: Vec<u8>,
    cost: Vec<u8>,
}

impl SpendStatement {
    fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        let encoded = Encoded {
            task: self.task,
            round: self.round,
            number: self.number.0,
            mechanism: self.mechanism,
            unit: self.unit.clone().into_bytes(),
            cost: self.cost.clone().into_bytes(),
        };
        codec::encode("a receipt", &encoded)
    }

    /// Signs the statement with the client's identity key.
    ///
    /// # Errors
    /// [`ProtocolError`] if a text is too long to be encoded.
    pub fn sign(self, key: &IdentityKey) -> Result<SignedSpend, ProtocolError> {
        let encoding = self.encode()?;
        Ok(SignedSpend {
            statement: self,
            signature: key.sign(Label::SpendReceipt, &[], &encoding),
            key: key.public(),
        })
    }
}

/// A statement with its signature and the key that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedSpend {
    /// What is said.
    pub statement: SpendStatement,
    /// The signature.
    pub signature: SignatureBytes,
    /// The client's identity key. That it is the client's is for the verifier to know: the roster
    /// lists it.
    pub key: IdentityPublicKey,
}

impl SignedSpend {
    /// Checks the signature under the key that the receipt itself names.
    ///
    /// # Errors
    /// [`ProtocolError::BadSignature`].
    pub fn verify(&self) -> Result<(), ProtocolError> {
        let encoding = self.statement.encode()?;
        let signer: (&dyn fmt::Display, _) = (&"the client", "receipt");
        self.key
            .verify(Label::SpendReceipt, &[], &encoding, &self.signature, signer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Secret32;

    /// Spec: R-4.25.
    #[test]
    fn a_signature_binds_all_of_the_statement() {
        let key = IdentityKey::from_seed(&Secret32::from([3; 32]));
        let statement = SpendStatement {
            task: TaskId::from([7; 16]),
            round: RoundId::from([8; 32]),
            number: RoundNumber(4),
            mechanism: MechanismDigest::from([9; 32]),
            unit: "example".to_owned(),
            cost: r#"{"kind":"gaussian"}"#.to_owned(),
        };
        let signed = statement.sign(&key).unwrap();
        signed.verify().unwrap();
        let changes: [fn(&mut SignedSpend); 7] = [
            |signed| signed.statement.task = TaskId::from([6; 16]),
            |signed| signed.statement.round = RoundId::from([6; 32]),
            |signed| signed.statement.number = RoundNumber(5),
            |signed| signed.statement.mechanism = MechanismDigest::from([6; 32]),
            |signed| signed.statement.unit = "client".to_owned(),
            |signed| signed.statement.cost = "null".to_owned(),
            |signed| signed.key = IdentityKey::from_seed(&Secret32::from([4; 32])).public(),
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut other = signed.clone();
            change(&mut other);
            assert!(other.verify().is_err(), "change {at}");
        }
        // Where one text ends and the next begins is signed too.
        let mut other = signed.clone();
        let rest = other.statement.cost.split_off(1);
        other.statement.unit.push_str(&other.statement.cost);
        other.statement.cost = rest;
        assert!(other.verify().is_err());
    }
}
