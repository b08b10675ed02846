//! Who was in how many rounds of a task, and how many rounds revealed anything.

use undertone_privacy::Releases;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RosterIndex, TaskId};

use super::Result;
use super::columns::number;
use super::session::Pools;

/// A client's part in the rounds of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Participant {
    /// Its roster index.
    pub client: RosterIndex,
    /// In how many rounds its input was taken, and in how many it is in a published sum.
    pub seen: Releases,
    /// How many of its messages came too late.
    pub late: u64,
}

/// All clients of which anything came, ascending. A phase that is open is not counted yet.
pub(super) async fn of_task(pools: &Pools, task: TaskId) -> Result<Vec<Participant>> {
    let rows = pools
        .read()
        .await?
        .query(
            "SELECT client, \
                 SUM(CASE WHEN attendance.phase = $2 AND late = 0 THEN 1 ELSE 0 END) AS inputs, \
                 SUM(CASE WHEN attendance.phase = $2 AND late = 0 AND state = 'finished' \
                     THEN 1 ELSE 0 END) AS sums, \
                 SUM(CASE WHEN late = 1 THEN 1 ELSE 0 END) AS late \
             FROM rounds JOIN attendance ON attendance.round = rounds.id \
             WHERE rounds.task = $1 GROUP BY client ORDER BY client",
        )
        .bind(task.as_bytes().as_slice())
        .bind(PhaseName::MaskedInput.text())
        .rows()
        .await?;
    let read = |row| {
        Ok(Participant {
            client: RosterIndex(number(row, "client")?),
            seen: Releases {
                inputs: number(row, "inputs")?,
                sums: number(row, "sums")?,
            },
            late: number(row, "late")?,
        })
    };
    rows.iter().map(read).collect()
}

/// In how many rounds of a task that have ended inputs were taken, and sums published.
pub(super) async fn releases(pools: &Pools, task: TaskId) -> Result<Releases> {
    let row = pools
        .read()
        .await?
        .query(
            "SELECT COALESCE((SELECT rounds FROM audit_releases WHERE task = $1), 0) AS inputs, \
                 (SELECT count(*) FROM rounds WHERE task = $1 AND state = 'finished') AS sums",
        )
        .bind(task.as_bytes().as_slice())
        .row()
        .await?;
    let Some(row) = row else {
        return Ok(Releases::default());
    };
    Ok(Releases {
        inputs: number(&row, "inputs")?,
        sums: number(&row, "sums")?,
    })
}
