//! One client in one round. Of its vector it has the seed: the vector is the seed's key stream,
//! made when it is masked and dropped when it is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};
use undertone_protocol::aggregator::PhaseName::{
    self, AdvertiseKeys, ConsistencyCheck, MaskedInput, ShareKeys, Unmask,
};
use undertone_protocol::client::{Participant, SentInput};
use undertone_protocol::id::{RosterIndex, RoundId};
use undertone_protocol::keys::Secret32;
use undertone_protocol::params::RoundParams;
use undertone_protocol::shamir::SystemSplitter;
use undertone_protocol::vector::{RingVector, Sign};

use crate::error::BenchError;
use crate::http::Http;
use crate::plan::Task;
use crate::record::Purpose;
use crate::{Progress, Watch};

/// What the memory for masked vectors is counted in, in bytes.
const UNIT: usize = 1024;

/// What all clients of a round share.
pub(crate) struct Round {
    pub(crate) number: u32,
    pub(crate) task: Arc<Task>,
    pub(crate) params: Arc<RoundParams>,
    /// SHA-256 of the adapter that the round starts from.
    pub(crate) adapter: Vec<u8>,
    /// The seed of each client's vector.
    pub(crate) seeds: Vec<Secret32>,
    pub(crate) http: Http,
    pub(crate) room: Room,
    pub(crate) watch: Watch,
    /// When the clients began.
    pub(crate) started: Instant,
    pub(crate) sent: [Sent; 5],
}

/// The messages of a phase that were accepted.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    count: AtomicUsize,
    /// When the last one was, in microseconds from the clients' beginning.
    last: AtomicU64,
}

impl Sent {
    /// When the last one was accepted, from the clients' beginning.
    pub(crate) fn last(&self) -> Duration {
        Duration::from_micros(self.last.load(Ordering::Relaxed))
    }
}

/// What clients share of this machine: processors, and memory for masked vectors.
pub(crate) struct Room {
    processors: Arc<Semaphore>,
    memory: Semaphore,
    /// Of one masked vector, in units.
    vector: u32,
    masked: AtomicUsize,
    clients: usize,
    burst: watch::Sender<bool>,
}

impl Room {
    pub(crate) fn new(processors: usize, memory: usize, vector: usize, clients: usize) -> Self {
        let units = |bytes: usize| bytes.div_ceil(UNIT).max(1);
        // At least one goes in, however long it is.
        let memory = units(memory).max(units(vector)).min(Semaphore::MAX_PERMITS);
        Self {
            processors: Arc::new(Semaphore::new(processors.max(1))),
            memory: Semaphore::new(memory),
            vector: u32::try_from(units(vector)).unwrap_or(u32::MAX),
            masked: AtomicUsize::new(0),
            clients,
            burst: watch::Sender::new(false),
        }
    }

    /// Waits until every client has masked its vector, or until no more vectors fit into memory:
    /// then all that are there are sent at once. On machines of their own, clients are ready at
    /// about the same time; here they mask in turn, and would spare the service what it is to be
    /// measured under.
    async fn all_masked(&self) {
        let masked = self.masked.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        if masked >= self.clients {
            self.burst.send_replace(true);
        }
        // The sender lives as long as this.
        let _ = self.burst.subscribe().wait_for(|open| *open).await;
    }
}

#[derive(Deserialize)]
struct Status {
    phase: String,
    #[serde(default)]
    reason: Option<String>,
}

/// Waits until a round is beyond a phase; `None`: it has finished.
pub(crate) async fn beyond(
    http: &Http,
    round: RoundId,
    number: u32,
    phase: PhaseName,
) -> Result<Option<PhaseName>, BenchError> {
    let path = format!("v1/rounds/{round}/status?seen={phase}&wait=30");
    loop {
        let Status { phase: now, reason } = http.json(Purpose::Poll, &path).await?;
        match now.as_str() {
            "finished" => return Ok(None),
            "failed" => {
                let reason = reason.unwrap_or_default();
                return Err(BenchError::RoundFailed { number, reason });
            }
            open => {
                let open: PhaseName = open.parse()?;
                if open > phase {
                    return Ok(Some(open));
                }
            }
        }
    }
}

impl Round {
    fn path(&self, rest: &str) -> String {
        format!("v1/rounds/{}/{rest}", self.params.id())
    }

    /// The vector of a client.
    pub(crate) fn add_vector(&self, client: usize, sum: &mut RingVector) {
        if let Some(seed) = self.seeds.get(client) {
            sum.mask(&[(seed.clone(), Sign::Plus)]);
        }
    }

