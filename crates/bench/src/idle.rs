//! Clients that only wait: long polls to one replica, held open and made again when they end.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use undertone_server::store::AnyStore;

use crate::error::BenchError;
use crate::http::Http;
use crate::plan::{Graph, Plan};
use crate::postgres::Cluster;
use crate::process::{self, Service};
use crate::record::Purpose;
use crate::report::Environment;
use crate::{Progress, Watch};

/// Connections that are being opened at once: a service accepts them one by one.
const OPENING: usize = 200;

/// How often the service is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The longest answer to a poll.
const ANSWER: usize = 16 * 1024;

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdlePlan {
    /// The program whose `serve` is measured.
    pub program: PathBuf,
    /// What `serve` is told beside its database and address; it must serve its metrics on the
    /// clients' port.
    pub serve: Vec<String>,
    /// The database; without one a PostgreSQL server is started for the measurement.
    pub database: Option<String>,
    /// Polls held at once.
    pub polls: u32,
    /// How long all of them are held, in seconds.
    pub seconds: u32,
}

/// What idle clients cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IdleReport {
    /// Polls held at once.
    pub polls: u32,
    /// How long all of them were held.
    pub seconds: f64,
    /// Polls that were answered as they should be, and made again.
    pub answered: u64,
    /// Connections that broke, and answers that were none.
    pub failed_requests: u64,
    /// The service's memory before the first poll.
    pub server_start_rss_bytes: u64,
    /// The most that it held while all polls were there.
    pub server_rss_bytes: u64,
    /// The most that it ever held (`VmHWM`).
    pub server_peak_rss_bytes: u64,
    /// What each poll adds to its memory.
    pub bytes_per_poll: f64,
    /// Steps of the store while all polls were there; each is one transaction or query.
    pub database_steps: f64,
    /// The same in a second.
    pub database_steps_per_second: f64,
    /// Processor time of the service in a second of that.
    pub server_cpu_per_second: f64,
    /// What it was measured on.
    pub environment: Environment,
}

#[derive(Debug, Default)]
struct Count {
    held: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
}

/// Measures.
///
/// # Errors
/// [`BenchError`] if nothing could be measured.
pub async fn run(plan: &IdlePlan, watch: Watch) -> Result<IdleReport, BenchError> {
    let say = |step: String| (watch)(Progress::Step(step));
    process::allow_open_files(u64::from(plan.polls).saturating_add(256))?;
    let cluster = if plan.database.is_none() {
        say("starting PostgreSQL".to_owned());
        Some(tokio::task::spawn_blocking(Cluster::start).await??)
    } else {
        None
    };
    let url = cluster.as_ref().map(Cluster::url);
    let database = plan.database.clone().or(url).unwrap_or_default();
    let store = AnyStore::connect(&database).await?;
    let task = task(plan).create(&store).await?;
    store.close().await;
    let service = Service::start(&plan.program, &database, &plan.serve).await?;
    let http = Http::new(service.url(), Arc::default())?;
    let path = format!("v1/tasks/{}/round?after=0&wait=30", task.id);
    let next: serde_json::Value = http.json(Purpose::Poll, &path).await?;
    let round = next["round"].as_str().map(str::to_owned);
    let round = round.ok_or_else(|| BenchError::Misbehaving("no round opens".to_owned()))?;
    let start = service.rss()?;

    say(format!("opening {} polls", plan.polls));
    let address = service.url().trim_start_matches("http://").to_owned();
    let request = format!(
        "GET /v1/rounds/{round}/status?seen=advertise-keys&wait=30 HTTP/1.1\r\nhost: {address}\r\n\r\n"
    );
    let (count, opening) = (
        Arc::new(Count::default()),
        Arc::new(Semaphore::new(OPENING)),
    );
    let mut polls = JoinSet::new();
    for _ in 0..plan.polls {
        let poll = poll(
            address.clone(),
            request.clone(),
            count.clone(),
            opening.clone(),
        );
        polls.spawn(poll);
    }
    let all = u64::from(plan.polls);
    while count.held.load(Ordering::Relaxed) < all {
        tokio::time::sleep(LOOK).await;
        if count.failed.load(Ordering::Relaxed) > all {
            return Err(BenchError::Misbehaving("polls are refused".to_owned()));
        }
    }
    // The last of them have been sent; they are held once they have been read.
    tokio::time::sleep(Duration::from_secs(2)).await;
    say(format!("holding them for {} s", plan.seconds));
    let held = hold(&service, &http, Duration::from_secs(plan.seconds.into())).await?;
    polls.shutdown().await;
    let report = IdleReport {
        polls: plan.polls,
        seconds: held.seconds,
        answered: count.answered.load(Ordering::Relaxed),
        failed_requests: count.failed.load(Ordering::Relaxed),
        server_start_rss_bytes: start,
        server_rss_bytes: held.rss,
        server_peak_rss_bytes: service.peak_rss()?,
        bytes_per_poll: crate::report::real64(held.rss.saturating_sub(start))
            / f64::from(plan.polls.max(1)),
        database_steps: held.steps,
        database_steps_per_second: held.steps / held.seconds,
        server_cpu_per_second: held.cpu / held.seconds,
        environment: Environment::of(cluster.as_ref().map(Cluster::version), &database),
    };
    service.stop().await;
    Ok(report)
}

