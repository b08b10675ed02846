//! Messages that are not what they have to be: dealings of another form, statements of others,
//! inputs and answers that do not fit their headers or the sets.

use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::masked_input::{DealtToClient, payload_digest};
use undertone_protocol::id::{Digest, DirectoryDigest, Position, RosterIndex, SetDigest};
use undertone_protocol::message::{MaskedInput, RevealedShare, Revelation, Share, ShareKeysBody};
use undertone_protocol::threshold::Rule;
use undertone_protocol::{ProtocolError, codec};

use crate::dealers::shapes;
use crate::lab::session::{Session, sign};
use crate::lab::{Lab, ring};

/// Spec.
#[test]
fn a_dealing_of_the_wrong_form_is_refused() {
    for rule in shapes() {
        let mut lab = Lab::of_rule(16, 14, rule);
        let session = Session::open(&mut lab, |_| ());
        let (phase, good) = (session.sharing, session.messages[3].clone());
        let refused = |what: &str, resign: bool, change: &dyn Fn(&mut ShareKeysBody)| {
            let mut body = good.clone();
            change(&mut body);
            if resign {
                body.header.message.dealing = body.dealing.digest().unwrap();
                body.header = lab.sign(body.header.message);
            }
            let bytes = codec::encode("ShareKeys", &body).unwrap();
            assert_eq!(phase.check(&bytes).is_err(), what != "nothing", "{what}");
        };
        refused("nothing", true, &|_| ());
        refused("a share less", true, &|b| b.dealing.shares.truncate(3));
        refused("a share more", true, &|b| {
            b.dealing.shares.push(b.dealing.shares[0]);
        });
        refused("own commitments: missing or extra", true, &|b| {
            b.dealing.own = match b.dealing.own {
                Some(_) => None,
                None => Some(b.dealing.shares[0].commitments),
            };
        });
        refused("another directory", true, &|b| {
            b.header.message.directory = DirectoryDigest::from([3; 32]);
        });
        refused("another sender", false, &|b| b.header.message.sender.0 += 1);
        refused("a dealing that was not signed", false, &|b| {
            b.dealing.shares.swap(0, 1);
        });
        refused("another seed commitment", false, &|b| {
            b.header.message.seed_commitment = b.dealing.shares[0].commitments.self_mask;
        });
        // A digest that is signed, but not that of what follows.
        let mut body = good.clone();
        body.header.message.dealing = Digest::from([4; 32]);
        body.header = lab.sign(body.header.message);
        let bytes = codec::encode("ShareKeys", &body).unwrap();
        let what = "the digest of the dealt shares";
        assert_eq!(
            phase.check(&bytes),
            Err(ProtocolError::ViewMismatch { what })
        );
    }
}

/// Six witnesses on a ring of 14: what others state is refused by the aggregator and does not count
/// for a client, neither do statements of another view, nor one statement said twice.
///
/// Spec.
#[test]
fn only_witnesses_count_and_each_once() {
    let rule = Rule {
        witnesses: 6,
        witness_threshold: 4,
        ..ring(14, 8, 1)
    };
    let mut lab = Lab::of_rule(17, 14, rule);
    let session = Session::open(&mut lab, |_| ());
    let check = session
        .masked
        .clone()
        .close((0..14).map(RosterIndex))
        .unwrap();
    let (good, mut states) = session.sign(|_, _| ());
    assert_eq!(good.len(), 6, "others sign nothing");
    let as_said_by = |client: u32| {
        let mut message = good[0].message.clone();
        message.sender = RosterIndex(client);
        lab.sign(message)
    };
    let witness = |client: &u32| good.iter().any(|s| s.message.sender.0 == *client);
    let others: Vec<_> = (0..14).filter(|c| !witness(c)).map(as_said_by).collect();
    for statement in &others {
        assert!(check.check(&statement.encode().unwrap()).is_err());
    }
    let mut of_another_view = good.clone();
    for statement in &mut of_another_view {
        statement.message.survivors = SetDigest::from([5; 32]);
        *statement = lab.sign(statement.message.clone());
        assert!(check.check(&statement.encode().unwrap()).is_err());
    }
    let three = &good[..3];
    let padded = [three, three, &others, &of_another_view, three].concat();
    let refused = states
        .remove(0)
        .unmask(&codec::encode("statements", &padded).unwrap());
    let what = "witnesses' signatures on this client's view";
    assert_eq!(
        refused,
        Err(ProtocolError::TooFew {
            what,
            needed: 4,
            found: 3
        })
    );
    let padded = [&others, &of_another_view, &good[2..]].concat();
    let bytes = codec::encode("statements", &padded).unwrap();
    assert!(states.into_iter().all(|state| state.unmask(&bytes).is_ok()));
}

/// Spec.
#[test]
fn a_masked_input_that_is_not_what_its_header_says_is_refused() {
    let mut lab = Lab::of_rule(18, 14, ring(14, 8, 2));
    let mut session = Session::open(&mut lab, |_| ());
    let phase = session.masked.clone();
    let dealt = phase.dealt_to(RosterIndex(4)).unwrap();
    let (_, good) = session
        .states
        .remove(4)
        .masked_input(&dealt, Lab::input(4))
        .unwrap();
    phase.check(&good).unwrap();
    let resign = |sharers, payload: &[u8]| {
        let header = MaskedInput {
            sender: RosterIndex(4),
            sharers,
            payload: payload_digest(payload),
        };
        [lab.sign(header).encode().unwrap().as_slice(), payload].concat()
    };
    let (head, payload) = good.split_at(132);
    let sharers = phase
        .sharers()
        .digest(lab.params.id(), session.directory.digest());
    assert_eq!(resign(sharers, payload), good);
    let fewer = Bitmap::new(14, (0..13).map(Position));
    let fewer = fewer.digest(lab.params.id(), session.directory.digest());
    let mut other = payload.to_vec();
    other[0] ^= 1;
    for bad in [
        resign(fewer, payload),
        [head, &other].concat(),
        resign(sharers, &payload[1..]),
        resign(sharers, &[payload, &[0]].concat()),
    ] {
        assert!(phase.check(&bad).is_err());
    }
}

