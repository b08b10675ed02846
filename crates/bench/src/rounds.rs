//! All rounds of a measurement: clients against the service, and what it took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_core::Rng;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{ModelDigest, RoundId};
use undertone_protocol::keys::Secret32;
use undertone_protocol::params::RoundParams;
use undertone_protocol::vector::RingVector;
use undertone_server::store::AnyStore;

use crate::error::BenchError;
use crate::http::Http;
use crate::light::{Room, Round, beyond};
use crate::plan::{Plan, Task};
use crate::postgres::Cluster;
use crate::process::{self, Service};
use crate::record::{Purpose, Record};
use crate::report::{Environment, Measured, PhaseTimes, Report, RoundReport};
use crate::{Progress, Watch, floor};

/// Open files beside those of connections.
const OTHER_FILES: u64 = 256;

/// Measures.
///
/// # Errors
/// [`BenchError`] if nothing could be measured. That a client failed, or a sum is wrong, stands in
/// the report.
pub async fn run(plan: &Plan, watch: Watch) -> Result<Report, BenchError> {
    plan.check()?;
    let say = |step: &str| (watch)(Progress::Step(step.to_owned()));
    // A client has two connections at most: one polls, one is being closed.
    process::allow_open_files(u64::from(plan.clients).saturating_mul(2) + OTHER_FILES)?;
    say("measuring this machine");
    let floor = tokio::task::spawn_blocking(floor::measure).await?;
    let cluster = if plan.database.is_none() {
        say("starting PostgreSQL");
        Some(tokio::task::spawn_blocking(Cluster::start).await??)
    } else {
        None
    };
    let url = cluster.as_ref().map(Cluster::url);
    let database = plan.database.clone().or(url).unwrap_or_default();
    say("making the task");
    let store = AnyStore::connect(&database).await?;
    let task = Arc::new(plan.create(&store).await?);
    store.close().await;
    let service = Service::start(&plan.program, &database, &plan.serve).await?;
    let rss_at_start = service.rss()?;
    let record = Arc::new(Record::default());
    let bench = Bench {
        plan,
        watch,
        task,
        http: Http::new(service.url(), record.clone())?,
        aside: Http::new(service.url(), Arc::default())?,
    };

    let cpu = service.cpu_seconds()?;
    let (mut rounds, mut stopped) = (Vec::new(), None);
    for number in 1..=plan.rounds {
        match bench.round(number).await {
            Ok(round) => rounds.push(round),
            Err(error) => {
                stopped = Some(error.to_string());
                break;
            }
        }
    }
    let measured = Measured {
        rounds,
        stopped,
        server_cpu_seconds: service.cpu_seconds()? - cpu,
        server_start_rss_bytes: rss_at_start,
        server_peak_rss_bytes: service.peak_rss()?,
        floor,
        environment: Environment::of(cluster.as_ref().map(Cluster::version), &database),
    };
    service.stop().await;
    Ok(Report::new(plan, bench.task.numbers, &record, measured))
}

struct Bench<'a> {
    plan: &'a Plan,
    watch: Watch,
    task: Arc<Task>,
    http: Http,
    /// Requests of nobody: they are not counted.
    aside: Http,
}

