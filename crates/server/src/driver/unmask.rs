//! Taking the masks off a sum, chunk by chunk, on every process that has time.
//!
//! Once the Unmask phase has closed, every process recovers the same secrets from the stored
//! shares. Each leases chunks, one a core, takes the masks off and stores what is left; so how far
//! the sum is stands in the database, and a chunk whose process dies is another one's once its lease
//! has run out. Whoever drives the task ends the round when all chunks are there.
//!
//! In memory are the keys of the masks and one chunk for each core, however long the sum is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{counter, histogram};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::Instrument;
use undertone_protocol::RoundFailure;
use undertone_protocol::aggregator::{PhaseName, Recovery, UnmaskPhase};
use undertone_protocol::id::{RoundId, TaskId};
use undertone_protocol::message::{Signed, Unmask};
use undertone_protocol::vector::Ring;

use super::conclude::{end, failed};
use crate::app::App;
use crate::error::ServerError;
use crate::phases::{self, Phase};
use crate::store::{ChunkLease, RoundRecord, RoundState, Store, StoreError, chunk_range};
use crate::telemetry::name;
use crate::telemetry::trace::{self, Place};
use crate::upload::fault::{self, Point};

/// How often a process looks for chunks without being told: others' leases run out unsaid.
const RECHECK: Duration = Duration::from_secs(1);

/// Unmasks chunks, of whichever round has some, until the future is dropped.
pub(super) async fn work<S: Store>(app: Arc<App<S>>) {
    loop {
        if let Err(error) = work_once(&app).await {
            tracing::error!(%error, "a sum cannot be unmasked; trying again");
            counter!(name::DRIVER_FAILURES).increment(1);
        }
        let _ = tokio::time::timeout(RECHECK, app.signals().unmasking()).await;
    }
}

async fn work_once<S: Store>(app: &Arc<App<S>>) -> Result<(), ServerError> {
    let mut result = Ok(());
    for round in app.store().unmasking().await? {
        // One that cannot be unmasked does not stop the others.
        if let Err(error) = work_on(app, round).await {
            tracing::error!(%round, %error, "a round cannot be unmasked now");
            result = Err(error);
        }
    }
    result
}

/// What the lanes of one round share.
struct Job {
    round: RoundId,
    task: TaskId,
    ring: Ring,
    length: usize,
    recovery: Arc<Recovery>,
}

/// Unmasks chunks of one round until there is none that nobody is at.
async fn work_on<S: Store>(app: &Arc<App<S>>, round: RoundId) -> Result<(), ServerError> {
    // The first chunk is leased before the secrets are recovered: where there is one chunk only,
    // one process does all of it.
    let Some(first) = lease(app, round).await? else {
        return Ok(());
    };
    let Some(job) = holding(app, (round, first.chunk), prepare(app, round)).await? else {
        return Ok(());
    };
    let (task, job) = (job.task, Arc::new(job));
    let mut lanes = JoinSet::new();
    let mut first = Some(first);
    for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
        lanes.spawn(lane(app.clone(), job.clone(), first.take()));
    }
    while let Some(done) = lanes.join_next().await {
        done??;
    }
    // The last chunk may have been among them.
    app.message_arrived(task);
    Ok(())
}

/// Recovers the secrets; `None` if the round has ended, or cannot be unmasked and ends now.
async fn prepare<S: Store>(app: &Arc<App<S>>, id: RoundId) -> Result<Option<Job>, ServerError> {
    let Some(round) = app.store().round_without_sum(id).await? else {
        return Ok(None);
    };
    if !matches!(round.state, RoundState::Open { .. }) {
        return Ok(None);
    }
    let (phase, recovery) = match recovered(app, &round).await? {
        Ok(recovered) => recovered,
        Err(failure) => {
            end(app, &round, PhaseName::Unmask, failed(&failure)).await?;
            return Ok(None);
        }
    };
    let params = phase.context().params();
    Ok(Some(Job {
        round: id,
        task: round.task,
        ring: params.ring(),
        length: params.vector_length(),
        recovery,
    }))
}

/// The masks that are still in the sum of the round that was asked for last: recovering them takes
/// time, and whoever unmasks chunks often ends the round as well.
#[derive(Debug, Default)]
pub(crate) struct Recovered(Mutex<Option<(RoundId, Arc<Recovery>)>>);

impl Recovered {
    fn get(&self, round: RoundId) -> Option<Arc<Recovery>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref().filter(|(id, _)| *id == round);
        kept.map(|(_, recovery)| recovery.clone())
    }

    fn keep(&self, round: RoundId, recovery: &Arc<Recovery>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((round, recovery.clone()));
    }

    /// Forgets the secrets of a round that has ended.
    pub(crate) fn forget(&self, round: RoundId) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|(id, _)| *id == round) {
            *kept = None;
        }
    }
}

