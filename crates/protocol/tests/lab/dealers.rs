//! Corrupt dealers and holders, and bytes that are no message.

use proptest::prelude::*;
use undertone_protocol::id::RosterIndex;
use undertone_protocol::message::{RevealedShare, Revelation, Share};
use undertone_protocol::{ProtocolError, RoundFailure, codec};

use crate::lab::Lab;
use crate::lab::session::{Session, recover, reveals, sign};

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
            shares.iter_mut().for_each(|s| s.sealed.0[0] ^= 1);
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
