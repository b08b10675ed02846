//! Ending a round: its result, and the adapter that follows from it.

use undertone_protocol::RoundFailure;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::{Aggregate, PhaseName};

use crate::app::App;
use crate::error::ServerError;
use crate::store::{Outcome, RoundRecord, Store, StoreError, TaskRecord};
use crate::{task, telemetry};

/// How a round ends that cannot go on.
pub(super) fn failed(failure: &RoundFailure) -> Outcome {
    telemetry::rounds::failed(failure);
    Outcome::Failed {
        reason: failure.to_string(),
        culprit: failure.culprit(),
    }
}

/// Adds the mean update, times the server learning rate, to the adapter (federated averaging,
/// `McMahan` et al., 2017, with equal weights).
pub(super) fn next_adapter(
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
    app.changed(round.task);
    Ok(())
}
