//! TLS, mutual TLS, reload and pins against the real binary, with clients of the SDK; and how the
//! service stops.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use undertone_client::{CertificateDer, ClientCertificate, Pin, TlsConfig};
use undertone_tests::client::{Inputs, spawn, spawn_with};
use undertone_tests::database::Database;
use undertone_tests::task::{Task, sum_of};

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");
const CLIENTS: u16 = 5;

fn pem(what: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
}

/// A certificate authority, and what it signs.
struct Authority {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
    pin: Pin,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: certificate.der().clone(),
            pem: pem("CERTIFICATE", certificate.der()),
            issuer: Issuer::new(params, key),
        }
    }

    fn sign(&self, purpose: ExtendedKeyUsagePurpose) -> Pair {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: pem("CERTIFICATE", certificate.der()),
            key: pem("PRIVATE KEY", &key.serialize_der()),
            pin: Pin::of(certificate.der()).unwrap(),
        }
    }

    fn server(&self) -> Pair {
        self.sign(ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn client(&self) -> Arc<ClientCertificate> {
        let pair = self.sign(ExtendedKeyUsagePurpose::ClientAuth);
        let own = ClientCertificate::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes());
        Arc::new(own.unwrap())
    }
}

/// The service with files of its own.
struct Served {
    child: Child,
    url: String,
    folder: tempfile::TempDir,
}

impl Served {
    async fn start(database: &str, pair: Option<&Pair>, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(BINARY);
        command
            .args(["serve", "--database", database, "--listen", "127.0.0.1:0"])
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut set = |name: &str, value: &str| {
            command.arg("--set").arg(format!("{name}={value}"));
        };
        if let Some(pair) = pair {
            write_pair(folder.path(), pair);
            let file = |name| folder.path().join(name).to_str().unwrap().to_owned();
            set("tls.certificate", &file("tls.crt"));
            set("tls.key", &file("tls.key"));
            set("tls.reload_s", "3600");
        }
        for (name, value) in more {
            set(name, value);
        }
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("it does not start");
        let url = line.strip_prefix("listening on ").unwrap().to_owned();
        assert_eq!(url.starts_with("https://"), pair.is_some());
        Self { child, url, folder }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().unwrap().to_string();
        let sent = std::process::Command::new("kill")
            .args([signal, &id])
            .status();
        assert!(sent.unwrap().success());
    }

    fn authority_address(&self) -> &str {
        self.url.rsplit_once('/').unwrap().1
    }
}

fn write_pair(folder: &Path, pair: &Pair) {
    std::fs::write(folder.join("tls.crt"), &pair.certificate).unwrap();
    std::fs::write(folder.join("tls.key"), &pair.key).unwrap();
}

fn trusting(authority: &Authority) -> TlsConfig {
    TlsConfig {
        roots: vec![authority.certificate.clone()],
        ..TlsConfig::default()
    }
}

/// What a client of the SDK meets when it joins: nothing, or why it gives up.
async fn join(task: &Task, url: &str, tls: TlsConfig) -> Result<(), String> {
    let (state, inputs) = (tempfile::tempdir().unwrap(), Inputs::default());
    let running = spawn_with(task, 0, url, state.path(), &inputs, None, |config| {
        config.tls = tls;
        config.patience = Duration::from_secs(2);
    });
    // Whoever gets in waits for the others.
    let mut running = running;
    match timeout(Duration::from_secs(6), &mut running).await {
        Err(_) => {
            running.abort();
            Ok(())
        }
        Ok(ended) => Err(ended.unwrap().unwrap_err().to_string()),
    }
}

async fn refused(task: &Task, url: &str, tls: TlsConfig, why: &str) {
    let error = join(task, url, tls).await.expect_err("it was let in");
    assert!(error.contains(why), "{why} is not in: {error}");
}

