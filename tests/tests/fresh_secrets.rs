//! Where a client's secrets come from: each is a draw of its own from the client's generator.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::collections::BTreeSet;

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::codec;
use undertone_protocol::keys::{EphemeralKey, Secret32};
use undertone_protocol::message::{AdvertiseKeys, ShareKeysBody, Signed};
use undertone_protocol::transcript::seed_commitment;
use undertone_tests::database::Database;
use undertone_tests::raw::{Clients, Reply};
use undertone_tests::task::Task;

const CLIENTS: usize = 5;

/// Spec.
#[tokio::test]
async fn keys_and_seeds_are_draws_of_their_own() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), 5, 1, [60_000; 5]).await;
    let server = task.serve().await;

    let mut clients = Clients::join(&task, &server).await;
    let mut advertised = Vec::new();
    let mut dealt = Vec::new();
    for phase in [PhaseName::AdvertiseKeys, PhaseName::ShareKeys] {
        for client in 0..CLIENTS {
            let message = clients.message(client).await;
            if phase == PhaseName::AdvertiseKeys {
                advertised.push(Signed::<AdvertiseKeys>::decode(&message).unwrap().message);
            } else {
                dealt.push(codec::decode::<ShareKeysBody>("ShareKeys", &message).unwrap());
            }
            let reply = clients.put(phase, client, message).await;
            assert_eq!(reply, Reply::new(200, "accepted"));
        }
        clients.left(phase).await;
    }
    let drawn: Vec<[u8; 32]> = clients.secrets().take(3 * CLIENTS).collect();
    assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 3 * CLIENTS);
    let (keys, seeds) = drawn.split_at(2 * CLIENTS);
    for (client, message) in advertised.iter().enumerate() {
        let public = |secret: [u8; 32]| EphemeralKey::from_seed(secret.into()).public();
        assert_eq!(message.cipher_key, public(keys[2 * client]));
        assert_eq!(message.mask_key, public(keys[2 * client + 1]));
    }
    for (seed, body) in seeds.iter().zip(&dealt) {
        let header = &body.header.message;
        let commitment =
            seed_commitment(&Secret32::from(*seed), clients.params.id(), header.sender);
        assert_eq!(header.seed_commitment, commitment);
    }
}
