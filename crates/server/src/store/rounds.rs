//! Rounds: opened, moved from phase to phase, ended.
//!
//! Every change is a compare-and-set on the round's row. On Postgres the `UPDATE` waits for the
//! uploads that hold the row `FOR SHARE`, then sees the row again as it is: what was acknowledged
//! before is in, what comes after finds the phase closed.

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{ModelDigest, RoundId, RoundNumber, TaskId};

use super::columns::{
    corrupt, digest, indices, indices_to_json, number, pairs, pairs_to_json, phase, signed, to_json,
};
use super::history::{self, Subject};
use super::session::{Pools, Row, Session, locking};
use super::tokens::time;
use super::{
    NewRound, Outcome, Result, RoundRecord, RoundState, Signal, StoreError, StoredResult,
    TaskState, attendance, budget, listing, messages, optimizer, tasks,
};

pub(super) async fn open(pools: &Pools, round: &NewRound) -> Result<bool> {
    let mut session = pools.begin().await?;
    let task = locking!(
        session,
        "SELECT status, control, exhausted_at, rounds_ended, model FROM tasks WHERE id = $1",
        "FOR UPDATE"
    )
    .bind(round.task.as_bytes().as_slice())
    .row()
    .await?
    .ok_or_else(|| missing_task(round.task))?;
    let ended: u32 = number(&task, "rounds_ended")?;
    let running = listing::state_of(&task)? == TaskState::Running;
    if !running || Some(round.number.0) != ended.checked_add(1) {
        return Ok(false);
    }
    // The end of the last round has looked already; a later version may account otherwise.
    if budget::settle(&mut session, round.task, round.opened_at).await? {
        session.notify(Signal::Changed(round.task)).await?;
        session.commit().await?;
        return Ok(false);
    }
    // Conflicts with a round that is open, has this id, or has this number.
    let opened = session
        .query(
            "INSERT INTO rounds (id, task, number, params, state, phase, deadline, opened_at, \
                 model, admitted, min_interval_ms) \
             VALUES ($1, $2, $3, $4, 'open', $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
        )
        .bind(round.id.as_bytes().as_slice())
        .bind(round.task.as_bytes().as_slice())
        .bind(i64::from(round.number.0))
        .bind(round.params.as_slice())
        .bind(PhaseName::AdvertiseKeys.text())
        .bind(signed(round.deadline))
        .bind(signed(round.opened_at))
        .bind(task.get::<&[u8], _>("model")?)
        .bind(i64::from(round.admitted))
        .bind(signed(round.min_interval_ms))
        .execute()
        .await?;
    if opened == 1 {
        let (phase, deadline) = (PhaseName::AdvertiseKeys, round.deadline);
        attendance::opened(&mut session, round.id, phase, deadline, round.admitted).await?;
        history::opened(&mut session, round).await?;
        session.notify(Signal::Changed(round.task)).await?;
    }
    session.commit().await?;
    Ok(opened == 1)
}

pub(super) async fn one(pools: &Pools, id: RoundId) -> Result<Option<RoundRecord>> {
    let mut session = pools.read().await?;
    let row = session
        .query("SELECT * FROM rounds WHERE id = $1")
        .bind(id.as_bytes().as_slice())
        .row()
        .await?;
    row.as_ref().map(record).transpose()
}

pub(super) async fn one_without_sum(pools: &Pools, id: RoundId) -> Result<Option<RoundRecord>> {
    let mut session = pools.read().await?;
    let row = session
        .query(
            "SELECT id, task, number, params, state, phase, deadline, opened_at, ended_at, \
                 min_interval_ms, admitted, unmasking_at, erased_at, survivors, transcript, set_aside, reason, \
                 substr(sum, 1, 0) AS sum \
             FROM rounds WHERE id = $1",
        )
        .bind(id.as_bytes().as_slice())
        .row()
        .await?;
    row.as_ref().map(record).transpose()
}

pub(super) async fn of_task(pools: &Pools, task: TaskId) -> Result<Vec<RoundRecord>> {
    let mut session = pools.read().await?;
    let rows = session
        .query("SELECT * FROM rounds WHERE task = $1 ORDER BY number")
        .bind(task.as_bytes().as_slice())
        .rows()
        .await?;
    rows.iter().map(record).collect()
}

