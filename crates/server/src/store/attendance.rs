//! Who answered when: what each phase took, and each client's part in each round.
//!
//! Written in the transactions that open and close phases, by the database's clock. It stays when
//! a round's messages are erased: which rounds a client was in is what its owner, or an auditor,
//! may ask years later.

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RosterIndex, RoundId, RoundNumber, TaskId};

use super::columns::{digest, number, phase, signed};
use super::session::{Pools, Row, Session};
use super::tokens::time;
use super::{Result, RoundStanding, clock, listing};
use crate::schedule::{self, PastPhase, PastRound};

/// A client's part in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attended {
    /// Milliseconds from the phase's opening to its message.
    pub latency_ms: u64,
    /// Whether the phase had closed: the message was refused.
    pub late: bool,
}

/// A client's part in a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRound {
    /// The round.
    pub id: RoundId,
    /// Its number.
    pub number: RoundNumber,
    /// How it stands.
    pub standing: RoundStanding,
    /// When it opened.
    pub opened_at: u64,
    /// When it ended.
    pub ended_at: Option<u64>,
    /// What came from the client, in phase order.
    pub phases: [Option<Attended>; 5],
}

impl ClientRound {
    /// Whether the client's input is in the sum, or would be if the round had finished.
    pub fn gave_input(&self) -> bool {
        let [_, _, input, ..] = self.phases;
        input.is_some_and(|input| !input.late)
    }
}

