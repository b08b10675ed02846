//! Masked inputs and the running sum.

use undertone_protocol::aggregator::PhaseName;
use undertone_server::store::{PutOutcome, Store, StoreError};

use crate::fixture::{NOW, message, put, ring, round_in, sum_of, vector};

const PHASE: PhaseName = PhaseName::MaskedInput;

pub(crate) async fn are_summed_once<S: Store>(store: &S) {
    let (bits, length) = (32, 1000);
    let early = round_in(store, PhaseName::ShareKeys).await.id;
    let outcome = put(store, early, 1, &vector(bits, length, 1)).await;
    assert_eq!(outcome, PutOutcome::NotOpen);
    assert_eq!(store.count(early, PHASE).await.unwrap(), 0);

    let round = round_in(store, PHASE).await.id;
    let sum = async || store.running_sum(round, ring(bits), length).await.unwrap();
    assert_eq!(sum().await, sum_of(bits, length, []));
    for sender in [5, 1] {
        let outcome = put(store, round, sender, &vector(bits, length, sender)).await;
        assert_eq!(outcome, PutOutcome::Accepted);
    }
    // Again; then with another header.
    let outcome = put(store, round, 5, &vector(bits, length, 5)).await;
    assert_eq!(outcome, PutOutcome::Repeated);
    let other = message(5, "another header");
    let outcome = store
        .put_input(round, &other, &vector(bits, length, 6))
        .await;
    assert_eq!(outcome.unwrap(), PutOutcome::Conflict);
    assert_eq!(sum().await, sum_of(bits, length, [5, 1]));

    let next = PhaseName::ConsistencyCheck;
    assert!(store.close_phase(round, PHASE, next, NOW).await.unwrap());
    for (sender, outcome) in [(5, PutOutcome::Repeated), (2, PutOutcome::NotOpen)] {
        let put = put(store, round, sender, &vector(bits, length, sender)).await;
        assert_eq!(put, outcome);
    }
    assert_eq!(sum().await, sum_of(bits, length, [5, 1]));
    let headers = store.messages(round, PHASE).await.unwrap();
    let expected = [message(1, "header of 1"), message(5, "header of 5")];
    assert_eq!(headers, expected);
}

pub(crate) async fn of_any_width_and_length<S: Store>(store: &S) {
    // Around the chunk boundary, and widths that do not divide a byte evenly.
    for (bits, length) in [
        (8, 1),
        (9, 7),
        (13, 65_535),
        (16, 65_536),
        (17, 65_537),
        (33, 131_072),
        (64, 131_075),
        (24, 0),
    ] {
        let round = round_in(store, PHASE).await.id;
        for sender in 0..6 {
            put(store, round, sender, &vector(bits, length, sender)).await;
        }
        let sum = store.running_sum(round, ring(bits), length).await.unwrap();
        assert_eq!(sum, sum_of(bits, length, 0..6), "b = {bits}, d = {length}");
    }
}

pub(crate) async fn need_their_vector<S: Store>(store: &S) {
    let round = round_in(store, PHASE).await.id;
    let header = message(1, "a header without its vector");
    let error = store.put_message(round, PHASE, &header).await.unwrap_err();
    assert!(matches!(error, StoreError::Missing(_)), "{error}");
    assert_eq!(store.count(round, PHASE).await.unwrap(), 0);
}

pub(crate) async fn of_another_shape_change_nothing<S: Store>(store: &S) {
    let round = round_in(store, PHASE).await.id;
    let (bits, length) = (24, 65_536 + 10);
    put(store, round, 0, &vector(bits, length, 0)).await;
    // Shorter in the second chunk, and another width; senders that share the first one's shard.
    for (sender, other) in [(4, vector(bits, length - 1, 4)), (8, vector(25, length, 8))] {
        let header = message(sender, "header");
        let error = store.put_input(round, &header, &other).await.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    }
    assert_eq!(store.count(round, PHASE).await.unwrap(), 1);
    let sum = store.running_sum(round, ring(bits), length).await.unwrap();
    assert_eq!(sum, sum_of(bits, length, [0]));
    // Nor does a sum read as another shape.
    let wrong = store.running_sum(round, ring(bits), length + 1).await;
    assert!(matches!(wrong, Err(StoreError::Corrupt(_))));
}