pub(super) async fn open_of_task(pools: &Pools, task: TaskId) -> Result<Option<RoundRecord>> {
    let mut session = pools.read().await?;
    let row = session
        .query("SELECT * FROM rounds WHERE task = $1 AND state = 'open'")
        .bind(task.as_bytes().as_slice())
        .row()
        .await?;
    row.as_ref().map(record).transpose()
}

pub(super) async fn close_phase(
    pools: &Pools,
    round: RoundId,
    from: PhaseName,
    to: PhaseName,
    deadline: u64,
) -> Result<bool> {
    let follows = PhaseName::ALL
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if (*a, *b) == (from, to)));
    let mut session = pools.begin().await?;
    let subject = subject(&mut session, round).await?;
    if !follows {
        return Ok(false);
    }
    let closed = session
        .query(
            "UPDATE rounds SET phase = $3, deadline = $4 \
             WHERE id = $1 AND phase = $2 AND state = 'open'",
        )
        .bind(round.as_bytes().as_slice())
        .bind(from.text())
        .bind(to.text())
        .bind(signed(deadline))
        .execute()
        .await?;
    if closed == 1 {
        // Who answered in a phase is awaited in the next.
        let received = attendance::closed(&mut session, round, from).await?;
        attendance::opened(&mut session, round, to, deadline, received).await?;
        subject.closed(&mut session, from).await?;
        session.notify(Signal::Changed(subject.task)).await?;
    }
    session.commit().await?;
    Ok(closed == 1)
}

pub(super) async fn end(
    pools: &Pools,
    round: RoundId,
    phase: PhaseName,
    outcome: &Outcome,
    now: u64,
) -> Result<bool> {
    let mut session = pools.begin().await?;
    let task = subject(&mut session, round).await?.task;
    locking!(session, "SELECT id FROM tasks WHERE id = $1", "FOR UPDATE")
        .bind(task.as_bytes().as_slice())
        .row()
        .await?
        .ok_or_else(|| missing_task(task))?;
    if !conclude(&mut session, (task, round, phase), outcome, now).await? {
        return Ok(false);
    }
    session.notify(Signal::Changed(task)).await?;
    session.commit().await?;
    Ok(true)
}

/// Ends a round whose task is locked; returns whether it was open in `phase`.
pub(super) async fn conclude(
    session: &mut Session,
    (task, round, phase): (TaskId, RoundId, PhaseName),
    outcome: &Outcome,
    now: u64,
) -> Result<bool> {
    let subject = subject(session, round).await?;
    let row = session
        .query("SELECT model, rounds, rounds_ended FROM tasks WHERE id = $1")
        .bind(task.as_bytes().as_slice())
        .row()
        .await?
        .ok_or_else(|| missing_task(task))?;
    let before: ModelDigest = digest(&row, "model")?;
    let rounds: u32 = number(&row, "rounds")?;
    let last = number::<u32>(&row, "rounds_ended")?.checked_add(1) == Some(rounds);
    if !store_outcome(session, round, phase, outcome, now).await? {
        return Ok(false);
    }
    let model = match outcome {
        Outcome::Finished { adapter, .. } => ModelDigest::of(adapter),
        Outcome::Failed { .. } => before,
    };
    let models = (before, model);
    attendance::concluded(session, round, phase).await?;
    subject.ended(session, phase, outcome, models).await?;
    erase(session, round).await?;
    match outcome {
        Outcome::Finished {
            adapter, optimizer, ..
        } => {
            tasks::insert_adapter(session, task, model, adapter).await?;
            optimizer::keep(session, task, optimizer, last).await?;
            session
                .query("UPDATE tasks SET model = $2 WHERE id = $1")
                .bind(task.as_bytes().as_slice())
                .bind(model.as_bytes().as_slice())
                .execute()
                .await?;
        }
        Outcome::Failed { culprit, .. } => {
            if let Some(client) = culprit {
                tasks::bar(session, task, *client, round).await?;
            }
        }
    }
    session
        .query(
            "UPDATE tasks SET rounds_ended = rounds_ended + 1, \
                 status = CASE WHEN rounds_ended + 1 = rounds THEN 'finished' ELSE 'running' END \
             WHERE id = $1",
        )
        .bind(task.as_bytes().as_slice())
        .execute()
        .await?;
    if last {
        subject.task_finished(session, rounds).await?;
    } else {
        budget::settle(session, task, now).await?;
    }
    Ok(true)
}

