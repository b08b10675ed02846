//! Attacks on a round, by a lying aggregator with corrupt clients. Each test either shows that an
//! attack fails, or, one client beyond the bound, that it works: so the bench can tell.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "this is test code"
)]

#[path = "lab/cut.rs"]
mod cut;
#[path = "lab/dealers.rs"]
mod dealers;
#[path = "lab/directories.rs"]
mod directories;
#[path = "lab/findings.rs"]
mod findings;
mod lab;
#[path = "lab/messages.rs"]
mod messages;
#[path = "lab/parameters.rs"]
mod parameters;

use lab::session::Session;
use lab::view::DirectoryView;
use lab::{Lab, Plan};
use undertone_protocol::ProtocolError;
use undertone_protocol::aggregator::{AdvertiseKeysPhase, RoundContext};
use undertone_protocol::codec::{self, Label};
use undertone_protocol::directory::{Directory, LocalDirectory};
use undertone_protocol::id::{ModelDigest, Position, RosterIndex, RoundNumber};
use undertone_protocol::keys::EphemeralPublicKey;
use undertone_protocol::message::{AdvertiseKeys, MaskedInput, SecretKind, Signed};
use undertone_protocol::params::ParamsFields;
use undertone_protocol::shamir::SystemSplitter;

/// The first honest client is the victim: its own group, below `border`, sees it survive; the
/// other group sees it dropped.
fn victim_dropped_for_some(n: u32, corrupt: u32, border: u32) -> Plan {
    let mut plan = Plan::honest(n).split_at(border);
    plan.views[1].survivors.remove(&corrupt);
    plan
}

fn leaks(seed: u64, members: u16, corrupt: u32, plan: &Plan) -> bool {
    let mut lab = Lab::new(seed, members, plan.views[0].sharers.len() as u16);
    let loot = lab.play(corrupt, plan);
    loot.input_of(&lab, corrupt) == Some(Lab::input(corrupt))
}

/// Spec.
#[test]
fn a_survivor_presented_as_dropped_to_some_keeps_its_secrets() {
    let (n, c) = (10, 3);
    for border in c + 1..=n {
        let plan = victim_dropped_for_some(n, c, border);
        let mut lab = Lab::new(border.into(), 10, 10);
        let loot = lab.play(c, &plan);
        assert!(loot.answered().len() <= 1, "border {border}");
        for victim in c..n {
            let both = [SecretKind::SelfMask, SecretKind::MaskKey]
                .map(|kind| loot.secret(&lab, victim, kind).is_some());
            assert_ne!(both, [true, true], "border {border}, victim {victim}");
            assert_eq!(loot.input_of(&lab, victim), None, "border {border}");
        }
    }
    // One corrupt client more than the threshold is made for, and the same attack works.
    assert!(leaks(1, 10, 4, &victim_dropped_for_some(10, 4, 7)));
}

/// Spec.
#[test]
fn u2_shown_differently_is_never_accepted_twice() {
    let (n, c) = (10, 3);
    let split = |corrupt: u32, border: u32| {
        let mut plan = Plan::honest(n).split_at(border);
        for member in corrupt..n {
            let view = usize::from(member < border);
            plan.views[view].sharers.remove(&member);
            plan.views[view].survivors.remove(&member);
        }
        plan
    };
    for border in c + 1..n {
        let mut lab = Lab::new(border.into(), 10, 10);
        // A group and the corrupt clients are fewer than min_survivors for one group at least.
        assert!(
            lab.play(c, &split(c, border)).answered().len() <= 1,
            "border {border}"
        );
        // Both groups large enough, and U2 differing in one corrupt client only.
        let mut plan = Plan::honest(n).split_at(border);
        plan.views[1].sharers.remove(&0);
        plan.views[1].survivors.remove(&0);
        assert!(lab.play(c, &plan).answered().len() <= 1, "border {border}");
    }
    let mut lab = Lab::new(3, 10, 10);
    assert_eq!(
        lab.play(4, &split(4, 7)).answered().len(),
        2,
        "beyond the bound it works"
    );
}

/// Each group's own clients and the corrupt ones make up its sets; or everyone does.
///
/// Spec.
#[test]
fn a_split_directory_yields_one_view_and_no_foreign_shares() {
    let (n, c) = (10, 3);
    for (border, apart) in (c + 1..n).flat_map(|border| [(border, true), (border, false)]) {
        let mut plan = Plan::honest(n).split_at(border);
        plan.views[1].directory = 1;
        if apart {
            for member in c..n {
                let other = &mut plan.views[usize::from(member < border)];
                other.sharers.remove(&member);
                other.survivors.remove(&member);
            }
        }
        let mut lab = Lab::new(border.into(), 10, 10);
        let loot = lab.play(c, &plan);
        assert!(loot.answered().len() <= 1, "border {border}");
        assert_eq!(loot.answered().is_empty(), !apart, "border {border}");
        loot.assert_whole_sums_only(&lab, &format!("border {border}"));
        for message in &loot.revealed {
            let mine = |client: u32| (client >= border) == (message.sender.0 >= border);
            let mut honest = message
                .shares
                .iter()
                .map(|r| r.dealer.0)
                .filter(|d| *d >= c);
            assert!(honest.all(mine), "a share from the other directory opened");
        }
    }
}

