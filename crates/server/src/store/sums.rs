//! The running sum of masked vectors: shards of chunks of packed elements.
//!
//! A chunk is 65536 elements at b bits each, 8192 b bytes: 64 KiB to 512 KiB, always whole bytes,
//! so that the chunks of a shard in a row are the packed vector.

use undertone_protocol::id::RoundId;
use undertone_protocol::vector::{Ring, RingVector};

use super::columns::{corrupt, number};
use super::session::{Pools, Session, locking};
use super::{Result, StoreError};

/// Elements in a chunk; a multiple of 8, so that every width packs to whole bytes.
const CHUNK: usize = 1 << 16;

/// A masked vector, cut into chunks before any row is locked.
pub(super) struct Parts(Vec<RingVector>);

impl Parts {
    /// Cuts a vector.
    pub(super) fn of(vector: &RingVector) -> Self {
        let mut elements = vector.elements();
        let chunks = vector.len().div_ceil(CHUNK);
        let part = |_| {
            let chunk: Vec<u64> = elements.by_ref().take(CHUNK).collect();
            RingVector::from_elements(vector.ring(), &chunk)
        };
        Self((0..chunks).map(part).collect())
    }
}

/// Adds a vector to a shard. Chunks are locked in ascending order, so two additions never wait for
/// each other in a circle.
pub(super) async fn add(
    session: &mut Session,
    round: RoundId,
    shard: u32,
    parts: &Parts,
) -> Result<()> {
    for (index, part) in parts.0.iter().enumerate() {
        let index = i64::try_from(index).map_err(corrupt)?;
        let place = Place {
            round,
            shard: i64::from(shard),
            chunk: index,
        };
        // The first addition makes the row. If another one is making it, the insertion waits for
        // that one and does nothing; then the row is there to be locked.
        if !place.update(session, part).await?
            && !place.insert(session, part).await?
            && !place.update(session, part).await?
        {
            return Err(StoreError::Missing(format!(
                "chunk {index} of the running sum of round {round}"
            )));
        }
    }
    Ok(())
}

/// Where a chunk lies.
struct Place {
    round: RoundId,
    shard: i64,
    chunk: i64,
}

impl Place {
    /// Adds to the chunk, if it is there.
    async fn update(&self, session: &mut Session, part: &RingVector) -> Result<bool> {
        let row = locking!(
            session,
            "SELECT bytes FROM sums WHERE round = $1 AND shard = $2 AND chunk = $3",
            "FOR UPDATE"
        )
        .bind(self.round.as_bytes().as_slice())
        .bind(self.shard)
        .bind(self.chunk)
        .row()
        .await?;
        let Some(row) = row else { return Ok(false) };
        let mut sum =
            RingVector::unpack(part.ring(), part.len(), row.get("bytes")?).map_err(corrupt)?;
        sum.add(part).map_err(corrupt)?;
        let updated = session
            .query("UPDATE sums SET bytes = $4 WHERE round = $1 AND shard = $2 AND chunk = $3")
            .bind(self.round.as_bytes().as_slice())
            .bind(self.shard)
            .bind(self.chunk)
            .bind(sum.pack())
            .execute()
            .await?;
        Ok(updated == 1)
    }

    /// Makes the chunk, if it is not there.
    async fn insert(&self, session: &mut Session, part: &RingVector) -> Result<bool> {
        let inserted = session
            .query(
                "INSERT INTO sums (round, shard, chunk, bytes) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (round, shard, chunk) DO NOTHING",
            )
            .bind(self.round.as_bytes().as_slice())
            .bind(self.shard)
            .bind(self.chunk)
            .bind(part.pack())
            .execute()
            .await?;
        Ok(inserted == 1)
    }
}

/// All shards added up. One statement reads them, so that the sum is of one moment.
pub(super) async fn total(
    pools: &Pools,
    round: RoundId,
    ring: Ring,
    length: usize,
) -> Result<RingVector> {
    let mut session = pools.read().await?;
    let rows = session
        .query("SELECT shard, chunk, bytes FROM sums WHERE round = $1 ORDER BY shard, chunk")
        .bind(round.as_bytes().as_slice())
        .rows()
        .await?;
    let mut total = RingVector::zeros(ring, length);
    let mut packed = Vec::with_capacity(ring.packed_length(length));
    let mut rows = rows.iter().peekable();
    while let Some(row) = rows.next() {
        packed.extend_from_slice(row.get("bytes")?);
        let shard: u32 = number(row, "shard")?;
        let next: Option<u32> = rows.peek().map(|next| number(next, "shard")).transpose()?;
        if next != Some(shard) {
            // The length is checked here: a missing chunk does not go unseen.
            let sum = RingVector::unpack(ring, length, &packed).map_err(corrupt)?;
            total.add(&sum).map_err(corrupt)?;
            packed.clear();
        }
    }
    Ok(total)
}
