//! Signatures, keys, shares.

use undertone_protocol::codec::{self, Label};
use undertone_protocol::id::{DirectoryDigest, RosterIndex, RoundId};
use undertone_protocol::keys::{
    EphemeralKey, EphemeralPublicKey, IdentityKey, IdentityPublicKey, Secret32, SignatureBytes,
};
use undertone_protocol::mask::{pairwise_mask_key, self_mask_key};
use undertone_protocol::message::{AdvertiseKeys, Sealed, SecretKind, Share};
use undertone_protocol::seal::{SealContext, SharePair};
use undertone_protocol::shamir::combine;
use undertone_protocol::transcript::seed_commitment;
use x25519_dalek::x25519;

use crate::files::json::Hex;
use crate::files::{key_schedule, labels, shares, signatures};
use crate::read;

/// Spec.
#[test]
fn signatures_verify_or_are_refused() {
    for case in read::<signatures::Case>("signatures.json") {
        let mut all = Label::ALL.iter();
        let label = *all.find(|l| labels::name(**l) == case.name).unwrap();
        let signature: SignatureBytes = codec::decode("signature", &case.signature.0).unwrap();
        let verified = IdentityPublicKey::from(case.public_key.array::<32>()).verify(
            label,
            &case.context.0,
            &case.encoding.0,
            &signature,
            (&"a test", "vector"),
        );
        assert_eq!(verified.is_ok(), case.valid, "{}", case.reason);
        let input = [
            label.prefix(),
            case.context.0.clone(),
            case.encoding.0.clone(),
        ]
        .concat();
        assert_eq!(Hex(input), case.input);
        if let Some(seed) = case.seed {
            let key = IdentityKey::from_seed(&Secret32::from(seed.array()));
            assert_eq!(Hex::new(key.public().as_bytes()), case.public_key);
            let again = key.sign(label, &case.context.0, &case.encoding.0);
            assert_eq!(again == signature, case.valid, "{}", case.reason);
        }
    }
}

fn ephemeral(seed: &Hex) -> EphemeralKey {
    EphemeralKey::from_seed(Secret32::from(seed.array()))
}

/// An entry of which only one key matters.
fn entry(sender: u32, key: &Hex) -> AdvertiseKeys {
    let key = EphemeralPublicKey::from(key.array());
    AdvertiseKeys {
        sender: RosterIndex(sender),
        cipher_key: key,
        mask_key: key,
    }
}

fn kind(number: u8) -> SecretKind {
    let kinds = [SecretKind::SelfMask, SecretKind::MaskKey];
    kinds
        .into_iter()
        .find(|kind| kind.code() == number)
        .unwrap()
}

/// Spec. Sections 3.4, 3.5, 7.2, 7.3 and 8.3.
#[test]
fn keys_follow_from_seeds() {
    use key_schedule::Case;
    for case in read::<Case>("key_schedule.json") {
        match &case {
            Case::Seal { .. } => seal(&case),
            Case::PairwiseMask {
                round_id,
                directory,
                u,
                u_mask_seed,
                u_mask_key,
                v,
                v_mask_seed,
                v_mask_key,
                shared,
                context,
                key,
            } => {
                let info = [u.min(v), u.max(v)].map(|i| i.to_be_bytes()).concat();
                assert_eq!(Hex([directory.0.as_slice(), &info].concat()), *context);
                let round = RoundId::from(round_id.array());
                let directory = DirectoryDigest::from(directory.array());
                assert_eq!(
                    Hex::new(ephemeral(u_mask_seed).public().as_bytes()),
                    *u_mask_key
                );
                assert_eq!(
                    Hex::new(ephemeral(v_mask_seed).public().as_bytes()),
                    *v_mask_key
                );
                assert_eq!(
                    Hex::new(x25519(u_mask_seed.array(), v_mask_key.array())),
                    *shared
                );
                let (own, peer) = (entry(*u, u_mask_key), entry(*v, v_mask_key));
                for (own, seed, peer) in [(&own, u_mask_seed, &peer), (&peer, v_mask_seed, &own)] {
                    let own = (own, &ephemeral(seed));
                    let found = pairwise_mask_key(own, peer, round, directory).unwrap();
                    assert_eq!(Hex::new(found.expose()), *key);
                }
            }
            Case::SelfMask {
                round_id,
                client,
                seed,
                key,
                commitment,
            } => {
                let (round, seed) = (
                    RoundId::from(round_id.array()),
                    Secret32::from(seed.array()),
                );
                assert_eq!(Hex::new(self_mask_key(&seed, round).expose()), *key);
                let found = seed_commitment(&seed, round, RosterIndex(*client));
                assert_eq!(Hex::new(found.as_bytes()), *commitment);
            }
            Case::ShareCommitment {
                round_id,
                dealer,
                slot,
                secret,
                share,
                commitment,
            } => {
                let (round, dealer) = (RoundId::from(round_id.array()), RosterIndex(*dealer));
                let share = Share::from(share.array());
                let found = share.commitment(kind(*secret), round, dealer, *slot);
                assert_eq!(Hex::new(found.as_bytes()), *commitment);
            }
            Case::PublicKey {
                key,
                canonical,
                low_order,
            } => {
                let public = EphemeralPublicKey::from(key.array());
                assert_eq!(public.is_canonical(), *canonical, "{key:?}");
                assert_eq!(public.is_low_order(), *low_order, "{key:?}");
                assert_eq!(x25519([0x55; 32], key.array()) == [0; 32], *low_order);
            }
        }
    }
}

