//! Every message may come again, and no other in its place: while its phase is open, after it has
//! closed, and when the round is over. And who dealt no shares has none revealed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::client::masked_input::payload_digest;
use undertone_protocol::codec;
use undertone_protocol::id::Position;
use undertone_protocol::message::{
    AdvertiseKeys, MASKED_INPUT_HEADER, MaskedInput, RevealedShare, Revelation, Share,
    ShareKeysBody, Signed, Unmask,
};
use undertone_tests::database::Database;
use undertone_tests::raw::{Clients, Reply};
use undertone_tests::task::{Task, sum_of};

const CLIENTS: usize = 5;

/// Another message that the same client could send in the phase, in all other respects as good as
/// `message`. There is none in ConsistencyCheck: only one statement agrees with the service's view.
fn another(task: &Task, clients: &Clients, phase: PhaseName, message: &[u8]) -> Option<Vec<u8>> {
    let (round, key) = (clients.params.id(), &task.identities[0]);
    let bytes = match phase {
        PhaseName::AdvertiseKeys => {
            let mut keys = Signed::<AdvertiseKeys>::decode(message).unwrap().message;
            std::mem::swap(&mut keys.cipher_key, &mut keys.mask_key);
            Signed::sign(keys, round, key).unwrap().encode().unwrap()
        }
        PhaseName::ShareKeys => {
            let mut body: ShareKeysBody = codec::decode("ShareKeys", message).unwrap();
            let mut header = body.header.message;
            header.seed_commitment = [7; 32].into();
            body.header = Signed::sign(header, round, key).unwrap();
            codec::encode("ShareKeys", &body).unwrap()
        }
        PhaseName::MaskedInput => {
            let (header, payload) = message.split_at(MASKED_INPUT_HEADER);
            let mut payload = payload.to_vec();
            payload[0] ^= 1;
            let mut header = Signed::<MaskedInput>::decode(header).unwrap().message;
            header.payload = payload_digest(&payload);
            let header = Signed::sign(header, round, key).unwrap();
            [header.encode().unwrap(), payload].concat()
        }
        PhaseName::ConsistencyCheck => return None,
        PhaseName::Unmask => {
            let mut answer = Signed::<Unmask>::decode(message).unwrap().message;
            answer.shares.pop().unwrap();
            Signed::sign(answer, round, key).unwrap().encode().unwrap()
        }
    };
    Some(bytes)
}

/// A service in this process, and the clients of its task's first round.
async fn start(deadlines: [u32; 5]) -> (Database, Task, Clients) {
    let database = Database::sqlite();
    let task = Task::create(database.url(), 5, 1, deadlines).await;
    let server = task.serve().await;
    let clients = Clients::join(&task, &server).await;
    (database, task, clients)
}

/// Spec.
#[tokio::test]
async fn every_message_may_come_again_and_no_other() {
    let (_database, task, mut clients) = start([60_000; 5]).await;
    let mut sent: Vec<(PhaseName, Vec<u8>)> = Vec::new();
    for phase in PhaseName::ALL {
        let message = clients.message(0).await;
        let other = another(&task, &clients, phase, &message);
        for later in PhaseName::ALL.into_iter().filter(|later| *later > phase) {
            let early = clients.put(later, 0, message.clone()).await;
            assert_eq!(early, Reply::new(409, "phase-not-open"), "{later}");
        }
        let foreign = clients.put(phase, 1, message.clone()).await;
        assert_eq!(foreign, Reply::new(400, "wrong-sender"), "{phase}");
        for word in ["accepted", "repeated", "repeated"] {
            let reply = clients.put(phase, 0, message.clone()).await;
            assert_eq!(reply, Reply::new(200, word), "{phase}");
        }
        if let Some(other) = &other {
            let reply = clients.put(phase, 0, other.clone()).await;
            assert_eq!(reply, Reply::new(409, "conflicting-message"), "{phase}");
        }
        clients.all(phase, 1..CLIENTS).await;
        clients.left(phase).await;
        sent.push((phase, message));
        if phase == PhaseName::Unmask {
            break;
        }
        for (closed, message) in &sent {
            let reply = clients.put(*closed, 0, message.clone()).await;
            let repeated = Reply::new(200, "repeated");
            assert_eq!(reply, repeated, "{closed}, which {phase} came after");
        }
        if let Some(other) = other {
            let reply = clients.put(phase, 0, other).await;
            assert_eq!(reply, Reply::new(409, "late-message"), "{phase}");
        }
    }
    for (phase, message) in sent {
        let reply = clients.put(phase, 0, message).await;
        assert_eq!(reply, Reply::new(410, "round-ended"), "{phase}");
    }
    // Whatever came twice counted once.
    let (sum, survivors) = sum_of(&task.rounds().await[0]);
    assert_eq!(survivors.len(), CLIENTS);
    assert_eq!(sum, clients.plain_sum(0..CLIENTS));
}

/// The last client is in the directory, but shared no keys.
///
/// Spec.
#[tokio::test]
async fn a_share_of_who_dealt_none_is_refused() {
    let deadlines = [60_000, 2_000, 60_000, 60_000, 60_000];
    let (_database, task, mut clients) = start(deadlines).await;
    clients.all(PhaseName::AdvertiseKeys, 0..CLIENTS).await;
    clients.left(PhaseName::AdvertiseKeys).await;
    for phase in PhaseName::ALL.into_iter().skip(1).take(3) {
        clients.all(phase, 0..CLIENTS - 1).await;
        clients.left(phase).await;
    }
    let message = clients.message(0).await;
    let mut answer = Signed::<Unmask>::decode(&message).unwrap().message;
    for share in [RevealedShare::MaskKey, RevealedShare::SelfMask] {
        answer.shares.truncate(CLIENTS - 1);
        answer.shares.push(Revelation {
            dealer: Position(4),
            share: share(Share::from([9; 32])),
        });
        let round = clients.params.id();
        let signed = Signed::sign(answer.clone(), round, &task.identities[0]).unwrap();
        let reply = clients
            .put(PhaseName::Unmask, 0, signed.encode().unwrap())
            .await;
        assert_eq!(reply, Reply::new(409, "view-mismatch"));
    }
    let reply = clients.put(PhaseName::Unmask, 0, message).await;
    assert_eq!(reply, Reply::new(200, "accepted"));
    clients.all(PhaseName::Unmask, 1..CLIENTS - 1).await;
    clients.left(PhaseName::Unmask).await;
    let (sum, survivors) = sum_of(&task.rounds().await[0]);
    assert_eq!(survivors.len(), CLIENTS - 1);
    assert_eq!(sum, clients.plain_sum(0..CLIENTS - 1));
}
