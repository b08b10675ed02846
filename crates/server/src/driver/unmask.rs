//! Taking the masks off the sum.

use undertone_protocol::RoundFailure;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::{Aggregate, PhaseName, UnmaskPhase};
use undertone_protocol::message::{Signed, Unmask};
use undertone_protocol::vector::RingVector;

use super::conclude::{failed, next_adapter};
use super::open::current_adapter;
use crate::app::App;
use crate::error::ServerError;
use crate::phases;
use crate::store::{Outcome, RoundRecord, Store, StoredResult, TaskRecord};

/// Unmasks the sum and makes the next adapter from it.
pub(super) async fn finish<S: Store>(
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

fn unmask(
    phase: &UnmaskPhase,
    revealed: &[Signed<Unmask>],
    sum: RingVector,
) -> Result<Aggregate, RoundFailure> {
    let recovery = phase.recover(revealed)?;
    Ok(phase.aggregate(&recovery, sum))
}
