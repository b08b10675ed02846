//! The round driver: opens rounds, closes phases by count or deadline, ends rounds.
//!
//! Every change is a compare-and-set in the store, so any number of drivers may run against one
//! database, and one that dies in the middle leaves a round that the next one goes on with.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use undertone_protocol::RoundFailure;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::{Aggregate, PhaseName, UnmaskPhase, schedule};
use undertone_protocol::id::RoundNumber;
use undertone_protocol::message::{Signed, Unmask};
use undertone_protocol::roster::Roster;
use undertone_protocol::vector::RingVector;

use crate::app::App;
use crate::error::ServerError;
use crate::phases::{self, Phase};
use crate::store::{
    NewRound, Outcome, RoundRecord, RoundState, Store, StoreError, StoredResult, TaskControl,
    TaskRecord, TaskStatus,
};
use crate::task::{self, TaskView};
use crate::telemetry::{self, name};

/// The driver looks again after so long at the latest, in case another process changed something.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// Milliseconds since the Unix epoch; 0 before it.
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Drives all tasks until the future is dropped. Failures of the store are logged and met by
/// trying again: nothing that was acknowledged depends on this loop.
pub async fn run<S: Store>(app: Arc<App<S>>) {
    let mut changes = app.message_changes();
    loop {
        changes.mark_unchanged();
        let sleep = match drive_all(&app).await {
            Ok(deadline) => {
                Duration::from_millis(deadline.unwrap_or(u64::MAX).saturating_sub(now_ms()).max(1))
            }
            Err(error) => {
                tracing::error!(%error, "the driver failed; it tries again");
                metrics::counter!(name::DRIVER_FAILURES).increment(1);
                LONGEST_SLEEP
            }
        };
        // Woken early by every message; an error would mean that the app is gone, and then the
        // sleep alone decides.
        let _ = tokio::time::timeout(sleep.min(LONGEST_SLEEP), changes.changed()).await;
    }
}

/// Moves every running task as far as it goes. Returns the next deadline.
async fn drive_all<S: Store>(app: &App<S>) -> Result<Option<u64>, ServerError> {
    let mut deadlines = Vec::new();
    for task in app.store().tasks().await? {
        if task.status == TaskStatus::Running {
            deadlines.extend(drive_task(app, &task).await?);
        }
    }
    Ok(deadlines.into_iter().min())
}

async fn drive_task<S: Store>(app: &App<S>, task: &TaskRecord) -> Result<Option<u64>, ServerError> {
    let Some(round) = app.store().open_round_of(task.id).await? else {
        if task.control == TaskControl::Run {
            open_round(app, task).await?;
        }
        return Ok(None);
    };
    let RoundState::Open { phase, deadline } = round.state else {
        return Ok(None);
    };
    let rebuilt = match app.phases().load(app.store(), &round, phase).await? {
        Ok(rebuilt) => rebuilt,
        Err(failure) => {
            end(app, &round, phase, failed(&failure)).await?;
            return Ok(None);
        }
    };
    let received = app.store().count(round.id, phase).await?;
    let expected = rebuilt
        .expected()
        .unwrap_or(usize::try_from(task.settings.cohort).unwrap_or(usize::MAX));
    if !schedule::closes(received, expected, now_ms(), deadline) {
        return Ok(Some(deadline));
    }
    match (phases::successor(phase), rebuilt.as_ref()) {
        (Some(next), _) => {
            let open = u64::from(next.deadline_ms(rebuilt.context().params()));
            let deadline = now_ms().saturating_add(open);
            if app
                .store()
                .close_phase(round.id, phase, next, deadline)
                .await?
            {
                tracing::info!(round = %round.id, %phase, received, expected, "phase closed");
                note_closed(&round, phase, &rebuilt, received, expected);
            }
            app.announce();
        }
        (None, Phase::Unmask(unmask)) => {
            let outcome = finish(app, task, &round, unmask).await?;
            note_closed(&round, phase, &rebuilt, received, expected);
            end(app, &round, phase, outcome).await?;
        }
        (None, _) => {}
    }
    // Something changed; look again at once.
    app.message_arrived();
    Ok(None)
}

/// A phase opens its deadline's length before its deadline.
fn note_closed(
    round: &RoundRecord,
    phase: PhaseName,
    rebuilt: &Phase,
    received: usize,
    expected: usize,
) {
    let RoundState::Open { deadline, .. } = round.state else {
        return;
    };
    let length = u64::from(phase.deadline_ms(rebuilt.context().params()));
    telemetry::rounds::phase_closed(
        round,
        phase,
        deadline.saturating_sub(length),
        received,
        expected,
    );
}

