//! What clients say, and how it is signed.
//!
//! Specification: chapters 6 to 10, the sections "Message"; signatures are section 3.3.

use std::fmt;

use subtle::ConstantTimeEq;
use tls_codec::{DeserializeBytes, Serialize, Size, TlsDeserializeBytes, TlsSerialize, TlsSize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::codec::{self, Label};
use crate::error::ProtocolError;
use crate::id::{Digest, DirectoryDigest, Position, RosterIndex, RoundId, SetDigest};
use crate::keys::{EphemeralPublicKey, IdentityKey, SignatureBytes};
use crate::roster::Roster;

/// The length of a pair of shares once sealed: two shares and a Poly1305 tag.
pub const SEALED_LENGTH: usize = 80;

/// The length of a signed MaskedInput header: sender 4, two digests of 32, signature 64.
pub const MASKED_INPUT_HEADER: usize = 132;

/// A message that a client signs in one phase.
pub trait Message: Serialize + DeserializeBytes + Size {
    /// The label of its signature.
    const LABEL: Label;

    /// Who sends it.
    fn sender(&self) -> RosterIndex;
}

/// A message and its sender's signature over (label, round id, encoding).
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Signed<M: Serialize + DeserializeBytes + Size> {
    /// What is said.
    pub message: M,
    /// The signature.
    pub signature: SignatureBytes,
}

impl<M: Message> Signed<M> {
    /// The name of the message in errors.
    pub const NAME: &'static str = M::LABEL.text();

    /// Signs a message for one round.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] if a list in it is too long to encode.
    pub fn sign(message: M, round: RoundId, key: &IdentityKey) -> Result<Self, ProtocolError> {
        let encoding = codec::encode(Self::NAME, &message)?;
        let signature = key.sign(M::LABEL, round.as_bytes(), &encoding);
        Ok(Self { message, signature })
    }

    /// Verifies the signature under the sender's key in the roster.
    ///
    /// # Errors
    /// [`ProtocolError::NotOnRoster`], [`ProtocolError::BadSignature`].
    pub fn verify(&self, round: RoundId, roster: &Roster) -> Result<(), ProtocolError> {
        let sender = self.message.sender();
        let encoding = codec::encode(Self::NAME, &self.message)?;
        roster.key(sender)?.verify(
            M::LABEL,
            round.as_bytes(),
            &encoding,
            &self.signature,
            (&format_args!("client {sender}"), Self::NAME),
        )
    }

    /// The wire form.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] if a list in it is too long to encode.
    pub fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        codec::encode(Self::NAME, self)
    }

    /// Reads the wire form; does not verify the signature.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ProtocolError> {
        codec::decode(Self::NAME, bytes)
    }
}

macro_rules! message {
    ($name:ident) => {
        impl Message for $name {
            const LABEL: Label = Label::$name;

            fn sender(&self) -> RosterIndex {
                self.sender
            }
        }
    };
}

/// Phase 1: the sender's two public keys of this round.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct AdvertiseKeys {
    /// Who sends it.
    pub sender: RosterIndex,
    /// Encrypts shares to the sender.
    pub cipher_key: EphemeralPublicKey,
    /// Derives the sender's pairwise masks.
    pub mask_key: EphemeralPublicKey,
}
message!(AdvertiseKeys);

/// Commitments to the two shares that one holder is dealt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct ShareCommitments {
    /// To the share of the self-mask seed.
    pub self_mask: Digest,
    /// To the share of the mask key's seed.
    pub mask_key: Digest,
}

/// A sealed pair of shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Sealed(pub [u8; SEALED_LENGTH]);

/// What a dealer sends for one holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct DealtShare {
    /// The sealed pair of shares.
    pub sealed: Sealed,
    /// Commitments to the pair.
    pub commitments: ShareCommitments,
}

/// Phase 2: the header of what a client deals; the [`Dealing`] follows it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct ShareKeys {
    /// Who deals.
    pub sender: RosterIndex,
    /// The directory that the dealer saw.
    pub directory: DirectoryDigest,
    /// Commitment to the self-mask seed.
    pub seed_commitment: Digest,
    /// Digest of the dealing.
    pub dealing: Digest,
}
message!(ShareKeys);

/// Shares of both secrets of one client.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Dealing {
    /// One for each neighbour, in the order of their slots.
    pub shares: Vec<DealtShare>,
    /// Commitments to the shares that the dealer keeps: on the complete graph only.
    pub own: Option<ShareCommitments>,
}