/// Spec.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_over_mutual_tls_with_pins() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), CLIENTS, 1, [60_000; 5]).await;
    let (authority, clients_ca) = (Authority::new(), Authority::new());
    let pair = authority.server();
    let files = tempfile::tempdir().unwrap();
    let ca: PathBuf = files.path().join("ca.crt");
    std::fs::write(&ca, &clients_ca.pem).unwrap();
    let client_ca = [("tls.client_ca", ca.to_str().unwrap())];
    let served = Served::start(database.url(), Some(&pair), &client_ca).await;

    let good = TlsConfig {
        pins: vec![authority.server().pin, pair.pin],
        certificate: Some(clients_ca.client()),
        ..trusting(&authority)
    };
    let with = |change: fn(&mut TlsConfig, &Authority)| {
        let mut tls = good.clone();
        change(&mut tls, &authority);
        tls
    };
    let wrong_pin = with(|tls, authority| tls.pins = vec![authority.server().pin]);
    refused(&task, &served.url, wrong_pin, "not pinned").await;
    let wrong_root = with(|tls, _| tls.roots = vec![Authority::new().certificate]);
    refused(&task, &served.url, wrong_root, "certificate").await;
    let none = with(|tls, _| tls.certificate = None);
    refused(&task, &served.url, none, "fatal alert").await;
    let strange = with(|tls, _| tls.certificate = Some(Authority::new().client()));
    refused(&task, &served.url, strange, "fatal alert").await;

    let (state, inputs) = (tempfile::tempdir().unwrap(), Inputs::default());
    // A pin alone names the server as well as an authority does.
    let pinned = with(|tls, _| tls.roots.clear());
    let running: Vec<_> = (0..usize::from(CLIENTS))
        .map(|index| {
            let tls = if index % 2 == 0 { &good } else { &pinned };
            spawn_with(
                &task,
                index,
                &served.url,
                state.path(),
                &inputs,
                None,
                |config| {
                    config.tls = tls.clone();
                },
            )
        })
        .collect();
    for client in running {
        timeout(Duration::from_mins(1), client)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
    let (sum, survivors) = sum_of(&task.rounds().await[0]);
    assert_eq!(survivors.len(), usize::from(CLIENTS));
    assert_eq!(sum, inputs.sum(1, &survivors));
}

/// A new pair is taken on SIGHUP; of a broken one the service says so and goes on with the old.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_loaded_anew_and_broken_ones_are_not() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), CLIENTS, 1, [60_000; 5]).await;
    let (first, second) = (Authority::new(), Authority::new());
    let served = Served::start(database.url(), Some(&first.server()), &[]).await;
    join(&task, &served.url, trusting(&first)).await.unwrap();
    refused(&task, &served.url, trusting(&second), "certificate").await;

    // A key that belongs to another certificate.
    let mut broken = second.server();
    broken.key = first.server().key;
    write_pair(served.folder.path(), &broken);
    served.signal("-HUP");
    sleep(Duration::from_millis(500)).await;
    join(&task, &served.url, trusting(&first)).await.unwrap();

    write_pair(served.folder.path(), &second.server());
    served.signal("-HUP");
    sleep(Duration::from_millis(500)).await;
    join(&task, &served.url, trusting(&second)).await.unwrap();
    refused(&task, &served.url, trusting(&first), "certificate").await;
}

/// Without a signal too, by looking at the files.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_that_change_are_noticed() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), CLIENTS, 1, [60_000; 5]).await;
    let (first, second) = (Authority::new(), Authority::new());
    let often = [("tls.reload_s", "1")];
    let served = Served::start(database.url(), Some(&first.server()), &often).await;
    join(&task, &served.url, trusting(&first)).await.unwrap();
    write_pair(served.folder.path(), &second.server());
    sleep(Duration::from_millis(2500)).await;
    join(&task, &served.url, trusting(&second)).await.unwrap();
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_one_clear_line() {
    let pair = Authority::new().server();
    let folder = tempfile::tempdir().unwrap();
    write_pair(folder.path(), &pair);
    std::fs::write(folder.path().join("tls.key"), "no key").unwrap();
    let file = |name| folder.path().join(name).to_str().unwrap().to_owned();
    let database = Database::sqlite();
    for (settings, word) in [
        (vec![("tls.certificate", file("tls.crt"))], "tls.key"),
        (
            vec![
                ("tls.certificate", file("tls.crt")),
                ("tls.key", file("tls.key")),
            ],
            "tls.key cannot be used",
        ),
        (
            vec![
                ("tls.certificate", file("none.crt")),
                ("tls.key", file("tls.key")),
            ],
            "none.crt",
        ),
    ] {
        let mut command = Command::new(BINARY);
        command.args([
            "serve",
            "--database",
            database.url(),
            "--listen",
            "127.0.0.1:0",
        ]);
        for (name, value) in settings {
            command.arg("--set").arg(format!("{name}={value}"));
        }
        let ended = timeout(
            Duration::from_secs(20),
            command.env("RUST_LOG", "off").output(),
        );
        let ended = ended.await.unwrap().unwrap();
        let line = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains(word), "{word} is not in: {line}");
    }
}

