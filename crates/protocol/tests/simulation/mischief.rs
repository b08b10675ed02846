//! What a corrupt client does under an honest aggregator: it runs the protocol, and changes one of
//! its messages before it signs it again.

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::codec;
use undertone_protocol::id::{Digest, RosterIndex, SetDigest};
use undertone_protocol::keys::EphemeralPublicKey;
use undertone_protocol::message::{
    AdvertiseKeys, ConsistencyCheck, MASKED_INPUT_HEADER, MaskedInput, Message, RevealedShare,
    Share, ShareKeysBody, Signed, Unmask,
};

use crate::dice::Dice;
use crate::setup::{Setup, identity};

/// What one corrupt client is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// It keeps to the protocol, and shares its secrets.
    Watches,
    /// Its mask key is a point of low order.
    LowOrderKey,
    /// It copies the mask key of an honest client.
    CopiedKey,
    /// Its sealed shares do not open, for all holders.
    GarbageShares,
    /// They do not open for some holders.
    SomeGarbageShares,
    /// Its commitments are to other shares, for some holders.
    WrongCommitments,
    /// Its shares recombine to another secret than it committed to.
    UncombinableShares,
    /// It reveals shares with a bit changed.
    CorruptShares,
    /// It reveals the shares of the other kind.
    OtherKind,
    /// It keeps some shares to itself.
    WithheldShares,
    /// It states another view.
    WrongStatement,
    /// It sends a statement in the name of another.
    ForgedStatement,
    /// It sends a second, different masked input.
    SecondInput,
    /// It sends its masked input when the phase has closed.
    LateInput,
    /// It signs for another round.
    OtherRound,
    /// It flips a bit of a message.
    Malformed,
    /// It stops in the middle.
    Stops,
}

impl Mischief {
    pub(crate) const ALL: [Self; 17] = [
        Self::Watches,
        Self::LowOrderKey,
        Self::CopiedKey,
        Self::GarbageShares,
        Self::SomeGarbageShares,
        Self::WrongCommitments,
        Self::UncombinableShares,
        Self::CorruptShares,
        Self::OtherKind,
        Self::WithheldShares,
        Self::WrongStatement,
        Self::ForgedStatement,
        Self::SecondInput,
        Self::LateInput,
        Self::OtherRound,
        Self::Malformed,
        Self::Stops,
    ];

    /// Whether a dealer that does this may be found to have dealt badly.
    pub(crate) fn deals_badly(self) -> bool {
        matches!(
            self,
            Self::GarbageShares
                | Self::SomeGarbageShares
                | Self::WrongCommitments
                | Self::UncombinableShares
        )
    }

    /// The message that is sent instead; `None` to send none.
    pub(crate) fn tamper(self, at: &mut Tamper<'_>, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let phase = at.phase;
        match self {
            Self::Stops if at.dice.percent(40) => return None,
            Self::Malformed if at.dice.percent(40) => {
                let mut bytes = bytes;
                let place = at.dice.below(bytes.len());
                bytes[place] ^= 1 << at.dice.below(8);
                return Some(bytes);
            }
            _ => {}
        }
        match phase {
            PhaseName::AdvertiseKeys => self.keys(at, bytes),
            PhaseName::ShareKeys => self.dealing(at, bytes),
            PhaseName::MaskedInput => self.input(at, bytes),
            PhaseName::ConsistencyCheck => self.statement(at, bytes),
            PhaseName::Unmask => self.answer(at, bytes),
        }
        .into()
    }

    fn keys(self, at: &Tamper<'_>, bytes: Vec<u8>) -> Vec<u8> {
        let mut message = Signed::<AdvertiseKeys>::decode(&bytes).unwrap().message;
        match self {
            Self::LowOrderKey => message.mask_key = EphemeralPublicKey::from([0; 32]),
            Self::CopiedKey if at.seen.is_some() => message.mask_key = at.seen.unwrap(),
            _ => return bytes,
        }
        at.sign(message)
    }

