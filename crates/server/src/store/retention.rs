//! What is left of old rounds, tokens and enrolments is erased, a batch at a time.
//!
//! Any number of processes may do it at once: on Postgres each takes rows that no other one has
//! locked, on SQLite there is one writer. A round's line stays, with who was in it and when
//! ([`attendance`](super::attendance)), its transcript and how it ended; so does every entry of the
//! audit log, which says what was erased.

use undertone_protocol::audit::Chain;
use undertone_protocol::id::TaskId;

use super::columns::{digest, signed};
use super::session::{Pools, Session};
use super::{Result, audit};
use crate::audit::{Actor, Event};

/// What is erased when its time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Old {
    /// Messages, parameters and sums of rounds that have ended.
    Rounds,
    /// Adapters that only old rounds started from. The current one of a task is never erased.
    Adapters,
    /// Enrolment tokens that have expired, with the keys that came with them.
    Enrolments,
    /// Admin tokens that have expired or were revoked.
    Tokens,
}

impl Old {
    /// All of it, in the order in which it is erased.
    pub const ALL: [Self; 4] = [Self::Rounds, Self::Adapters, Self::Enrolments, Self::Tokens];

    /// Its name.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Rounds => "rounds",
            Self::Adapters => "adapters",
            Self::Enrolments => "enrolments",
            Self::Tokens => "tokens",
        }
    }
}

/// How many rounds of one task, or tokens, one transaction erases. A round has up to some thousand
/// messages.
const BATCH: i64 = 20;

/// Erases one batch of what ended before `before`; returns how many rounds, adapters or tokens that
/// were: 0 if there are no more, or others are at them.
pub(super) async fn erase(pools: &Pools, what: Old, before: u64, now: u64) -> Result<u64> {
    let mut session = pools.begin().await?;
    let (chain, erased) = match what {
        Old::Rounds => rounds(&mut session, before, now).await?,
        Old::Adapters => adapters(&mut session, before).await?,
        Old::Enrolments => (Chain::Service, enrolments(&mut session, before).await?),
        Old::Tokens => (Chain::Service, tokens(&mut session, before).await?),
    };
    if erased > 0 {
        let event = Event::Erased {
            what: what.text().to_owned(),
            rows: erased,
            before,
        };
        audit::append(&mut session, chain, &Actor::Retention, &event).await?;
        session.commit().await?;
    }
    Ok(erased)
}

/// Rounds of one task: that of the oldest.
async fn rounds(session: &mut Session, before: u64, now: u64) -> Result<(Chain, u64)> {
    let oldest = session
        .query(
            "SELECT task FROM rounds WHERE erased_at IS NULL AND ended_at < $1 \
             ORDER BY ended_at LIMIT 1",
        )
        .bind(signed(before))
        .row()
        .await?;
    let Some(oldest) = oldest else {
        return Ok((Chain::Service, 0));
    };
    let task: TaskId = digest(&oldest, "task")?;
    let rows = session
        .query_locking(
            "SELECT id FROM rounds WHERE task = $1 AND erased_at IS NULL AND ended_at < $2 \
             ORDER BY number LIMIT $3 FOR UPDATE SKIP LOCKED",
            "SELECT id FROM rounds WHERE task = $1 AND erased_at IS NULL AND ended_at < $2 \
             ORDER BY number LIMIT $3",
        )
        .bind(task.as_bytes().as_slice())
        .bind(signed(before))
        .bind(BATCH)
        .rows()
        .await?;
    let mut erased = 0;
    for row in &rows {
        let round: &[u8] = row.get("id")?;
        for table in [
            "DELETE FROM messages WHERE round = $1",
            "DELETE FROM sums WHERE round = $1",
            "DELETE FROM unmasked WHERE round = $1",
        ] {
            session.query(table).bind(round).execute().await?;
        }
        // What a finished round must have is emptied, not taken away.
        erased += session
            .query(
                "UPDATE rounds SET erased_at = $2, params = $3, \
                     sum = CASE WHEN state = 'finished' THEN $3 ELSE sum END \
                 WHERE id = $1",
            )
            .bind(round)
            .bind(signed(now))
            .bind(&[] as &[u8])
            .execute()
            .await?;
    }
    Ok((Chain::Task(task), erased))
}

/// Adapters of one task, from which only rounds started that ended before.
async fn adapters(session: &mut Session, before: u64) -> Result<(Chain, u64)> {
    let row = session
        .query(
            "SELECT a.task FROM adapters a JOIN tasks t ON t.id = a.task \
             WHERE a.digest <> t.model \
             AND EXISTS (SELECT 1 FROM rounds r WHERE r.task = a.task AND r.model = a.digest) \
             AND NOT EXISTS (SELECT 1 FROM rounds r WHERE r.task = a.task AND r.model = a.digest \
                 AND (r.ended_at IS NULL OR r.ended_at >= $1)) LIMIT 1",
        )
        .bind(signed(before))
        .row()
        .await?;
    let Some(row) = row else {
        return Ok((Chain::Service, 0));
    };
    let task: TaskId = digest(&row, "task")?;
    // A round that ends may take the task back to an adapter of before: then it stays.
    session
        .query_locking(
            "SELECT id FROM tasks WHERE id = $1 FOR UPDATE",
            "SELECT id FROM tasks WHERE id = $1",
        )
        .bind(task.as_bytes().as_slice())
        .row()
        .await?;
    let erased = session
        .query(
            "DELETE FROM adapters WHERE task = $1 \
             AND digest <> (SELECT model FROM tasks WHERE id = $1) \
             AND EXISTS (SELECT 1 FROM rounds r WHERE r.task = $1 AND r.model = adapters.digest) \
             AND NOT EXISTS (SELECT 1 FROM rounds r WHERE r.task = $1 \
                 AND r.model = adapters.digest \
                 AND (r.ended_at IS NULL OR r.ended_at >= $2))",
        )
        .bind(task.as_bytes().as_slice())
        .bind(signed(before))
        .execute()
        .await?;
    Ok((Chain::Task(task), erased))
}

async fn enrolments(session: &mut Session, before: u64) -> Result<u64> {
    let rows = session
        .query_locking(
            "SELECT id FROM enrolment_tokens WHERE expires_at < $1 ORDER BY made LIMIT $2 \
             FOR UPDATE SKIP LOCKED",
            "SELECT id FROM enrolment_tokens WHERE expires_at < $1 ORDER BY made LIMIT $2",
        )
        .bind(signed(before))
        .bind(BATCH)
        .rows()
        .await?;
    let mut erased = 0;
    for row in &rows {
        let token: &[u8] = row.get("id")?;
        session
            .query("DELETE FROM enrolments WHERE token = $1")
            .bind(token)
            .execute()
            .await?;
        erased += session
            .query("DELETE FROM enrolment_tokens WHERE id = $1")
            .bind(token)
            .execute()
            .await?;
    }
    Ok(erased)
}

async fn tokens(session: &mut Session, before: u64) -> Result<u64> {
    session
        .query_locking(
            "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens \
                 WHERE expires_at < $1 OR revoked_at < $1 ORDER BY made LIMIT $2 \
                 FOR UPDATE SKIP LOCKED)",
            "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens \
                 WHERE expires_at < $1 OR revoked_at < $1 ORDER BY made LIMIT $2)",
        )
        .bind(signed(before))
        .bind(BATCH)
        .execute()
        .await
}
