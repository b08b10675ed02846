//! Tasks and rounds page by page, without the bytes that make them large.

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{Digest, ModelDigest, RoundId, RoundNumber, TaskId};

use super::columns::{corrupt, digest, json, number, phase, signed};
use super::session::{Pools, Row};
use super::tokens::time;
use super::{Result, TaskControl, TaskState, control, tasks};

/// A task as a line of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSummary {
    /// Its place in the order in which tasks were made.
    pub made: u64,
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// The current adapter.
    pub model: ModelDigest,
    /// Where it stands.
    pub state: TaskState,
    /// How many rounds have ended, finished or failed.
    pub rounds_ended: u32,
    /// How many there are in all.
    pub rounds_total: u32,
    /// When it was made.
    pub created_at: u64,
}

/// How a round stands, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoundStanding {
    /// A phase is open.
    Open,
    /// It ended with a sum.
    Finished,
    /// It ended without one.
    Failed,
}

/// A round as a line of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundSummary {
    /// Its id.
    pub id: RoundId,
    /// Its number.
    pub number: RoundNumber,
    /// How it stands.
    pub standing: RoundStanding,
    /// The open phase, or the phase in which it ended.
    pub phase: PhaseName,
    /// When the open phase closes at the latest.
    pub deadline: u64,
    /// When it opened.
    pub opened_at: u64,
    /// When it ended.
    pub ended_at: Option<u64>,
    /// Why it failed.
    pub reason: Option<String>,
    /// How many messages of each phase there were when it ended.
    pub received: Option<[u32; 5]>,
    /// The transcript digest of a sum.
    pub transcript: Option<Digest>,
    /// The adapter that it starts from.
    pub model: Option<ModelDigest>,
    /// When its metadata was erased.
    pub erased_at: Option<u64>,
}

impl RoundSummary {
    /// How many clients vanished before which message: they sent the one before and not this one.
    /// Witnesses are a part of the survivors only, so ConsistencyCheck is not listed, nor is a
    /// phase that the round did not reach.
    pub fn dropouts(&self) -> Option<Vec<(PhaseName, u32)>> {
        let [advertised, shared, masked, _, unmasked] = self.received?;
        let lost = [
            (PhaseName::ShareKeys, advertised, shared),
            (PhaseName::MaskedInput, shared, masked),
            (PhaseName::Unmask, masked, unmasked),
        ];
        let reached = lost.into_iter().filter(|lost| lost.0 <= self.phase);
        Some(
            reached
                .map(|(phase, before, after)| (phase, before.saturating_sub(after)))
                .collect(),
        )
    }

    /// Whether inputs were taken in it: its privacy then counts as spent.
    pub fn took_inputs(&self) -> bool {
        let [_, _, masked, ..] = self.received.unwrap_or_default();
        self.standing == RoundStanding::Finished || masked > 0
    }
}

/// At most `limit` tasks that were made after the one at `after`.
pub(super) async fn tasks(pools: &Pools, after: u64, limit: u32) -> Result<Vec<TaskSummary>> {
    let mut session = pools.read().await?;
    let rows = session
        .query(
            "SELECT made, id, name, model, status, control, exhausted_at, rounds, rounds_ended, \
                 created_at \
             FROM tasks WHERE made > $1 ORDER BY made LIMIT $2",
        )
        .bind(signed(after))
        .bind(i64::from(limit))
        .rows()
        .await?;
    rows.iter().map(task).collect()
}

pub(super) fn task(row: &Row) -> Result<TaskSummary> {
    Ok(TaskSummary {
        made: number(row, "made")?,
        id: digest(row, "id")?,
        name: row.get("name")?,
        model: digest(row, "model")?,
        state: state_of(row)?,
        rounds_ended: number(row, "rounds_ended")?,
        rounds_total: number(row, "rounds")?,
        created_at: number(row, "created_at")?,
    })
}

/// Where the task of a row stands.
pub(super) fn state_of(row: &Row) -> Result<TaskState> {
    let exhausted = time(row, "exhausted_at")?.is_some();
    let (status, control) = (tasks::status(row)?, control::control(row)?);
    Ok(state(status, control, exhausted))
}

/// Where a task stands, from what is left and what is wished. A task that was cancelled in its
/// last round counts as cancelled, and one whose last round used its budget up as finished.
pub(super) fn state(status: super::TaskStatus, control: TaskControl, exhausted: bool) -> TaskState {
    match (control, status) {
        (TaskControl::Cancelled, _) => TaskState::Cancelled,
        (_, super::TaskStatus::Finished) => TaskState::Finished,
        _ if exhausted => TaskState::Exhausted,
        (TaskControl::Paused, _) => TaskState::Paused,
        (TaskControl::Run, _) => TaskState::Running,
    }
}

/// At most `limit` rounds of a task with numbers above `after`.
pub(super) async fn rounds(
    pools: &Pools,
    task: TaskId,
    after: u32,
    limit: u32,
) -> Result<Vec<RoundSummary>> {
    let mut session = pools.read().await?;
    let rows = session
        .query(
            "SELECT id, number, state, phase, deadline, opened_at, ended_at, reason, received, \
                 transcript, model, erased_at \
             FROM rounds WHERE task = $1 AND number > $2 ORDER BY number LIMIT $3",
        )
        .bind(task.as_bytes().as_slice())
        .bind(i64::from(after))
        .bind(i64::from(limit))
        .rows()
        .await?;
    rows.iter().map(round).collect()
}

fn round(row: &Row) -> Result<RoundSummary> {
    let received: Option<&str> = row.get("received")?;
    Ok(RoundSummary {
        id: digest(row, "id")?,
        number: RoundNumber(number(row, "number")?),
        standing: standing(row)?,
        phase: phase(row, "phase")?,
        deadline: number(row, "deadline")?,
        opened_at: number(row, "opened_at")?,
        ended_at: time(row, "ended_at")?,
        reason: row.get("reason")?,
        received: received.map(|_| json(row, "received")).transpose()?,
        transcript: optional_digest(row, "transcript")?,
        model: optional_digest(row, "model")?,
        erased_at: time(row, "erased_at")?,
    })
}

/// How a round stands.
pub(super) fn standing(row: &Row) -> Result<RoundStanding> {
    Ok(match row.get::<&str, _>("state")? {
        "open" => RoundStanding::Open,
        "finished" => RoundStanding::Finished,
        "failed" => RoundStanding::Failed,
        other => return Err(corrupt(format!("round state {other}"))),
    })
}

fn optional_digest<T>(row: &Row, column: &str) -> Result<Option<T>>
where
    T: for<'b> TryFrom<&'b [u8], Error = undertone_protocol::ProtocolError>,
{
    let bytes: Option<Vec<u8>> = row.get(column)?;
    bytes
        .map(|bytes| T::try_from(bytes.as_slice()).map_err(corrupt))
        .transpose()
}
