//! What a peer may get wrong, by accident or not: each a stable problem type, and the round
//! unharmed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "this is test code"
)]

use std::sync::Arc;

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::RosterIndex;
use undertone_protocol::message::{AdvertiseKeys, MASKED_INPUT_HEADER, Signed};
use undertone_tests::database::Database;
use undertone_tests::raw::{Clients, Reply};
use undertone_tests::task::{Task, sum_of};

const CLIENTS: u16 = 5;

/// A service in this process and its clients. MaskedInput closes after a time that the test sets, so
/// that a client can be late; everything else waits for all.
struct Setup {
    _database: Database,
    task: Task,
    clients: Clients,
    address: String,
}

impl Setup {
    async fn new() -> Self {
        Self::on(Database::sqlite()).await
    }

    async fn on(database: Database) -> Self {
        Self::closing_after(1_500, database).await
    }

    async fn closing_after(masked_input_ms: u32, database: Database) -> Self {
        let deadlines = [60_000, 60_000, masked_input_ms, 60_000, 60_000];
        let task = Task::create(database.url(), CLIENTS, 1, deadlines).await;
        let server = task.serve().await;
        let clients = Clients::join(&task, &server).await;
        Self {
            _database: database,
            task,
            clients,
            address: server.replace("http://", ""),
        }
    }

    /// Runs the honest clients from `phase` to the end and checks the sum of those in it.
    async fn finish_from(mut self, phase: PhaseName, in_sum: &[usize]) {
        for at in PhaseName::ALL.into_iter().filter(|at| *at >= phase) {
            let sending = if at >= PhaseName::MaskedInput {
                in_sum.to_vec()
            } else {
                all()
            };
            self.clients.all(at, sending).await;
            self.clients.left(at).await;
        }
        self.exact(in_sum).await;
    }

    async fn exact(&self, in_sum: &[usize]) {
        let round = self.task.rounds().await.remove(0);
        let (sum, survivors) = sum_of(&round);
        let indices: Vec<usize> = survivors.iter().map(|s| s.0 as usize).collect();
        assert_eq!(indices, in_sum);
        assert_eq!(sum, self.clients.plain_sum(in_sum.iter().copied()));
    }
}

fn all() -> Vec<usize> {
    (0..usize::from(CLIENTS)).collect()
}

#[tokio::test]
async fn not_on_the_roster() {
    let mut setup = Setup::new().await;
    let message = setup.clients.message(0).await;
    let mut stranger = Signed::<AdvertiseKeys>::decode(&message).unwrap();
    stranger.message.sender = RosterIndex(77);
    let bytes = stranger.encode().unwrap();
    let phase = PhaseName::AdvertiseKeys;
    let reply = setup.clients.put(phase, 77, bytes.clone()).await;
    assert_eq!(reply, Reply::new(403, "not-on-roster"));
    // Nor under the path of somebody who is.
    let reply = setup.clients.put(phase, 0, bytes).await;
    assert_eq!(reply, Reply::new(403, "not-on-roster"));
    assert_eq!(
        setup.clients.put(phase, 0, message).await,
        Reply::new(200, "accepted")
    );
    setup.clients.all(phase, 1..5).await;
    setup.clients.left(phase).await;
    setup.finish_from(PhaseName::ShareKeys, &all()).await;
}

/// Spec.
#[tokio::test]
async fn bad_signature_and_wrong_sender() {
    let mut setup = Setup::new().await;
    let phase = PhaseName::AdvertiseKeys;
    let message = setup.clients.message(0).await;
    let mut forged = message.clone();
    *forged.last_mut().unwrap() ^= 1;
    let reply = setup.clients.put(phase, 0, forged).await;
    assert_eq!(reply, Reply::new(403, "bad-signature"));
    let reply = setup.clients.put(phase, 1, message.clone()).await;
    assert_eq!(reply, Reply::new(400, "wrong-sender"));
    // Signed by one client in the name of another.
    let mut other = Signed::<AdvertiseKeys>::decode(&message).unwrap().message;
    other.sender = RosterIndex(1);
    let round = setup.clients.params.id();
    let stolen = Signed::sign(other, round, &setup.task.identities[0]).unwrap();
    let reply = setup.clients.put(phase, 1, stolen.encode().unwrap()).await;
    assert_eq!(reply, Reply::new(403, "bad-signature"));
    assert_eq!(
        setup.clients.put(phase, 0, message).await,
        Reply::new(200, "accepted")
    );
    setup.clients.all(phase, 1..5).await;
    setup.clients.left(phase).await;
    setup.finish_from(PhaseName::ShareKeys, &all()).await;
}

