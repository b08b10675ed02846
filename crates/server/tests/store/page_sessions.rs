//! Sessions of the operators' page, and the tasks that it lists.

use std::cmp::Reverse;

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::audit::Chain;
use undertone_protocol::id::{RosterIndex, RoundNumber};
use undertone_server::auth::{Scope, SecretHash, Token, TokenKind};
use undertone_server::store::{
    Actor, NewPageSession, NewToken, Old, Outcome, RoundStanding, Store,
};

use crate::fixture::{NOW, advance, message, new_round, new_task, random};

async fn token<S: Store>(store: &S) -> NewToken {
    let token = Token::draw(TokenKind::Admin).unwrap();
    let new = NewToken {
        id: token.id(),
        hash: token.hash(),
        name: "page".to_owned(),
        scopes: [Scope::Read].into_iter().collect(),
        created_at: NOW,
        expires_at: NOW + 1000,
    };
    store.create_token(&new, Actor::Database).await.unwrap();
    new
}

fn session(token: &NewToken, expires_at: u64) -> NewPageSession {
    NewPageSession {
        hash: SecretHash::from(random::<32>()),
        token: token.id,
        created_at: NOW,
        expires_at,
    }
}

pub(crate) async fn opened_found_and_closed<S: Store>(store: &S) {
    let token = token(store).await;
    let new = session(&token, NOW + 500);
    assert_eq!(store.page_session(new.hash).await.unwrap(), None);
    store.open_page_session(&new).await.unwrap();
    let found = store.page_session(new.hash).await.unwrap().unwrap();
    assert_eq!((found.token.id, found.expires_at), (token.id, NOW + 500));
    assert_eq!(found.token.scopes, token.scopes);
    assert!(found.is_valid(NOW + 499) && !found.is_valid(NOW + 500));
    let other = session(&token, NOW + 500);
    store.open_page_session(&other).await.unwrap();
    store.close_page_session(new.hash).await.unwrap();
    store.close_page_session(new.hash).await.unwrap();
    assert_eq!(store.page_session(new.hash).await.unwrap(), None);
    assert!(store.page_session(other.hash).await.unwrap().is_some());

    let log = store.audit_entries(Chain::Service, 0, 1000).await.unwrap();
    let actor = format!("\"actor\":{{\"id\":\"{}\"", token.id);
    let of_this = log.iter().filter(|entry| entry.content.contains(&actor));
    let of_this: Vec<&str> = of_this.map(|entry| entry.content.as_str()).collect();
    let actions = ["POST /login", "POST /login", "POST /logout"];
    assert_eq!(of_this.len(), actions.len(), "{of_this:?}");
    for (entry, action) in of_this.iter().zip(actions) {
        assert!(entry.contains(action), "{entry}");
        assert!(!entry.contains(&hex::encode(new.hash.as_bytes())));
    }
}

pub(crate) async fn end_with_their_token<S: Store>(store: &S) {
    let token = token(store).await;
    let new = session(&token, NOW + 5000);
    store.open_page_session(&new).await.unwrap();
    let found = store.page_session(new.hash).await.unwrap().unwrap();
    assert!(found.is_valid(NOW + 999) && !found.is_valid(NOW + 1000));
    store
        .revoke_token(token.id, NOW + 1, Actor::Database)
        .await
        .unwrap();
    let found = store.page_session(new.hash).await.unwrap().unwrap();
    assert!(!found.is_valid(NOW + 2));

    // Whoever comes later finds it swept away.
    let mut later = session(&token, NOW + 9000);
    later.created_at = NOW + 5000;
    store.open_page_session(&later).await.unwrap();
    assert_eq!(store.page_session(new.hash).await.unwrap(), None);
    assert!(store.page_session(later.hash).await.unwrap().is_some());
    store.close_page_session(later.hash).await.unwrap();
}

/// Retention erases old tokens, whoever logged in with them.
pub(crate) async fn go_with_an_erased_token<S: Store>(store: &S) {
    let token = token(store).await;
    let new = session(&token, NOW + 900);
    store.open_page_session(&new).await.unwrap();
    while store.erase(Old::Tokens, NOW + 1001, NOW).await.unwrap() > 0 {}
    assert_eq!(store.token(token.id).await.unwrap(), None);
    assert_eq!(store.page_session(new.hash).await.unwrap(), None);
}

pub(crate) async fn tasks_at_a_glance<S: Store>(store: &S) {
    let of = |id| async move {
        let mut before = u64::MAX;
        loop {
            let page = store.task_overviews(before, 2).await.unwrap();
            assert!(page.iter().is_sorted_by_key(|task| Reverse(task.task.made)));
            before = page.last().unwrap().task.made;
            if let Some(found) = page.into_iter().find(|found| found.task.id == id) {
                return found;
            }
        }
    };
    let task = new_task(3);
    store.create_task(&task).await.unwrap();
    let fresh = of(task.id).await;
    assert_eq!((fresh.releases, &fresh.last, fresh.open), (0, &None, None));
    assert_eq!(fresh.mechanism, task.mechanism);
    assert_eq!((fresh.task.rounds_ended, fresh.task.rounds_total), (0, 3));

    let first = new_round(task.id, 1);
    assert!(store.open_round(&first).await.unwrap());
    let phase = PhaseName::AdvertiseKeys;
    for client in 0..3 {
        let message = message(client, "keys");
        store.put_message(first.id, phase, &message).await.unwrap();
    }
    assert_eq!(store.counts(first.id).await.unwrap(), [3, 0, 0, 0, 0]);
    advance(store, first.id, phase, PhaseName::ShareKeys).await;
    let open = of(task.id).await;
    assert_eq!(open.open, Some((RoundNumber(1), PhaseName::ShareKeys)));
    let failed = Outcome::Failed {
        reason: "too few".to_owned(),
        culprit: Some(RosterIndex(2)),
    };
    assert!(
        store
            .end_round(first.id, PhaseName::ShareKeys, &failed, NOW + 3)
            .await
            .unwrap()
    );
    assert!(store.open_round(&new_round(task.id, 2)).await.unwrap());
    let second = of(task.id).await;
    assert_eq!(second.open, Some((RoundNumber(2), phase)));
    assert_eq!(second.releases, 0, "no input was taken");
    let last = second.last.unwrap();
    assert_eq!(
        (last.number, last.standing),
        (RoundNumber(1), RoundStanding::Failed)
    );
    assert_eq!(
        (last.reason.as_deref(), last.ended_at),
        (Some("too few"), Some(NOW + 3))
    );
    assert_eq!(last.received, Some([3, 0, 0, 0, 0]));
}