/// A round that stays open: five clients who never come.
fn task(plan: &IdlePlan) -> Plan {
    Plan {
        program: plan.program.clone(),
        serve: Vec::new(),
        database: plan.database.clone(),
        clients: 5,
        length: 1000,
        bits: 20,
        rounds: 1,
        graph: Some(Graph::Complete),
        corrupt: 0.2,
        dropout: 0.1,
        client_memory: 0,
    }
}

struct Held {
    seconds: f64,
    rss: u64,
    steps: f64,
    cpu: f64,
}

async fn hold(service: &Service, http: &Http, time: Duration) -> Result<Held, BenchError> {
    let (steps, cpu, started) = (steps(http).await?, service.cpu_seconds()?, Instant::now());
    let mut rss = service.rss()?;
    while started.elapsed() < time {
        tokio::time::sleep(LOOK).await;
        rss = rss.max(service.rss()?);
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu = service.cpu_seconds()? - cpu;
    Ok(Held {
        seconds,
        rss,
        steps: self::steps(http).await? - steps,
        cpu,
    })
}

/// Steps of the store so far, from the service's metrics.
async fn steps(http: &Http) -> Result<f64, BenchError> {
    let metrics = http.get(Purpose::Poll, "metrics").await?;
    let metrics = String::from_utf8_lossy(&metrics);
    let steps = metrics
        .lines()
        .filter(|line| line.starts_with("undertone_store_step_duration_seconds_count{"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    Ok(steps.sum())
}

/// One client: a connection, and one poll after the other on it.
async fn poll(address: String, request: String, count: Arc<Count>, opening: Arc<Semaphore>) {
    loop {
        let permit = opening.acquire().await;
        let connected = TcpStream::connect(&address).await;
        let sent = match connected {
            Ok(mut stream) => stream.write_all(request.as_bytes()).await.map(|()| stream),
            Err(error) => Err(error),
        };
        drop(permit);
        if let Ok(stream) = sent {
            count.held.fetch_add(1, Ordering::Relaxed);
            poll_on(stream, &request, &count).await;
            count.held.fetch_sub(1, Ordering::Relaxed);
        }
        count.failed.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Polls on a connection until it breaks, or an answer is not that the phase is still open.
async fn poll_on(mut stream: TcpStream, request: &str, count: &Count) -> Option<()> {
    loop {
        let answer = answer(&mut stream).await?;
        let expected = answer.starts_with(b"HTTP/1.1 200");
        let open = answer.windows(14).any(|part| part == b"advertise-keys");
        if !(expected && open) {
            return None;
        }
        count.answered.fetch_add(1, Ordering::Relaxed);
        stream.write_all(request.as_bytes()).await.ok()?;
    }
}

/// One answer, head and body. Its memory is there only while it comes in: 10,000 clients wait.
async fn answer(stream: &mut TcpStream) -> Option<Vec<u8>> {
    stream.readable().await.ok()?;
    let mut answer = Vec::new();
    loop {
        let read = stream.read_buf(&mut answer).await.ok()?;
        if read == 0 || answer.len() > ANSWER {
            return None;
        }
        let head = answer.windows(4).position(|part| part == b"\r\n\r\n");
        let Some(head) = head.and_then(|end| answer.get(..end)) else {
            continue;
        };
        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
        let length = text.lines().find_map(|line| {
            line.strip_prefix("content-length:")?
                .trim()
                .parse::<usize>()
                .ok()
        })?;
        if answer.len() >= head.len().saturating_add(4).saturating_add(length) {
            return Some(answer);
        }
    }
}
