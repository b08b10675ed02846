//! Moving a round from phase to phase.

use std::time::Duration;

use undertone_protocol::aggregator::{PhaseName, schedule};
use undertone_protocol::id::TaskId;

use super::conclude::{self, end, failed};
use super::open;
use crate::app::App;
use crate::error::ServerError;
use crate::phases::{self, Phase};
use crate::store::{RoundRecord, RoundState, Store, TaskState, TaskStatus, chunk_count};
use crate::telemetry;

/// Moves a task as far as it goes now. Returns how long its open phase still has.
pub(super) async fn task<S: Store>(
    app: &App<S>,
    id: TaskId,
) -> Result<Option<Duration>, ServerError> {
    let Some(task) = app.store().task(id).await? else {
        return Ok(None);
    };
    if task.status != TaskStatus::Running {
        return Ok(None);
    }
    let Some(round) = app.store().open_round_of(task.id).await? else {
        if task.state() == TaskState::Running {
            open::round(app, &task).await?;
        }
        return Ok(None);
    };
    let RoundState::Open { phase, deadline } = round.state else {
        return Ok(None);
    };
    if round.unmasking_at.is_some() {
        conclude::unmasked(app, &task, &round).await?;
        return Ok(None);
    }
    let rebuilt = match app.phases().load(app.store(), &round, phase).await? {
        Ok(rebuilt) => rebuilt,
        Err(failure) => {
            end(app, &round, phase, failed(&failure)).await?;
            return Ok(None);
        }
    };
    let received = app.store().count(round.id, phase).await?;
    let admitted = round.admitted.unwrap_or(task.settings.cohort);
    let expected = rebuilt
        .expected()
        .unwrap_or(usize::try_from(admitted).unwrap_or(usize::MAX));
    let now = app.store().now().await?;
    if !schedule::closes(received, expected, now, deadline) {
        return Ok(Some(Duration::from_millis(deadline.saturating_sub(now))));
    }
    close(app, &round, (phase, &rebuilt), [received, expected]).await?;
    // Something changed; look again at once.
    app.changed(task.id);
    Ok(None)
}

/// Closes the open phase; after the last one the masks are taken off.
async fn close<S: Store>(
    app: &App<S>,
    round: &RoundRecord,
    (phase, rebuilt): (PhaseName, &Phase),
    [received, expected]: [usize; 2],
) -> Result<(), ServerError> {
    let store = app.store();
    let params = rebuilt.context().params();
    let closed = if let Some(next) = phases::successor(phase) {
        let open = u64::from(next.deadline_ms(params));
        let deadline = store.now().await?.saturating_add(open);
        store.close_phase(round.id, phase, next, deadline).await?
    } else {
        let chunks = chunk_count(params.vector_length());
        store.begin_unmasking(round.id, chunks).await?
    };
    if closed {
        tracing::info!(round = %round.id, %phase, received, expected, "phase closed");
        note_closed(round, phase, rebuilt, [received, expected]);
    }
    Ok(())
}

/// A phase opens its deadline's length before its deadline.
fn note_closed(
    round: &RoundRecord,
    phase: PhaseName,
    rebuilt: &Phase,
    [received, expected]: [usize; 2],
) {
    let RoundState::Open { deadline, .. } = round.state else {
        return;
    };
    let length = u64::from(phase.deadline_ms(rebuilt.context().params()));
    let opened_at = deadline.saturating_sub(length);
    telemetry::rounds::phase_closed(round, phase, opened_at, received, expected);
}