/// Spec.
#[test]
fn an_answer_with_shares_that_are_not_the_senders_to_reveal_is_refused() {
    let mut lab = Lab::of_rule(19, 14, ring(14, 8, 2));
    let session = Session::open(&mut lab, |_| ());
    let (graph, sharers) = (session.directory.clone(), session.masked.sharers().count());
    let (phase, answers) = session.reveal(|_, _| ());
    assert_eq!(sharers, 14);
    let good = &answers[6];
    phase.check(&sign(&lab, good.clone())).unwrap();
    let near = graph.graph().neighbours(Position(6));
    let far = (0..14)
        .map(Position)
        .find(|p| p.0 != 6 && !near.contains(p))
        .unwrap();
    let refused = |change: &dyn Fn(&mut Vec<Revelation>)| {
        let mut answer = good.clone();
        change(&mut answer.shares);
        answer.shares.sort_by_key(|r| r.dealer);
        phase.check(&sign(&lab, answer)).unwrap_err()
    };
    for dealer in [far, Position(6), Position(14), Position(u32::MAX)] {
        refused(&|shares| shares[0].dealer = dealer);
    }
    refused(&|shares| shares.push(shares[2].clone()));
    refused(&|shares| shares[0].share = RevealedShare::MaskKey(Share::from([0; 32])));
    let mut stolen = lab.sign(good.clone());
    stolen.message.sender = RosterIndex(7);
    assert!(phase.check(&stolen.encode().unwrap()).is_err());
}

/// What one client is shown as U2 and U3, and which check refuses it; on either graph.
///
/// Spec.
#[test]
fn a_set_that_a_client_must_not_accept_is_refused() {
    for rule in shapes() {
        let least = rule.min_survivors;
        let try_sets = |sharers: &[u32], survivors: &[u32], size: usize| {
            let mut lab = Lab::of_rule(20, 14, rule);
            let session = Session::open(&mut lab, |_| ());
            let dealt = session.masked.dealt_to(RosterIndex(4)).unwrap();
            let mut dealt: DealtToClient = codec::decode("dealt", &dealt).unwrap();
            let set = |of: &[u32], size| Bitmap::new(size, of.iter().map(|c| Position(*c)));
            dealt.sharers = set(sharers, 14);
            dealt
                .deliveries
                .retain(|d| sharers.contains(&d.header.message.sender.0));
            let dealt = codec::encode("dealt", &dealt).unwrap();
            let state = session.states.into_iter().nth(4).unwrap();
            let near = session.directory.graph().neighbours(Position(4));
            let sent = state
                .masked_input(&dealt, Lab::input(4))
                .map(|(state, _)| state);
            let survivors = set(survivors, size).encode("U3").unwrap();
            let outcome = sent.map(|sent| sent.consistency_check(&survivors).map(drop));
            (outcome, near)
        };
        let all: Vec<u32> = (0..14).collect();
        let but = |gone: &[u32]| -> Vec<u32> {
            all.iter().copied().filter(|c| !gone.contains(c)).collect()
        };
        let (fine, near) = try_sets(&all, &all, 14);
        assert_eq!(fine, Ok(Ok(())));
        // Not itself.
        let itself = |set| ProtocolError::NotInSet {
            client: RosterIndex(4),
            set,
        };
        assert_eq!(try_sets(&but(&[4]), &all, 14).0, Err(itself("U2")));
        assert_eq!(try_sets(&all, &but(&[4]), 14).0, Ok(Err(itself("U3"))));
        // Too few: of all, and of its own holders.
        let few = near.iter().map(|p| p.0).take(least as usize - 2);
        let few: Vec<u32> = few.chain([4]).collect();
        for set in ["U2", "U3"] {
            let (sharers, survivors) = if set == "U2" {
                (&few, &few)
            } else {
                (&all, &few)
            };
            let (Err(refused) | Ok(Err(refused))) = try_sets(sharers, survivors, 14).0 else {
                panic!("{set} is accepted");
            };
            let small = matches!(refused, ProtocolError::TooFew { what, .. } if what == set);
            assert!(small, "{set}: {refused}");
        }
        if rule.neighbours == 8 {
            let gone: Vec<u32> = near[..2].iter().map(|p| p.0).collect();
            let what = "holders of this client's shares";
            let found = 8 - gone.len();
            let few = ProtocolError::TooFew {
                what,
                needed: 7,
                found,
            };
            assert_eq!(try_sets(&but(&gone), &all, 14).0, Err(few.clone()));
            assert_eq!(try_sets(&all, &but(&gone), 14).0, Ok(Err(few)));
        }
        // U3 with one who is not in U2; sets over another directory.
        let what = "U3, which must lie within U2,";
        let beyond = ProtocolError::ViewMismatch { what };
        let other = (0..14).find(|c| *c != 4).unwrap();
        assert_eq!(try_sets(&but(&[other]), &all, 14).0, Ok(Err(beyond)));
        let sized = try_sets(&all, &all, 15).0.unwrap().unwrap_err();
        assert!(matches!(sized, ProtocolError::WrongLength { .. }));
    }
}
