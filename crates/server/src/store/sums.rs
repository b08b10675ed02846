//! The running sum of masked vectors: shards of chunks of packed elements.
//!
//! A chunk is [`CHUNK`] elements at b bits each, 8192 b bytes: 64 KiB to 512 KiB, always whole
//! bytes, so that the chunks of a shard in a row are the packed vector. A process adds to a shard
//! of its own, so that processes do not wait for each other. How many inputs are in it changes
//! nothing about how much is stored.

use std::ops::Range;

use axum::body::Bytes;
use tokio::sync::mpsc;
use undertone_protocol::id::RoundId;
use undertone_protocol::vector::{Ring, RingVector};

use super::columns::corrupt;
use super::session::{Pools, Session, locking};
use super::{Result, StoreError};
use crate::upload::fault::{self, Point};

/// Elements in a chunk of the running sum; a multiple of 8, so that every width packs to whole
/// bytes.
pub const CHUNK: usize = 1 << 16;

/// How many chunks a vector of `length` elements has.
pub fn chunk_count(length: usize) -> usize {
    length.div_ceil(CHUNK)
}

/// The elements of chunk `chunk` of a vector of `length` elements; empty beyond its end.
pub fn chunk_range(length: usize, chunk: usize) -> Range<usize> {
    let start = chunk.saturating_mul(CHUNK).min(length);
    start..start.saturating_add(CHUNK).min(length)
}

/// Packed vectors of one ring and length that go into the sum together.
pub(super) struct Batch {
    pub(super) ring: Ring,
    pub(super) length: usize,
    pub(super) vectors: Vec<Bytes>,
}

impl Batch {
    /// The sum of one chunk, packed.
    fn chunk(&self, chunk: usize) -> Result<Vec<u8>> {
        let range = chunk_range(self.length, chunk);
        let bytes = self.ring.packed_length(range.start)..self.ring.packed_length(range.end);
        let mut sum = RingVector::zeros(self.ring, range.len());
        for vector in &self.vectors {
            let part = vector
                .get(bytes.clone())
                .ok_or_else(|| corrupt("a masked vector of another length"))?;
            sum.add_packed(0..range.len(), part).map_err(corrupt)?;
        }
        Ok(sum.pack())
    }
}

/// Adds a batch to a shard. Chunks are locked in ascending order, so two additions never wait for
/// each other in a circle.
///
/// The chunks of the batch are added up on a thread of their own, at most one ahead of the
/// database: beside the inputs, a few chunks are in memory, however long the vectors are.
pub(super) async fn add(
    session: &mut Session,
    round: RoundId,
    shard: u32,
    batch: Batch,
) -> Result<()> {
    let (ring, length) = (batch.ring, batch.length);
    let (send, mut sums) = mpsc::channel(1);
    let adding = tokio::task::spawn_blocking(move || {
        // Nobody takes them any more where the transaction has failed.
        (0..chunk_count(length)).all(|chunk| send.blocking_send(batch.chunk(chunk)).is_ok())
    });
    for chunk in 0..chunk_count(length) {
        let Some(sum) = sums.recv().await else { break };
        let place = Place {
            round,
            shard: i64::from(shard),
            chunk: i64::try_from(chunk).map_err(corrupt)?,
            ring,
            length: chunk_range(length, chunk).len(),
        };
        fault::at(Point::BeforeChunk);
        place.add(session, sum?).await?;
        fault::at(Point::AfterChunk);
    }
    if adding.await? {
        return Ok(());
    }
    Err(corrupt("a batch was not added up to its end"))
}

/// Where a chunk lies.
struct Place {
    round: RoundId,
    shard: i64,
    chunk: i64,
    ring: Ring,
    /// Elements.
    length: usize,
}

