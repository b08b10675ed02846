//! Ending a round: its result, and the adapter that follows from it.

use undertone_federated::{Cohort, ServerState};
use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::{PhaseName, UnmaskPhase};
use undertone_protocol::id::RoundId;
use undertone_protocol::roster::Roster;
use undertone_protocol::vector::RingVector;
use undertone_protocol::{ProtocolError, RoundFailure};

use super::open::current_adapter;
use super::unmask;
use crate::app::App;
use crate::coding::Decoding;
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
    let next = match assemble(app, task, &phase, (round.id, clients.len())).await {
        Ok(Some(next)) => next,
        Ok(None) => return Ok(()),
        // A step that overflows would do so again: the round fails, and the model stays.
        Err(ServerError::Federated(error)) => {
            let outcome = Outcome::Failed {
                reason: error.to_string(),
                culprit: None,
            };
            return end(app, round, PhaseName::Unmask, outcome).await;
        }
        Err(error) => return Err(error),
    };
    let set_aside = recovery.set_aside().iter();
    let result = StoredResult {
        transcript: phase.transcript(&next.sum),
        sum: next.sum,
        survivors: clients,
        set_aside: set_aside.map(|s| (s.holder, s.dealer)).collect(),
    };
    let outcome = Outcome::Finished {
        result,
        adapter: next.adapter,
        optimizer: next.optimizer,
    };
    end(app, round, PhaseName::Unmask, outcome).await
}

/// What follows from the sum of a round.
struct Next {
    /// The sum, packed.
    sum: Vec<u8>,
    adapter: Vec<u8>,
    /// What the optimiser keeps.
    optimizer: Vec<u8>,
}

/// The sum, put together chunk by chunk, and the adapter that the server's optimiser makes of it;
/// `None` if a chunk is gone, as another process has ended the round.
async fn assemble<S: Store>(
    app: &App<S>,
    task: &TaskRecord,
    phase: &UnmaskPhase,
    (round, clients): (RoundId, usize),
) -> Result<Option<Next>, ServerError> {
    let params = phase.context().params();
    let (ring, length) = (params.ring(), params.vector_length());
    let mechanism = serde_json::from_slice(&task.mechanism)
        .map_err(|e| StoreError::Corrupt(format!("mechanism: {e}")))?;
    let clients = u32::try_from(clients).unwrap_or(u32::MAX);
    let mut decoding = Decoding::new(&mechanism, &task.settings, params, clients)?;
    let mut sum = Vec::with_capacity(ring.packed_length(length));
    for chunk in 0..chunk_count(length) {
        let Some(packed) = app.store().unmasked_chunk(round, chunk).await? else {
            return Ok(None);
        };
        sum.extend_from_slice(&packed);
        let elements = chunk_range(length, chunk).len();
        let taken = tokio::task::spawn_blocking(move || {
            decoding.take(&RingVector::unpack(ring, elements, &packed)?);
            Ok::<_, ProtocolError>(decoding)
        });
        decoding = taken.await??;
    }
    let (before, kept) = (
        current_adapter(app, task).await?,
        app.store().optimizer_state(task.id).await?,
    );
    let cohort = Cohort {
        survivors: clients,
        clients: u32::try_from(Roster::decode_own(&task.roster)?.len()).unwrap_or(u32::MAX),
    };
    let optimizer = task.settings.server_optimizer;
    let step = tokio::task::spawn_blocking(move || {
        let before = Adapter::from_bytes(&before)?;
        let layout = task::layout(&before)?;
        let mut state = match kept {
            Some(bytes) => ServerState::from_bytes(&bytes)?,
            None => optimizer.first_state(&layout),
        };
        let mean = decoding.finish();
        let values = optimizer.next(&layout, before.values(), &mean, &mut state, cohort)?;
        let adapter = before.with_values(values)?.to_bytes()?;
        Ok::<_, ServerError>((adapter, state.to_bytes()))
    });
    let (adapter, optimizer) = step.await??;
    Ok(Some(Next {
        sum,
        adapter,
        optimizer,
    }))
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