impl Bench<'_> {
    /// One round of all clients.
    async fn round(&self, number: u32) -> Result<RoundReport, BenchError> {
        (self.watch)(Progress::Step(format!(
            "round {number} of {}",
            self.plan.rounds
        )));
        let round = Arc::new(self.open(number).await?);
        let mut clients = JoinSet::new();
        for client in 0..self.task.identities.len() {
            clients.spawn(round.clone().take_part(client));
        }
        let phases = tokio::spawn(follow(round.clone(), self.aside.clone()));
        while let Some(ended) = clients.join_next().await {
            // Without one of them the round waits for its deadline.
            ended??;
        }
        let wall = round.started.elapsed();
        let phases = times(&round, &phases.await??);
        let (survivors, exact) = self.check(round).await?;
        Ok(RoundReport {
            number,
            seconds: wall.as_secs_f64(),
            phases,
            survivors,
            exact,
        })
    }

    /// The next round, checked once for all clients.
    async fn open(&self, number: u32) -> Result<Round, BenchError> {
        let task = self.task.id;
        let path = format!(
            "v1/tasks/{task}/round?after={}&wait=30",
            number.saturating_sub(1)
        );
        let next: serde_json::Value = self.aside.json(Purpose::Poll, &path).await?;
        let misbehaving = |what: &str| BenchError::Misbehaving(format!("round {number}: {what}"));
        let id = next["round"].as_str();
        let id: RoundId = id.ok_or_else(|| misbehaving("it does not open"))?.parse()?;
        let params = format!("v1/rounds/{id}/params");
        let params = RoundParams::decode(&self.aside.get(Purpose::Poll, &params).await?)?;
        let adapter = format!("v1/rounds/{id}/adapter");
        let adapter = self.aside.get(Purpose::Poll, &adapter).await?;
        if params.id() != id || ModelDigest::of(&adapter) != params.model {
            return Err(misbehaving("parameters or adapter are not the round's"));
        }
        let mut rng = crate::generator()?;
        let seeds = self.task.identities.iter().map(|_| {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            Secret32::from(seed)
        });
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let clients = self.task.identities.len();
        let vector = params.masked_input_length();
        Ok(Round {
            number,
            task: self.task.clone(),
            params: Arc::new(params),
            adapter: Sha256::digest(&adapter).to_vec(),
            seeds: seeds.collect(),
            http: self.http.clone(),
            room: Room::new(processors, self.plan.client_memory, vector, clients),
            watch: self.watch.clone(),
            started: Instant::now(),
            sent: Default::default(),
        })
    }

    /// Compares the published sum with the plain one of all clients.
    async fn check(&self, round: Arc<Round>) -> Result<(usize, bool), BenchError> {
        let id = round.params.id();
        let path = format!("v1/rounds/{id}/result");
        let result: serde_json::Value = self.aside.json(Purpose::Poll, &path).await?;
        let survivors = result["survivors"].as_array().cloned().unwrap_or_default();
        let survivors: Vec<usize> = survivors
            .iter()
            .filter_map(|index| usize::try_from(index.as_u64()?).ok())
            .collect();
        let all = survivors.iter().copied().eq(0..round.seeds.len());
        let path = format!("v1/rounds/{id}/sum");
        let sum = self.aside.get(Purpose::Poll, &path).await?;
        let count = survivors.len();
        let plain = tokio::task::spawn_blocking(move || {
            let mut plain = RingVector::zeros(round.params.ring(), round.params.vector_length());
            for client in survivors {
                round.add_vector(client, &mut plain);
            }
            plain.pack()
        });
        Ok((count, all && plain.await? == sum))
    }
}

/// When each phase closed, from the clients' beginning, as somebody sees it who waits beside them.
async fn follow(round: Arc<Round>, http: Http) -> Result<Vec<Duration>, BenchError> {
    let mut closed = Vec::new();
    for phase in PhaseName::ALL {
        beyond(&http, round.params.id(), round.number, phase).await?;
        closed.push(round.started.elapsed());
    }
    Ok(closed)
}

/// How long each phase took, and what came of it after its last message.
fn times(round: &Round, closed: &[Duration]) -> Vec<PhaseTimes> {
    let opened = [Duration::ZERO].into_iter().chain(closed.iter().copied());
    closed
        .iter()
        .zip(opened)
        .zip(&round.sent)
        .map(|((closed, opened), sent)| PhaseTimes {
            seconds: closed.saturating_sub(opened).as_secs_f64(),
            closing_seconds: closed.saturating_sub(sent.last()).as_secs_f64(),
        })
        .collect()
}
