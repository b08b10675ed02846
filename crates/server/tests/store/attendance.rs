//! Who answered when, what the next round is planned from, and who has rested.

use std::time::Duration;

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::RosterIndex;
use undertone_server::schedule::PastPhase;
use undertone_server::store::{ClientRound, NewRound, Outcome, RoundStanding, Store};

use crate::fixture::{self, NOW, advance, message, new_round, new_task};

const CLIENT: RosterIndex = RosterIndex(4);

async fn put<S: Store>(store: &S, round: &NewRound, phase: PhaseName, sender: u32) {
    let message = message(sender, phase.text());
    let put = store.put_message(round.id, phase, &message);
    put.await.unwrap();
}

async fn fail<S: Store>(store: &S, round: &NewRound, phase: PhaseName) {
    let outcome = Outcome::Failed {
        reason: "a test".to_owned(),
        culprit: None,
    };
    let ended = store.end_round(round.id, phase, &outcome, NOW + 9000);
    assert!(ended.await.unwrap());
}

async fn of_client<S: Store>(store: &S, round: &NewRound, client: RosterIndex) -> Vec<ClientRound> {
    store.client_rounds(round.task, client, 0, 9).await.unwrap()
}

/// Two clients advertise keys, one gives an input, one is late with it.
pub(crate) async fn is_kept_beyond_the_messages<S: Store>(store: &S) {
    let task = new_task(3);
    store.create_task(&task).await.unwrap();
    let round = new_round(task.id, 1);
    assert!(store.open_round(&round).await.unwrap());
    let (keys, input) = (PhaseName::AdvertiseKeys, PhaseName::MaskedInput);
    put(store, &round, keys, 4).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    put(store, &round, keys, 7).await;
    assert_eq!(
        of_client(store, &round, CLIENT).await,
        [],
        "the phase is open"
    );
    assert!(
        !store
            .note_late(round.id, keys, RosterIndex(9))
            .await
            .unwrap(),
        "nor is late"
    );
    advance(store, round.id, keys, input).await;
    fixture::put(store, round.id, 4, &fixture::vector(24, 10, 4)).await;
    advance(store, round.id, input, PhaseName::ConsistencyCheck).await;
    let late = async |client| {
        store
            .note_late(round.id, input, RosterIndex(client))
            .await
            .unwrap()
    };
    assert!(late(7).await);
    assert!(!late(7).await, "once is enough");
    assert!(!late(4).await, "it was in time");
    fail(store, &round, PhaseName::ConsistencyCheck).await;

    let rounds = of_client(store, &round, CLIENT).await;
    assert_eq!(rounds.len(), 1);
    let first = &rounds[0];
    assert_eq!((first.id, first.number), (round.id, round.number));
    assert_eq!(first.standing, RoundStanding::Failed);
    assert_eq!(
        (first.opened_at, first.ended_at),
        (round.opened_at, Some(NOW + 9000))
    );
    assert!(first.gave_input());
    let [Some(keys), None, Some(input), None, None] = first.phases else {
        panic!("{first:?}");
    };
    assert!(!keys.late && !input.late);
    let other = &of_client(store, &round, RosterIndex(7)).await[0];
    assert!(!other.gave_input());
    assert!(other.phases[2].unwrap().late);
    let slower = other.phases[0].unwrap().latency_ms;
    assert!((25..60_000).contains(&slower), "{slower} ms");
    assert!(slower > keys.latency_ms);
    assert_eq!(of_client(store, &round, RosterIndex(1)).await, []);
}

/// The last rounds that ended, the latest first; a phase that was not reached is none.
pub(crate) async fn is_what_rounds_are_planned_from<S: Store>(store: &S) {
    let task = new_task(4);
    store.create_task(&task).await.unwrap();
    let phase = PhaseName::ConsistencyCheck;
    for (number, reached, senders) in [(1, phase, 3), (2, PhaseName::AdvertiseKeys, 2)] {
        let round = new_round(task.id, number);
        assert!(store.open_round(&round).await.unwrap());
        for sender in 0..senders {
            put(store, &round, PhaseName::AdvertiseKeys, sender).await;
        }
        if reached == phase {
            advance(
                store,
                round.id,
                PhaseName::AdvertiseKeys,
                PhaseName::ShareKeys,
            )
            .await;
            put(store, &round, PhaseName::ShareKeys, 1).await;
            advance(
                store,
                round.id,
                PhaseName::ShareKeys,
                PhaseName::MaskedInput,
            )
            .await;
            fixture::put(store, round.id, 1, &fixture::vector(24, 10, 1)).await;
            advance(store, round.id, PhaseName::MaskedInput, reached).await;
        }
        fail(store, &round, reached).await;
    }
    let open = new_round(task.id, 3);
    assert!(store.open_round(&open).await.unwrap());

    let past = store.past_rounds(task.id, 16).await.unwrap();
    assert_eq!(past.len(), 2);
    assert_eq!((past[0].clients, past[0].survivors), (0, None));
    assert_eq!(past[0].phases[1..], [None; 4]);
    assert_eq!((past[1].clients, past[1].survivors), (3, Some(1)));
    let counts = past[1]
        .phases
        .map(|phase| phase.map(|p: PastPhase| (p.expected, p.received)));
    assert_eq!(
        counts,
        [Some((3, 3)), Some((3, 1)), Some((1, 1)), Some((1, 0)), None]
    );
    assert!(past[1].phases[0].unwrap().latency_ms.is_some());
    assert_eq!(
        past[1].phases[3].unwrap().latency_ms,
        None,
        "nobody answered"
    );
    let latest = store.past_rounds(task.id, 1).await.unwrap();
    assert_eq!(latest, past[..1]);
}

/// A client has rested since the last round that took its input, not one that it only began.
pub(crate) async fn tells_when_a_client_gave_input_last<S: Store>(store: &S) {
    let round = fixture::round_in(store, PhaseName::MaskedInput).await;
    fixture::put(store, round.id, 4, &fixture::vector(24, 10, 4)).await;
    let last = async |client, since| {
        let last = store.last_input(round.task, RosterIndex(client), since);
        last.await.unwrap()
    };
    fail(store, &round, PhaseName::MaskedInput).await;
    let second = NewRound {
        opened_at: NOW + 5000,
        ..new_round(round.task, 2)
    };
    assert!(store.open_round(&second).await.unwrap());
    put(store, &second, PhaseName::AdvertiseKeys, 4).await;
    fail(store, &second, PhaseName::AdvertiseKeys).await;
    assert_eq!(last(4, 0).await, Some(round.opened_at));
    assert_eq!(last(4, round.opened_at).await, Some(round.opened_at));
    assert_eq!(last(4, round.opened_at + 1).await, None);
    assert_eq!(last(5, 0).await, None);
}