/// Spec.
#[tokio::test]
async fn replayed_with_other_bytes() {
    replay(Setup::new().await).await;
}

/// Spec.
#[tokio::test]
async fn replayed_with_other_bytes_on_postgres() {
    replay(Setup::on(Database::postgres().await).await).await;
}

/// The same bytes again are accepted, other bytes are a conflict; above all a second masked input
/// is not added twice.
async fn replay(mut setup: Setup) {
    let phase = PhaseName::AdvertiseKeys;
    let message = setup.clients.message(0).await;
    assert_eq!(
        setup.clients.put(phase, 0, message.clone()).await,
        Reply::new(200, "accepted")
    );
    assert_eq!(
        setup.clients.put(phase, 0, message.clone()).await,
        Reply::new(200, "repeated")
    );
    let mut keys = Signed::<AdvertiseKeys>::decode(&message).unwrap().message;
    std::mem::swap(&mut keys.cipher_key, &mut keys.mask_key);
    let other = Signed::sign(keys, setup.clients.params.id(), &setup.task.identities[0]).unwrap();
    let reply = setup.clients.put(phase, 0, other.encode().unwrap()).await;
    assert_eq!(reply, Reply::new(409, "conflicting-message"));
    setup.clients.all(phase, 1..5).await;
    setup.clients.left(phase).await;
    setup.clients.all(PhaseName::ShareKeys, all()).await;
    setup.clients.left(PhaseName::ShareKeys).await;

    let phase = PhaseName::MaskedInput;
    let input = setup.clients.message(0).await;
    assert_eq!(
        setup.clients.put(phase, 0, input.clone()).await,
        Reply::new(200, "accepted")
    );
    assert_eq!(
        setup.clients.put(phase, 0, input.clone()).await,
        Reply::new(200, "repeated")
    );
    let (header, payload) = input.split_at(MASKED_INPUT_HEADER);
    let mut payload = payload.to_vec();
    payload[0] ^= 1;
    let mut other = Signed::<undertone_protocol::message::MaskedInput>::decode(header)
        .unwrap()
        .message;
    other.payload = undertone_protocol::client::masked_input::payload_digest(&payload);
    let other = Signed::sign(other, setup.clients.params.id(), &setup.task.identities[0]).unwrap();
    let body = [other.encode().unwrap(), payload].concat();
    let reply = setup.clients.put(phase, 0, body).await;
    assert_eq!(reply, Reply::new(409, "conflicting-message"));
    setup.clients.all(phase, 1..5).await;
    setup.clients.left(phase).await;
    setup.finish_from(PhaseName::ConsistencyCheck, &all()).await;
}

/// Spec.
#[tokio::test]
async fn late_input() {
    let mut setup = Setup::new().await;
    for phase in [PhaseName::AdvertiseKeys, PhaseName::ShareKeys] {
        setup.clients.all(phase, all()).await;
        setup.clients.left(phase).await;
    }
    let late = setup.clients.message(4).await;
    setup.clients.all(PhaseName::MaskedInput, 0..4).await;
    // Closed by its deadline, without the fifth.
    assert_eq!(
        setup.clients.left(PhaseName::MaskedInput).await,
        "consistency-check"
    );
    let reply = setup.clients.put(PhaseName::MaskedInput, 4, late).await;
    assert_eq!(reply, Reply::new(409, "late-message"));
    setup
        .finish_from(PhaseName::ConsistencyCheck, &[0, 1, 2, 3])
        .await;
}

/// Spec.
#[tokio::test]
async fn wrong_lengths_and_bodies() {
    // The service reads on for up to 2 s where a body does not end, before it refuses it.
    let mut setup = Setup::closing_after(60_000, Database::sqlite()).await;
    let early = setup
        .clients
        .put(PhaseName::MaskedInput, 0, vec![0; 10])
        .await;
    assert_eq!(early, Reply::new(409, "phase-not-open"));
    for phase in [PhaseName::AdvertiseKeys, PhaseName::ShareKeys] {
        setup.clients.all(phase, all()).await;
        setup.clients.left(phase).await;
    }
    let phase = PhaseName::MaskedInput;
    let input = setup.clients.message(0).await;
    let put = |body: Vec<u8>| setup.clients.put(phase, 0, body);
    let (short, mut long) = (input[..input.len() - 1].to_vec(), input.clone());
    long.push(0);
    assert_eq!(put(short).await, Reply::new(400, "wrong-length"));
    assert_eq!(put(long).await, Reply::new(413, "body-too-large"));
    assert_eq!(put(Vec::new()).await, Reply::new(400, "wrong-length"));
    let mut flipped = input.clone();
    flipped[MASKED_INPUT_HEADER + 7] ^= 0x10;
    assert_eq!(put(flipped).await, Reply::new(409, "view-mismatch"));
    truncated(&setup, &input).await;
    oversized_without_length(&setup, input.len()).await;
    assert_eq!(put(input).await, Reply::new(200, "accepted"));
    setup.clients.all(phase, 1..5).await;
    setup.clients.left(phase).await;
    setup.finish_from(PhaseName::ConsistencyCheck, &all()).await;
}

