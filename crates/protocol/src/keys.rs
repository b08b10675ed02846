//! Keys: long-term identities (Ed25519) and the two X25519 pairs of one round.
//!
//! Specification: chapter 3, "Encodings and primitives", sections 3.3 and 3.4.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::codec::Label;
use crate::error::ProtocolError;
use crate::id::{RosterIndex, RoundId};

/// A 32-byte secret that wipes itself and never prints.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret32([u8; 32]);

impl Secret32 {
    /// Fresh from the generator.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut secret = Self([0; 32]);
        rng.fill_bytes(&mut secret.0);
        secret
    }

    /// The secret bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Secret32 {
    fn from(mut bytes: [u8; 32]) -> Self {
        let secret = Self(bytes);
        bytes.zeroize();
        secret
    }
}

impl fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret32(..)")
    }
}

/// An Ed25519 signature as it travels.
#[derive(Clone, Copy, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct SignatureBytes([u8; 64]);

impl fmt::Display for SignatureBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::str::FromStr for SignatureBytes {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let mut bytes = [0; 64];
        hex::decode_to_slice(text, &mut bytes).map_err(|e| ProtocolError::Malformed {
            what: "signature",
            detail: format!("expected 128 hexadecimal digits: {e}"),
        })?;
        Ok(Self(bytes))
    }
}

impl fmt::Debug for SignatureBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignatureBytes({})", hex::encode(self.0))
    }
}

/// The public half of a long-term identity, or of the task authority.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSerialize, TlsDeserializeBytes, TlsSize,
)]
pub struct IdentityPublicKey([u8; 32]);

impl IdentityPublicKey {
    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Verifies a signature over a labelled message of one round.
    ///
    /// Strict verification (RFC 8032 with low-order keys and points refused), so that no signature
    /// verifies under two messages.
    ///
    /// # Errors
    /// [`ProtocolError::BadSignature`] naming `signer` and `what`.
    pub fn verify(
        &self,
        label: Label,
        context: &[u8],
        message: &[u8],
        signature: &SignatureBytes,
        (signer, what): (&dyn fmt::Display, &'static str),
    ) -> Result<(), ProtocolError> {
        VerifyingKey::from_bytes(&self.0)
            .and_then(|key| {
                let input = signature_input(label, context, message);
                key.verify_strict(&input, &Signature::from_bytes(&signature.0))
            })
            .map_err(|_| ProtocolError::BadSignature {
                signer: signer.to_string(),
                what,
            })
    }
}

impl From<[u8; 32]> for IdentityPublicKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for IdentityPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for IdentityPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityPublicKey({self})")
    }
}

impl std::str::FromStr for IdentityPublicKey {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|e| ProtocolError::Malformed {
            what: "public key",
            detail: format!("expected 64 hexadecimal digits: {e}"),
        })?;
        Ok(Self(bytes))
    }
}

/// A long-term identity: the Ed25519 key whose public half stands in the roster.
pub struct IdentityKey(SigningKey);

impl IdentityKey {
    /// A fresh identity.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self::from_seed(&Secret32::random(rng))
    }

    /// The identity of a stored 32-byte seed.
    pub fn from_seed(seed: &Secret32) -> Self {
        Self(SigningKey::from_bytes(seed.expose()))
    }

    /// The seed, to be stored where only its owner can read it.
    pub fn seed(&self) -> Secret32 {
        Secret32::from(self.0.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> IdentityPublicKey {
        IdentityPublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a labelled message under a context: the round's id, or nothing for a roster.
    pub fn sign(&self, label: Label, context: &[u8], message: &[u8]) -> SignatureBytes {
        SignatureBytes(
            self.0
                .sign(&signature_input(label, context, message))
                .to_bytes(),
        )
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({})", self.public())
    }
}

/// Label, context and message: the label carries its own length, the context's is fixed by it.
fn signature_input(label: Label, context: &[u8], message: &[u8]) -> Vec<u8> {
    [label.prefix().as_slice(), context, message].concat()
}

/// The public half of an X25519 pair of one round.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, TlsSerialize, TlsDeserializeBytes, TlsSize,
)]
pub struct EphemeralPublicKey([u8; 32]);

