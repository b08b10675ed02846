//! Corrupt dealers and holders, and bytes that are no message.

use proptest::prelude::*;
use undertone_protocol::id::{Digest, RosterIndex};
use undertone_protocol::message::{RevealedShare, Revelation, Share};
use undertone_protocol::threshold::Rule;
use undertone_protocol::{ProtocolError, RoundFailure, codec};

use crate::lab::session::{Session, recover, reveals, sign};
use crate::lab::{Lab, ring};

/// Spec.
#[test]
fn a_share_that_was_changed_or_swapped_on_the_way_is_never_revealed() {
    let mut lab = Lab::new(11, 10, 10);
    let session = Session::open(&mut lab, |_| ());
    // Dealer 3's share for holder 6, and dealer 4's commitments, under the names of others.
    let dealt = |dealer: usize| &session.messages[dealer].dealing.shares;
    let (foreign, commitments) = (dealt(3)[5], dealt(4)[5].commitments);
    let (phase, answers) = session.reveal(|client, dealt| {
        if client == 5 {
            dealt.deliveries[2].share.sealed.0[7] ^= 1;
            dealt.deliveries[3].share = foreign;
            dealt.deliveries[1].share.commitments = commitments;
        }
    });
    for dealer in 0..10 {
        assert_eq!(
            reveals(&answers[5], dealer),
            ![1, 2, 3].contains(&dealer),
            "{dealer}"
        );
        assert!(reveals(&answers[6], dealer));
    }
    assert!(
        recover(&lab, &phase, &answers)
            .unwrap()
            .set_aside()
            .is_empty()
    );
}

/// Spec.
#[test]
fn a_dealer_of_bad_shares_is_named() {
    let mut lab = Lab::new(12, 10, 10);
    let session = Session::open(&mut lab, |body| {
        if body.header.message.sender == RosterIndex(2) {
            body.header.message.seed_commitment = body.dealing.shares[0].commitments.self_mask;
        }
    });
    let (phase, answers) = session.reveal(|_, _| ());
    let failure = recover(&lab, &phase, &answers).unwrap_err();
    let client = RosterIndex(2);
    assert_eq!(failure, RoundFailure::BadDealer { client });
    assert_eq!(failure.culprit(), Some(client));

    // Shares that do not open: no holder is blamed. Nine holders say so, of whom three can be
    // corrupt, so the dealer is.
    let session = Session::open(&mut lab, |body| {
        if body.header.message.sender == RosterIndex(2) {
            let shares = &mut body.dealing.shares;
            for share in shares {
                share.sealed.0[0] ^= 1;
            }
        }
    });
    let (phase, answers) = session.reveal(|_, _| ());
    let failure = recover(&lab, &phase, &answers).unwrap_err();
    assert_eq!(
        failure,
        RoundFailure::BelowThreshold {
            client,
            needed: 7,
            found: 1,
            dealt_badly: true,
        }
    );
    assert_eq!(failure.culprit(), Some(client));

    // Too few answers are no one's fault.
    let (phase, mut answers) = Session::open(&mut lab, |_| ()).reveal(|_, _| ());
    answers.truncate(6);
    let failure = recover(&lab, &phase, &answers).unwrap_err();
    assert_eq!(failure.culprit(), None, "{failure}");
}

