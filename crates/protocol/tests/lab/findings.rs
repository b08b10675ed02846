//! What attacks on an earlier version found: each worked once.

use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::Participant;
use undertone_protocol::directory::Directory;
use undertone_protocol::id::{Position, RosterIndex};
use undertone_protocol::keys::EphemeralPublicKey;
use undertone_protocol::message::Signed;
use undertone_protocol::params::Trust;
use undertone_protocol::shamir::SystemSplitter;

use crate::lab::{Lab, Plan};

/// The threshold is computed from k, which the aggregator chooses, and nothing ties k to the
/// roster. On a roster of 13 of whom 4 are corrupt, a third, it announces a cohort of 5.
///
/// Spec.
#[test]
fn a_small_cohort_does_not_isolate_a_client() {
    let mut lab = Lab::new(21, 13, 5);
    // As many survivors as the client's default policy asks for.
    lab.params = lab.other_round(|fields| {
        fields.rule.min_survivors = 5;
        fields.rule.min_clients = 5;
    });
    let identity = lab.identities[4].clone();
    let (params, roster) = (lab.params.clone(), lab.roster.clone());
    if Participant::new(params, roster, identity, Trust::default()).is_err() {
        return;
    }
    let loot = lab.play(4, &Plan::honest(5));
    assert_ne!(
        loot.input_of(&lab, 4),
        Some(Lab::input(4)),
        "the input is in the open"
    );
}

/// X25519 ignores the top bit and reduces modulo p: one key has several encodings.
///
/// Spec.
#[test]
fn a_key_is_not_copied_under_another_encoding() {
    let mut lab = Lab::new(22, 10, 10);
    let mut entries: Vec<_> = (0..10).map(|c| lab.advertise(c).1).collect();
    let mut bytes = *entries[5].message.mask_key.as_bytes();
    bytes[31] |= 0x80;
    let mut copy = entries[4].message.clone();
    copy.mask_key = EphemeralPublicKey::from(bytes);
    entries[4] = Signed::sign(copy, lab.params.id(), &lab.identities[4]).unwrap();
    assert!(Directory::new(&lab.params, &lab.roster, entries).is_err());
}

/// A length field that promises more than there is trips a debug assertion of the codec.
///
/// Spec.
#[test]
fn a_truncated_bitmap_is_an_error_and_no_panic() {
    let bytes = Bitmap::new(10, [Position(1)]).encode("the set U3").unwrap();
    for cut in 0..bytes.len() {
        assert!(Bitmap::decode("the set U3", &bytes[..cut], 10).is_err());
    }
}

/// The slot counter runs one past 254 when the directory is full.
#[test]
fn the_largest_directory_can_be_shared_over() {
    let mut lab = Lab::new(24, 255, 255);
    let (mut states, entries): (Vec<_>, Vec<_>) = (0..255).map(|c| lab.advertise(c)).unzip();
    let directory = Directory::new(&lab.params, &lab.roster, entries).unwrap();
    let bytes = directory.encode_for(RosterIndex(9)).unwrap();
    let state = states.remove(9);
    assert!(
        state
            .share_keys(&bytes, &mut SystemSplitter, &mut lab.rng)
            .is_ok()
    );
}