fn seal(case: &key_schedule::Case) {
    let key_schedule::Case::Seal {
        round_id,
        directory,
        dealer,
        dealer_cipher_seed,
        dealer_cipher_key,
        holder,
        holder_cipher_seed,
        holder_cipher_key,
        shared,
        context: info,
        key,
        self_mask_share,
        mask_key_share,
        sealed,
    } = case
    else {
        return;
    };
    let (u, v) = (ephemeral(dealer_cipher_seed), ephemeral(holder_cipher_seed));
    assert_eq!(Hex::new(u.public().as_bytes()), *dealer_cipher_key);
    assert_eq!(Hex::new(v.public().as_bytes()), *holder_cipher_key);
    assert_eq!(
        Hex::new(x25519(
            holder_cipher_seed.array(),
            dealer_cipher_key.array()
        )),
        *shared
    );
    let round = RoundId::from(round_id.array());
    let from = entry(*dealer, dealer_cipher_key);
    let peer = (from.sender, from.cipher_key);
    let derived = v.agree(peer, Label::Seal, round, &[&info.0]).unwrap();
    assert_eq!(Hex::new(derived.expose()), *key);
    let to = entry(*holder, holder_cipher_key);
    let sealing = u.shared((to.sender, to.cipher_key)).unwrap();
    let opening = v.shared(peer).unwrap();
    let context = SealContext {
        round,
        directory: DirectoryDigest::from(directory.array()),
        dealer: &from,
        holder: &to,
    };
    let pair = SharePair {
        self_mask: Share::from(self_mask_share.array()),
        mask_key: Share::from(mask_key_share.array()),
    };
    assert_eq!(Hex::new(context.seal(&sealing, &pair).unwrap().0), *sealed);
    let opened = context.open(&opening, &Sealed(sealed.array())).unwrap();
    assert_eq!(opened.self_mask, pair.self_mask);
    assert_eq!(opened.mask_key, pair.mask_key);
    let mut changed = sealed.array();
    changed[79] ^= 1;
    assert!(context.open(&opening, &Sealed(changed)).is_err());
}

/// Spec.
#[test]
fn shares_recombine() {
    for case in read::<shares::Case>("shares.json") {
        // All on one polynomial: any share with the first t - 1 gives the secret.
        let dealt = |slot: usize| Share::from(case.shares[slot].array());
        let drawn: Vec<_> = (0..case.threshold - 1)
            .map(|i| (i as u8, dealt(i)))
            .collect();
        for slot in case.threshold - 1..case.shares.len() {
            let shares = [drawn.as_slice(), &[(slot as u8, dealt(slot))]].concat();
            let referred: Vec<_> = shares.iter().map(|(slot, share)| (*slot, share)).collect();
            let secret = combine(&referred, case.threshold).unwrap();
            assert_eq!(Hex::new(secret.expose()), case.secret, "slot {slot}");
        }
        let mut proper = 0;
        for found in case.recombined {
            let shares: Vec<_> = found
                .shares
                .iter()
                .map(|s| (s.slot, Share::from(s.share.array())))
                .collect();
            let referred: Vec<_> = shares.iter().map(|(slot, share)| (*slot, share)).collect();
            let value = combine(&referred, shares.len()).unwrap();
            assert_eq!(Hex::new(value.expose()), found.value);
            assert_eq!(found.value == case.secret, found.is_secret);
            let dealt = |s: &shares::SlotShare| s.share == case.shares[usize::from(s.slot)];
            let enough = found.shares.len() == case.threshold;
            assert_eq!(enough && found.shares.iter().all(dealt), found.is_secret);
            assert_eq!(combine(&referred, case.threshold).is_ok(), enough);
            proper += usize::from(found.is_secret);
        }
        assert!(proper > 0);
    }
}
