//! Nothing secret is ever printed: not in logs at their most talkative, and not in the debug output
//! of a client's state.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::io::Write;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::keys::{EphemeralKey, Secret32};
use undertone_protocol::mask;
use undertone_protocol::vector::RingVector;
use undertone_server::telemetry::{self, OtelSettings};
use undertone_tests::client::{Inputs, spawn};
use undertone_tests::collector::Collector;
use undertone_tests::database::Database;
use undertone_tests::raw::Clients;
use undertone_tests::secrets::{Log, found};
use undertone_tests::task::{Task, sum_of};

const CLIENTS: usize = 5;

/// Two rounds of one task: clients whose every secret is on record, one of whom vanishes after it
/// shared its keys; then clients of the SDK. Service and clients log everything, and the
/// service sends its spans.
/// Spec.
#[tokio::test(flavor = "multi_thread")]
async fn a_traced_round_prints_no_secret() {
    let log = Log::default();
    let collector = Collector::start().await;
    let otel = OtelSettings {
        endpoint: Some(collector.url().into()),
        ..OtelSettings::default()
    };
    let (spans, guard) = telemetry::spans(&otel).unwrap();
    let written = tracing_subscriber::fmt::layer().with_writer(log.clone());
    tracing_subscriber::registry()
        .with(written.with_filter(LevelFilter::TRACE))
        .with(spans)
        .init();
    let database = Database::sqlite();
    let deadlines = [60_000, 60_000, 2_000, 60_000, 60_000];
    let task = Task::create(database.url(), 5, 2, deadlines).await;
    let server = task.serve().await;

    let mut clients = Clients::join(&task, &server).await;
    let mut printed = clients.printed();
    for phase in PhaseName::ALL {
        let vanished = usize::from(phase >= PhaseName::MaskedInput);
        clients.all(phase, vanished..CLIENTS).await;
        printed += &clients.printed();
        clients.left(phase).await;
    }
    let (sum, _) = sum_of(&task.rounds().await[0]);
    assert_eq!(sum, clients.plain_sum(1..CLIENTS));

    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let running: Vec<_> = (0..CLIENTS)
        .map(|index| spawn(&task, index, &server, state.path(), &inputs, None))
        .collect();
    for client in running {
        client.await.unwrap().unwrap();
    }
    let (sum, survivors) = sum_of(&task.rounds().await[1]);
    assert_eq!(sum, inputs.sum(2, &survivors));

    tokio::task::spawn_blocking(move || drop(guard))
        .await
        .unwrap();
    let spans = collector.bytes();
    assert!(collector.spans().len() > 100);

    let mut text = log.bytes();
    text.extend(printed.into_bytes());
    // The log is there, and talkative: the round, the service, the SDK's HTTP.
    for word in [&*clients.round, "phase closed", "TRACE"] {
        assert!(
            text.windows(word.len()).any(|w| w == word.as_bytes()),
            "{word}"
        );
    }
    let mut secrets: Vec<Vec<u8>> = clients.secrets().map(|s| s.to_vec()).collect();
    // Drawn: two key pairs and a seed for each client; dealt: two secrets to five holders each.
    assert_eq!(secrets.len(), CLIENTS * 3 + CLIENTS * 2 * CLIENTS);
    let drawn: Vec<Secret32> = clients
        .secrets()
        .take(3 * CLIENTS)
        .map(Secret32::from)
        .collect();
    for secret in &drawn {
        let key = mask::self_mask_key(secret, clients.params.id());
        secrets.push(key.expose().to_vec());
        for peer in &drawn {
            let peer = EphemeralKey::from_seed(peer.clone()).public();
            let own = x25519_dalek::StaticSecret::from(*secret.expose());
            let shared = own.diffie_hellman(&x25519_dalek::PublicKey::from(*peer.as_bytes()));
            secrets.push(shared.as_bytes().to_vec());
        }
    }
    secrets.extend(task.identities.iter().map(|i| i.seed().expose().to_vec()));
    secrets.extend(clients.inputs.iter().map(RingVector::pack));
    assert_eq!(found(&text, &secrets), None);
    assert_eq!(found(&spans, &secrets), None);
}

/// The search finds what it should.
#[test]
fn a_printed_secret_is_found() {
    let secret: Vec<u8> = (100..132).collect();
    let mut log = Log::default();
    writeln!(log, "key = {secret:?}").unwrap();
    let secrets = [vec![1; 32], secret.clone()];
    assert_eq!(found(&log.bytes(), &secrets), Some((1, "numbers")));
    for (text, form) in [
        (hex::encode(&secret[16..]), "hexadecimal"),
        (hex::encode_upper(&secret), "hexadecimal"),
        (String::from_utf8_lossy(&secret[..20]).into_owned(), "raw"),
    ] {
        assert_eq!(found(text.as_bytes(), &secrets), Some((1, form)));
    }
    assert_eq!(found(b"nothing to see", &secrets), None);
}
