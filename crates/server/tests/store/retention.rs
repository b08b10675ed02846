//! What is erased when its time is up, and what is not.

use tokio::task::JoinSet;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::audit::Chain;
use undertone_protocol::id::{Digest, ModelDigest, RosterIndex, TaskId};
use undertone_server::auth::{Scope, Token, TokenKind};
use undertone_server::store::{
    Actor, NewInvitations, NewToken, Old, Outcome, RoundState, Store, StoredResult,
};

use crate::fixture::{self, NOW, message, new_round, new_task};

/// Ends the open round of a task in AdvertiseKeys, with a message and, if it finishes, an adapter.
async fn one_round<S: Store>(store: &S, task: TaskId, number: u32, outcome: &Outcome, ended: u64) {
    let round = new_round(task, number);
    assert!(store.open_round(&round).await.unwrap());
    let phase = PhaseName::AdvertiseKeys;
    store
        .put_message(round.id, phase, &message(0, "key"))
        .await
        .unwrap();
    let last = match outcome {
        Outcome::Finished { .. } => PhaseName::Unmask,
        Outcome::Failed { .. } => phase,
    };
    fixture::advance(store, round.id, phase, last).await;
    assert!(
        store
            .end_round(round.id, last, outcome, ended)
            .await
            .unwrap()
    );
}

fn finished(adapter: &[u8]) -> Outcome {
    let result = StoredResult {
        sum: vec![1, 2, 3],
        survivors: vec![RosterIndex(0), RosterIndex(4)],
        transcript: Digest::from([7; 32]),
        set_aside: Vec::new(),
    };
    Outcome::Finished {
        result,
        adapter: adapter.to_vec(),
        optimizer: Vec::new(),
    }
}

fn failed() -> Outcome {
    Outcome::Failed {
        reason: "too few".to_owned(),
        culprit: None,
    }
}

/// Erases all that is due; returns how much it was.
async fn erase_all<S: Store>(store: &S, what: Old, before: u64) -> u64 {
    let mut total = 0;
    loop {
        match store.erase(what, before, NOW + 9).await.unwrap() {
            0 => return total,
            erased => total += erased,
        }
    }
}

pub(crate) async fn rounds_lose_what_is_large<S: Store>(store: &S) {
    let task = new_task(4);
    store.create_task(&task).await.unwrap();
    // The tests before this one have left rounds that ended long before.
    erase_all(store, Old::Rounds, NOW + 1_000_000).await;
    let due = NOW + 2_000_000;
    one_round(store, task.id, 1, &finished(b"one"), due).await;
    one_round(store, task.id, 2, &failed(), due + 1).await;
    one_round(store, task.id, 3, &finished(b"three"), due + 2).await;
    let open = new_round(task.id, 4);
    assert!(store.open_round(&open).await.unwrap());
    store
        .put_message(open.id, PhaseName::AdvertiseKeys, &message(1, "now"))
        .await
        .unwrap();
    let before = store.rounds(task.id).await.unwrap();

    assert_eq!(erase_all(store, Old::Rounds, due).await, 0, "not yet");
    assert_eq!(erase_all(store, Old::Rounds, due + 2).await, 2);
    assert_eq!(erase_all(store, Old::Rounds, due + 2).await, 0, "once");
    let after = store.rounds(task.id).await.unwrap();
    assert_eq!(after[2..], before[2..], "what is not due is as it was");
    for (then, now) in before[..2].iter().zip(&after) {
        assert_eq!(now.erased_at, Some(NOW + 9));
        assert!(now.params.is_empty() && !then.params.is_empty());
        let phase = PhaseName::AdvertiseKeys;
        assert_eq!(store.count(now.id, phase).await.unwrap(), 0);
        assert_eq!(store.count(before[2].id, phase).await.unwrap(), 1);
        match (&then.state, &now.state) {
            (RoundState::Finished(then), RoundState::Finished(now)) => {
                assert!(now.sum.is_empty());
                assert_eq!(
                    (&now.survivors, now.transcript),
                    (&then.survivors, then.transcript)
                );
            }
            (then, now) => assert_eq!(then, now),
        }
    }
    // The open round goes on, and the task with it.
    assert_eq!(
        store
            .count(open.id, PhaseName::AdvertiseKeys)
            .await
            .unwrap(),
        1
    );
    let entries = store
        .audit_entries(Chain::Task(task.id), 0, 1000)
        .await
        .unwrap();
    let erased: Vec<_> = entries
        .iter()
        .filter(|e| e.content.contains("\"erased\""))
        .collect();
    assert_eq!(erased.len(), 1);
    assert!(
        erased[0].content.contains("retention"),
        "{}",
        erased[0].content
    );
    assert!(
        erased[0].content.contains("\"rows\":2"),
        "{}",
        erased[0].content
    );
}

