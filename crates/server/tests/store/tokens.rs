//! Admin tokens.

use undertone_server::auth::{Scope, Scopes, Token, TokenId, TokenKind};
use undertone_server::store::{Actor, NewToken, Store, StoreError};

use crate::fixture::{NOW, random};

fn new_token(name: &str) -> NewToken {
    let token = Token::draw(TokenKind::Admin).unwrap();
    NewToken {
        id: token.id(),
        hash: token.hash(),
        name: name.to_owned(),
        scopes: [Scope::Read, Scope::Audit].into_iter().collect(),
        created_at: NOW,
        expires_at: NOW + 1000,
    }
}

pub(crate) async fn made_once_and_read_back<S: Store>(store: &S) {
    let first = new_token("it's \"mine\"");
    assert_eq!(store.token(first.id).await.unwrap(), None);
    store.create_token(&first, Actor::Database).await.unwrap();
    let stored = store.token(first.id).await.unwrap().unwrap();
    assert_eq!((stored.id, stored.hash), (first.id, first.hash));
    assert_eq!((&stored.name, &stored.scopes), (&first.name, &first.scopes));
    assert_eq!((stored.created_at, stored.expires_at), (NOW, NOW + 1000));
    assert_eq!((stored.revoked_at, stored.used_at), (None, None));
    assert!(stored.is_valid(NOW + 999) && !stored.is_valid(NOW + 1000));

    let mut again = new_token("another");
    again.id = first.id;
    let error = store.create_token(&again, Actor::Service).await;
    assert!(matches!(error, Err(StoreError::Exists(_))), "{error:?}");
    assert_eq!(store.token(first.id).await.unwrap(), Some(stored));

    let mut second = new_token("all");
    second.scopes = Scopes::all();
    let actor = Actor::Token(first.id);
    store.create_token(&second, actor).await.unwrap();
    let listed: Vec<_> = store.tokens().await.unwrap().iter().map(|t| t.id).collect();
    assert!(listed.ends_with(&[first.id, second.id]), "{listed:?}");
}

pub(crate) async fn revoked_once_for_ever<S: Store>(store: &S) {
    let token = new_token("to be revoked");
    store.create_token(&token, Actor::Database).await.unwrap();
    let revoke = |now| store.revoke_token(token.id, now, Actor::Database);
    assert!(revoke(NOW + 5).await.unwrap());
    assert!(!revoke(NOW + 6).await.unwrap(), "the first one stands");
    let stored = store.token(token.id).await.unwrap().unwrap();
    assert_eq!(stored.revoked_at, Some(NOW + 5));
    assert!(!stored.is_valid(NOW + 6));

    let unknown = TokenId::from(random::<8>());
    let error = store.revoke_token(unknown, NOW, Actor::Database).await;
    assert!(matches!(error, Err(StoreError::Missing(_))), "{error:?}");
}

pub(crate) async fn uses_are_noted<S: Store>(store: &S) {
    let token = new_token("in use");
    store.create_token(&token, Actor::Database).await.unwrap();
    for (now, noted) in [(NOW + 7, NOW + 7), (NOW + 3, NOW + 7), (NOW + 9, NOW + 9)] {
        store.token_used(token.id, now).await.unwrap();
        let stored = store.token(token.id).await.unwrap().unwrap();
        assert_eq!(stored.used_at, Some(noted), "the latest stands");
    }
    // One that is gone is no fault of whoever used it.
    let unknown = TokenId::from(random::<8>());
    store.token_used(unknown, NOW).await.unwrap();
}
