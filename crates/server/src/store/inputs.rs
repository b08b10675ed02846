//! The door through which masked inputs go in: many at once, in one transaction.

use std::collections::{BTreeMap, BTreeSet};

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RosterIndex, RoundId};
use undertone_protocol::vector::Ring;

use super::columns::{corrupt, number};
use super::messages::{self, is_open};
use super::session::{Pools, Session};
use super::sums::{self, Batch};
use super::{PackedInput, PutOutcome, Result};
use crate::telemetry::name;
use crate::upload::fault::{self, Point};

const PHASE: PhaseName = PhaseName::MaskedInput;

/// Stores the headers that are new and adds their vectors to a shard of the running sum: both or
/// neither.
///
/// The round's row is held `FOR SHARE`: processes do not wait for each other, and closing the
/// phase waits for all of them.
pub(super) async fn put(
    pools: &Pools,
    (round, shard): (RoundId, u32),
    (ring, length): (Ring, usize),
    inputs: &[PackedInput],
) -> Result<Vec<PutOutcome>> {
    if inputs
        .iter()
        .any(|input| input.packed.len() != ring.packed_length(length))
    {
        return Err(corrupt("a masked vector of another length"));
    }
    let mut session = pools.begin().await?;
    fault::at(Point::AfterBegin);
    let open = is_open(&mut session, round, PHASE).await?;
    fault::at(Point::AfterRoundLocked);
    // By sender: whoever else inserts some of the same headers does it in the same order.
    let mut candidates = BTreeMap::new();
    for (index, input) in inputs.iter().enumerate() {
        candidates.entry(input.header.sender).or_insert(index);
    }
    let new = if open {
        insert(&mut session, round, inputs, &candidates).await?
    } else {
        BTreeSet::new()
    };
    fault::at(Point::AfterHeaders);
    let accepted = |index, sender| new.contains(&sender) && candidates.get(&sender) == Some(&index);
    let mut outcomes = Vec::with_capacity(inputs.len());
    for (index, input) in inputs.iter().enumerate() {
        outcomes.push(if accepted(index, input.header.sender) {
            PutOutcome::Accepted
        } else {
            messages::stored(&mut session, round, PHASE, &input.header, open).await?
        });
    }
    let vectors = inputs.iter().zip(&outcomes);
    let vectors = vectors.filter(|(_, outcome)| **outcome == PutOutcome::Accepted);
    let vectors: Vec<_> = vectors.map(|(input, _)| input.packed.clone()).collect();
    if !vectors.is_empty() {
        let batch = Batch {
            ring,
            length,
            vectors,
        };
        sums::add(&mut session, round, shard, batch).await?;
    }
    fault::at(Point::BeforeCommit);
    let started = std::time::Instant::now();
    session.commit().await?;
    metrics::histogram!(name::UPLOAD_COMMIT_SECONDS).record(started.elapsed());
    fault::at(Point::AfterCommit);
    Ok(outcomes)
}

/// Stores the headers of senders that have none yet; returns those senders.
async fn insert(
    session: &mut Session,
    round: RoundId,
    inputs: &[PackedInput],
    candidates: &BTreeMap<RosterIndex, usize>,
) -> Result<BTreeSet<RosterIndex>> {
    let headers = candidates
        .values()
        .filter_map(|index| inputs.get(*index))
        .map(|input| &input.header);
    let Some(connection) = session.postgres() else {
        // No network lies in between: one statement a header costs nothing.
        let mut new = BTreeSet::new();
        for header in headers {
            if messages::insert(session, round, PHASE, header).await? {
                new.insert(header.sender);
            }
        }
        return Ok(new);
    };
    let (senders, bytes): (Vec<_>, Vec<_>) = headers
        .map(|header| (i64::from(header.sender.0), header.bytes.as_slice()))
        .unzip();
    let rows = sqlx::query(
        "INSERT INTO messages (round, phase, sender, bytes, received_at) \
         SELECT $1, $2, sender, bytes, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint \
         FROM unnest($3::bigint[], $4::bytea[]) AS new (sender, bytes) \
         ON CONFLICT (round, phase, sender) DO NOTHING RETURNING sender",
    )
    .bind(round.as_bytes().as_slice())
    .bind(PHASE.text())
    .bind(senders)
    .bind(bytes)
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| Ok(RosterIndex(number(&row.into(), "sender")?)))
        .collect()
}