pub(crate) async fn old_adapters_go_and_the_current_one_stays<S: Store>(store: &S) {
    let task = new_task(3);
    store.create_task(&task).await.unwrap();
    let long_ago = NOW + 3_000_000;
    erase_all(store, Old::Adapters, long_ago).await;
    one_round(store, task.id, 1, &finished(b"one"), long_ago).await;
    one_round(store, task.id, 2, &finished(b"two"), long_ago + 1).await;
    let kept = |bytes: &[u8]| store.adapter(task.id, ModelDigest::of(bytes));
    assert_eq!(erase_all(store, Old::Adapters, long_ago + 1).await, 1);
    assert_eq!(kept(&task.adapter).await.unwrap(), None);
    assert!(
        kept(b"one").await.unwrap().is_some(),
        "round 2 started from it, and is young"
    );
    // The third round leads back to an adapter of before, which is then the current one.
    one_round(store, task.id, 3, &finished(b"one"), long_ago + 2).await;
    assert_eq!(erase_all(store, Old::Adapters, u64::MAX).await, 1);
    assert_eq!(kept(b"two").await.unwrap(), None);
    assert!(kept(b"one").await.unwrap().is_some());
}

pub(crate) async fn tokens_go_after_their_time<S: Store>(store: &S) {
    let end = NOW + 4_000_000;
    erase_all(store, Old::Tokens, end).await;
    erase_all(store, Old::Enrolments, end).await;
    let mut ids = Vec::new();
    for expires_at in [end, end + 5, end + 500] {
        let token = Token::draw(TokenKind::Admin).unwrap();
        ids.push(token.id());
        let new = NewToken {
            id: token.id(),
            hash: token.hash(),
            name: "t".to_owned(),
            scopes: [Scope::Read].into_iter().collect(),
            created_at: NOW,
            expires_at,
        };
        store.create_token(&new, Actor::Service).await.unwrap();
    }
    store
        .revoke_token(ids[2], end + 1, Actor::Service)
        .await
        .unwrap();
    assert_eq!(erase_all(store, Old::Tokens, end + 5).await, 2);
    let left = [ids[0], ids[1], ids[2]].map(|id| store.token(id));
    let [expired, valid, revoked] = left;
    assert_eq!(expired.await.unwrap(), None);
    assert!(valid.await.unwrap().is_some());
    assert_eq!(revoked.await.unwrap(), None);

    let list = hex::encode(fixture::random::<8>());
    let tokens: Vec<_> = (0..45)
        .map(|_| Token::draw(TokenKind::Enrolment).unwrap())
        .collect();
    let invited = tokens
        .iter()
        .map(|token| (token.id(), token.hash(), "c".to_owned()));
    let new = NewInvitations {
        list: list.clone(),
        invited: invited.collect(),
        created_at: NOW,
        expires_at: end,
    };
    store.invite(&new, Actor::Service).await.unwrap();
    let key = fixture::random::<32>().into();
    store
        .enrol((tokens[0].id(), tokens[0].hash()), key, NOW)
        .await
        .unwrap();
    assert_eq!(erase_all(store, Old::Enrolments, end).await, 0);
    assert_eq!(
        erase_all(store, Old::Enrolments, end + 1).await,
        45,
        "in batches"
    );
    assert!(
        store
            .enrolment_page(Some(&list), 0, 10)
            .await
            .unwrap()
            .is_empty()
    );
}

/// Several processes sweep at once: each thing is erased once, and nobody waits for ever.
pub(crate) async fn many_sweep_at_once<S: Store>(one: &S, two: &S) {
    let end = NOW + 5_000_000;
    erase_all(one, Old::Rounds, end).await;
    let mut tasks = Vec::new();
    for _ in 0..6 {
        let task = new_task(30);
        one.create_task(&task).await.unwrap();
        for number in 1..=25 {
            one_round(one, task.id, number, &failed(), end).await;
        }
        tasks.push(task.id);
    }
    let mut sweeps = JoinSet::new();
    for i in 0..6 {
        let store = if i % 2 == 0 { one } else { two }.clone();
        sweeps.spawn(async move { erase_all(&store, Old::Rounds, end + 1).await });
    }
    let erased: u64 = fixture::soon(sweeps.join_all()).await.into_iter().sum();
    // One that found all rows locked stopped early: the next sweep takes what is left.
    let left = erase_all(one, Old::Rounds, end + 1).await;
    assert_eq!(erased + left, 150);
    for task in tasks {
        let rounds = two.rounds(task).await.unwrap();
        assert!(rounds.iter().all(|round| round.erased_at.is_some()));
        let entries = two
            .audit_entries(Chain::Task(task), 0, 10_000)
            .await
            .unwrap();
        let rows: u64 = entries
            .iter()
            .filter_map(|entry| {
                let content: serde_json::Value = serde_json::from_str(&entry.content).unwrap();
                content["event"]["rows"].as_u64()
            })
            .sum();
        assert_eq!(rows, 25, "each round is erased once");
    }
}
