//! Floods against the real binary while honest clients are in a round: slow heads, slow bodies,
//! oversized and malformed messages, admin requests without a token, and more requests than a
//! sender may make. The rounds still end on time and exact, and the limits are seen to work.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "this is test code"
)]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use undertone_tests::client::{Inputs, spawn};
use undertone_tests::database::Database;
use undertone_tests::service::Service;
use undertone_tests::task::{Task, sum_of};

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");
const CLIENTS: u16 = 5;
const ROUNDS: u32 = 3;

/// How often each flood met what should stop it.
#[derive(Debug, Default)]
struct Met {
    heads_cut_off: AtomicU64,
    bodies_cut_off: AtomicU64,
    refused: AtomicU64,
    requests: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A connection from an address of its own.
async fn connect(server: SocketAddr, from: IpAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(server).await
}

fn source(last: u8) -> IpAddr {
    IpAddr::from([127, 0, 0, last])
}

/// Sends something a byte at a time; returns how long it took until the other end had enough.
async fn drip(server: SocketAddr, from: IpAddr, start: &str) -> Option<Duration> {
    let mut stream = connect(server, from).await.ok()?;
    stream.write_all(start.as_bytes()).await.ok()?;
    let started = Instant::now();
    let mut byte = [0; 1];
    loop {
        if stream.write_all(b"x").await.is_err() {
            return Some(started.elapsed());
        }
        // An answer, an end or an error: this connection has done what it could.
        match timeout(Duration::from_millis(300), stream.read(&mut byte)).await {
            Err(_) => {}
            Ok(_) => return Some(started.elapsed()),
        }
    }
}

/// Slow heads, on many more connections than one address may have.
fn slow_heads(server: SocketAddr, met: &Arc<Met>) {
    for _ in 0..150 {
        let met = met.clone();
        tokio::spawn(async move {
            loop {
                let head = "GET /v1/ HTTP/1.1\r\nhost: a\r\nx-slow: ";
                let lasted = drip(server, source(2), head).await;
                if lasted.is_some_and(|lasted| lasted > Duration::from_secs(1)) {
                    count(&met.heads_cut_off);
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
    }
}

/// One slow JSON body; returns the beginning of its answer.
async fn slow_json(server: SocketAddr) -> String {
    let mut stream = connect(server, source(30)).await.unwrap();
    let head = "POST /v1/enrolments HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                content-length: 4000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    loop {
        stream.write_all(b"{").await.unwrap();
        let read = timeout(Duration::from_secs(1), stream.read_exact(&mut answer)).await;
        if let Ok(read) = read {
            read.unwrap();
            return String::from_utf8(answer.to_vec()).unwrap();
        }
    }
}

/// Slow bodies of messages of the open round.
fn slow_bodies(server: SocketAddr, task: &str, met: &Arc<Met>) {
    for connection in 0..40_u8 {
        let (met, task) = (met.clone(), task.to_owned());
        tokio::spawn(async move {
            loop {
                let round = open_round(server, &task).await;
                let phase = ["advertise-keys", "masked-input"][usize::from(connection % 2)];
                let head = format!(
                    "PUT /v1/rounds/{round}/{phase}/{} HTTP/1.1\r\nhost: a\r\n\
                     content-length: 4000\r\n\r\n",
                    connection % 5
                );
                if drip(server, source(3), &head).await.is_some() {
                    count(&met.bodies_cut_off);
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
    }
}

async fn open_round(server: SocketAddr, task: &str) -> String {
    loop {
        let request = format!("GET /v1/tasks/{task}/round HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = exchange(server, source(3), request.as_bytes()).await;
        let id = answer.as_deref().and_then(|text| {
            let (_, rest) = text.split_once("\"round\":\"")?;
            Some(rest.split_once('"')?.0.to_owned())
        });
        match id {
            Some(id) => return id,
            None => sleep(Duration::from_millis(200)).await,
        }
    }
}

/// One request and the beginning of its answer.
async fn exchange(server: SocketAddr, from: IpAddr, request: &[u8]) -> Option<String> {
    let mut stream = connect(server, from).await.ok()?;
    stream.write_all(request).await.ok()?;
    let mut answer = vec![0; 4096];
    let read = timeout(Duration::from_secs(5), stream.read(&mut answer));
    let read = read.await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&answer[..read]).into_owned())
}

/// Requests that are refused for what they are, again and again.
fn nonsense(server: SocketAddr, task: &str, met: &Arc<Met>) {
    let kinds: [fn(&str) -> String; 4] = [
        |round| {
            format!(
                "PUT /v1/rounds/{round}/advertise-keys/0 HTTP/1.1\r\nhost: a\r\n\
                 content-length: 10000000000\r\n\r\n{}",
                "x".repeat(2000)
            )
        },
        |round| {
            format!(
                "PUT /v1/rounds/{round}/advertise-keys/1 HTTP/1.1\r\nhost: a\r\n\
                 content-length: 9\r\n\r\nnonsense!"
            )
        },
        |_| {
            "GET /admin/v1/tasks HTTP/1.1\r\nhost: a\r\nauthorization: Bearer ut_0_0\r\n\r\n".into()
        },
        |_| "\u{1}\u{2} no http at all\r\n\r\n".into(),
    ];
    for (kind, last) in kinds.into_iter().zip(4_u8..) {
        let (met, task) = (met.clone(), task.to_owned());
        tokio::spawn(async move {
            loop {
                let round = open_round(server, &task).await;
                for _ in 0..20 {
                    let answer = exchange(server, source(last), kind(&round).as_bytes()).await;
                    if answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 4")) {
                        count(&met.refused);
                    }
                    sleep(Duration::from_millis(10)).await;
                }
            }
        });
    }
}

/// As many good requests as fit, from three addresses.
fn too_many(server: SocketAddr, task: &str, met: &Arc<Met>) {
    let request = format!("GET /v1/tasks/{task} HTTP/1.1\r\nhost: a\r\n\r\n").repeat(20);
    for last in [20, 21, 22] {
        let (met, request) = (met.clone(), request.clone());
        tokio::spawn(async move {
            loop {
                let Ok(mut stream) = connect(server, source(last)).await else {
                    sleep(Duration::from_millis(10)).await;
                    continue;
                };
                let mut answers = vec![0; 64 * 1024];
                while stream.write_all(request.as_bytes()).await.is_ok() {
                    let mut seen = 0;
                    while seen < 20 {
                        match stream.read(&mut answers).await {
                            Ok(read) if read > 0 => {
                                let text = String::from_utf8_lossy(&answers[..read]);
                                seen += text.matches("HTTP/1.1 ").count();
                            }
                            _ => break,
                        }
                    }
                    met.requests.fetch_add(20, Ordering::Relaxed);
                }
            }
        });
    }
}

/// The value of all series of a metric that have these labels.
async fn metric(at: SocketAddr, name: &str, labels: &str) -> u64 {
    let request = b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut stream = connect(at, source(1)).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let lines = text
        .lines()
        .filter(|line| line.starts_with(name) && line.contains(labels));
    let values = lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap());
    values.sum()
}

async fn free_address() -> SocketAddr {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    free.local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_end_on_time_and_exact_under_floods() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), CLIENTS, ROUNDS, [60_000; 5]).await;
    let metrics = free_address().await;
    let environment = [
        // Else every address of this machine is a proxy.
        ("LIMITS__TRUSTED_PROXIES", ""),
        ("LIMITS__CONNECTIONS_PER_ADDRESS", "60"),
        ("LIMITS__REQUESTS_PER_SECOND", "100"),
        ("LIMITS__REQUEST_BURST", "200"),
        ("LIMITS__HEAD_S", "2"),
        ("LIMITS__REQUEST_S", "35"),
        ("UPLOAD__GRACE_MS", "1500"),
        ("METRICS__LISTEN", &metrics.to_string()),
    ]
    .map(|(name, value)| (format!("UNDERTONE__{name}"), value.to_owned()));
    let service = Service::start_with(BINARY, database.url(), environment.into()).await;
    let server: SocketAddr = service
        .url()
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap();

    let slow_json = tokio::spawn(slow_json(server));
    let met = Arc::new(Met::default());
    slow_heads(server, &met);
    slow_bodies(server, &task.id.to_string(), &met);
    nonsense(server, &task.id.to_string(), &met);
    too_many(server, &task.id.to_string(), &met);
    // The floods are on before the first client comes.
    while met.heads_cut_off.load(Ordering::Relaxed) == 0
        || met.bodies_cut_off.load(Ordering::Relaxed) == 0
    {
        sleep(Duration::from_millis(100)).await;
    }
    let started = Instant::now();
    let before = met.requests.load(Ordering::Relaxed);
    let (state, inputs) = (tempfile::tempdir().unwrap(), Inputs::default());
    let clients: Vec<_> = (0..usize::from(CLIENTS))
        .map(|index| spawn(&task, index, &service.url(), state.path(), &inputs, None))
        .collect();
    for client in clients {
        let summary = timeout(Duration::from_mins(3), client).await;
        summary.expect("a client hangs").unwrap().unwrap();
    }
    let took = started.elapsed();
    let requests = met.requests.load(Ordering::Relaxed) - before;

    let rounds = task.rounds().await;
    assert_eq!(rounds.len(), usize::try_from(ROUNDS).unwrap());
    for round in rounds {
        let (sum, survivors) = sum_of(&round);
        assert_eq!(
            survivors.len(),
            usize::from(CLIENTS),
            "round {}",
            round.number
        );
        assert_eq!(sum, inputs.sum(round.number.0, &survivors));
    }
    let answer = timeout(Duration::from_mins(1), slow_json).await.unwrap();
    assert_eq!(answer.unwrap(), "HTTP/1.1 408");
    let status = |code: u16| {
        let label = format!("status=\"{code}\"");
        async move { metric(metrics, "undertone_http_requests_total", &label).await }
    };
    let seen = [
        status(400).await,
        status(401).await,
        status(408).await,
        status(413).await,
        status(429).await,
    ];
    let by_address = "limit=\"address\"";
    let closed = metric(metrics, "undertone_connections_refused_total", by_address).await;
    let slow = metric(
        metrics,
        "undertone_problems_total",
        "kind=\"truncated-body\"",
    )
    .await;
    println!(
        "{ROUNDS} rounds in {took:.1?} beside {requests} requests; 400, 401, 408, 413, 429: {seen:?}; \
         {closed} connections closed at once, {slow} slow bodies cut off; {met:?}"
    );
    assert!(seen.iter().all(|seen| *seen > 0), "{seen:?}");
    assert!(closed > 0 && slow > 0, "{closed} {slow}");
    assert!(met.heads_cut_off.load(Ordering::Relaxed) > 0);
    // A round under no load takes about a second; no deadline of a phase (60 s) was waited for.
    assert!(took < Duration::from_mins(1), "{took:?}");
}
