//! The ledger of a task: how many rounds its budget still covers, and what is done when that is
//! none. In the transactions that open and end rounds, with the task's row locked.

use undertone_privacy::Mechanism;
use undertone_protocol::audit::Chain;
use undertone_protocol::id::TaskId;

use super::columns::{corrupt, json, number, signed};
use super::session::Session;
use super::{Result, StoreError, TaskSettings, audit};
use crate::audit::{Actor, Event, spend};

/// What a task's budget covers.
struct Covered {
    /// In how many rounds inputs were taken.
    taken: u64,
    /// In how many they may be.
    rounds: u64,
    settings: TaskSettings,
    mechanism: Vec<u8>,
}

/// Stops the task if it has a budget and that covers no further round; returns whether it is
/// stopped. Whether it has further rounds, the caller knows.
pub(super) async fn settle(session: &mut Session, task: TaskId, now: u64) -> Result<bool> {
    let Some(covered) = covered(session, task).await? else {
        return Ok(false);
    };
    if covered.taken < covered.rounds {
        return Ok(false);
    }
    let stopped = session
        .query("UPDATE tasks SET exhausted_at = $2 WHERE id = $1 AND exhausted_at IS NULL")
        .bind(task.as_bytes().as_slice())
        .bind(signed(now))
        .execute()
        .await?;
    if stopped == 1 {
        let budget = covered.settings.budget;
        let event = Event::BudgetExhausted {
            rounds: covered.taken,
            budget: serde_json::to_value(budget).map_err(corrupt)?,
            guarantee: spend::guarantee(
                &covered.mechanism,
                covered.taken,
                spend::Terms::of(&covered.settings),
            ),
        };
        audit::append(session, Chain::Task(task), &Actor::current(), &event).await?;
    }
    Ok(true)
}

async fn covered(session: &mut Session, task: TaskId) -> Result<Option<Covered>> {
    let row = session
        .query(
            "SELECT settings, mechanism, COALESCE((SELECT audit_releases.rounds \
                 FROM audit_releases WHERE audit_releases.task = tasks.id), 0) AS taken \
             FROM tasks WHERE id = $1",
        )
        .bind(task.as_bytes().as_slice())
        .row()
        .await?
        .ok_or_else(|| StoreError::Missing(format!("task {task}")))?;
    let settings: TaskSettings = json(&row, "settings")?;
    let Some(budget) = settings.budget else {
        return Ok(None);
    };
    let mechanism: Vec<u8> = row.get("mechanism")?;
    let read: Mechanism = serde_json::from_slice(&mechanism).map_err(corrupt)?;
    // A budget at a unit for which nothing is promised covers nothing: no such task was made.
    let rounds = budget.rounds(&read).unwrap_or(0);
    Ok(Some(Covered {
        taken: number(&row, "taken")?,
        rounds,
        settings,
        mechanism,
    }))
}
