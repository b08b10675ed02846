//! Clients' messages, one by one.

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RosterIndex, RoundId};

use super::columns::{number, phase};
use super::rounds::missing;
use super::session::{Pools, Session, locking};
use super::{PutOutcome, Result, StoreError, StoredMessage};

pub(super) async fn put(
    pools: &Pools,
    round: RoundId,
    phase: PhaseName,
    message: &StoredMessage,
) -> Result<PutOutcome> {
    if phase == PhaseName::MaskedInput {
        // Its header alone would count a client as a survivor whose vector is not in the sum.
        let what = "the vector of a MaskedInput message".to_owned();
        return Err(StoreError::Missing(what));
    }
    let mut session = pools.begin().await?;
    let outcome = record(&mut session, round, phase, message).await?;
    session.commit().await?;
    Ok(outcome)
}

/// Stores a message, if its phase is open and its sender has none yet.
///
/// Two messages of one sender at once meet at the primary key, where the second waits until the
/// first is durable or undone.
async fn record(
    session: &mut Session,
    round: RoundId,
    phase: PhaseName,
    message: &StoredMessage,
) -> Result<PutOutcome> {
    let open = is_open(session, round, phase).await?;
    if open && insert(session, round, phase, message).await? {
        return Ok(PutOutcome::Accepted);
    }
    stored(session, round, phase, message, open).await
}

/// Whether a phase of a round is open.
///
/// The round's row is held `FOR SHARE`: uploads do not wait for each other, and a phase that
/// closes waits for them.
pub(super) async fn is_open(
    session: &mut Session,
    round: RoundId,
    phase: PhaseName,
) -> Result<bool> {
    let row = locking!(
        session,
        "SELECT state, phase, unmasking_at FROM rounds WHERE id = $1",
        "FOR SHARE"
    )
    .bind(round.as_bytes().as_slice())
    .row()
    .await?
    .ok_or_else(|| missing(round))?;
    // Unmask has no next phase: it is closed once the masks are being taken off.
    let closed = row.get::<Option<i64>, _>("unmasking_at")?.is_some();
    Ok(row.get::<&str, _>("state")? == "open"
        && row.get::<&str, _>("phase")? == phase.text()
        && !closed)
}

/// What becomes of a message that was not inserted.
pub(super) async fn stored(
    session: &mut Session,
    round: RoundId,
    phase: PhaseName,
    message: &StoredMessage,
    open: bool,
) -> Result<PutOutcome> {
    let stored = bytes(session, round, phase, message.sender).await?;
    Ok(match stored {
        Some(bytes) if bytes == message.bytes => PutOutcome::Repeated,
        _ if open => PutOutcome::Conflict,
        _ => PutOutcome::NotOpen,
    })
}

/// Stores a message of a sender that has none yet in the phase; returns whether it did.
pub(super) async fn insert(
    session: &mut Session,
    round: RoundId,
    phase: PhaseName,
    message: &StoredMessage,
) -> Result<bool> {
    let inserted = session
        .query_locking(
            "INSERT INTO messages (round, phase, sender, bytes, received_at) \
             VALUES ($1, $2, $3, $4, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) \
             ON CONFLICT (round, phase, sender) DO NOTHING",
            "INSERT INTO messages (round, phase, sender, bytes, received_at) \
             VALUES ($1, $2, $3, $4, CAST(unixepoch('subsec') * 1000 AS INTEGER)) \
             ON CONFLICT (round, phase, sender) DO NOTHING",
        )
        .bind(round.as_bytes().as_slice())
        .bind(phase.text())
        .bind(i64::from(message.sender.0))
        .bind(message.bytes.as_slice())
        .execute()
        .await?;
    Ok(inserted == 1)
}

async fn bytes(
    session: &mut Session,
    round: RoundId,
    phase: PhaseName,
    sender: RosterIndex,
) -> Result<Option<Vec<u8>>> {
    let row = session
        .query("SELECT bytes FROM messages WHERE round = $1 AND phase = $2 AND sender = $3")
        .bind(round.as_bytes().as_slice())
        .bind(phase.text())
        .bind(i64::from(sender.0))
        .row()
        .await?;
    row.map(|row| row.get("bytes")).transpose()
}

pub(super) async fn all(
    pools: &Pools,
    round: RoundId,
    phase: PhaseName,
) -> Result<Vec<StoredMessage>> {
    let mut session = pools.read().await?;
    let rows = session
        .query("SELECT sender, bytes FROM messages WHERE round = $1 AND phase = $2 ORDER BY sender")
        .bind(round.as_bytes().as_slice())
        .bind(phase.text())
        .rows()
        .await?;
    // A row is dropped when its message is made: they may be many and long.
    rows.into_iter()
        .map(|row| {
            Ok(StoredMessage {
                sender: RosterIndex(number(&row, "sender")?),
                bytes: row.get("bytes")?,
            })
        })
        .collect()
}

pub(super) async fn count(pools: &Pools, round: RoundId, phase: PhaseName) -> Result<usize> {
    let mut session = pools.read().await?;
    let row = session
        .query("SELECT count(*) AS messages FROM messages WHERE round = $1 AND phase = $2")
        .bind(round.as_bytes().as_slice())
        .bind(phase.text())
        .row()
        .await?;
    row.map_or(Ok(0), |row| number(&row, "messages"))
}

/// The same as [`counts`], for whoever looks on.
pub(super) async fn counts_of(pools: &Pools, round: RoundId) -> Result<[u32; 5]> {
    counts(&mut pools.read().await?, round).await
}

/// How many messages of each phase are stored, in phase order.
pub(super) async fn counts(session: &mut Session, round: RoundId) -> Result<[u32; 5]> {
    let rows = session
        .query("SELECT phase, count(*) AS messages FROM messages WHERE round = $1 GROUP BY phase")
        .bind(round.as_bytes().as_slice())
        .rows()
        .await?;
    let mut counts = [0; 5];
    for row in &rows {
        let of = phase(row, "phase")?;
        for (count, _) in counts
            .iter_mut()
            .zip(PhaseName::ALL)
            .filter(|(_, p)| *p == of)
        {
            *count = number(row, "messages")?;
        }
    }
    Ok(counts)
}

/// Who sent a message of a phase, ascending.
pub(super) async fn senders(
    session: &mut Session,
    round: RoundId,
    phase: PhaseName,
) -> Result<Vec<RosterIndex>> {
    let rows = session
        .query("SELECT sender FROM messages WHERE round = $1 AND phase = $2 ORDER BY sender")
        .bind(round.as_bytes().as_slice())
        .bind(phase.text())
        .rows()
        .await?;
    rows.iter()
        .map(|row| number(row, "sender").map(RosterIndex))
        .collect()
}
