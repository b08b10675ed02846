//! Limits that one client meets: of its messages, of its uploads at one time, of a request's head.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use undertone_protocol::aggregator::PhaseName;
use undertone_server::Settings;
use undertone_tests::database::Database;
use undertone_tests::raw::{Clients, Reply};
use undertone_tests::task::{Task, sum_of};

const CLIENTS: u16 = 5;

/// Sends a request as it stands; the rest of the connection is the caller's.
async fn send(server: &str, request: &[u8]) -> TcpStream {
    let address = server.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let read = timeout(Duration::from_secs(10), stream.read(&mut answer));
    let read = read.await.expect("no answer").unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// Of two uploads of one client the newer one goes on: a client whose connection broke is not kept
/// out by what is left of it, and one client holds the memory of one vector.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_upload_displaces_the_first() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), CLIENTS, 1, [60_000; 5]).await;
    let server = task.serve().await;
    let mut clients = Clients::join(&task, &server).await;
    for phase in [PhaseName::AdvertiseKeys, PhaseName::ShareKeys] {
        clients.all(phase, 0..usize::from(CLIENTS)).await;
        clients.left(phase).await;
    }
    let message = clients.message(0).await;
    let head = format!(
        "PUT /v1/rounds/{}/masked-input/0 HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
        clients.round,
        message.len()
    );
    let begun = [head.as_bytes(), &message[..message.len() / 2]].concat();
    let mut first = send(&server, &begun).await;
    sleep(Duration::from_millis(500)).await;
    let reply = clients.put(PhaseName::MaskedInput, 0, message).await;
    assert_eq!(reply, Reply::new(200, "accepted"));
    let displaced = answer(&mut first).await;
    assert!(displaced.starts_with("HTTP/1.1 503"), "{displaced}");
    let lower = displaced.to_lowercase();
    assert!(
        lower.contains("retry-after: 1") && lower.contains("overloaded"),
        "{displaced}"
    );

    clients
        .all(PhaseName::MaskedInput, 1..usize::from(CLIENTS))
        .await;
    clients.left(PhaseName::MaskedInput).await;
    for phase in [PhaseName::ConsistencyCheck, PhaseName::Unmask] {
        clients.all(phase, 0..usize::from(CLIENTS)).await;
        clients.left(phase).await;
    }
    let (sum, survivors) = sum_of(&task.rounds().await[0]);
    assert_eq!(survivors.len(), usize::from(CLIENTS));
    assert_eq!(sum, clients.plain_sum(0..usize::from(CLIENTS)));
}

/// Only what a client signed counts: others cannot use up what it may send.
#[tokio::test]
async fn a_client_that_sends_too_much_waits_and_no_other_does() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), CLIENTS, 1, [60_000; 5]).await;
    let mut settings = Settings::default();
    settings.limits.client_messages_per_second = 1;
    settings.limits.client_message_burst = 3;
    let server = task.serve_with(settings).await;
    let mut clients = Clients::join(&task, &server).await;
    let phase = PhaseName::AdvertiseKeys;
    let (message, other) = (clients.message(0).await, clients.message(1).await);
    let mut forged = message.clone();
    *forged.last_mut().unwrap() ^= 1;
    for _ in 0..10 {
        let reply = clients.put(phase, 0, forged.clone()).await;
        assert_eq!(reply, Reply::new(403, "bad-signature"));
    }
    for word in ["accepted", "repeated", "repeated"] {
        let reply = clients.put(phase, 0, message.clone()).await;
        assert_eq!(reply, Reply::new(200, word));
    }
    let reply = clients.put(phase, 0, message.clone()).await;
    assert_eq!(reply, Reply::new(429, "rate-limited"));
    let reply = clients.put(phase, 1, other).await;
    assert_eq!(reply, Reply::new(200, "accepted"));
    sleep(Duration::from_millis(1100)).await;
    let reply = clients.put(phase, 0, message).await;
    assert_eq!(reply, Reply::new(200, "repeated"));
}

#[tokio::test]
async fn heads_are_bounded() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), CLIENTS, 1, [60_000; 5]).await;
    let server = task.serve().await;
    let long = format!("x: {}\r\n", "y".repeat(100 * 1024));
    let many = "x: y\r\n".repeat(70);
    for (fields, status) in [(long.as_str(), 431), (&many, 431), ("x: y\r\n", 200)] {
        let request = format!("GET /healthz HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
        let mut stream = send(&server, request.as_bytes()).await;
        let answer = answer(&mut stream).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
    }
}