    fn dealing(self, at: &mut Tamper<'_>, bytes: Vec<u8>) -> Vec<u8> {
        let mut body: ShareKeysBody = codec::decode("ShareKeys", &bytes).unwrap();
        let shares = &mut body.dealing.shares;
        let count = shares.len();
        let mut header = body.header.message;
        match self {
            Self::GarbageShares => shares.iter_mut().for_each(|s| s.sealed.0[9] ^= 1),
            Self::SomeGarbageShares | Self::WrongCommitments => {
                let slots: Vec<usize> = (0..count).collect();
                for slot in at.dice.some(&slots, count) {
                    if self == Self::SomeGarbageShares {
                        shares[slot].sealed.0[3] ^= 4;
                    } else {
                        shares[slot].commitments.self_mask = Digest::from([1; 32]);
                    }
                }
            }
            Self::UncombinableShares => header.seed_commitment = Digest::from([2; 32]),
            Self::OtherRound if at.dice.percent(30) => {
                let round = at.setup.other_round().id();
                let key = identity(at.client);
                body.header = Signed::sign(header, round, key).unwrap();
                return codec::encode("ShareKeys", &body).unwrap();
            }
            _ => return bytes,
        }
        header.dealing = body.dealing.digest().unwrap();
        let key = identity(at.client);
        body.header = Signed::sign(header, at.setup.round(), key).unwrap();
        codec::encode("ShareKeys", &body).unwrap()
    }

    /// A second input has another payload under a signature that is good too.
    fn input(self, at: &mut Tamper<'_>, bytes: Vec<u8>) -> Vec<u8> {
        if self != Self::SecondInput {
            return bytes;
        }
        let mut header = Signed::<MaskedInput>::decode(&bytes[..MASKED_INPUT_HEADER])
            .unwrap()
            .message;
        let mut payload = bytes[MASKED_INPUT_HEADER..].to_vec();
        payload[0] ^= 0x55;
        header.payload = undertone_protocol::client::masked_input::payload_digest(&payload);
        let mut second = at.sign(header);
        second.extend(payload);
        at.extra = Some(second);
        bytes
    }

    fn statement(self, at: &mut Tamper<'_>, bytes: Vec<u8>) -> Vec<u8> {
        let mut message = Signed::<ConsistencyCheck>::decode(&bytes).unwrap().message;
        match self {
            Self::WrongStatement => message.survivors = SetDigest::from([3; 32]),
            Self::ForgedStatement => {
                let peers = at.setup.members() as usize;
                message.sender = RosterIndex(at.dice.below(peers) as u32);
            }
            Self::OtherRound => {
                let round = at.setup.other_round().id();
                let key = identity(at.client);
                return Signed::sign(message, round, key).unwrap().encode().unwrap();
            }
            _ => return bytes,
        }
        at.sign(message)
    }

    fn answer(self, at: &mut Tamper<'_>, bytes: Vec<u8>) -> Vec<u8> {
        let mut message = Signed::<Unmask>::decode(&bytes).unwrap().message;
        match self {
            Self::CorruptShares | Self::OtherKind => {
                for revelation in &mut message.shares {
                    let mut share = *revelation.share.share().expose();
                    share[5] ^= u8::from(self == Self::CorruptShares);
                    let flip = self == Self::OtherKind;
                    let self_mask = matches!(revelation.share, RevealedShare::SelfMask(_));
                    revelation.share = if self_mask == flip {
                        RevealedShare::MaskKey(Share::from(share))
                    } else {
                        RevealedShare::SelfMask(Share::from(share))
                    };
                }
            }
            Self::WithheldShares => message.shares.retain(|_| at.dice.percent(50)),
            _ => return bytes,
        }
        at.sign(message)
    }
}

/// What a corrupt client has at hand when it changes a message.
pub(crate) struct Tamper<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) client: u32,
    pub(crate) phase: PhaseName,
    pub(crate) dice: &'a mut Dice,
    /// The mask key of an honest client that it saw on the way.
    pub(crate) seen: Option<EphemeralPublicKey>,
    /// A message to send beside the one that is returned.
    pub(crate) extra: Option<Vec<u8>>,
}

impl Tamper<'_> {
    fn sign<M: Message>(&self, message: M) -> Vec<u8> {
        let key = identity(self.client);
        let signed = Signed::sign(message, self.setup.round(), key).unwrap();
        signed.encode().unwrap()
    }
}
