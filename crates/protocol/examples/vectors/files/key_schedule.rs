//! From seeds to keys.

use serde::{Deserialize, Serialize};
use undertone_protocol::codec::Label;
use undertone_protocol::id::{DirectoryDigest, RosterIndex, RoundId};
use undertone_protocol::keys::{EphemeralKey, EphemeralPublicKey, Secret32};
use undertone_protocol::mask::{pairwise_mask_key, self_mask_key};
use undertone_protocol::message::{AdvertiseKeys, SecretKind, Share};
use undertone_protocol::seal::{SealContext, SharePair};
use undertone_protocol::transcript::seed_commitment;
use x25519_dalek::{PublicKey, StaticSecret};

use super::json::Hex;
use super::random::secret;

/// One case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Case {
    /// What a dealer seals for a holder.
    Seal {
        /// The round.
        round_id: Hex,
        /// The directory digest.
        directory: Hex,
        /// Roster index of the dealer u.
        dealer: u32,
        /// `c_u`.
        dealer_cipher_seed: Hex,
        /// `C_u`.
        dealer_cipher_key: Hex,
        /// Roster index of the holder v.
        holder: u32,
        /// `c_v`.
        holder_cipher_seed: Hex,
        /// `C_v`.
        holder_cipher_key: Hex,
        /// `X25519(c_u`, `C_v`) = `X25519(c_v`, `C_u`).
        shared: Hex,
        /// Context and associated data.
        context: Hex,
        /// The key.
        key: Hex,
        /// Share of `b_u`.
        self_mask_share: Hex,
        /// Share of `s_u`.
        mask_key_share: Hex,
        /// The sealed pair.
        sealed: Hex,
    },
    /// A pairwise mask's key.
    PairwiseMask {
        /// The round.
        round_id: Hex,
        /// The directory digest.
        directory: Hex,
        /// Roster index of one client.
        u: u32,
        /// `s_u`.
        u_mask_seed: Hex,
        /// `S_u`.
        u_mask_key: Hex,
        /// Roster index of the other client.
        v: u32,
        /// `s_v`.
        v_mask_seed: Hex,
        /// `S_v`.
        v_mask_key: Hex,
        /// `X25519(s_u`, `S_v`) = `X25519(s_v`, `S_u`).
        shared: Hex,
        /// The context.
        context: Hex,
        /// The key.
        key: Hex,
    },
    /// A self mask's key, and the commitment to its seed.
    SelfMask {
        /// The round.
        round_id: Hex,
        /// Roster index of the client.
        client: u32,
        /// `b_u`.
        seed: Hex,
        /// The key.
        key: Hex,
        /// The seed commitment.
        commitment: Hex,
    },
    /// The commitment to a share.
    ShareCommitment {
        /// The round.
        round_id: Hex,
        /// Roster index of the dealer.
        dealer: u32,
        /// The holder's slot.
        slot: u8,
        /// 1: share of b; 2: share of s.
        secret: u8,
        /// The share.
        share: Hex,
        /// The commitment.
        commitment: Hex,
    },
    /// Whether a public key is accepted.
    PublicKey {
        /// The key.
        key: Hex,
        /// Whether its encoding is the canonical one.
        canonical: bool,
        /// Whether X25519 with it always gives 0.
        low_order: bool,
    },
}

struct Client {
    entry: AdvertiseKeys,
    cipher: EphemeralKey,
    mask: EphemeralKey,
}

fn client(sender: u32) -> Client {
    let key = |name: &str| {
        let seed = secret(&format!("key schedule, {name} of {sender}"));
        EphemeralKey::from_seed(Secret32::from(seed))
    };
    let (cipher, mask) = (key("cipher seed"), key("mask seed"));
    let entry = AdvertiseKeys {
        sender: RosterIndex(sender),
        cipher_key: cipher.public(),
        mask_key: mask.public(),
    };
    Client {
        entry,
        cipher,
        mask,
    }
}

fn round() -> RoundId {
    RoundId::from(secret("key schedule, round"))
}

fn directory() -> DirectoryDigest {
    DirectoryDigest::from(secret("key schedule, directory"))
}

pub(crate) fn cases() -> Vec<Case> {
    let (low, high) = (client(3), client(0x0102_0304));
    let mut cases = vec![
        seal(&low, &high),
        seal(&high, &low),
        pairwise(&low, &high),
        self_mask(3),
        self_mask(0x0102_0304),
    ];
    for (slot, kind) in [(0, SecretKind::SelfMask), (0, SecretKind::MaskKey)] {
        cases.push(share_commitment(slot, kind));
        cases.push(share_commitment(254, kind));
    }
    cases.extend(public_keys());
    cases
}

