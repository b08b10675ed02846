//! Masked inputs and the running sum.

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::vector::RingVector;
use undertone_server::store::{
    CHUNK, PackedInput, PutOutcome, Store, StoreError, chunk_count, chunk_range,
};

use crate::fixture::{NOW, input, message, put, put_one, ring, round_in, sum_of, vector};

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
    let other = PackedInput {
        header: message(5, "another header"),
        ..input(5, &vector(bits, length, 6))
    };
    let outcome = put_one(store, round, &vector(bits, length, 6), other).await;
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
        let expected = sum_of(bits, length, 0..6);
        assert_eq!(sum, expected, "b = {bits}, d = {length}");
        let elements: Vec<u64> = expected.elements().collect();
        assert_eq!(chunk_count(length), length.div_ceil(CHUNK));
        for chunk in 0..=chunk_count(length) {
            let part = store.running_sum_range(round, ring(bits), length, chunk);
            let expected = &elements[chunk_range(length, chunk)];
            let expected = RingVector::from_elements(ring(bits), expected);
            assert_eq!(part.await.unwrap(), expected, "{bits}, {length}, {chunk}");
        }
    }
}

/// A batch with everything in it: new, repeated, another header of one sender, one sender twice.
pub(crate) async fn of_a_batch_fare_each_on_its_own<S: Store>(store: &S) {
    let (bits, length) = (20, 70_000);
    let round = round_in(store, PHASE).await.id;
    let of = |sender| input(sender, &vector(bits, length, sender));
    let other = |sender| PackedInput {
        header: message(sender, "another header"),
        ..of(sender)
    };
    let put = async |batch: &[PackedInput]| {
        let put = store.put_inputs(round, ring(bits), length, batch);
        put.await.unwrap()
    };
    let (new, again) = (PutOutcome::Accepted, PutOutcome::Repeated);
    let conflict = PutOutcome::Conflict;
    assert_eq!(put(&[]).await, []);
    assert_eq!(put(&[of(7), of(2), of(9)]).await, [new, new, new]);
    let batch = [of(9), of(3), other(2), of(3), of(1), other(1), of(7)];
    let outcomes = [again, new, conflict, again, new, conflict, again];
    assert_eq!(put(&batch).await, outcomes);
    assert_eq!(put(&[of(3), other(7)]).await, [again, conflict]);
    let sum = store.running_sum(round, ring(bits), length).await.unwrap();
    assert_eq!(sum, sum_of(bits, length, [7, 2, 9, 3, 1]));

    let next = PhaseName::ConsistencyCheck;
    assert!(store.close_phase(round, PHASE, next, NOW).await.unwrap());
    let late = PutOutcome::NotOpen;
    assert_eq!(put(&[of(4), of(9), other(9)]).await, [late, again, late]);
    let sum = store.running_sum(round, ring(bits), length).await.unwrap();
    assert_eq!(sum, sum_of(bits, length, [7, 2, 9, 3, 1]));
    let headers = store.messages(round, PHASE).await.unwrap();
    let headers: Vec<u32> = headers.iter().map(|m| m.sender.0).collect();
    assert_eq!(headers, [1, 2, 3, 7, 9]);
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
    // Shorter in the second chunk, and another width.
    let (shorter, wider) = (vector(bits, length - 1, 4), vector(25, length, 8));
    for (sender, other) in [(4, &shorter), (8, &wider)] {
        let error = put_one(store, round, other, input(sender, other)).await;
        let error = error.unwrap_err();
        assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    }
    // Not of the length that the caller says, in a batch with one that is.
    let good = vector(bits, length, 1);
    let batch = [input(1, &good), input(4, &shorter)];
    let error = store.put_inputs(round, good.ring(), length, &batch).await;
    assert!(matches!(error, Err(StoreError::Corrupt(_))), "{error:?}");
    assert_eq!(store.count(round, PHASE).await.unwrap(), 1);
    let sum = store.running_sum(round, ring(bits), length).await.unwrap();
    assert_eq!(sum, sum_of(bits, length, [0]));
    // Nor does a sum read as another shape.
    let wrong = store.running_sum(round, ring(bits), length + 1).await;
    assert!(matches!(wrong, Err(StoreError::Corrupt(_))));
}