async fn open_round<S: Store>(app: &App<S>, task: &TaskRecord) -> Result<(), ServerError> {
    let adapter = current_adapter(app, task).await?;
    let length = Adapter::from_bytes(&adapter)?.len();
    let roster = Roster::decode_own(&task.roster)?;
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)?;
    let number = RoundNumber(task.rounds_ended.saturating_add(1));
    let params = TaskView::of(task, &roster).round_params(number, &adapter, length, nonce)?;
    let now = now_ms();
    let round = NewRound {
        id: params.id(),
        task: task.id,
        number,
        params: params.encoding().to_vec(),
        opened_at: now,
        deadline: now.saturating_add(u64::from(PhaseName::AdvertiseKeys.deadline_ms(&params))),
    };
    if app.store().open_round(&round).await? {
        tracing::info!(task = %task.id, round = %round.id, %number, "round opened");
        app.uploads().check(&params);
        telemetry::rounds::opened();
        app.announce();
    }
    Ok(())
}

async fn current_adapter<S: Store>(
    app: &App<S>,
    task: &TaskRecord,
) -> Result<Vec<u8>, ServerError> {
    let adapter = app.store().adapter(task.id, task.model).await?;
    Ok(adapter.ok_or_else(|| StoreError::Missing(format!("adapter {}", task.model)))?)
}

/// Unmasks the sum and makes the next adapter from it.
async fn finish<S: Store>(
    app: &App<S>,
    task: &TaskRecord,
    round: &RoundRecord,
    phase: &UnmaskPhase,
) -> Result<Outcome, ServerError> {
    let params = phase.context().params();
    let store = app.store();
    let revealed: Vec<Signed<Unmask>> =
        phases::decode(&store.messages(round.id, PhaseName::Unmask).await?)?;
    let sum = store
        .running_sum(round.id, params.ring(), params.vector_length())
        .await?;
    let phase = phase.clone();
    // Expanding every mask takes seconds for long vectors: off the request threads.
    let unmasked = tokio::task::spawn_blocking(move || unmask(&phase, &revealed, sum)).await?;
    let aggregate = match unmasked {
        Ok(aggregate) => aggregate,
        Err(failure) => {
            return Ok(failed(&failure));
        }
    };
    let before = Adapter::from_bytes(&current_adapter(app, task).await?)?;
    let adapter = next_adapter(task, &before, &aggregate)?.to_bytes()?;
    let set_aside = aggregate
        .set_aside
        .iter()
        .map(|s| (s.holder, s.dealer))
        .collect();
    let result = StoredResult {
        sum: aggregate.sum.pack(),
        survivors: aggregate.clients,
        transcript: aggregate.transcript,
        set_aside,
    };
    Ok(Outcome::Finished { result, adapter })
}

fn failed(failure: &RoundFailure) -> Outcome {
    telemetry::rounds::failed(failure);
    Outcome::Failed {
        reason: failure.to_string(),
        culprit: failure.culprit(),
    }
}

fn unmask(
    phase: &UnmaskPhase,
    revealed: &[Signed<Unmask>],
    sum: RingVector,
) -> Result<Aggregate, RoundFailure> {
    let recovery = phase.recover(revealed)?;
    Ok(phase.aggregate(&recovery, sum))
}

/// Adds the mean update, times the server learning rate, to the adapter (federated averaging, `McMahan` et al.,
/// 2017, with equal weights).
fn next_adapter(
    task: &TaskRecord,
    before: &Adapter,
    aggregate: &Aggregate,
) -> Result<Adapter, ServerError> {
    let mechanism = serde_json::from_slice(&task.mechanism)
        .map_err(|e| StoreError::Corrupt(format!("mechanism: {e}")))?;
    let encoding = task::encoding(&mechanism, &task.settings)?;
    let count = u32::try_from(aggregate.clients.len()).unwrap_or(u32::MAX);
    let mean = encoding.decode_mean(&aggregate.sum, count);
    let rate = task.settings.server_learning_rate;
    let values = before
        .values()
        .iter()
        .zip(mean)
        .map(|(value, update)| narrow(f64::from(*value) + rate * update))
        .collect();
    Ok(before.with_values(values)?)
}

#[allow(clippy::cast_possible_truncation)]
fn narrow(value: f64) -> f32 {
    value as f32
}

async fn end<S: Store>(
    app: &App<S>,
    round: &RoundRecord,
    phase: PhaseName,
    outcome: Outcome,
) -> Result<(), ServerError> {
    if app
        .store()
        .end_round(round.id, phase, &outcome, now_ms())
        .await?
    {
        telemetry::rounds::ended(round, &outcome);
        match &outcome {
            Outcome::Finished { result, .. } => {
                let (survivors, number) = (result.survivors.len(), round.number);
                tracing::info!(round = %round.id, %number, survivors, "round finished");
            }
            Outcome::Failed { reason, .. } => {
                tracing::warn!(round = %round.id, number = %round.number, reason, "round failed");
            }
        }
    }
    app.announce();
    app.message_arrived();
    Ok(())
}