async fn ready(address: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = b"GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// On SIGTERM `/readyz` says no at once, a poll that waits returns, an upload under way is answered,
/// and the process ends with status 0, long before its grace is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_is_open() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), CLIENTS, 1, [60_000; 5]).await;
    let settings = [("shutdown.drain_s", "2"), ("shutdown.grace_s", "20")];
    let mut served = Served::start(database.url(), None, &settings).await;
    let address = served.authority_address().to_owned();
    while task.rounds().await.is_empty() {
        sleep(Duration::from_millis(50)).await;
    }
    let round = task.rounds().await[0].id;
    assert_eq!(ready(&address).await, Some(200));

    let mut poll = TcpStream::connect(&address).await.unwrap();
    let request = format!(
        "GET /v1/rounds/{round}/status?seen=advertise-keys&wait=30 HTTP/1.1\r\nhost: a\r\n\r\n"
    );
    poll.write_all(request.as_bytes()).await.unwrap();
    let mut upload = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "PUT /v1/rounds/{round}/advertise-keys/0 HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n"
    );
    upload.write_all(head.as_bytes()).await.unwrap();
    upload.write_all(b"ten bytes.").await.unwrap();
    sleep(Duration::from_millis(500)).await;

    let started = Instant::now();
    served.signal("-TERM");
    sleep(Duration::from_millis(300)).await;
    assert_eq!(ready(&address).await, Some(503));
    let mut answer = [0; 12];
    timeout(Duration::from_secs(2), poll.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    // Connections are no longer taken.
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(ready(&address).await, None);
    upload.write_all(b"ten bytes.").await.unwrap();
    timeout(Duration::from_secs(5), upload.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        &answer, b"HTTP/1.1 400",
        "the message is nonsense, and is told so"
    );
    let status = timeout(Duration::from_secs(10), served.child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(12));
}

/// What does not end by itself is cut off when the grace is over; a second signal does not wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_bounded_and_a_second_signal_ends_at_once() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), CLIENTS, 1, [60_000; 5]).await;
    for (grace, second) in [("1", false), ("60", true)] {
        let settings = [("shutdown.grace_s", grace), ("limits.head_s", "60")];
        let mut served = Served::start(database.url(), None, &settings).await;
        while task.rounds().await.is_empty() {
            sleep(Duration::from_millis(50)).await;
        }
        let round = task.rounds().await[0].id;
        let mut stuck = TcpStream::connect(served.authority_address())
            .await
            .unwrap();
        let head = format!(
            "PUT /v1/rounds/{round}/advertise-keys/0 HTTP/1.1\r\nhost: a\r\n\
             content-length: 20\r\n\r\nx"
        );
        stuck.write_all(head.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(500)).await;
        served.signal("-TERM");
        if second {
            sleep(Duration::from_millis(500)).await;
            served.signal("-TERM");
        }
        let status = timeout(Duration::from_secs(8), served.child.wait()).await;
        let status = status.expect("it does not stop").unwrap();
        assert_eq!(status.success(), !second, "{status:?}");
    }
}

/// A whole round goes on over a stop and a start in the middle: nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_goes_on_over_a_stop() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), CLIENTS, 2, [60_000; 5]).await;
    let mut served = Served::start(database.url(), None, &[]).await;
    let (state, inputs) = (tempfile::tempdir().unwrap(), Inputs::default());
    let running: Vec<_> = (0..usize::from(CLIENTS))
        .map(|index| spawn(&task, index, &served.url, state.path(), &inputs, None))
        .collect();
    sleep(Duration::from_millis(700)).await;
    served.signal("-TERM");
    let status = timeout(Duration::from_secs(20), served.child.wait()).await;
    assert_eq!(status.unwrap().unwrap().code(), Some(0));
    let listen = served.authority_address().to_owned();
    let mut again = Command::new(BINARY)
        .args(["serve", "--database", database.url(), "--listen", &listen])
        .env("RUST_LOG", "warn")
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    for client in running {
        timeout(Duration::from_mins(2), client)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
    for round in task.rounds().await {
        let (sum, survivors) = sum_of(&round);
        assert_eq!(sum, inputs.sum(round.number.0, &survivors));
    }
    again.kill().await.unwrap();
}
