//! Pausing, resuming and cancelling a task.

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RoundId, TaskId};

use super::columns::{corrupt, digest, phase};
use super::session::{Pools, Row, Session, locking};
use super::tokens::time;
use super::{Actor, Outcome, Result, Signal, StoreError, audit, rounds};
use crate::audit::{Chain, Event};

/// What an administrator wants of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskControl {
    /// Rounds are opened.
    Run,
    /// No round is opened; one that is open goes on.
    Paused,
    /// No round is opened any more.
    Cancelled,
}

impl TaskControl {
    /// Its name in the database.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What became of the wish to control a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlOutcome {
    /// The task is what was wished for.
    Changed,
    /// It was so before.
    Unchanged,
    /// All its rounds have ended: nothing changed.
    Finished,
    /// It was cancelled, which is for ever: nothing changed.
    Cancelled,
    /// Its privacy budget covers no further round: nothing changed.
    Exhausted,
}

/// The control of a task by its name in the database.
pub(super) fn control(row: &Row) -> Result<TaskControl> {
    match row.get::<&str, _>("control")? {
        "run" => Ok(TaskControl::Run),
        "paused" => Ok(TaskControl::Paused),
        "cancelled" => Ok(TaskControl::Cancelled),
        other => Err(corrupt(format!("task control {other}"))),
    }
}

pub(super) async fn set(
    pools: &Pools,
    task: TaskId,
    to: TaskControl,
    now: u64,
    actor: Actor,
) -> Result<ControlOutcome> {
    let mut session = pools.begin().await?;
    let row = locking!(
        session,
        "SELECT status, control, exhausted_at FROM tasks WHERE id = $1",
        "FOR UPDATE"
    )
    .bind(task.as_bytes().as_slice())
    .row()
    .await?
    .ok_or_else(|| StoreError::Missing(format!("task {task}")))?;
    let from = control(&row)?;
    if from == to {
        return Ok(ControlOutcome::Unchanged);
    }
    if from == TaskControl::Cancelled {
        return Ok(ControlOutcome::Cancelled);
    }
    if row.get::<&str, _>("status")? == "finished" {
        return Ok(ControlOutcome::Finished);
    }
    if time(&row, "exhausted_at")?.is_some() {
        return Ok(ControlOutcome::Exhausted);
    }
    session
        .query("UPDATE tasks SET control = $2 WHERE id = $1")
        .bind(task.as_bytes().as_slice())
        .bind(to.text())
        .execute()
        .await?;
    let event = match to {
        TaskControl::Run => Event::TaskResumed {},
        TaskControl::Paused => Event::TaskPaused { reason: None },
        TaskControl::Cancelled => Event::TaskCancelled { reason: None },
    };
    // The round's row is locked before the head of the chain, as everywhere.
    let open = match to {
        TaskControl::Cancelled => open_round(&mut session, task).await?,
        TaskControl::Run | TaskControl::Paused => None,
    };
    audit::append(&mut session, Chain::Task(task), &actor.into(), &event).await?;
    if let Some((round, phase)) = open {
        let outcome = Outcome::Failed {
            reason: format!("the task was cancelled by {actor}"),
            culprit: None,
        };
        rounds::conclude(&mut session, (task, round, phase), &outcome, now).await?;
    }
    session.notify(Signal::Changed(task)).await?;
    session.commit().await?;
    Ok(ControlOutcome::Changed)
}

/// The open round of a task that is being cancelled.
async fn open_round(session: &mut Session, task: TaskId) -> Result<Option<(RoundId, PhaseName)>> {
    // The phase is the one that the row has once it is locked: a close that was under way is done.
    let row = locking!(
        session,
        "SELECT id, phase FROM rounds WHERE task = $1 AND state = 'open'",
        "FOR UPDATE"
    )
    .bind(task.as_bytes().as_slice())
    .row()
    .await?;
    row.map(|row| Ok((digest(&row, "id")?, phase(&row, "phase")?)))
        .transpose()
}