/// Spec.
#[test]
fn an_honest_client_reveals_one_share_of_each_dealer() {
    let mut lab = Lab::new(4, 10, 10);
    let mut plan = Plan::honest(10);
    for view in &mut plan.views {
        view.survivors.remove(&9);
    }
    let loot = lab.play(3, &plan);
    assert_eq!(loot.revealed.len(), 6);
    for message in &loot.revealed {
        assert!(message.shares.is_sorted_by(|a, b| a.dealer < b.dealer));
        for revelation in &message.shares {
            let dropped = revelation.dealer == Position(9);
            assert_eq!(revelation.share.kind() == SecretKind::MaskKey, dropped);
        }
    }
    assert!(loot.secret(&lab, 9, SecretKind::SelfMask).is_none());
    assert!(loot.secret(&lab, 9, SecretKind::MaskKey).is_some());
    assert_eq!(
        loot.input_of(&lab, 9),
        None,
        "a late input stays under its self mask"
    );
}

/// Spec.
#[test]
fn messages_of_another_round_or_model_are_refused() {
    type Change = fn(&mut ParamsFields);
    let changes: [Change; 3] = [
        |f| f.round = RoundNumber(2),
        |f| f.nonce = [8; 32],
        |f| f.model = ModelDigest::of(b"another model"),
    ];
    for change in changes {
        let mut lab = Lab::new(5, 10, 10);
        let (messages, masked) = {
            let session = Session::open(&mut lab, |_| ());
            (session.messages, session.masked)
        };
        let (victim, entry) = lab.advertise(0);
        let other = lab.other_round(change);
        let first = std::mem::replace(&mut lab.params, other.clone());
        let bad = |e: ProtocolError| matches!(e, ProtocolError::BadSignature { .. });
        let context = RoundContext::new(other.clone(), lab.roster.clone()).unwrap();
        let phase = AdvertiseKeysPhase::new(context);
        assert!(bad(phase.check(&entry.encode().unwrap()).unwrap_err()));
        // The client with the first model refuses the directory of the others.
        let directory = Session::open(&mut lab, |_| ()).directory;
        let refused = victim.share_keys(
            &directory.encode_for(RosterIndex(0)).unwrap(),
            &mut SystemSplitter,
            &mut lab.rng,
        );
        assert!(bad(refused.unwrap_err()));
        let entries: Vec<_> = (0..10).map(|c| lab.advertise(c).1).collect();
        let phase = phase.close(entries).unwrap();
        let dealt = codec::encode("ShareKeys", &messages[3]).unwrap();
        assert!(bad(phase.check(&dealt).unwrap_err()));
        let key = &lab.identities[3];
        let header = MaskedInput {
            sender: RosterIndex(3),
            sharers: masked.sharers().digest(first.id(), directory.digest()),
            payload: codec::hash(Label::Payload, &[&[0; 18]]),
        };
        let mut body = Signed::sign(header, other.id(), key)
            .unwrap()
            .encode()
            .unwrap();
        body.extend([0; 18]);
        assert!(bad(masked.check(&body).unwrap_err()));
    }
}

/// Spec.
#[test]
fn forged_reused_and_repeated_signatures_count_for_nothing() {
    let mut lab = Lab::new(6, 12, 10);
    let round = lab.params.id();
    let (_, entry) = lab.advertise(2);
    // Another sender's name, another signer, another label over the same bytes.
    let mut stolen = entry.clone();
    stolen.message.sender = RosterIndex(3);
    assert!(stolen.verify(round, &lab.roster).is_err());
    let forged = Signed::sign(entry.message.clone(), round, &lab.identities[3]).unwrap();
    assert!(forged.verify(round, &lab.roster).is_err());
    let encoding = codec::encode("entry", &entry.message).unwrap();
    for label in Label::ALL.iter().filter(|l| **l != Label::AdvertiseKeys) {
        let key = lab.identities[2].public();
        let verified = key.verify(
            *label,
            round.as_bytes(),
            &encoding,
            &entry.signature,
            (&2, "entry"),
        );
        assert!(verified.is_err(), "{label:?}");
    }

    // Statements: six that count; the rest repeats one, forges, or comes from outside U1.
    let session = Session::open(&mut lab, |_| ());
    let (mut statements, mut states) = session.sign(|_, _| ());
    statements.truncate(6);
    let spare = statements[0].clone();
    statements.extend([spare.clone(), spare.clone()]);
    let mut outside = spare.message.clone();
    outside.sender = RosterIndex(11);
    statements.push(Signed::sign(outside, round, &lab.identities[11]).unwrap());
    let mut forged = spare;
    forged.message.sender = RosterIndex(8);
    statements.push(forged);
    let bytes = codec::encode("statements", &statements).unwrap();
    assert!(matches!(
        states.remove(9).unmask(&bytes),
        Err(ProtocolError::TooFew {
            needed: 7,
            found: 6,
            ..
        })
    ));
}