/// Spec.
#[test]
fn a_corrupt_holder_is_set_aside_and_both_shares_are_refused() {
    let mut lab = Lab::new(13, 10, 10);
    let session = Session::open(&mut lab, |_| ());
    let (phase, mut answers) = session.reveal(|_, _| ());
    let dealer = answers[1].shares[4].dealer;
    answers[1].shares[4].share = RevealedShare::SelfMask(Share::from([1; 32]));
    let recovery = recover(&lab, &phase, &answers).unwrap();
    let aside: Vec<_> = recovery
        .set_aside()
        .iter()
        .map(|s| (s.holder.0, s.dealer.0))
        .collect();
    assert_eq!(aside, [(1, 4)]);

    let second = Revelation {
        dealer,
        share: RevealedShare::MaskKey(Share::from([1; 32])),
    };
    let mut both = answers[1].clone();
    both.shares.insert(5, second.clone());
    let refused = phase.check(&sign(&lab, both)).unwrap_err();
    assert!(matches!(refused, ProtocolError::Malformed { .. }));
    answers[1].shares[4] = second;
    let refused = phase.check(&sign(&lab, answers[1].clone())).unwrap_err();
    assert!(matches!(refused, ProtocolError::ViewMismatch { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Any change to a message is refused: bits, length, and length fields alike.
    ///
    /// Spec.
    #[test]
    fn a_changed_message_is_refused_and_nothing_panics(
        seed in any::<u64>(),
        places in proptest::collection::vec((any::<prop::sample::Index>(), 1_u8..), 1..40),
    ) {
        let mut lab = Lab::new(seed, 4, 4);
        let session = Session::open(&mut lab, |_| ());
        let share_keys = codec::encode("ShareKeys", &session.messages[1]).unwrap();
        let sharing = session.sharing.clone();
        prop_assert!(sharing.check(&share_keys).is_ok());
        let (phase, answers) = session.reveal(|_, _| ());
        let unmask = sign(&lab, answers[1].clone());
        prop_assert!(phase.check(&unmask).is_ok());
        for (place, change) in &places {
            let at = place.index(unmask.len());
            let mut bad = unmask.clone();
            bad[at] ^= change;
            prop_assert!(phase.check(&bad).is_err());
            prop_assert!(phase.check(&unmask[..at]).is_err());
            let mut bad = share_keys.clone();
            let at = place.index(bad.len());
            bad[at] ^= change;
            prop_assert!(sharing.check(&bad).is_err());
        }
        prop_assert!(phase.check(&[unmask, vec![0]].concat()).is_err());
    }
}

/// A complete graph and a ring of 14.
pub(crate) fn shapes() -> [Rule; 2] {
    [Rule::complete(14, 3), ring(14, 8, 2)]
}

/// A holder that flips a bit of every share it reveals: as many of them as leave t good ones. Each
/// is named for each dealer, and the sum is right.
///
/// Spec.
#[test]
fn corrupt_shares_are_named_and_the_round_ends_while_t_are_good() {
    for (rule, spoilers) in [(shapes()[0], 5), (shapes()[1], 1)] {
        let mut lab = Lab::of_rule(14, 14, rule);
        let session = Session::open(&mut lab, |_| ());
        let (phase, honest) = session.reveal(|_, _| ());
        for (count, ends) in [(spoilers, true), (spoilers + 1, false)] {
            let mut answers = honest.clone();
            for answer in &mut answers[..count] {
                for revelation in &mut answer.shares {
                    let mut share = *revelation.share.share().expose();
                    share[31] ^= 0x80;
                    revelation.share = RevealedShare::SelfMask(Share::from(share));
                }
            }
            let spoilt: usize = answers[..count].iter().map(|a| a.shares.len()).sum();
            match recover(&lab, &phase, &answers) {
                Ok(recovery) => {
                    assert!(ends);
                    let named = recovery.set_aside();
                    assert_eq!(named.len(), spoilt);
                    assert!(named.iter().all(|s| s.holder.0 < count as u32));
                }
                Err(failure) => {
                    // Holders are at fault; the dealer is named, not blamed.
                    assert!(!ends && failure.culprit().is_none(), "{failure}");
                }
            }
        }
    }
}

/// Shares that recombine to something else, and shares that are garbage: the round fails and names
/// the dealer. It is at fault where more holders are without a share than can be corrupt; a dealer
/// on a ring that leaves t - 1 good ones can stay below that, since k - t + 1 may be within c.
///
/// Spec.
#[test]
fn bad_dealers_are_named_and_at_fault_beyond_the_bound() {
    let client = RosterIndex(2);
    for rule in shapes() {
        let mut lab = Lab::of_rule(15, 14, rule);
        let session = Session::open(&mut lab, |body| {
            if body.header.message.sender == client {
                body.header.message.seed_commitment = Digest::from([1; 32]);
            }
        });
        let (phase, answers) = session.reveal(|_, _| ());
        let failure = recover(&lab, &phase, &answers).unwrap_err();
        assert_eq!(failure, RoundFailure::BadDealer { client });

        // Garbage for all but t - 1 holders, so that the holders are exactly one short.
        let t = usize::from(rule.threshold);
        for garbled in [0, 1] {
            let session = Session::open(&mut lab, |body| {
                if body.header.message.sender == client {
                    let own = usize::from(body.dealing.own.is_some());
                    let spoilt = body.dealing.shares.len() + own - (t - 1);
                    for share in &mut body.dealing.shares[..spoilt] {
                        match garbled {
                            0 => share.sealed.0 = [0xa5; 80],
                            _ => share.commitments.self_mask = Digest::from([2; 32]),
                        }
                    }
                }
            });
            let (phase, answers) = session.reveal(|_, _| ());
            let holders = usize::from(rule.neighbours) + usize::from(rule.neighbours == 13);
            let failure = recover(&lab, &phase, &answers).unwrap_err();
            let RoundFailure::BelowThreshold {
                found,
                needed,
                dealt_badly,
                client: named,
            } = failure
            else {
                panic!("{failure}");
            };
            assert_eq!((found, needed, named), (t - 1, t, client));
            // Withheld by more than all the corrupt clients, or not to be told from that.
            assert_eq!(dealt_badly, holders - (t - 1) > rule.corrupt as usize);
            assert_eq!(failure.culprit(), dealt_badly.then_some(client));
        }
    }
}
