//! Enrolment.

use tokio::task::JoinSet;
use undertone_protocol::audit::Chain;
use undertone_protocol::keys::IdentityPublicKey;
use undertone_server::auth::{SecretHash, Token, TokenId, TokenKind};
use undertone_server::store::{Actor, EnrolOutcome, NewInvitations, Store, StoreError};

use crate::fixture::{NOW, random};

type Id = (TokenId, SecretHash);

/// Invites clients `a`, `b`, ... to a new list; returns the list and the tokens.
async fn invited<S: Store>(store: &S, clients: usize) -> (String, Vec<Id>) {
    let list = hex::encode(random::<8>());
    let tokens: Vec<Id> = (0..clients)
        .map(|_| Token::draw(TokenKind::Enrolment).unwrap())
        .map(|token| (token.id(), token.hash()))
        .collect();
    let names = (b'a'..).map(|letter| char::from(letter).to_string());
    let new = NewInvitations {
        list: list.clone(),
        invited: tokens
            .iter()
            .zip(names)
            .map(|((id, hash), name)| (*id, *hash, name))
            .collect(),
        created_at: NOW,
        expires_at: NOW + 1000,
    };
    store.invite(&new, Actor::Database).await.unwrap();
    let again = store.invite(&new, Actor::Database).await;
    assert!(matches!(again, Err(StoreError::Exists(_))), "{again:?}");
    (list, tokens)
}

fn key() -> IdentityPublicKey {
    IdentityPublicKey::from(random::<32>())
}

pub(crate) async fn a_token_takes_one_key_in_its_time<S: Store>(store: &S) {
    let (list, tokens) = invited(store, 3).await;
    let (first, other) = (key(), key());
    let enrol = |token: usize, key, now| store.enrol(tokens[token], key, now);
    let a = |name: &str| (list.clone(), name.to_owned());
    let (list_a, name) = a("a");
    let expected = EnrolOutcome::Enrolled { list: list_a, name };
    assert_eq!(enrol(0, first, NOW + 1).await.unwrap(), expected);
    let (list_a, name) = a("a");
    let repeated = EnrolOutcome::Repeated { list: list_a, name };
    // The answer may have been lost for long.
    for now in [NOW + 2, NOW + 5000] {
        assert_eq!(enrol(0, first, now).await.unwrap(), repeated);
    }
    assert_eq!(enrol(0, other, NOW + 2).await.unwrap(), EnrolOutcome::Used);
    assert_eq!(
        enrol(1, first, NOW + 2).await.unwrap(),
        EnrolOutcome::KnownKey
    );
    assert_eq!(
        enrol(1, other, NOW + 1000).await.unwrap(),
        EnrolOutcome::Expired
    );
    // The key of one list may stand on another.
    let (_, elsewhere) = invited(store, 1).await;
    let outcome = store.enrol(elsewhere[0], first, NOW).await.unwrap();
    assert!(
        matches!(outcome, EnrolOutcome::Enrolled { .. }),
        "{outcome:?}"
    );

    let guess = (tokens[2].0, SecretHash::from(random::<32>()));
    assert_eq!(
        store.enrol(guess, other, NOW).await.unwrap(),
        EnrolOutcome::Unknown
    );
    let unknown = (TokenId::from(random::<8>()), SecretHash::from([0; 32]));
    assert_eq!(
        store.enrol(unknown, other, NOW).await.unwrap(),
        EnrolOutcome::Unknown
    );

    let page = store.enrolment_page(Some(&list), 0, 500).await.unwrap();
    let found: Vec<_> = page.iter().map(|r| (r.name.as_str(), r.enrolled)).collect();
    assert_eq!(
        found,
        [("a", Some((first, NOW + 1))), ("b", None), ("c", None)]
    );
    let rest = store
        .enrolment_page(Some(&list), page[0].made, 1)
        .await
        .unwrap();
    assert_eq!(rest, page[1..2]);
    let all = store
        .enrolment_page(None, page[0].made - 1, 3)
        .await
        .unwrap();
    assert_eq!(all[0], page[0]);

    let entries = store
        .audit_entries(Chain::Service, 0, u32::MAX)
        .await
        .unwrap();
    let about = |kind: &str| {
        let named = |content: &str| content.contains(kind) && content.contains(&list);
        entries.iter().filter(|entry| named(&entry.content)).count()
    };
    assert_eq!((about("clients-invited"), about("client-enrolled")), (1, 1));
}

/// Many keys at once with one token, over two stores: one gets in.
pub(crate) async fn of_keys_at_once_one_gets_in<S: Store>(one: &S, two: &S) {
    let (list, tokens) = invited(one, 1).await;
    let mut attempts = JoinSet::new();
    for i in 0..16 {
        let (store, token) = (if i % 2 == 0 { one } else { two }.clone(), tokens[0]);
        attempts.spawn(async move { store.enrol(token, key(), NOW).await.unwrap() });
    }
    let outcomes = attempts.join_all().await;
    let entered = |outcome: &&EnrolOutcome| matches!(outcome, EnrolOutcome::Enrolled { .. });
    assert_eq!(outcomes.iter().filter(entered).count(), 1, "{outcomes:?}");
    let used = outcomes
        .iter()
        .filter(|o| **o == EnrolOutcome::Used)
        .count();
    assert_eq!(used, 15, "{outcomes:?}");
    let page = two.enrolment_page(Some(&list), 0, 10).await.unwrap();
    assert!(page[0].enrolled.is_some());
}