fn directory_with(lab: &mut Lab, change: impl FnOnce(&mut Vec<AdvertiseKeys>)) -> Option<String> {
    let mut messages: Vec<_> = (0..10).map(|c| lab.advertise(c).1.message).collect();
    change(&mut messages);
    let round = lab.params.id();
    let entries: Vec<_> = messages
        .into_iter()
        .map(|m| {
            let key = &lab.identities[m.sender.0 as usize];
            Signed::sign(m, round, key).unwrap()
        })
        .collect();
    let refused = Directory::new(&lab.params, &lab.roster, entries.clone())
        .err()
        .map(|e| e.to_string());
    // A client that is handed such a directory says the same.
    let view = DirectoryView::forge(lab, &entries, 0).encode();
    let own = &entries[0].message;
    let client = LocalDirectory::decode(&lab.params, &lab.roster, own, &view);
    assert_eq!(client.err().map(|e| e.to_string()), refused);
    refused
}

/// Spec.
#[test]
fn low_order_and_repeated_keys_are_refused() {
    let mut lab = Lab::new(7, 10, 10);
    assert_eq!(directory_with(&mut lab, |_| ()), None);
    // All points of order 1, 2, 4, 8 of Curve25519 and its twist, canonical or not.
    let low = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
    ];
    for text in low {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).unwrap();
        let key = EphemeralPublicKey::from(bytes);
        for set in [
            |e: &mut AdvertiseKeys, key| e.cipher_key = key,
            |e: &mut AdvertiseKeys, key| e.mask_key = key,
        ] {
            let refused = directory_with(&mut lab, |m| set(&mut m[4], key)).unwrap();
            let named = refused.contains("low order") || refused.contains("not canonical");
            assert!(named, "{text}: {refused}");
        }
    }
    let copies: [fn(&mut Vec<AdvertiseKeys>); 5] = [
        |m| m[4].mask_key = m[5].mask_key,
        |m| m[4].cipher_key = m[5].cipher_key,
        |m| m[4].cipher_key = m[5].mask_key,
        |m| m[4].cipher_key = m[4].mask_key,
        |m| m[4] = m[5].clone(),
    ];
    for (i, copy) in copies.into_iter().enumerate() {
        assert!(directory_with(&mut lab, copy).is_some(), "case {i}");
    }
    // The honest aggregator leaves out all that have a key in common.
    let round = lab.params.id();
    let mut entries: Vec<_> = (0..10).map(|c| lab.advertise(c).1).collect();
    let mut copy = entries[4].message.clone();
    copy.mask_key = entries[5].message.cipher_key;
    entries[4] = Signed::sign(copy, round, &lab.identities[4]).unwrap();
    let context = RoundContext::new(lab.params.clone(), lab.roster.clone()).unwrap();
    let sharing = AdvertiseKeysPhase::new(context).close(entries).unwrap();
    let left: Vec<u32> = lab::stage::clients(sharing.directory()).collect();
    assert_eq!(left, [0, 1, 2, 3, 6, 7, 8, 9]);
}

/// Spec.
#[test]
fn a_client_finds_its_own_entry_changed_or_missing() {
    let mut lab = Lab::new(8, 11, 10);
    let (state, _) = lab.advertise(0);
    let (again, older) = lab.advertise(0);
    // An entry that this client itself signed in the same round, before it was restarted.
    let mut entries: Vec<_> = (1..10).map(|c| lab.advertise(c).1).collect();
    entries.insert(0, older);
    let directory = Directory::new(&lab.params, &lab.roster, entries.clone()).unwrap();
    let bytes = directory.encode_for(RosterIndex(0)).unwrap();
    let refused = state.share_keys(&bytes, &mut SystemSplitter, &mut lab.rng);
    assert!(matches!(
        refused.unwrap_err(),
        ProtocolError::ViewMismatch { .. }
    ));
    entries.remove(0);
    entries.push(lab.advertise(10).1);
    let directory = Directory::new(&lab.params, &lab.roster, entries).unwrap();
    let bytes = directory.encode_for(RosterIndex(5)).unwrap();
    let refused = again.share_keys(&bytes, &mut SystemSplitter, &mut lab.rng);
    assert!(matches!(
        refused.unwrap_err(),
        ProtocolError::NotInSet { .. }
    ));
}
