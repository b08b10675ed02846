//! Leases on tasks: which process drives which.
//!
//! A lease says who should do something, not who may: what a process does is a compare-and-set on
//! the round's row, so two that drive one task do no harm. It runs out by the database's clock.
//!
//! On Postgres a process shows that it lives by a lock that its listening connection holds
//! (see [`Listener`](super::Listener)): when it is killed the lock is gone at once, and its leases need
//! not run out first. One that hangs, or is cut off, keeps them until they do.

use std::collections::BTreeSet;
use std::fmt;

use undertone_protocol::id::TaskId;

use super::columns::{digest, signed};
use super::session::{Pools, Session};
use super::{Result, Signal, clock};
use crate::driver::now_ms;

/// One process of the service, by a number that it drew when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReplicaId(i64);

impl ReplicaId {
    /// Draws one.
    pub fn draw() -> Self {
        // Without randomness the time has to do: two that agree are one in the eyes of the leases,
        // which costs double work and nothing else.
        let drawn = getrandom::u64().unwrap_or_else(|_| now_ms());
        Self(drawn.cast_signed())
    }

    /// As it stands in the database.
    pub(super) fn number(self) -> i64 {
        self.0
    }
}

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The leases that a process holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leases {
    /// The tasks that it drives.
    pub tasks: BTreeSet<TaskId>,
    /// How many of them another one let run out.
    pub taken_over: u64,
    /// The database's clock, in milliseconds since the Unix epoch.
    pub now: u64,
}

/// Renews the leases of `owner`, takes over those that ran out, and takes those of running tasks
/// that nobody has.
///
/// Rows are locked by their holder or, where they have run out, by whoever finds them free: no two
/// processes wait for each other.
pub(super) async fn renew(pools: &Pools, owner: ReplicaId, lease_ms: u64) -> Result<Leases> {
    let mut session = pools.begin().await?;
    let now = clock::now(&mut session).await?;
    let expires_at = signed(now.saturating_add(lease_ms));
    // A lease that is hardly used up is not written again.
    let fresh = now.saturating_add(lease_ms / 3 * 2);
    let taken_over = session
        .query_locking(
            "UPDATE leases SET owner = $1, expires_at = $2 WHERE task IN (SELECT task FROM leases \
             WHERE owner <> $1 AND expires_at <= $3 ORDER BY task FOR UPDATE SKIP LOCKED)",
            "UPDATE leases SET owner = $1, expires_at = $2 \
             WHERE owner <> $1 AND expires_at <= $3",
        )
        .bind(owner.0)
        .bind(expires_at)
        .bind(signed(now))
        .execute()
        .await?;
    session
        .query(
            "UPDATE leases SET expires_at = $2 \
             WHERE owner = $1 AND expires_at NOT BETWEEN $3 AND $2",
        )
        .bind(owner.0)
        .bind(expires_at)
        .bind(signed(fresh))
        .execute()
        .await?;
    // In one order, as two processes may find the same new tasks.
    session
        .query(
            "INSERT INTO leases (task, owner, expires_at) \
             SELECT id, $1, $2 FROM tasks WHERE status = 'running' AND control <> 'cancelled' \
             AND exhausted_at IS NULL AND NOT EXISTS (SELECT 1 FROM leases WHERE task = id) ORDER BY id \
             ON CONFLICT (task) DO NOTHING",
        )
        .bind(owner.0)
        .bind(expires_at)
        .execute()
        .await?;
    // Of tasks that are over there is nothing to drive.
    session
        .query(
            "DELETE FROM leases WHERE owner = $1 AND task IN \
             (SELECT id FROM tasks WHERE status = 'finished' OR control = 'cancelled' \
              OR exhausted_at IS NOT NULL)",
        )
        .bind(owner.0)
        .execute()
        .await?;
    let tasks = held(&mut session, owner).await?;
    session.commit().await?;
    Ok(Leases {
        tasks,
        taken_over,
        now,
    })
}

async fn held(session: &mut Session, owner: ReplicaId) -> Result<BTreeSet<TaskId>> {
    let rows = session
        .query("SELECT task FROM leases WHERE owner = $1")
        .bind(owner.0)
        .rows()
        .await?;
    rows.iter().map(|row| digest(row, "task")).collect()
}

/// Gives up all leases of `owner`: others need not wait until they run out.
pub(super) async fn release(pools: &Pools, owner: ReplicaId) -> Result<()> {
    let mut session = pools.begin().await?;
    free_chunks(&mut session, owner.0).await?;
    session
        .query("DELETE FROM leases WHERE owner = $1")
        .bind(owner.0)
        .execute()
        .await?;
    session.notify(Signal::Leases).await?;
    session.commit().await
}

/// Lets the leases of other processes that are known to be gone run out now; returns how many
/// processes that were.
///
/// On Postgres these are the ones whose lock is free. An SQLite file serves one process: whoever
/// had leases before this one started is gone.
pub(super) async fn bury(pools: &Pools, owner: ReplicaId, starting: bool) -> Result<usize> {
    if matches!(pools, Pools::Sqlite { .. }) && !starting {
        return Ok(0);
    }
    let mut session = pools.begin().await?;
    let rows = session
        .query(
            "SELECT owner FROM leases WHERE owner <> $1 \
             UNION SELECT owner FROM unmasked WHERE owner <> $1",
        )
        .bind(owner.0)
        .rows()
        .await?;
    let mut gone = 0;
    for row in rows {
        let other = row.get("owner")?;
        if lives(&mut session, other).await? {
            continue;
        }
        gone += 1;
        free_chunks(&mut session, other).await?;
        session
            .query("UPDATE leases SET expires_at = 0 WHERE owner = $1")
            .bind(other)
            .execute()
            .await?;
    }
    if gone > 0 {
        session.commit().await?;
    }
    Ok(gone)
}

async fn lives(session: &mut Session, owner: i64) -> Result<bool> {
    if session.postgres().is_none() {
        return Ok(false);
    }
    let row = session
        .query("SELECT pg_try_advisory_xact_lock($1) AS free")
        .bind(owner)
        .row()
        .await?;
    row.map_or(Ok(true), |row| Ok(!row.get::<bool, _>("free")?))
}

async fn free_chunks(session: &mut Session, owner: i64) -> Result<()> {
    session
        .query("UPDATE unmasked SET owner = NULL, expires_at = NULL WHERE owner = $1")
        .bind(owner)
        .execute()
        .await?;
    Ok(())
}