impl Place {
    /// Adds packed elements to the chunk; the first addition makes its row.
    async fn add(&self, session: &mut Session, part: Vec<u8>) -> Result<()> {
        // If another addition is making the row, the insertion waits for that one and does
        // nothing; then the row is there to be locked.
        let stored = match self.locked(session).await? {
            None if self.insert(session, &part).await? => return Ok(()),
            None => self.locked(session).await?,
            stored => stored,
        };
        let missing = || {
            let Self { chunk, round, .. } = self;
            StoreError::Missing(format!("chunk {chunk} of the running sum of round {round}"))
        };
        let sum = self.sum(stored.ok_or_else(missing)?, part).await?;
        fault::at(Point::ChunkAdded);
        let updated = session
            .query("UPDATE sums SET bytes = $4 WHERE round = $1 AND shard = $2 AND chunk = $3")
            .bind(self.round.as_bytes().as_slice())
            .bind(self.shard)
            .bind(self.chunk)
            .bind(sum)
            .execute()
            .await?;
        if updated == 1 { Ok(()) } else { Err(missing()) }
    }

    /// The chunk, locked until the transaction ends; `None` if it is not there.
    async fn locked(&self, session: &mut Session) -> Result<Option<Vec<u8>>> {
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
        row.map(|row| row.get("bytes")).transpose()
    }

    /// Makes the chunk, if it is not there.
    async fn insert(&self, session: &mut Session, part: &[u8]) -> Result<bool> {
        let inserted = session
            .query(
                "INSERT INTO sums (round, shard, chunk, bytes) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (round, shard, chunk) DO NOTHING",
            )
            .bind(self.round.as_bytes().as_slice())
            .bind(self.shard)
            .bind(self.chunk)
            .bind(part)
            .execute()
            .await?;
        Ok(inserted == 1)
    }

    /// Two packed vectors added up, off the threads that serve requests.
    async fn sum(&self, stored: Vec<u8>, part: Vec<u8>) -> Result<Vec<u8>> {
        let (ring, length) = (self.ring, self.length);
        let sum = tokio::task::spawn_blocking(move || {
            let mut sum = RingVector::unpack(ring, length, &stored)?;
            sum.add_packed(0..length, &part)?;
            Ok::<_, undertone_protocol::ProtocolError>(sum.pack())
        });
        sum.await?.map_err(corrupt)
    }
}

/// All shards of one chunk added up. One statement reads them, so that the sum is of one moment;
/// a chunk that one of the shards lacks does not go unseen.
pub(super) async fn chunk(
    pools: &Pools,
    round: RoundId,
    ring: Ring,
    length: usize,
    chunk: usize,
) -> Result<RingVector> {
    if chunk_range(length, chunk).is_empty() {
        return Ok(RingVector::zeros(ring, 0));
    }
    let mut session = pools.read().await?;
    let rows = session
        .query(
            "SELECT part.bytes AS bytes \
             FROM (SELECT DISTINCT shard FROM sums WHERE round = $1) AS shards \
             LEFT JOIN sums AS part \
             ON part.round = $1 AND part.shard = shards.shard AND part.chunk = $2",
        )
        .bind(round.as_bytes().as_slice())
        .bind(i64::try_from(chunk).map_err(corrupt)?)
        .rows()
        .await?;
    drop(session);
    let length = chunk_range(length, chunk).len();
    let sum = tokio::task::spawn_blocking(move || {
        let mut sum = RingVector::zeros(ring, length);
        for row in rows {
            let bytes: Option<Vec<u8>> = row.get("bytes")?;
            let bytes = bytes.ok_or_else(|| corrupt("a shard of the sum lacks a chunk"))?;
            sum.add_packed(0..length, &bytes).map_err(corrupt)?;
        }
        Ok(sum)
    });
    sum.await?
}

/// All shards added up, chunk by chunk.
pub(super) async fn total(
    pools: &Pools,
    round: RoundId,
    ring: Ring,
    length: usize,
) -> Result<RingVector> {
    let mut packed = Vec::with_capacity(ring.packed_length(length));
    for index in 0..chunk_count(length) {
        let part = chunk(pools, round, ring, length, index).await?;
        packed.extend_from_slice(&part.pack());
    }
    RingVector::unpack(ring, length, &packed).map_err(corrupt)
}