/// A phase opened, and awaits so many messages until `deadline`.
pub(super) async fn opened(
    session: &mut Session,
    round: RoundId,
    phase: PhaseName,
    deadline: u64,
    expected: u32,
) -> Result<()> {
    let now = clock::now(session).await?;
    session
        .query(
            "INSERT INTO phases (round, phase, opened_at, allowed_ms, expected) \
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(round.as_bytes().as_slice())
        .bind(phase.text())
        .bind(signed(now))
        .bind(signed(deadline.saturating_sub(now)))
        .bind(i64::from(expected))
        .execute()
        .await?;
    Ok(())
}

/// A phase closed: who answered in it is kept. Returns how many did; of a phase that had closed
/// before, nothing changes.
pub(super) async fn closed(session: &mut Session, round: RoundId, phase: PhaseName) -> Result<u32> {
    let now = clock::now(session).await?;
    let received = session
        .query(
            "INSERT INTO attendance (round, client, phase, latency_ms, late) \
             SELECT messages.round, sender, messages.phase, \
                 CASE WHEN received_at > opened_at THEN received_at - opened_at ELSE 0 END, 0 \
             FROM messages JOIN phases \
                 ON phases.round = messages.round AND phases.phase = messages.phase \
             WHERE messages.round = $1 AND messages.phase = $2 AND received_at IS NOT NULL \
                 AND closed_at IS NULL",
        )
        .bind(round.as_bytes().as_slice())
        .bind(phase.text())
        .execute()
        .await?;
    let received = u32::try_from(received).unwrap_or(u32::MAX);
    session
        .query(
            "UPDATE phases SET closed_at = $3, received = $4 \
             WHERE round = $1 AND phase = $2 AND closed_at IS NULL",
        )
        .bind(round.as_bytes().as_slice())
        .bind(phase.text())
        .bind(signed(now))
        .bind(i64::from(received))
        .execute()
        .await?;
    Ok(received)
}

/// The round ended in `phase`. Comes before its messages are erased.
pub(super) async fn concluded(
    session: &mut Session,
    round: RoundId,
    phase: PhaseName,
) -> Result<()> {
    closed(session, round, phase).await?;
    for phase in PhaseName::ALL {
        let rows = session
            .query("SELECT latency_ms FROM attendance WHERE round = $1 AND phase = $2")
            .bind(round.as_bytes().as_slice())
            .bind(phase.text())
            .rows()
            .await?;
        let latencies: Result<Vec<u64>> =
            rows.iter().map(|row| number(row, "latency_ms")).collect();
        let Some(latency) = schedule::latency(&mut latencies?) else {
            continue;
        };
        session
            .query("UPDATE phases SET latency_ms = $3 WHERE round = $1 AND phase = $2")
            .bind(round.as_bytes().as_slice())
            .bind(phase.text())
            .bind(signed(latency))
            .execute()
            .await?;
    }
    Ok(())
}

/// Notes a straggler: a message came after its phase had closed. Returns whether it is the first
/// of this client in this phase.
pub(super) async fn late(
    pools: &Pools,
    round: RoundId,
    phase: PhaseName,
    client: RosterIndex,
) -> Result<bool> {
    let mut session = pools.begin().await?;
    let now = clock::now(&mut session).await?;
    let noted = session
        .query(
            "INSERT INTO attendance (round, client, phase, latency_ms, late) \
             SELECT round, CAST($3 AS BIGINT), phase, \
                 CASE WHEN $4 > opened_at THEN $4 - opened_at ELSE 0 END, 1 \
             FROM phases WHERE round = $1 AND phase = $2 AND closed_at IS NOT NULL \
             ON CONFLICT (round, client, phase) DO NOTHING",
        )
        .bind(round.as_bytes().as_slice())
        .bind(phase.text())
        .bind(i64::from(client.0))
        .bind(signed(now))
        .execute()
        .await?;
    session.commit().await?;
    Ok(noted == 1)
}

/// The last rounds of a task that ended, at most `limit`, the latest first. Rounds from before
/// attendance was kept are left out.
pub(super) async fn past(pools: &Pools, task: TaskId, limit: u32) -> Result<Vec<PastRound>> {
    let mut session = pools.read().await?;
    let rows = session
        .query(
            "SELECT number, phases.phase AS phase, allowed_ms, expected, \
                 phases.received AS received, latency_ms \
             FROM phases JOIN rounds ON rounds.id = phases.round \
             WHERE round IN (SELECT id FROM rounds WHERE task = $1 AND state <> 'open' \
                 ORDER BY number DESC LIMIT $2) \
             ORDER BY number DESC",
        )
        .bind(task.as_bytes().as_slice())
        .bind(i64::from(limit))
        .rows()
        .await?;
    let mut past: Vec<[Option<PastPhase>; 5]> = Vec::new();
    let mut last = None;
    for row in &rows {
        let this: u32 = number(row, "number")?;
        if last.replace(this) != Some(this) {
            past.push([None; 5]);
        }
        if let Some(phases) = past.last_mut() {
            put(phases, phase(row, "phase")?, past_phase(row)?);
        }
    }
    Ok(past.into_iter().map(PastRound::of).collect())
}

/// Puts a value where its phase stands.
fn put<T>(phases: &mut [Option<T>; 5], phase: PhaseName, value: T) {
    let mut places = phases.iter_mut().zip(PhaseName::ALL);
    if let Some((place, _)) = places.find(|(_, at)| *at == phase) {
        *place = Some(value);
    }
}

fn past_phase(row: &Row) -> Result<PastPhase> {
    let allowed: u64 = number(row, "allowed_ms")?;
    Ok(PastPhase {
        allowed_ms: u32::try_from(allowed).unwrap_or(u32::MAX),
        latency_ms: time(row, "latency_ms")?,
        expected: number(row, "expected")?,
        received: number(row, "received")?,
    })
}

/// At most `limit` rounds of a task with numbers above `after` from which anything of the client
/// came, in that order.
pub(super) async fn of_client(
    pools: &Pools,
    task: TaskId,
    client: RosterIndex,
    after: u32,
    limit: u32,
) -> Result<Vec<ClientRound>> {
    let mut session = pools.read().await?;
    let rows = session
        .query(
            "SELECT id, number, state, opened_at, ended_at, attendance.phase AS phase, \
                 latency_ms, late \
             FROM rounds JOIN attendance ON attendance.round = rounds.id \
             WHERE client = $2 AND id IN (SELECT id FROM rounds WHERE task = $1 AND number > $3 \
                 AND EXISTS (SELECT 1 FROM attendance WHERE round = rounds.id AND client = $2) \
                 ORDER BY number LIMIT $4) \
             ORDER BY number",
        )
        .bind(task.as_bytes().as_slice())
        .bind(i64::from(client.0))
        .bind(i64::from(after))
        .bind(i64::from(limit))
        .rows()
        .await?;
    let mut rounds: Vec<ClientRound> = Vec::new();
    for row in &rows {
        let id: RoundId = digest(row, "id")?;
        if rounds.last().is_none_or(|last| last.id != id) {
            rounds.push(ClientRound {
                id,
                number: RoundNumber(number(row, "number")?),
                standing: listing::standing(row)?,
                opened_at: number(row, "opened_at")?,
                ended_at: time(row, "ended_at")?,
                phases: [None; 5],
            });
        }
        let attended = Attended {
            latency_ms: number(row, "latency_ms")?,
            late: number::<u8>(row, "late")? == 1,
        };
        if let Some(round) = rounds.last_mut() {
            put(&mut round.phases, phase(row, "phase")?, attended);
        }
    }
    Ok(rounds)
}

/// When the latest round opened, not before `since`, in which the client's input was taken.
pub(super) async fn last_input(
    pools: &Pools,
    task: TaskId,
    client: RosterIndex,
    since: u64,
) -> Result<Option<u64>> {
    let mut session = pools.read().await?;
    let row = session
        .query(
            "SELECT max(opened_at) AS opened_at FROM rounds \
             WHERE task = $1 AND opened_at >= $3 AND EXISTS ( \
                 SELECT 1 FROM attendance WHERE round = rounds.id AND client = $2 \
                     AND phase = $4 AND late = 0)",
        )
        .bind(task.as_bytes().as_slice())
        .bind(i64::from(client.0))
        .bind(signed(since))
        .bind(PhaseName::MaskedInput.text())
        .row()
        .await?;
    row.map_or(Ok(None), |row| time(&row, "opened_at"))
}
