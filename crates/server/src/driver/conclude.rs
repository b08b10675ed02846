//! Ending a round: its result, and the adapter that follows from it.

use std::sync::Arc;

use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::{PhaseName, UnmaskPhase};
use undertone_protocol::id::RoundId;
use undertone_protocol::vector::RingVector;
use undertone_protocol::{ProtocolError, RoundFailure};

use super::open::current_adapter;
use super::unmask;
use crate::app::App;
use crate::error::ServerError;
use crate::store::{
    Outcome, RoundRecord, Store, StoreError, StoredResult, TaskRecord, chunk_count, chunk_range,
};
use crate::{task, telemetry};

/// How a round ends that cannot go on.
pub(super) fn failed(failure: &RoundFailure) -> Outcome {
    telemetry::rounds::failed(failure);
    Outcome::Failed {
        reason: failure.to_string(),
        culprit: failure.culprit(),
    }
}

/// Ends a round whose masks are being taken off, if all of them are.
pub(super) async fn unmasked<S: Store>(
    app: &App<S>,
    task: &TaskRecord,
    round: &RoundRecord,
) -> Result<(), ServerError> {
    let progress = app.store().unmasking_progress(round.id).await?;
    if progress.done < progress.total {
        return Ok(());
    }
    let (phase, recovery) = match unmask::recovered(app, round).await? {
        Ok(recovered) => recovered,
        Err(failure) => return end(app, round, PhaseName::Unmask, failed(&failure)).await,
    };
    let clients = phase.checked().survivor_indices();
    let Some((sum, adapter)) = assemble(app, task, &phase, (round.id, clients.len())).await? else {
        // Another process has ended the round.
        return Ok(());
    };
    let set_aside = recovery.set_aside().iter();
    let result = StoredResult {
        transcript: phase.transcript(&sum),
        sum,
        survivors: clients,
        set_aside: set_aside.map(|s| (s.holder, s.dealer)).collect(),
    };
    let outcome = Outcome::Finished { result, adapter };
    end(app, round, PhaseName::Unmask, outcome).await
}

/// The packed sum and the next adapter, put together chunk by chunk.
///
/// The mean update, times the server learning rate, is added to the adapter (federated averaging,
/// `McMahan` et al., 2017, with equal weights).
async fn assemble<S: Store>(
    app: &App<S>,
    task: &TaskRecord,
    phase: &UnmaskPhase,
    (round, clients): (RoundId, usize),
) -> Result<Option<(Vec<u8>, Vec<u8>)>, ServerError> {
    let params = phase.context().params();
    let (ring, length) = (params.ring(), params.vector_length());
    let mechanism = serde_json::from_slice(&task.mechanism)
        .map_err(|e| StoreError::Corrupt(format!("mechanism: {e}")))?;
    let encoding = Arc::new(task::encoding(&mechanism, &task.settings)?);
    let (rate, clients) = (task.settings.server_learning_rate, u32::try_from(clients));
    let clients = clients.unwrap_or(u32::MAX);
    let before = Adapter::from_bytes(&current_adapter(app, task).await?)?;
    let mut values = before.values().to_vec();
    let mut sum = Vec::with_capacity(ring.packed_length(length));
    for chunk in 0..chunk_count(length) {
        let Some(packed) = app.store().unmasked_chunk(round, chunk).await? else {
            return Ok(None);
        };
        sum.extend_from_slice(&packed);
        let (range, encoding) = (chunk_range(length, chunk), encoding.clone());
        let elements = range.len();
        let mean = tokio::task::spawn_blocking(move || {
            let part = RingVector::unpack(ring, elements, &packed)?;
            Ok::<_, ProtocolError>(encoding.decode_mean(&part, clients))
        });
        let part = values.get_mut(range).unwrap_or_default();
        for (value, update) in part.iter_mut().zip(mean.await??) {
            *value = narrow(f64::from(*value) + rate * update);
        }
    }
    let adapter = before.with_values(values)?.to_bytes()?;
    Ok(Some((sum, adapter)))
}

#[allow(clippy::cast_possible_truncation)]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// Ends a round that is open in `phase`; another process may have been first.
pub(super) async fn end<S: Store>(
    app: &App<S>,
    round: &RoundRecord,
    phase: PhaseName,
    outcome: Outcome,
) -> Result<(), ServerError> {
    let now = app.store().now().await?;
    if app
        .store()
        .end_round(round.id, phase, &outcome, now)
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
    app.recovered().forget(round.id);
    app.changed(round.task);
    Ok(())
}