fn seal(dealer: &Client, holder: &Client) -> Case {
    let context = SealContext {
        round: round(),
        directory: directory(),
        dealer: &dealer.entry,
        holder: &holder.entry,
    };
    let (u, v) = (dealer.entry.sender.0, holder.entry.sender.0);
    let shares = [1, 2].map(|kind| secret(&format!("key schedule, share {kind} of {u}")));
    let pair = SharePair {
        self_mask: Share::from(shares[0]),
        mask_key: Share::from(shares[1]),
    };
    let info = [
        directory().as_bytes().as_slice(),
        &u.to_be_bytes(),
        &v.to_be_bytes(),
    ]
    .concat();
    let peer = (holder.entry.sender, holder.entry.cipher_key);
    let key = dealer
        .cipher
        .agree(peer, Label::Seal, round(), &[&info])
        .unwrap();
    Case::Seal {
        round_id: Hex::new(round().as_bytes()),
        directory: Hex::new(directory().as_bytes()),
        dealer: u,
        dealer_cipher_seed: Hex::new(dealer.cipher.seed().expose()),
        dealer_cipher_key: Hex::new(dealer.entry.cipher_key.as_bytes()),
        holder: v,
        holder_cipher_seed: Hex::new(holder.cipher.seed().expose()),
        holder_cipher_key: Hex::new(holder.entry.cipher_key.as_bytes()),
        shared: shared(&dealer.cipher, holder.entry.cipher_key),
        context: Hex(info),
        key: Hex::new(key.expose()),
        self_mask_share: Hex::new(shares[0]),
        mask_key_share: Hex::new(shares[1]),
        sealed: Hex::new(
            context
                .seal(&dealer.cipher.shared(peer).unwrap(), &pair)
                .unwrap()
                .0,
        ),
    }
}

fn pairwise(u: &Client, v: &Client) -> Case {
    let own = (&u.entry, &u.mask);
    let (low, high) = (u.entry.sender.0, v.entry.sender.0);
    let info = [low, high].map(u32::to_be_bytes).concat();
    let context = [directory().as_bytes().as_slice(), &info].concat();
    Case::PairwiseMask {
        round_id: Hex::new(round().as_bytes()),
        directory: Hex::new(directory().as_bytes()),
        u: low,
        u_mask_seed: Hex::new(u.mask.seed().expose()),
        u_mask_key: Hex::new(u.entry.mask_key.as_bytes()),
        v: high,
        v_mask_seed: Hex::new(v.mask.seed().expose()),
        v_mask_key: Hex::new(v.entry.mask_key.as_bytes()),
        shared: shared(&u.mask, v.entry.mask_key),
        context: Hex(context),
        key: Hex::new(
            pairwise_mask_key(own, &v.entry, round(), directory())
                .unwrap()
                .expose(),
        ),
    }
}

fn shared(own: &EphemeralKey, peer: EphemeralPublicKey) -> Hex {
    let own = StaticSecret::from(*own.seed().expose());
    Hex::new(
        own.diffie_hellman(&PublicKey::from(*peer.as_bytes()))
            .as_bytes(),
    )
}

fn self_mask(client: u32) -> Case {
    let seed = Secret32::from(secret(&format!("key schedule, self-mask seed of {client}")));
    Case::SelfMask {
        round_id: Hex::new(round().as_bytes()),
        client,
        seed: Hex::new(seed.expose()),
        key: Hex::new(self_mask_key(&seed, round()).expose()),
        commitment: Hex::new(seed_commitment(&seed, round(), RosterIndex(client)).as_bytes()),
    }
}

fn share_commitment(slot: u8, kind: SecretKind) -> Case {
    let share = secret("key schedule, committed share");
    let commitment = Share::from(share).commitment(kind, round(), RosterIndex(258), slot);
    Case::ShareCommitment {
        round_id: Hex::new(round().as_bytes()),
        dealer: 258,
        slot,
        secret: kind.code(),
        share: Hex::new(share),
        commitment: Hex::new(commitment.as_bytes()),
    }
}

/// Points of low order (RFC 7748 lists them; cr.yp.to/ecdh.html), encodings beyond the field.
fn public_keys() -> Vec<Case> {
    let p = |low: u8, high: u8| {
        let mut key = [0xff; 32];
        (key[0], key[31]) = (low, high);
        key
    };
    let small = |value: u8, high: u8| {
        let mut key = [0; 32];
        (key[0], key[31]) = (value, high);
        key
    };
    let text = |text: &str| <[u8; 32]>::try_from(hex::decode(text).unwrap()).unwrap();
    let order_8 = [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ];
    let keys = [
        small(0, 0),
        small(1, 0),
        text(order_8[0]),
        text(order_8[1]),
        p(0xec, 0x7f),
        p(0xed, 0x7f),
        p(0xee, 0x7f),
        small(0, 0x80),
        p(0xff, 0x7f),
        p(0xff, 0xff),
        small(9, 0),
        small(9, 0x80),
        p(0xeb, 0x7f),
    ];
    keys.map(|key| {
        let public = EphemeralPublicKey::from(key);
        Case::PublicKey {
            key: Hex::new(key),
            canonical: public.is_canonical(),
            low_order: public.is_low_order(),
        }
    })
    .into()
}