impl Dealing {
    /// The digest that the signed header carries.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] if the list is too long to encode.
    pub fn digest(&self) -> Result<Digest, ProtocolError> {
        let encoding = codec::encode("dealing", self)?;
        Ok(codec::hash(Label::Dealing, &[&encoding]))
    }
}

/// Phase 2, as it is sent: the signed header, then the dealing.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct ShareKeysBody {
    /// The signed header: what the dealer's neighbours are shown.
    pub header: Signed<ShareKeys>,
    /// The shares.
    pub dealing: Dealing,
}

/// Phase 2, aggregator to client: one dealer's share for the client that asks.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Delivery {
    /// The dealer's header: proof that it shared its keys under the holder's own directory.
    pub header: Signed<ShareKeys>,
    /// What it dealt to this client.
    pub share: DealtShare,
}

/// Phase 3: the header of a masked vector; the packed vector follows it.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct MaskedInput {
    /// Who sends it.
    pub sender: RosterIndex,
    /// The set U2 that the sender masked against.
    pub sharers: SetDigest,
    /// Digest of the packed vector.
    pub payload: Digest,
}
message!(MaskedInput);

/// Phase 4: what the sender saw. A client signs one such statement a round, ever.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct ConsistencyCheck {
    /// Who states it.
    pub sender: RosterIndex,
    /// The directory U1.
    pub directory: DirectoryDigest,
    /// The set U2.
    pub sharers: SetDigest,
    /// The set U3.
    pub survivors: SetDigest,
}
message!(ConsistencyCheck);

impl ConsistencyCheck {
    /// Whether two statements say the same, whoever made them.
    pub fn agrees(&self, other: &Self) -> bool {
        (self.directory, self.sharers, self.survivors)
            == (other.directory, other.sharers, other.survivors)
    }
}

/// One share as it is dealt or revealed: 32 bytes that wipe themselves and do not print.
#[derive(Clone, Zeroize, ZeroizeOnDrop, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Share([u8; 32]);

impl PartialEq for Share {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Share {}

impl Share {
    /// The share's bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The dealer's commitment to this share for the holder in place `slot`.
    pub fn commitment(
        &self,
        kind: SecretKind,
        round: RoundId,
        dealer: RosterIndex,
        slot: u8,
    ) -> Digest {
        let dealer = dealer.0.to_be_bytes();
        let parts: [&[u8]; 5] = [round.as_bytes(), &dealer, &[slot], &[kind.code()], &self.0];
        codec::hash(Label::ShareCommitment, &parts)
    }
}

impl From<[u8; 32]> for Share {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share(..)")
    }
}

/// Which of a dealer's two secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretKind {
    /// The self-mask seed b: recovered for survivors.
    SelfMask,
    /// The seed of the mask key s: recovered for those who vanished before MaskedInput.
    MaskKey,
}

impl SecretKind {
    /// The kind's number on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::SelfMask => 1,
            Self::MaskKey => 2,
        }
    }
}

/// One of a dealer's two shares; the type has no room for both.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
#[repr(u8)]
pub enum RevealedShare {
    /// The share of a survivor's self-mask seed.
    #[tls_codec(discriminant = 1)]
    SelfMask(Share),
    /// The share of the mask key of a client that vanished.
    #[tls_codec(discriminant = 2)]
    MaskKey(Share),
}

impl RevealedShare {
    /// Which secret it is a share of.
    pub fn kind(&self) -> SecretKind {
        match self {
            Self::SelfMask(_) => SecretKind::SelfMask,
            Self::MaskKey(_) => SecretKind::MaskKey,
        }
    }

    /// The share itself.
    pub fn share(&self) -> &Share {
        match self {
            Self::SelfMask(share) | Self::MaskKey(share) => share,
        }
    }
}

/// A revealed share and whose secret it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Revelation {
    /// The dealer.
    pub dealer: Position,
    /// The one share that is revealed.
    pub share: RevealedShare,
}

/// Phase 5: for each dealer of U2 that the sender holds a good share of, exactly one share.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Unmask {
    /// Who reveals.
    pub sender: RosterIndex,
    /// At most one revelation a dealer, in ascending order of dealers.
    pub shares: Vec<Revelation>,
}
message!(Unmask);