/// Writes how the round ended, if it is open in `phase`.
async fn store_outcome(
    session: &mut Session,
    round: RoundId,
    phase: PhaseName,
    outcome: &Outcome,
    now: u64,
) -> Result<bool> {
    let (state, reason, result) = match outcome {
        Outcome::Finished { result, .. } => ("finished", None, Some(result)),
        Outcome::Failed { reason, .. } => ("failed", Some(reason.as_str()), None),
    };
    let survivors = result.map(|r| indices_to_json(&r.survivors)).transpose()?;
    let set_aside = result.map(|r| pairs_to_json(&r.set_aside)).transpose()?;
    let received = messages::counts(session, round).await?;
    let ended = session
        .query(
            "UPDATE rounds SET state = $3, ended_at = $4, reason = $5, \
                 sum = $6, survivors = $7, transcript = $8, set_aside = $9, received = $10 \
             WHERE id = $1 AND phase = $2 AND state = 'open'",
        )
        .bind(round.as_bytes().as_slice())
        .bind(phase.text())
        .bind(state)
        .bind(signed(now))
        .bind(reason)
        .bind(result.map(|r| r.sum.as_slice()))
        .bind(survivors)
        .bind(result.map(|r| r.transcript.as_bytes().as_slice()))
        .bind(set_aside)
        .bind(to_json(&received)?)
        .execute()
        .await?;
    Ok(ended == 1)
}

/// Erases what could still tell about one client: masked state, and the messages that hold shares.
/// Keys, headers and consistency signatures are public and stay for audit.
async fn erase(session: &mut Session, round: RoundId) -> Result<()> {
    session
        .query("DELETE FROM sums WHERE round = $1")
        .bind(round.as_bytes().as_slice())
        .execute()
        .await?;
    session
        .query("DELETE FROM unmasked WHERE round = $1")
        .bind(round.as_bytes().as_slice())
        .execute()
        .await?;
    session
        .query("DELETE FROM messages WHERE round = $1 AND phase IN ($2, $3)")
        .bind(round.as_bytes().as_slice())
        .bind(PhaseName::ShareKeys.text())
        .bind(PhaseName::Unmask.text())
        .execute()
        .await?;
    Ok(())
}

/// The task of a round, and what is said of the round. Task and number never change, and the
/// deadline only with the phase, which is compared later; so the row need not be locked: this keeps
/// the lock order of task before round.
pub(super) async fn subject(session: &mut Session, round: RoundId) -> Result<Subject> {
    let row = session
        .query("SELECT task, number, deadline, unmasking_at FROM rounds WHERE id = $1")
        .bind(round.as_bytes().as_slice())
        .row()
        .await?
        .ok_or_else(|| missing(round))?;
    Ok(Subject {
        task: digest(&row, "task")?,
        round,
        number: number(&row, "number")?,
        deadline: number(&row, "deadline")?,
        unmasking: row.get::<Option<i64>, _>("unmasking_at")?.is_some(),
    })
}

/// The error for a round that is not there.
pub(super) fn missing(round: RoundId) -> StoreError {
    StoreError::Missing(format!("round {round}"))
}

fn missing_task(task: TaskId) -> StoreError {
    StoreError::Missing(format!("task {task}"))
}

fn record(row: &Row) -> Result<RoundRecord> {
    let state = match row.get::<&str, _>("state")? {
        "open" => RoundState::Open {
            phase: phase(row, "phase")?,
            deadline: number(row, "deadline")?,
        },
        "finished" => RoundState::Finished(StoredResult {
            sum: row.get("sum")?,
            survivors: indices(row, "survivors")?,
            transcript: digest(row, "transcript")?,
            set_aside: pairs(row, "set_aside")?,
        }),
        "failed" => RoundState::Failed {
            reason: row.get("reason")?,
        },
        other => return Err(corrupt(format!("round state {other}"))),
    };
    let admitted: Option<i64> = row.get("admitted")?;
    Ok(RoundRecord {
        id: digest(row, "id")?,
        task: digest(row, "task")?,
        number: RoundNumber(number(row, "number")?),
        params: row.get("params")?,
        state,
        opened_at: number(row, "opened_at")?,
        min_interval_ms: number(row, "min_interval_ms")?,
        admitted: admitted.map(u32::try_from).transpose().map_err(corrupt)?,
        unmasking_at: time(row, "unmasking_at")?,
        ended_at: time(row, "ended_at")?,
        erased_at: time(row, "erased_at")?,
    })
}
