//! Whatever bytes a peer sends, decoding answers with an error or with a message that encodes back
//! to the same bytes. It never panics, and no message has a second encoding.

#![allow(clippy::unwrap_used, reason = "this is test code")]

use proptest::prelude::*;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::masked_input::DealtToClient;
use undertone_protocol::codec;
use undertone_protocol::id::{Digest, DirectoryDigest, Position, RosterIndex, RoundId, SetDigest};
use undertone_protocol::keys::{EphemeralPublicKey, IdentityKey, Secret32};
use undertone_protocol::message::{
    AdvertiseKeys, ConsistencyCheck, Dealing, DealtShare, MaskedInput, Message, RevealedShare,
    Revelation, SEALED_LENGTH, Sealed, Share, ShareCommitments, ShareKeys, ShareKeysBody, Signed,
    Unmask,
};
use undertone_protocol::params::RoundParams;
use undertone_protocol::roster::Roster;
use undertone_protocol::vector::{Ring, RingVector};

/// A signed message of each phase, small but with every part in it.
fn messages() -> Vec<Vec<u8>> {
    fn sign<M: Message>(message: M) -> Vec<u8> {
        let key = IdentityKey::from_seed(&Secret32::from([9; 32]));
        Signed::sign(message, RoundId::from([1; 32]), &key)
            .unwrap()
            .encode()
            .unwrap()
    }
    let (sender, digest) = (RosterIndex(3), Digest::from([2; 32]));
    let (directory, set) = (DirectoryDigest::from([3; 32]), SetDigest::from([4; 32]));
    let commitments = ShareCommitments {
        self_mask: digest,
        mask_key: digest,
    };
    let share = DealtShare {
        sealed: Sealed([5; SEALED_LENGTH]),
        commitments,
    };
    let key = EphemeralPublicKey::from([6; 32]);
    let revelations = [
        RevealedShare::SelfMask(Share::from([7; 32])),
        RevealedShare::MaskKey(Share::from([8; 32])),
    ];
    let shares = (0..)
        .zip(revelations)
        .map(|(dealer, share)| Revelation {
            dealer: Position(dealer),
            share,
        })
        .collect();
    let dealing = Dealing {
        shares: vec![share; 3],
        own: Some(commitments),
    };
    let header = ShareKeys {
        sender,
        directory,
        seed_commitment: digest,
        dealing: digest,
    };
    let header = Signed::decode(&sign(header)).unwrap();
    let share_keys = ShareKeysBody { header, dealing };
    vec![
        sign(AdvertiseKeys {
            sender,
            cipher_key: key,
            mask_key: key,
        }),
        codec::encode("ShareKeys", &share_keys).unwrap(),
        sign(MaskedInput {
            sender,
            sharers: set,
            payload: digest,
        }),
        sign(ConsistencyCheck {
            sender,
            directory,
            sharers: set,
            survivors: set,
        }),
        sign(Unmask { sender, shares }),
    ]
}

/// Feeds bytes to every decoder there is.
fn decode_all(bytes: &[u8]) {
    fn one<M: Message>(bytes: &[u8]) {
        if let Ok(message) = Signed::<M>::decode(bytes) {
            assert_eq!(message.encode().unwrap(), bytes, "a second encoding");
        }
    }
    one::<AdvertiseKeys>(bytes);
    one::<ShareKeys>(bytes);
    if let Ok(body) = codec::decode::<ShareKeysBody>("ShareKeys", bytes) {
        assert_eq!(codec::encode("ShareKeys", &body).unwrap(), bytes);
    }
    one::<MaskedInput>(bytes);
    one::<ConsistencyCheck>(bytes);
    one::<Unmask>(bytes);
    if let Ok(dealt) = codec::decode::<DealtToClient>("dealt", bytes) {
        assert_eq!(codec::encode("dealt", &dealt).unwrap(), bytes);
    }
    if let Ok(params) = RoundParams::decode(bytes) {
        assert_eq!(params.encoding(), bytes);
    }
    if let Ok(roster) = Roster::decode_own(bytes) {
        assert_eq!(roster.encode().unwrap(), bytes);
    }
    for size in [0, 1, 7, 8, 9, 200] {
        if let Ok(set) = Bitmap::decode("set", bytes, size) {
            assert_eq!(set.encode("set").unwrap(), bytes);
        }
    }
    for bits in [8, 13, 32, 64] {
        let ring = Ring::new(bits).unwrap();
        for length in [0, 1, 5, bytes.len() * 8 / usize::from(bits)] {
            if let Ok(vector) = RingVector::unpack(ring, length, bytes) {
                assert_eq!(vector.pack(), bytes);
            }
        }
    }
    let _ = Adapter::from_bytes(bytes);
}

proptest! {
    /// Spec.
    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
        decode_all(&bytes);
    }

    /// Real messages with bytes changed, cut off, or put in.
    /// Spec.
    #[test]
    fn damaged_messages(
        which in 0_usize..5,
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<proptest::sample::Index>(),
        truncate in any::<bool>(),
        extra in proptest::collection::vec(any::<u8>(), 0..3),
    ) {
        let mut bytes = messages().swap_remove(which);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if truncate {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(extra);
        decode_all(&bytes);
    }
}

#[test]
fn good_messages_pass() {
    let [a, b, c, d, e] = messages().try_into().unwrap();
    assert!(Signed::<AdvertiseKeys>::decode(&a).is_ok());
    assert!(codec::decode::<ShareKeysBody>("ShareKeys", &b).is_ok());
    assert!(Signed::<MaskedInput>::decode(&c).is_ok());
    assert!(Signed::<ConsistencyCheck>::decode(&d).is_ok());
    assert!(Signed::<Unmask>::decode(&e).is_ok());
}
