//! Proof that whoever hands in a key has its secret half.
//!
//! Without it, someone with a token of his own could enrol the key of another client, who would then
//! stand on a roster it never asked for, and could not enrol by its own token.
//!
//! Specification: chapter 14, "HTTP binding", section 14.8.

use crate::codec::Label;
use crate::error::ProtocolError;
use crate::keys::{IdentityKey, IdentityPublicKey, SignatureBytes};

/// Signs the public part of an enrolment token, which is used once.
pub fn prove(key: &IdentityKey, token: [u8; 8]) -> SignatureBytes {
    key.sign(Label::Enrolment, &[], &token)
}

/// Verifies the proof.
///
/// # Errors
/// [`ProtocolError::BadSignature`].
pub fn verify(
    key: IdentityPublicKey,
    token: [u8; 8],
    proof: &SignatureBytes,
) -> Result<(), ProtocolError> {
    let signer: (&dyn std::fmt::Display, _) = (&"the key to be enrolled", "the token's id");
    key.verify(Label::Enrolment, &[], &token, proof, signer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Secret32;

    /// Spec.
    #[test]
    fn a_proof_is_of_one_key_and_one_token() {
        let key = |seed| IdentityKey::from_seed(&Secret32::from([seed; 32]));
        let proof = prove(&key(1), [7; 8]);
        assert!(verify(key(1).public(), [7; 8], &proof).is_ok());
        assert!(verify(key(2).public(), [7; 8], &proof).is_err());
        assert!(verify(key(1).public(), [8; 8], &proof).is_err());
        // A signature of the same bytes for another use is no proof.
        let other = key(1).sign(Label::AdvertiseKeys, &[], &[7; 8]);
        assert!(verify(key(1).public(), [7; 8], &other).is_err());
    }
}
