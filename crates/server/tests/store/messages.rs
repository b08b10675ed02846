//! Messages of phases that carry no vector.

use undertone_protocol::aggregator::PhaseName;
use undertone_server::store::{PutOutcome, Store};

use crate::fixture::{NOW, message, round_in};

fn plain() -> impl Iterator<Item = PhaseName> {
    let plain = |phase: &PhaseName| *phase != PhaseName::MaskedInput;
    PhaseName::ALL.into_iter().filter(plain)
}

pub(crate) async fn stored_once_while_the_phase_is_open<S: Store>(store: &S) {
    for open in plain() {
        let round = round_in(store, open).await.id;
        for phase in plain() {
            let put = |text| {
                let message = message(1, text);
                async move { store.put_message(round, phase, &message).await.unwrap() }
            };
            let expected = if phase == open {
                [
                    PutOutcome::Accepted,
                    PutOutcome::Repeated,
                    PutOutcome::Conflict,
                    PutOutcome::Repeated,
                ]
            } else {
                [PutOutcome::NotOpen; 4]
            };
            for (text, expected) in ["one", "one", "two", "one"].into_iter().zip(expected) {
                assert_eq!(
                    put(text).await,
                    expected,
                    "{text} of {phase}, {open} is open"
                );
            }
        }
        for phase in PhaseName::ALL {
            let stored = store.messages(round, phase).await.unwrap();
            let expected = if phase == open {
                vec![message(1, "one")]
            } else {
                vec![]
            };
            assert_eq!(stored, expected);
        }
    }
}

pub(crate) async fn listed_by_sender<S: Store>(store: &S) {
    let phase = PhaseName::ShareKeys;
    let round = round_in(store, phase).await.id;
    let other = round_in(store, phase).await.id;
    // The empty message and the highest index are messages too.
    let senders = [300, 2, u32::MAX, 0, 70_000];
    for sender in senders {
        let message = message(sender, if sender == 2 { "" } else { "shares" });
        let outcome = store.put_message(round, phase, &message).await.unwrap();
        assert_eq!(outcome, PutOutcome::Accepted);
    }
    let stored = store.messages(round, phase).await.unwrap();
    let order: Vec<u32> = stored.iter().map(|m| m.sender.0).collect();
    assert_eq!(order, [0, 2, 300, 70_000, u32::MAX]);
    assert_eq!(stored[1].bytes, b"");
    assert_eq!(store.count(round, phase).await.unwrap(), senders.len());
    // Rounds do not see each other's messages.
    assert_eq!(store.count(other, phase).await.unwrap(), 0);
    assert_eq!(store.count(round, PhaseName::Unmask).await.unwrap(), 0);
}

pub(crate) async fn repeated_is_told_from_late<S: Store>(store: &S) {
    let (phase, next) = (PhaseName::AdvertiseKeys, PhaseName::ShareKeys);
    let round = round_in(store, phase).await.id;
    let keys = message(6, "keys");
    store.put_message(round, phase, &keys).await.unwrap();
    assert!(store.close_phase(round, phase, next, NOW).await.unwrap());

    for (late, outcome) in [
        (keys, PutOutcome::Repeated),
        (message(6, "other keys"), PutOutcome::NotOpen),
        (message(7, "keys"), PutOutcome::NotOpen),
    ] {
        let put = store.put_message(round, phase, &late).await.unwrap();
        assert_eq!(put, outcome, "{late:?}");
    }
    assert_eq!(store.count(round, phase).await.unwrap(), 1);
}