/// Announces the whole body, sends half of it and closes the sending side.
async fn truncated(setup: &Setup, input: &[u8]) {
    let head = format!(
        "PUT /v1/rounds/{}/masked-input/0 HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n",
        setup.clients.round,
        input.len()
    );
    let mut stream = tokio::net::TcpStream::connect(&setup.address)
        .await
        .unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&input[..input.len() / 2]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.contains("urn:undertone:problem:truncated-body"),
        "{answer}"
    );
}

/// Streams more than fits, in chunks, without saying how long it will be.
async fn oversized_without_length(setup: &Setup, fits: usize) {
    let head = format!(
        "PUT /v1/rounds/{}/masked-input/0 HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n",
        setup.clients.round,
    );
    let mut stream = tokio::net::TcpStream::connect(&setup.address)
        .await
        .unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = vec![0; fits + 1];
    stream
        .write_all(format!("{:x}\r\n", chunk.len()).as_bytes())
        .await
        .unwrap();
    stream.write_all(&chunk).await.unwrap();
    stream.write_all(b"\r\n").await.unwrap();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn unknown_things() {
    let setup = Setup::new().await;
    let http = &setup.clients.http;
    let zeros = "0".repeat(64);
    let cases = [
        (
            Method::GET,
            format!("rounds/{zeros}/params"),
            404,
            "unknown-round",
        ),
        (
            Method::PUT,
            format!("rounds/{zeros}/share-keys/0"),
            404,
            "unknown-round",
        ),
        (
            Method::GET,
            format!("tasks/{}", "0".repeat(32)),
            404,
            "unknown-task",
        ),
        (Method::GET, "rounds/xyz/params".into(), 400, "bad-request"),
        (
            Method::PUT,
            format!("rounds/{}/dance/0", setup.clients.round),
            404,
            "not-found",
        ),
        (
            Method::PUT,
            format!("rounds/{}/unmask/-1", setup.clients.round),
            400,
            "bad-request",
        ),
        (
            Method::POST,
            format!("tasks/{}", setup.task.id),
            405,
            "method-not-allowed",
        ),
        (Method::GET, "nothing".into(), 404, "not-found"),
        (
            Method::GET,
            format!("tasks/{}/round?wait=soon", setup.task.id),
            400,
            "bad-request",
        ),
        // Found by fuzzing: a path that is no text had an answer of the framework's own.
        (Method::GET, "rounds/%ff/params".into(), 400, "bad-request"),
        (
            Method::GET,
            format!("rounds/{}/sum", setup.clients.round),
            409,
            "phase-not-open",
        ),
        (
            Method::GET,
            format!("rounds/{}/directory/0", setup.clients.round),
            409,
            "phase-not-open",
        ),
    ];
    for (method, path, status, word) in cases {
        let reply = http.request(method.clone(), &path, Vec::new()).await;
        assert_eq!(reply, Reply::new(status, word), "{method} {path}");
    }
    setup.finish_from(PhaseName::AdvertiseKeys, &all()).await;
}

#[tokio::test]
async fn garbage_never_harms() {
    use rand_core::{Rng, SeedableRng};
    let setup = Arc::new(Setup::new().await);
    let seed = std::process::id().into();
    println!("seed {seed}");
    let mut rng = chacha20::ChaCha20Rng::seed_from_u64(seed);
    for _ in 0..200 {
        let mut body = vec![0; (rng.next_u32() % 400) as usize];
        rng.fill_bytes(&mut body);
        let reply = setup.clients.put(PhaseName::AdvertiseKeys, 0, body).await;
        assert!((400..500).contains(&reply.status), "{reply:?}");
    }
    let setup = Arc::into_inner(setup).unwrap();
    setup.finish_from(PhaseName::AdvertiseKeys, &all()).await;
}