/// The points of order 1, 2, 4 and 8 of Curve25519 and of its twist, in every encoding below 2^255
/// (RFC 7748, section 6.1, and its errata): 0, 1, p - 1, p, p + 1, and the two of order 8.
const LOW_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    near_p(0x01, 0x00, 0x00),
    near_p(0xec, 0xff, 0x7f),
    near_p(0xed, 0xff, 0x7f),
    near_p(0xee, 0xff, 0x7f),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
];

/// A number of which all bytes but the lowest and the highest are alike, little-endian.
const fn near_p(low: u8, middle: u8, high: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    (bytes[0], bytes[31]) = (low, high);
    bytes
}

impl EphemeralPublicKey {
    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether this is the one canonical encoding of its point: X25519 ignores the top bit and
    /// reduces modulo p = 2^255 - 19, so that one key could stand under several byte strings.
    pub fn is_canonical(&self) -> bool {
        let [low, middle @ .., high] = &self.0;
        let at_least_p = *high == 0x7f && middle.iter().all(|b| *b == 0xff) && *low >= 0xed;
        *high < 0x80 && !at_least_p
    }

    /// Whether every X25519 result with this key is zero: the point has low order.
    pub fn is_low_order(&self) -> bool {
        let mut bytes = self.0;
        // X25519 ignores the top bit.
        bytes[31] &= 0x7f;
        LOW_ORDER.contains(&bytes)
    }
}

impl From<[u8; 32]> for EphemeralPublicKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for EphemeralPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EphemeralPublicKey({})", hex::encode(self.0))
    }
}

/// An X25519 pair that lives for one round. The unclamped 32-byte seed is what is shared out.
#[derive(Debug)]
pub struct EphemeralKey(Secret32);

impl EphemeralKey {
    /// A fresh pair.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(Secret32::random(rng))
    }

    /// The pair of a recovered seed.
    pub fn from_seed(seed: Secret32) -> Self {
        Self(seed)
    }

    /// The unclamped seed.
    pub fn seed(&self) -> &Secret32 {
        &self.0
    }

    /// The public half.
    pub fn public(&self) -> EphemeralPublicKey {
        EphemeralPublicKey(PublicKey::from(&StaticSecret::from(*self.0.expose())).to_bytes())
    }

    /// HKDF-SHA256 of the Diffie-Hellman result: salt round id, info label and context.
    ///
    /// # Errors
    /// [`ProtocolError::BadKey`] if the result is all zero: the peer's key has low order.
    pub fn agree(
        &self,
        peer: (RosterIndex, EphemeralPublicKey),
        label: Label,
        round: RoundId,
        context: &[&[u8]],
    ) -> Result<Secret32, ProtocolError> {
        Ok(self.shared(peer)?.derive(label, round, context))
    }

    /// The Diffie-Hellman result with a peer, from which keys are derived: computing it is most of what
    /// key work costs, so whoever derives several keys keeps it.
    ///
    /// # Errors
    /// As [`EphemeralKey::agree`].
    pub fn shared(
        &self,
        (client, key): (RosterIndex, EphemeralPublicKey),
    ) -> Result<SharedSecret, ProtocolError> {
        let shared = StaticSecret::from(*self.0.expose()).diffie_hellman(&PublicKey::from(key.0));
        if !shared.was_contributory() {
            return Err(ProtocolError::BadKey {
                client,
                detail: "it has low order",
            });
        }
        Ok(SharedSecret(Secret32::from(shared.to_bytes())))
    }
}

/// The Diffie-Hellman result of two ephemeral keys; never a key itself.
#[derive(Debug)]
pub struct SharedSecret(Secret32);

impl SharedSecret {
    /// HKDF-SHA256: salt round id, info label and context.
    pub fn derive(&self, label: Label, round: RoundId, context: &[&[u8]]) -> Secret32 {
        derive(self.0.expose(), label, round, context)
    }
}

