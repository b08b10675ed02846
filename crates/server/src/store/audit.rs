//! The audit log's rows: entries are appended inside the transaction that they record.
//!
//! The head of a chain is the last row that a transaction locks (a task's chain before the
//! service's), so appending never waits in a circle, and entries of one chain get their numbers in
//! the order in which their transactions commit.

use undertone_protocol::audit::{self, Chain, Follower, Head};
use undertone_protocol::id::{Digest, MechanismDigest, RoundId, TaskId};
use undertone_protocol::keys::Secret32;
use zeroize::Zeroizing;

use super::columns::{corrupt, digest, json, number, signed};
use super::session::{Pools, Session, locking};
use super::{AuditEntry, Result, StoreError};
use crate::audit::{Actor, Content, Event, Revealed, canonical, spend};
use crate::driver::now_ms;
use crate::telemetry::name;

/// Appends an entry to a chain, as part of the session's transaction.
pub(super) async fn append(
    session: &mut Session,
    chain: Chain,
    actor: &Actor,
    event: &Event,
) -> Result<Head> {
    let kind = match chain {
        Chain::Service => "service",
        Chain::Task(_) => "task",
    };
    metrics::counter!(name::AUDIT_ENTRIES, "chain" => kind).increment(1);
    let mut follower = lock(session, chain).await?;
    // The time is taken behind the lock: within one process it ascends with the entries.
    let content = Content {
        actor: actor.clone(),
        event: event.clone(),
        time: now_ms(),
    };
    let content = canonical::to_string(&content).map_err(corrupt)?;
    let head = follower.follow(audit::content_digest(content.as_bytes()));
    session
        .query(
            "INSERT INTO audit_entries (chain, sequence, content, digest) VALUES ($1, $2, $3, $4)",
        )
        .bind(chain.to_string())
        .bind(signed(head.sequence))
        .bind(content)
        .bind(head.digest.as_bytes().as_slice())
        .execute()
        .await?;
    session
        .query("UPDATE audit_chains SET entries = $2, head = $3 WHERE chain = $1")
        .bind(chain.to_string())
        .bind(signed(follower.next_sequence()))
        .bind(head.digest.as_bytes().as_slice())
        .execute()
        .await?;
    Ok(head)
}

/// Locks a chain's head, and makes the chain if it has none.
async fn lock(session: &mut Session, chain: Chain) -> Result<Follower> {
    if let Some(follower) = locked(session, chain).await? {
        return Ok(follower);
    }
    let start = Follower::start(chain);
    session
        .query(
            "INSERT INTO audit_chains (chain, entries, head) SELECT $1, 0, $2 \
             WHERE NOT EXISTS (SELECT 1 FROM audit_chains WHERE chain = $1) \
             ON CONFLICT (chain) DO NOTHING",
        )
        .bind(chain.to_string())
        .bind(start.digest().as_bytes().as_slice())
        .execute()
        .await?;
    // Another one may have made it, and appended to it.
    locked(session, chain)
        .await?
        .ok_or_else(|| StoreError::Missing(format!("audit chain {chain}")))
}

async fn locked(session: &mut Session, chain: Chain) -> Result<Option<Follower>> {
    let row = locking!(
        session,
        "SELECT entries, head FROM audit_chains WHERE chain = $1",
        "FOR UPDATE"
    )
    .bind(chain.to_string())
    .row()
    .await?;
    row.map(|row| {
        Ok(Follower::at(
            number(&row, "entries")?,
            digest(&row, "head")?,
        ))
    })
    .transpose()
}

/// Appends an entry that records no change of anything else.
pub(super) async fn append_alone(
    pools: &Pools,
    chain: Chain,
    actor: &Actor,
    event: &Event,
) -> Result<Head> {
    let mut session = pools.begin().await?;
    let head = append(&mut session, chain, actor, event).await?;
    session.commit().await?;
    Ok(head)
}

/// The last entry of a chain.
pub(super) async fn head(pools: &Pools, chain: Chain) -> Result<Option<Head>> {
    let row = pools
        .read()
        .await?
        .query("SELECT entries, head FROM audit_chains WHERE chain = $1")
        .bind(chain.to_string())
        .row()
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Follower::at(number(&row, "entries")?, digest(&row, "head")?).head())
}

