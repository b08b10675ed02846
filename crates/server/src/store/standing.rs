//! Where all tasks and their latest rounds stand, by one statement.

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RoundId, TaskId};

use super::columns::{corrupt, digest, number, phase};
use super::session::{Pools, Row};
use super::{Result, TaskState, clock, listing};

/// Where tasks stand at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The database's clock, in milliseconds since the Unix epoch.
    pub now: u64,
    /// One for each task and each of its latest rounds: the one that ended last and the open one.
    pub lines: Vec<StandingLine>,
}

/// Where a task and one of its latest rounds stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingLine {
    /// The task.
    pub task: TaskId,
    /// Where it stands.
    pub state: TaskState,
    /// The round; `None` if the task has none yet.
    pub round: Option<RoundNow>,
}

/// Where a round stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundNow {
    /// Its id.
    pub id: RoundId,
    /// Its number.
    pub number: u32,
    /// How far it is.
    pub at: RoundAt,
}

/// How far a round is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoundAt {
    /// A phase is open.
    Open {
        /// The phase.
        phase: PhaseName,
        /// When it closes at the latest.
        deadline: u64,
        /// How many messages of it are stored.
        received: usize,
    },
    /// It ended with a sum.
    Finished,
    /// It ended without one.
    Failed {
        /// Why.
        reason: String,
    },
}

macro_rules! standing {
    ($which:literal) => {
        concat!(
            "SELECT tasks.id AS task, tasks.status, tasks.control, tasks.exhausted_at, rounds.id AS round, \
                 rounds.number, rounds.state, rounds.phase, rounds.deadline, rounds.reason, \
                 (SELECT count(*) FROM messages WHERE messages.round = rounds.id \
                  AND messages.phase = rounds.phase AND rounds.state = 'open') AS received \
             FROM tasks LEFT JOIN rounds \
             ON rounds.task = tasks.id AND rounds.number >= tasks.rounds_ended WHERE ",
            $which
        )
    };
}

/// All tasks that have something to do.
pub(super) async fn all(pools: &Pools) -> Result<Standing> {
    let mut session = pools.read().await?;
    let now = clock::now(&mut session).await?;
    let rows = session
        .query(standing!(
            "tasks.status = 'running' AND tasks.control <> 'cancelled' \
             AND tasks.exhausted_at IS NULL"
        ))
        .rows()
        .await?;
    let lines = rows.iter().map(line).collect::<Result<_>>()?;
    Ok(Standing { now, lines })
}

/// One task, whether it has or not.
pub(super) async fn of(pools: &Pools, task: TaskId) -> Result<Vec<StandingLine>> {
    let mut session = pools.read().await?;
    let rows = session
        .query(standing!("tasks.id = $1"))
        .bind(task.as_bytes().as_slice())
        .rows()
        .await?;
    rows.iter().map(line).collect()
}

fn line(row: &Row) -> Result<StandingLine> {
    let known: Option<Vec<u8>> = row.get("round")?;
    Ok(StandingLine {
        task: digest(row, "task")?,
        state: listing::state_of(row)?,
        round: known.map(|_| round(row)).transpose()?,
    })
}

fn round(row: &Row) -> Result<RoundNow> {
    let at = match row.get::<&str, _>("state")? {
        "open" => RoundAt::Open {
            phase: phase(row, "phase")?,
            deadline: number(row, "deadline")?,
            received: number(row, "received")?,
        },
        "finished" => RoundAt::Finished,
        "failed" => RoundAt::Failed {
            reason: row.get("reason")?,
        },
        other => return Err(corrupt(format!("round state {other}"))),
    };
    Ok(RoundNow {
        id: digest(row, "round")?,
        number: number(row, "number")?,
        at,
    })
}