/// HKDF-SHA256 (RFC 5869) of a secret: salt round id, info label and context.
pub fn derive(secret: &[u8; 32], label: Label, round: RoundId, context: &[&[u8]]) -> Secret32 {
    let mut info = label.prefix();
    for part in context {
        info.extend_from_slice(part);
    }
    let mut out = Zeroizing::new([0; 32]);
    // 32 bytes are one block of HKDF-SHA256, whose limit is 255 blocks: this cannot fail.
    let expanded = Hkdf::<Sha256>::new(Some(round.as_bytes()), secret).expand(&info, &mut *out);
    debug_assert!(expanded.is_ok());
    Secret32::from(*out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spec.
    #[test]
    fn low_order_keys_are_found() {
        // The canonical points of order 1, 2, 4 and 8 of Curve25519 (RFC 7748, section 7).
        let order8 = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
        let mut one = [0; 32];
        one[0] = 1;
        let mut p8 = [0; 32];
        hex::decode_to_slice(order8, &mut p8).unwrap();
        for bytes in [[0; 32], one, p8] {
            let key = EphemeralPublicKey::from(bytes);
            assert!(key.is_low_order());
            let own = EphemeralKey::from_seed(Secret32::from([7; 32]));
            let peer = (RosterIndex(4), key);
            assert!(matches!(
                own.agree(peer, Label::Seal, RoundId::from([0; 32]), &[]),
                Err(ProtocolError::BadKey {
                    client: RosterIndex(4),
                    ..
                })
            ));
        }
        assert!(
            !EphemeralKey::from_seed(Secret32::from([7; 32]))
                .public()
                .is_low_order()
        );
    }

    /// The list is complete for what it says, and the probe of X25519 itself agrees.
    #[test]
    fn listed_keys_have_low_order_and_others_do_not() {
        let own = EphemeralKey::from_seed(Secret32::from([7; 32]));
        let contributes = |key: EphemeralPublicKey| {
            let peer = (RosterIndex(0), key);
            own.agree(peer, Label::Seal, RoundId::from([0; 32]), &[])
                .is_ok()
        };
        for (i, mut bytes) in LOW_ORDER.into_iter().enumerate() {
            for _ in 0..2 {
                let key = EphemeralPublicKey::from(bytes);
                assert!(key.is_low_order() && !contributes(key), "{i}");
                bytes[31] ^= 0x80;
            }
        }
        for i in 0..100 {
            let mut bytes = [i; 32];
            bytes[7] ^= 0x55;
            let key = EphemeralPublicKey::from(bytes);
            assert_eq!(key.is_low_order(), !contributes(key), "{i}");
        }
    }

    /// Spec.
    #[test]
    fn only_canonical_keys_pass() {
        let mut p = [0xff; 32];
        (p[0], p[31]) = (0xed, 0x7f);
        assert!(!EphemeralPublicKey::from(p).is_canonical());
        p[0] = 0xec;
        assert!(EphemeralPublicKey::from(p).is_canonical());
        p[31] |= 0x80;
        assert!(!EphemeralPublicKey::from(p).is_canonical());
    }

    #[test]
    fn agreement_is_symmetric_and_bound() {
        let (a, b) = (
            EphemeralKey::from_seed(Secret32::from([1; 32])),
            EphemeralKey::from_seed(Secret32::from([2; 32])),
        );
        let round = RoundId::from([3; 32]);
        let ab = a
            .agree((RosterIndex(1), b.public()), Label::Seal, round, &[b"x"])
            .unwrap();
        let ba = b
            .agree((RosterIndex(0), a.public()), Label::Seal, round, &[b"x"])
            .unwrap();
        let other = b
            .agree((RosterIndex(0), a.public()), Label::Seal, round, &[b"y"])
            .unwrap();
        assert_eq!(ab.expose(), ba.expose());
        assert_ne!(ab.expose(), other.expose());
    }

    /// Every secret of a round is of one of these types, in a state that the next step consumes.
    ///
    /// Spec.
    #[test]
    fn secrets_wipe_themselves() {
        fn when_dropped<T: ZeroizeOnDrop>() {}
        when_dropped::<Secret32>();
        when_dropped::<crate::message::Share>();
        when_dropped::<crate::vector::RingVector>();
        let mut secret = Secret32::from([0xab; 32]);
        secret.zeroize();
        assert_eq!(secret.expose(), &[0; 32]);
        let mut share = crate::message::Share::from([0xab; 32]);
        share.zeroize();
        assert_eq!(share.expose(), &[0; 32]);
    }

    /// Spec.
    #[test]
    fn secrets_do_not_print() {
        let secret = Secret32::from([0xab; 32]);
        assert_eq!(format!("{secret:?}"), "Secret32(..)");
        let key = EphemeralKey::from_seed(secret);
        assert!(!format!("{key:?}").contains("ab"));
    }
}
