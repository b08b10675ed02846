//! A client that deals shares that cannot be combined spoils one round: it is named, and has no
//! part in the next.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::codec;
use undertone_protocol::id::RosterIndex;
use undertone_protocol::message::{ShareKeysBody, Signed};
use undertone_server::store::RoundState;
use undertone_tests::database::Database;
use undertone_tests::raw::{Clients, Reply};
use undertone_tests::task::{Task, sum_of};

const CLIENTS: usize = 5;
const DEALER: usize = 2;

/// Spec.
#[tokio::test]
async fn a_bad_dealer_is_named_and_barred() {
    let database = Database::sqlite();
    // The second round's AdvertiseKeys closes by its deadline: one client is missing.
    let deadlines = [2_000, 60_000, 60_000, 60_000, 60_000];
    let task = Task::create(database.url(), 5, 2, deadlines).await;
    let server = task.serve().await;

    let mut clients = Clients::join(&task, &server).await;
    let round = clients.round.clone();
    clients.all(PhaseName::AdvertiseKeys, 0..CLIENTS).await;
    clients.left(PhaseName::AdvertiseKeys).await;
    for client in 0..CLIENTS {
        let mut message = clients.message(client).await;
        if client == DEALER {
            // Good shares, of another secret than the one that is committed to.
            let mut body: ShareKeysBody = codec::decode("ShareKeys", &message).unwrap();
            let mut header = body.header.message;
            header.seed_commitment = [7; 32].into();
            let key = &task.identities[DEALER];
            body.header = Signed::sign(header, clients.params.id(), key).unwrap();
            message = codec::encode("ShareKeys", &body).unwrap();
        }
        let reply = clients.put(PhaseName::ShareKeys, client, message).await;
        assert_eq!(reply, Reply::new(200, "accepted"));
    }
    clients.left(PhaseName::ShareKeys).await;
    for phase in PhaseName::ALL.into_iter().skip(2) {
        clients.all(phase, 0..CLIENTS).await;
        clients.left(phase).await;
    }
    let record = task.rounds().await.remove(0);
    let RoundState::Failed { reason } = &record.state else {
        panic!("{:?}", record.state)
    };
    let named = "the shares that client 2 dealt do not recombine to its secret";
    assert!(reason.contains(named), "{reason}");

    let mut clients = Clients::join_after(&task, &server, 1).await;
    assert_ne!(clients.round, round);
    let keys = clients.message(DEALER).await;
    let refused = clients.put(PhaseName::AdvertiseKeys, DEALER, keys).await;
    assert_eq!(refused, Reply::new(403, "barred"));
    let others = || (0..CLIENTS).filter(|client| *client != DEALER);
    for phase in PhaseName::ALL {
        clients.all(phase, others()).await;
        clients.left(phase).await;
    }
    let (sum, survivors) = sum_of(&task.rounds().await[1]);
    assert!(!survivors.contains(&RosterIndex(2)));
    assert_eq!(survivors.len(), CLIENTS - 1);
    assert_eq!(sum, clients.plain_sum(others()));
}
