//! The store over either database.

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{ModelDigest, RosterIndex, RoundId, TaskId};
use undertone_protocol::vector::{Ring, RingVector};

use super::retry::step;
use super::session::Pools;
use super::sums::Parts;
use super::{
    NewRound, NewTask, Outcome, PutOutcome, Result, RoundRecord, Store, StoredMessage, TaskRecord,
    connect, messages, rounds, sums, tasks,
};

/// A [`Store`] in Postgres or in an SQLite file, by its address.
///
/// Cloning is cheap: clones share the connections.
#[derive(Debug, Clone)]
pub struct AnyStore {
    pools: Pools,
}

impl AnyStore {
    /// Opens the database at `url` and brings its schema up to date:
    /// `postgres://user:password@host:port/name`, shared by any number of processes, or
    /// `sqlite:PATH`, a file that is made if need be. One process should serve from such a file;
    /// others may look in, or add a task, at the same time.
    ///
    /// # Errors
    /// [`StoreError::Address`](super::StoreError::Address) for another kind of address,
    /// [`StoreError::Unreachable`](super::StoreError::Unreachable) if the database does not answer
    /// within 5 s or refuses the user, and
    /// [`StoreError::Migration`](super::StoreError::Migration) if its schema is not one that this
    /// version knows. None of them shows the password.
    pub async fn connect(url: &str) -> Result<Self> {
        let pools = connect::open(url).await?;
        Ok(Self { pools })
    }

    /// Closes all connections, once the steps under way are done. Later calls fail.
    pub async fn close(&self) {
        self.pools.close().await;
    }
}

impl Store for AnyStore {
    async fn ping(&self) -> Result<()> {
        self.pools.read().await?.query("SELECT 1").row().await?;
        Ok(())
    }

    async fn create_task(&self, task: &NewTask) -> Result<()> {
        step("create_task", || tasks::create(&self.pools, task)).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>> {
        step("task", || tasks::one(&self.pools, id)).await
    }

    async fn tasks(&self) -> Result<Vec<TaskRecord>> {
        step("tasks", || tasks::all(&self.pools)).await
    }

    async fn adapter(&self, task: TaskId, model: ModelDigest) -> Result<Option<Vec<u8>>> {
        step("adapter", || tasks::adapter(&self.pools, task, model)).await
    }

    async fn barred(&self, task: TaskId, client: RosterIndex) -> Result<Option<RoundId>> {
        step("barred", || tasks::barred(&self.pools, task, client)).await
    }

    async fn open_round(&self, round: &NewRound) -> Result<bool> {
        step("open_round", || rounds::open(&self.pools, round)).await
    }

    async fn round(&self, id: RoundId) -> Result<Option<RoundRecord>> {
        step("round", || rounds::one(&self.pools, id)).await
    }

    async fn rounds(&self, task: TaskId) -> Result<Vec<RoundRecord>> {
        step("rounds", || rounds::of_task(&self.pools, task)).await
    }

    async fn open_round_of(&self, task: TaskId) -> Result<Option<RoundRecord>> {
        step("open_round_of", || rounds::open_of_task(&self.pools, task)).await
    }

    async fn put_message(
        &self,
        round: RoundId,
        phase: PhaseName,
        message: &StoredMessage,
    ) -> Result<PutOutcome> {
        let put = || messages::put(&self.pools, round, phase, message);
        step("put_message", put).await
    }

    async fn put_input(
        &self,
        round: RoundId,
        header: &StoredMessage,
        vector: &RingVector,
    ) -> Result<PutOutcome> {
        let parts = Parts::of(vector);
        let put = || messages::put_input(&self.pools, round, header, &parts);
        step("put_input", put).await
    }

    async fn messages(&self, round: RoundId, phase: PhaseName) -> Result<Vec<StoredMessage>> {
        step("messages", || messages::all(&self.pools, round, phase)).await
    }

    async fn count(&self, round: RoundId, phase: PhaseName) -> Result<usize> {
        step("count", || messages::count(&self.pools, round, phase)).await
    }

    async fn running_sum(&self, round: RoundId, ring: Ring, length: usize) -> Result<RingVector> {
        let total = || sums::total(&self.pools, round, ring, length);
        step("running_sum", total).await
    }

    async fn close_phase(
        &self,
        round: RoundId,
        from: PhaseName,
        to: PhaseName,
        deadline: u64,
    ) -> Result<bool> {
        let close = || rounds::close_phase(&self.pools, round, from, to, deadline);
        step("close_phase", close).await
    }

    async fn end_round(
        &self,
        round: RoundId,
        phase: PhaseName,
        outcome: &Outcome,
        now: u64,
    ) -> Result<bool> {
        let end = || rounds::end(&self.pools, round, phase, outcome, now);
        step("end_round", end).await
    }
}
