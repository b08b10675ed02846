//! Tasks at a glance, the youngest first: each with its last round, its open round, and what its privacy composes.

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::RoundNumber;

use super::columns::{json, number, phase, signed};
use super::listing::{self, RoundStanding, TaskSummary, standing};
use super::session::{Pools, Row};
use super::tokens::time;
use super::{Result, StoreError, TaskSettings};

/// A task as it stands, with what its rounds say of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOverview {
    /// The task.
    pub task: TaskSummary,
    /// Its mechanism.
    pub mechanism: Vec<u8>,
    /// Its settings.
    pub settings: TaskSettings,
    /// In how many of its rounds inputs were taken.
    pub releases: u64,
    /// The last round that ended.
    pub last: Option<EndedRound>,
    /// The round that is open, and its open phase.
    pub open: Option<(RoundNumber, PhaseName)>,
}

/// How a round ended, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedRound {
    /// Its number.
    pub number: RoundNumber,
    /// Finished or failed.
    pub standing: RoundStanding,
    /// Why it failed.
    pub reason: Option<String>,
    /// How many messages of each phase there were.
    pub received: Option<[u32; 5]>,
    /// When it ended.
    pub ended_at: Option<u64>,
}

/// At most `limit` tasks that were made before the one at `before`, the youngest first.
pub(super) async fn tasks(pools: &Pools, before: u64, limit: u32) -> Result<Vec<TaskOverview>> {
    // Rounds are numbered from 1 in the order in which they end.
    let rows = pools
        .read()
        .await?
        .query(
            "SELECT t.made, t.id, t.name, t.model, t.status, t.control, t.exhausted_at, t.rounds, \
                 t.rounds_ended, t.created_at, t.mechanism, t.settings, COALESCE(a.rounds, 0) AS releases, \
                 l.number AS last, l.state, l.reason, l.received, l.ended_at, \
                 o.number AS open, o.phase \
             FROM tasks t LEFT JOIN audit_releases a ON a.task = t.id \
                 LEFT JOIN rounds l ON l.task = t.id AND l.number = t.rounds_ended \
                 LEFT JOIN rounds o ON o.task = t.id AND o.state = 'open' \
             WHERE t.made < $1 ORDER BY t.made DESC LIMIT $2",
        )
        .bind(signed(before))
        .bind(i64::from(limit))
        .rows()
        .await?;
    rows.iter().map(overview).collect()
}

fn overview(row: &Row) -> Result<TaskOverview> {
    let open = round_number(row, "open")?;
    Ok(TaskOverview {
        task: listing::task(row)?,
        mechanism: row.get("mechanism")?,
        settings: json(row, "settings")?,
        releases: number(row, "releases")?,
        last: round_number(row, "last")?
            .map(|number| ended(row, number))
            .transpose()?,
        open: open
            .map(|number| Ok::<_, StoreError>((number, phase(row, "phase")?)))
            .transpose()?,
    })
}

fn ended(row: &Row, number: RoundNumber) -> Result<EndedRound> {
    let received: Option<&str> = row.get("received")?;
    Ok(EndedRound {
        number,
        standing: standing(row)?,
        reason: row.get("reason")?,
        received: received.map(|_| json(row, "received")).transpose()?,
        ended_at: time(row, "ended_at")?,
    })
}

fn round_number(row: &Row, column: &str) -> Result<Option<RoundNumber>> {
    let there: Option<i64> = row.get(column)?;
    there
        .map(|_| Ok(RoundNumber(number(row, column)?)))
        .transpose()
}
