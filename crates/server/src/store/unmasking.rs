//! The chunks of a sum whose masks are being taken off: leased, done, read back.
//!
//! What a chunk becomes follows from what is stored, so it does not matter who computes it, nor
//! whether two do.

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::RoundId;

use super::columns::{corrupt, digest, number, signed};
use super::rounds::subject;
use super::session::Pools;
use super::{ReplicaId, Result, Signal, attendance, clock};

/// A chunk that a process unmasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLease {
    /// Its place in the sum.
    pub chunk: usize,
    /// Whether another process let it run out.
    pub taken_over: bool,
}

/// How many chunks of a sum there are, and how many of them have no masks any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Unmasked.
    pub done: usize,
    /// All.
    pub total: usize,
}

/// Closes the Unmask phase and sets the chunks up; returns whether it did.
pub(super) async fn begin(pools: &Pools, round: RoundId, chunks: usize) -> Result<bool> {
    let mut session = pools.begin().await?;
    let subject = subject(&mut session, round).await?;
    let now = clock::now(&mut session).await?;
    // Waits for messages that are being stored: they count.
    let begun = session
        .query(
            "UPDATE rounds SET unmasking_at = $3 \
             WHERE id = $1 AND phase = $2 AND state = 'open' AND unmasking_at IS NULL",
        )
        .bind(round.as_bytes().as_slice())
        .bind(PhaseName::Unmask.text())
        .bind(signed(now))
        .execute()
        .await?;
    if begun == 0 {
        return Ok(false);
    }
    session
        .query(
            "INSERT INTO unmasked (round, chunk) \
             WITH RECURSIVE counted (chunk) AS \
                 (SELECT CAST(0 AS BIGINT) UNION ALL SELECT chunk + 1 FROM counted \
                  WHERE chunk + 1 < $2) \
             SELECT $1, chunk FROM counted WHERE chunk < $2",
        )
        .bind(round.as_bytes().as_slice())
        .bind(i64::try_from(chunks).map_err(corrupt)?)
        .execute()
        .await?;
    attendance::closed(&mut session, round, PhaseName::Unmask).await?;
    subject.unmasking(&mut session).await?;
    session.notify(Signal::Changed(subject.task)).await?;
    session.commit().await?;
    Ok(true)
}

/// The rounds that have a chunk which nobody is at.
pub(super) async fn waiting(pools: &Pools) -> Result<Vec<RoundId>> {
    let mut session = pools.read().await?;
    let now = clock::now(&mut session).await?;
    let rows = session
        .query(
            "SELECT DISTINCT round FROM unmasked \
             WHERE bytes IS NULL AND (owner IS NULL OR expires_at <= $1)",
        )
        .bind(signed(now))
        .rows()
        .await?;
    rows.iter().map(|row| digest(row, "round")).collect()
}

/// Leases the first chunk that nobody is at.
pub(super) async fn lease(
    pools: &Pools,
    round: RoundId,
    owner: ReplicaId,
    lease_ms: u64,
) -> Result<Option<ChunkLease>> {
    let mut session = pools.begin().await?;
    let now = clock::now(&mut session).await?;
    let free = session
        .query_locking(
            "SELECT chunk, owner FROM unmasked WHERE round = $1 AND bytes IS NULL \
             AND (owner IS NULL OR expires_at <= $2) ORDER BY chunk LIMIT 1 \
             FOR UPDATE SKIP LOCKED",
            "SELECT chunk, owner FROM unmasked WHERE round = $1 AND bytes IS NULL \
             AND (owner IS NULL OR expires_at <= $2) ORDER BY chunk LIMIT 1",
        )
        .bind(round.as_bytes().as_slice())
        .bind(signed(now))
        .row()
        .await?;
    let Some(free) = free else {
        return Ok(None);
    };
    let chunk: i64 = free.get("chunk")?;
    session
        .query("UPDATE unmasked SET owner = $3, expires_at = $4 WHERE round = $1 AND chunk = $2")
        .bind(round.as_bytes().as_slice())
        .bind(chunk)
        .bind(owner.number())
        .bind(signed(now.saturating_add(lease_ms)))
        .execute()
        .await?;
    session.commit().await?;
    Ok(Some(ChunkLease {
        chunk: usize::try_from(chunk).map_err(corrupt)?,
        taken_over: free.get::<Option<i64>, _>("owner")?.is_some(),
    }))
}

/// Keeps a chunk for another while, unless it is another process's or done.
pub(super) async fn renew(
    pools: &Pools,
    (round, chunk): (RoundId, usize),
    owner: ReplicaId,
    lease_ms: u64,
) -> Result<bool> {
    let mut session = pools.begin().await?;
    let now = clock::now(&mut session).await?;
    let renewed = session
        .query(
            "UPDATE unmasked SET expires_at = $4 \
             WHERE round = $1 AND chunk = $2 AND owner = $3 AND bytes IS NULL",
        )
        .bind(round.as_bytes().as_slice())
        .bind(i64::try_from(chunk).map_err(corrupt)?)
        .bind(owner.number())
        .bind(signed(now.saturating_add(lease_ms)))
        .execute()
        .await?;
    session.commit().await?;
    Ok(renewed == 1)
}

/// Stores a chunk without masks, whoever has its lease; returns whether it was not there yet.
pub(super) async fn put(
    pools: &Pools,
    round: RoundId,
    chunk: usize,
    packed: &[u8],
) -> Result<bool> {
    let mut session = pools.begin().await?;
    let stored = session
        .query(
            "UPDATE unmasked SET bytes = $3, owner = NULL, expires_at = NULL \
             WHERE round = $1 AND chunk = $2 AND bytes IS NULL",
        )
        .bind(round.as_bytes().as_slice())
        .bind(i64::try_from(chunk).map_err(corrupt)?)
        .bind(packed)
        .execute()
        .await?;
    session.commit().await?;
    Ok(stored == 1)
}

/// How far unmasking is.
pub(super) async fn progress(pools: &Pools, round: RoundId) -> Result<Progress> {
    let mut session = pools.read().await?;
    let row = session
        .query("SELECT count(*) AS total, count(bytes) AS done FROM unmasked WHERE round = $1")
        .bind(round.as_bytes().as_slice())
        .row()
        .await?
        .ok_or_else(|| corrupt("a count without a row"))?;
    Ok(Progress {
        done: number(&row, "done")?,
        total: number(&row, "total")?,
    })
}

/// A chunk without masks; `None` if it is not done, or erased.
pub(super) async fn chunk(pools: &Pools, round: RoundId, chunk: usize) -> Result<Option<Vec<u8>>> {
    let mut session = pools.read().await?;
    let row = session
        .query("SELECT bytes FROM unmasked WHERE round = $1 AND chunk = $2")
        .bind(round.as_bytes().as_slice())
        .bind(i64::try_from(chunk).map_err(corrupt)?)
        .row()
        .await?;
    row.map_or(Ok(None), |row| row.get("bytes"))
}