/// The last phase and the masks that are still in the sum, or why the round fails: the same on
/// every process.
pub(super) async fn recovered<S: Store>(
    app: &App<S>,
    round: &RoundRecord,
) -> Result<Result<(UnmaskPhase, Arc<Recovery>), RoundFailure>, ServerError> {
    let phases = app.phases();
    let rebuilt = match phases.load(app.store(), round, PhaseName::Unmask).await? {
        Ok(rebuilt) => rebuilt,
        Err(failure) => return Ok(Err(failure)),
    };
    let Phase::Unmask(phase) = rebuilt.as_ref() else {
        let what = "a phase was rebuilt as another".to_owned();
        return Err(StoreError::Corrupt(what).into());
    };
    let phase = phase.clone();
    if let Some(recovery) = app.recovered().get(round.id) {
        return Ok(Ok((phase, recovery)));
    }
    let stored = app.store().messages(round.id, PhaseName::Unmask).await?;
    let revealed: Vec<Signed<Unmask>> = phases::decode(stored)?;
    let recovering = tokio::task::spawn_blocking(move || {
        let recovery = phase.recover(&revealed)?;
        Ok((phase, Arc::new(recovery)))
    });
    let recovered = recovering.await?;
    if let Ok((_, recovery)) = &recovered {
        app.recovered().keep(round.id, recovery);
    }
    Ok(recovered)
}

/// Unmasks one chunk after the other.
async fn lane<S: Store>(
    app: Arc<App<S>>,
    job: Arc<Job>,
    first: Option<ChunkLease>,
) -> Result<(), ServerError> {
    let mut next = match first {
        Some(first) => Some(first),
        None => lease(&app, job.round).await?,
    };
    while let Some(ChunkLease { chunk, .. }) = next {
        let span = tracing::info_span!("unmask chunk", chunk);
        trace::within(&span, Place::phase(job.round, PhaseName::Unmask));
        let unmasked = unmask(&app, &job, chunk).instrument(span);
        holding(&app, (job.round, chunk), unmasked).await?;
        next = lease(&app, job.round).await?;
    }
    Ok(())
}

async fn lease<S: Store>(app: &App<S>, round: RoundId) -> Result<Option<ChunkLease>, ServerError> {
    let lease_ms = app.settings().driver.lease();
    let store = app.store();
    let lease = store.lease_chunk(round, app.replica(), lease_ms).await?;
    if lease.is_some_and(|lease| lease.taken_over) {
        counter!(name::LEASE_TAKEOVERS, "what" => "chunk").increment(1);
    }
    Ok(lease)
}

/// Takes the masks off a chunk and stores it.
async fn unmask<S: Store>(app: &App<S>, job: &Job, chunk: usize) -> Result<(), ServerError> {
    let started = Instant::now();
    let (round, recovery) = (job.round, job.recovery.clone());
    let first = chunk_range(job.length, chunk).start;
    let store = app.store();
    let part = store.running_sum_range(round, job.ring, job.length, chunk);
    let mut part = part.await?;
    // Off the threads that serve requests: every mask is expanded.
    let unmasking = tokio::task::spawn_blocking(move || {
        recovery.unmask_from(first, &mut part)?;
        Ok::<_, undertone_protocol::ProtocolError>(part.pack())
    });
    let packed = unmasking.await??;
    fault::at(Point::ChunkUnmasked);
    store.put_unmasked(round, chunk, &packed).await?;
    fault::at(Point::AfterUnmasked);
    histogram!(name::UNMASK_CHUNK_SECONDS).record(started.elapsed());
    Ok(())
}

/// Does some work while the lease of a chunk is renewed.
async fn holding<S: Store, T>(
    app: &App<S>,
    (round, chunk): (RoundId, usize),
    work: impl Future<Output = Result<T, ServerError>>,
) -> Result<T, ServerError> {
    let driver = &app.settings().driver;
    let renewing = async {
        loop {
            tokio::time::sleep(driver.renewal()).await;
            let renewed = app
                .store()
                .renew_chunk(round, chunk, app.replica(), driver.lease());
            if let Err(error) = renewed.await {
                // At worst another process does the same work.
                tracing::debug!(%error, chunk, "a chunk's lease is not renewed");
            }
        }
    };
    tokio::select! {
        done = work => done,
        () = renewing => std::future::pending().await,
    }
}