    /// Computes off the threads that serve connections, as many at a time as there are processors.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BenchError> {
        let permit = self.room.processors.clone().acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        Ok(done.await?)
    }

    async fn send(
        &self,
        phase: PhaseName,
        client: usize,
        message: Vec<u8>,
    ) -> Result<(), BenchError> {
        let path = self.path(&format!("{phase}/{client}"));
        self.http
            .put(Purpose::Message(phase), &path, Bytes::from(message))
            .await?;
        let place = PhaseName::ALL.iter().take_while(|at| **at < phase).count();
        if let Some(sent) = self.sent.get(place) {
            let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
            sent.last.fetch_max(now, Ordering::Relaxed);
            let done = sent.count.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            (self.watch)(Progress::Phase {
                round: self.number,
                phase,
                done,
                of: self.seeds.len(),
            });
        }
        Ok(())
    }

    async fn fetch(&self, phase: PhaseName, path: &str) -> Result<Vec<u8>, BenchError> {
        self.http.get(Purpose::Fetch(phase), &self.path(path)).await
    }

    async fn beyond(&self, phase: PhaseName) -> Result<Option<PhaseName>, BenchError> {
        beyond(&self.http, self.params.id(), self.number, phase).await
    }

    async fn wait_for(&self, phase: PhaseName) -> Result<(), BenchError> {
        let before = PhaseName::ALL.into_iter().rev().find(|p| *p < phase);
        let now = self.beyond(before.unwrap_or(AdvertiseKeys)).await?;
        if now == Some(phase) {
            return Ok(());
        }
        let now = now.map_or("the end", PhaseName::text);
        Err(BenchError::Misbehaving(format!(
            "round {} went on to {now} while a client waited for {phase}",
            self.number
        )))
    }

    /// Takes part as one of the roster, from the round's parameters to its result.
    pub(crate) async fn take_part(self: Arc<Self>, client: usize) -> Result<(), BenchError> {
        let participant = self.prepare(client).await?;
        let state = self.send_input(client, participant).await?;

        self.wait_for(ConsistencyCheck).await?;
        let survivors = self.fetch(ConsistencyCheck, "survivors").await?;
        let (state, message) = self
            .compute(move || state.consistency_check(&survivors))
            .await??;
        if let Some(message) = message {
            self.send(ConsistencyCheck, client, message).await?;
        }
        self.wait_for(Unmask).await?;
        let statements = self.fetch(Unmask, "statements").await?;
        let message = self.compute(move || state.unmask(&statements)).await??;
        self.send(Unmask, client, message).await?;

        match self.beyond(Unmask).await? {
            None => {}
            Some(open) => return Err(BenchError::Misbehaving(format!("{open} after Unmask"))),
        }
        self.fetch(Unmask, "result").await?;
        Ok(())
    }

    /// What a client fetches and checks before a round. What was checked once is compared.
    async fn prepare(&self, client: usize) -> Result<Participant, BenchError> {
        let differs = |what: &str| {
            let message = format!("client {client} was shown another {what}");
            Err(BenchError::Misbehaving(message))
        };
        let fetch = Purpose::Fetch(AdvertiseKeys);
        let task = self.task.id;
        let before = self.number.saturating_sub(1);
        let path = format!("v1/tasks/{task}/round?after={before}&wait=30");
        let next: serde_json::Value = self.http.json(Purpose::Poll, &path).await?;
        if next["round"].as_str() != Some(&self.params.id().to_string()) {
            return differs("round");
        }
        if self.fetch(AdvertiseKeys, "params").await? != self.params.encoding() {
            return differs("set of parameters");
        }
        self.fetch(AdvertiseKeys, "status").await?;
        for path in ["roster", "mechanism", "training"] {
            let path = format!("v1/tasks/{task}/{path}");
            self.http.digest(fetch, &path).await?;
        }
        if self.http.digest(fetch, &self.path("adapter")).await? != self.adapter {
            return differs("adapter");
        }
        let (params, task) = (self.params.clone(), self.task.clone());
        let identity = self.task.identities.get(client).cloned();
        let identity = identity.ok_or_else(|| BenchError::Plan(format!("no client {client}")))?;
        let ready = self
            .compute(move || Participant::new(params, task.roster.clone(), identity, task.trust));
        Ok(ready.await??)
    }

    /// AdvertiseKeys, ShareKeys and MaskedInput.
    async fn send_input(
        &self,
        client: usize,
        participant: Participant,
    ) -> Result<SentInput, BenchError> {
        let mut rng = crate::generator()?;
        let index = RosterIndex(u32::try_from(client).unwrap_or(u32::MAX));
        let (state, message) = participant.advertise_keys(&mut rng)?;
        self.send(AdvertiseKeys, client, message).await?;

        self.wait_for(ShareKeys).await?;
        let directory = self.fetch(ShareKeys, &format!("directory/{index}")).await?;
        let (state, message) = self
            .compute(move || state.share_keys(&directory, &mut SystemSplitter, &mut rng))
            .await??;
        self.send(ShareKeys, client, message).await?;

        self.wait_for(MaskedInput).await?;
        let room = &self.room;
        let held = if let Ok(held) = room.memory.try_acquire_many(room.vector) {
            Ok(held)
        } else {
            room.burst.send_replace(true);
            room.memory.acquire_many(room.vector).await
        };
        let dealt = self.fetch(MaskedInput, &format!("dealt/{index}")).await?;
        let (ring, length) = (self.params.ring(), self.params.vector_length());
        let seed = self.seeds.get(client).cloned();
        let (state, message) = self
            .compute(move || {
                let mut input = RingVector::zeros(ring, length);
                if let Some(seed) = seed {
                    input.mask(&[(seed, Sign::Plus)]);
                }
                state.masked_input(&dealt, input)
            })
            .await??;
        room.all_masked().await;
        self.send(MaskedInput, client, message).await?;
        drop(held);
        Ok(state)
    }
}