/// All chains, the service's last, tasks' by id.
pub(super) async fn chains(pools: &Pools) -> Result<Vec<Chain>> {
    let rows = pools
        .read()
        .await?
        .query("SELECT chain FROM audit_chains ORDER BY length(chain) DESC, chain")
        .rows()
        .await?;
    rows.iter()
        .map(|row| row.get::<&str, _>("chain")?.parse().map_err(corrupt))
        .collect()
}

/// Up to `limit` entries of a chain, from number `from` on.
pub(super) async fn entries(
    pools: &Pools,
    chain: Chain,
    from: u64,
    limit: u32,
) -> Result<Vec<AuditEntry>> {
    let rows = pools
        .read()
        .await?
        .query(
            "SELECT sequence, content, digest FROM audit_entries \
             WHERE chain = $1 AND sequence >= $2 ORDER BY sequence LIMIT $3",
        )
        .bind(chain.to_string())
        .bind(signed(from))
        .bind(i64::from(limit))
        .rows()
        .await?;
    rows.iter()
        .map(|row| {
            Ok(AuditEntry {
                sequence: number(row, "sequence")?,
                content: row.get("content")?,
                digest: digest::<Digest>(row, "digest")?,
            })
        })
        .collect()
}

/// The signing key's seed that is kept here; `candidate` is, if there was none.
pub(super) async fn key(pools: &Pools, candidate: Option<&Secret32>) -> Result<Option<Secret32>> {
    let mut session = pools.begin().await?;
    if let Some(candidate) = candidate {
        session
            .query(
                "INSERT INTO audit_key (one, seed, made_at) VALUES (1, $1, $2) \
                 ON CONFLICT (one) DO NOTHING",
            )
            .bind(candidate.expose().as_slice())
            .bind(signed(now_ms()))
            .execute()
            .await?;
    }
    let row = session
        .query("SELECT seed FROM audit_key WHERE one = 1")
        .row()
        .await?;
    let Some(row) = row else { return Ok(None) };
    let seed: Zeroizing<Vec<u8>> = Zeroizing::new(row.get("seed")?);
    let seed = <[u8; 32]>::try_from(seed.as_slice()).map_err(corrupt)?;
    session.commit().await?;
    Ok(Some(Secret32::from(seed)))
}

/// Appends what a round that has ended cost in privacy: `clients` inputs were taken in it.
pub(super) async fn append_spend(
    session: &mut Session,
    task: TaskId,
    round: RoundId,
    revealed: Revealed,
    clients: u32,
) -> Result<()> {
    let row = session
        .query(
            "SELECT mechanism, settings, (SELECT count(*) FROM rounds WHERE rounds.task = tasks.id \
                 AND rounds.state = 'finished') AS sums FROM tasks WHERE id = $1",
        )
        .bind(task.as_bytes().as_slice())
        .row()
        .await?
        .ok_or_else(|| StoreError::Missing(format!("task {task}")))?;
    let mechanism: Vec<u8> = row.get("mechanism")?;
    let terms = spend::Terms::of(&json(&row, "settings")?);
    let sums = number(&row, "sums")?;
    let more = i64::from(revealed != Revealed::Nothing);
    session
        .query(
            "INSERT INTO audit_releases (task, rounds) VALUES ($1, $2) \
             ON CONFLICT (task) DO UPDATE SET rounds = audit_releases.rounds + $2",
        )
        .bind(task.as_bytes().as_slice())
        .bind(more)
        .execute()
        .await?;
    let row = session
        .query("SELECT rounds FROM audit_releases WHERE task = $1")
        .bind(task.as_bytes().as_slice())
        .row()
        .await?;
    let rounds: u64 = row.map_or(Ok(0), |row| number(&row, "rounds"))?;
    let event = Event::PrivacySpent {
        round: canonical::Hex(round),
        revealed,
        clients,
        rounds,
        guarantee: spend::guarantee(&mechanism, rounds, terms),
        sums: Some(sums),
        mechanism: Some(canonical::Hex(MechanismDigest::of(&mechanism))),
        costs: spend::costs(&mechanism).map_err(corrupt)?,
    };
    append(session, Chain::Task(task), &Actor::current(), &event).await?;
    Ok(())
}
