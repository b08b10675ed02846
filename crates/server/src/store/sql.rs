//! The store over either database.

use undertone_privacy::Releases;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::audit::{Chain, Head};
use undertone_protocol::id::{ModelDigest, RosterIndex, RoundId, TaskId};
use undertone_protocol::keys::{IdentityPublicKey, Secret32};
use undertone_protocol::vector::{Ring, RingVector};

use super::connect::Schema;
use super::retry::{answered, step};
use super::session::Pools;
use super::{
    Actor, AuditEntry, ChunkLease, ClientRound, ControlOutcome, EnrolOutcome, EnrolmentRecord,
    Leases, Listener, NewInvitations, NewPageSession, NewRound, NewTask, NewToken, Old, Outcome,
    PackedInput, PageSession, Participant, PoolUse, Progress, PutOutcome, ReplicaId, Result,
    RoundRecord, RoundSummary, Signal, Standing, StandingLine, Store, StoredMessage, TaskControl,
    TaskOverview, TaskRecord, TaskSummary, TokenRecord, attendance, audit, clock, connect, control,
    enrolment, inputs, leases, listing, messages, optimizer, overview, page_sessions,
    participation, retention, rounds, standing, sums, tasks, tokens, unmasking,
};
use crate::audit::{self as log, Event};
use crate::auth::{SecretHash, TokenId};
use crate::schedule::PastRound;

/// A [`Store`] in Postgres or in an SQLite file, by its address.
///
/// Cloning is cheap: clones share the connections.
#[derive(Debug, Clone)]
pub struct AnyStore {
    pools: Pools,
    /// Where this process adds to running sums.
    shard: u32,
}

/// How many shards a running sum has at most, and so how many processes can add to it without
/// waiting for each other.
const SHARDS: u32 = 16;

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
        Self::connect_to(url, Schema::Migrate).await
    }

    /// The same, with a choice of what becomes of an old schema.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and [`StoreError::OldSchema`](super::StoreError::OldSchema).
    pub async fn connect_to(url: &str, schema: Schema) -> Result<Self> {
        let pools = connect::open(url, schema).await?;
        let shard = match pools {
            // Processes that draw the same one wait for each other's transactions, no more.
            Pools::Postgres(_) => getrandom::u32().map_or(0, |drawn| drawn % SHARDS),
            // There is one writer at a time.
            Pools::Sqlite { .. } => 0,
        };
        Ok(Self { pools, shard })
    }

    /// Closes all connections, once the steps under way are done. Later calls fail.
    pub async fn close(&self) {
        self.pools.close().await;
    }
}

impl Store for AnyStore {
    fn pools(&self) -> Vec<PoolUse> {
        self.pools.in_use()
    }

    async fn ping(&self) -> Result<()> {
        let asked = async {
            self.pools.read().await?.query("SELECT 1").row().await?;
            Ok(())
        };
        let result = asked.await;
        answered(&result);
        result
    }

    async fn missing_migrations(&self) -> Result<Vec<i64>> {
        let missing = || connect::missing(&self.pools);
        step("missing_migrations", missing).await
    }

    async fn now(&self) -> Result<u64> {
        let now = || async { clock::now(&mut self.pools.read().await?).await };
        step("now", now).await
    }

    async fn renew_leases(&self, owner: ReplicaId, lease_ms: u64) -> Result<Leases> {
        let renew = || leases::renew(&self.pools, owner, lease_ms);
        step("renew_leases", renew).await
    }

    async fn release_leases(&self, owner: ReplicaId) -> Result<()> {
        let release = || leases::release(&self.pools, owner);
        step("release_leases", release).await
    }

    async fn bury(&self, owner: ReplicaId, starting: bool) -> Result<usize> {
        step("bury", || leases::bury(&self.pools, owner, starting)).await
    }

    async fn listen(&self, owner: ReplicaId) -> Result<Listener> {
        Listener::open(&self.pools, owner).await
    }

    async fn signal(&self, signal: Signal) -> Result<()> {
        let say = || async { self.pools.read().await?.notify(signal).await };
        step("signal", say).await
    }

    async fn create_task(&self, task: &NewTask) -> Result<bool> {
        step("create_task", || tasks::create(&self.pools, task)).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<TaskRecord>> {
        step("task", || tasks::one(&self.pools, id)).await
    }

    async fn tasks(&self) -> Result<Vec<TaskRecord>> {
        step("tasks", || tasks::all(&self.pools)).await
    }

    async fn task_page(&self, after: u64, limit: u32) -> Result<Vec<TaskSummary>> {
        step("task_page", || listing::tasks(&self.pools, after, limit)).await
    }

    async fn round_page(&self, task: TaskId, after: u32, limit: u32) -> Result<Vec<RoundSummary>> {
        let page = || listing::rounds(&self.pools, task, after, limit);
        step("round_page", page).await
    }

    async fn past_rounds(&self, task: TaskId, limit: u32) -> Result<Vec<PastRound>> {
        let past = || attendance::past(&self.pools, task, limit);
        step("past_rounds", past).await
    }

    async fn note_late(
        &self,
        round: RoundId,
        phase: PhaseName,
        client: RosterIndex,
    ) -> Result<bool> {
        let note = || attendance::late(&self.pools, round, phase, client);
        step("note_late", note).await
    }

    async fn client_rounds(
        &self,
        task: TaskId,
        client: RosterIndex,
        after: u32,
        limit: u32,
    ) -> Result<Vec<ClientRound>> {
        let page = || attendance::of_client(&self.pools, task, client, after, limit);
        step("client_rounds", page).await
    }

    async fn participants(&self, task: TaskId) -> Result<Vec<Participant>> {
        let all = || participation::of_task(&self.pools, task);
        step("participants", all).await
    }

    async fn releases(&self, task: TaskId) -> Result<Releases> {
        let count = || participation::releases(&self.pools, task);
        step("releases", count).await
    }

    async fn last_input(
        &self,
        task: TaskId,
        client: RosterIndex,
        since: u64,
    ) -> Result<Option<u64>> {
        let last = || attendance::last_input(&self.pools, task, client, since);
        step("last_input", last).await
    }

    async fn task_overviews(&self, before: u64, limit: u32) -> Result<Vec<TaskOverview>> {
        let page = || overview::tasks(&self.pools, before, limit);
        step("task_overviews", page).await
    }

    async fn control_task(
        &self,
        task: TaskId,
        to: TaskControl,
        now: u64,
        actor: Actor,
    ) -> Result<ControlOutcome> {
        let set = || control::set(&self.pools, task, to, now, actor);
        let set = step("control_task", set).await?;
        if to == TaskControl::Cancelled {
            self.pools.empty_log().await;
        }
        Ok(set)
    }

    async fn create_token(&self, token: &NewToken, actor: Actor) -> Result<()> {
        let create = || tokens::create(&self.pools, token, actor);
        step("create_token", create).await
    }

    async fn token(&self, id: TokenId) -> Result<Option<TokenRecord>> {
        step("token", || tokens::one(&self.pools, id)).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRecord>> {
        step("tokens", || tokens::all(&self.pools)).await
    }

    async fn revoke_token(&self, id: TokenId, now: u64, actor: Actor) -> Result<bool> {
        let revoke = || tokens::revoke(&self.pools, id, now, actor);
        step("revoke_token", revoke).await
    }

    async fn token_used(&self, id: TokenId, now: u64) -> Result<()> {
        step("token_used", || tokens::used(&self.pools, id, now)).await
    }

    async fn invite(&self, invitations: &NewInvitations, actor: Actor) -> Result<()> {
        let invite = || enrolment::invite(&self.pools, invitations, actor);
        step("invite", invite).await
    }

    async fn enrol(
        &self,
        token: (TokenId, SecretHash),
        key: IdentityPublicKey,
        now: u64,
    ) -> Result<EnrolOutcome> {
        let enrol = || enrolment::enrol(&self.pools, token, key, now);
        step("enrol", enrol).await
    }

    async fn enrolment_page(
        &self,
        list: Option<&str>,
        after: u64,
        limit: u32,
    ) -> Result<Vec<EnrolmentRecord>> {
        let page = || enrolment::page(&self.pools, list, after, limit);
        step("enrolment_page", page).await
    }

    async fn open_page_session(&self, session: &NewPageSession) -> Result<()> {
        let open = || page_sessions::open(&self.pools, session);
        step("open_page_session", open).await
    }

    async fn page_session(&self, hash: SecretHash) -> Result<Option<PageSession>> {
        step("page_session", || page_sessions::one(&self.pools, hash)).await
    }

    async fn close_page_session(&self, hash: SecretHash) -> Result<()> {
        let close = || page_sessions::close(&self.pools, hash);
        step("close_page_session", close).await
    }

    async fn adapter(&self, task: TaskId, model: ModelDigest) -> Result<Option<Vec<u8>>> {
        step("adapter", || tasks::adapter(&self.pools, task, model)).await
    }

    async fn optimizer_state(&self, task: TaskId) -> Result<Option<Vec<u8>>> {
        step("optimizer_state", || optimizer::state(&self.pools, task)).await
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

    async fn round_without_sum(&self, id: RoundId) -> Result<Option<RoundRecord>> {
        let one = || rounds::one_without_sum(&self.pools, id);
        step("round_without_sum", one).await
    }

    async fn rounds(&self, task: TaskId) -> Result<Vec<RoundRecord>> {
        step("rounds", || rounds::of_task(&self.pools, task)).await
    }

    async fn standing(&self) -> Result<Standing> {
        step("standing", || standing::all(&self.pools)).await
    }

    async fn standing_of(&self, task: TaskId) -> Result<Vec<StandingLine>> {
        step("standing_of", || standing::of(&self.pools, task)).await
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

    async fn put_inputs(
        &self,
        round: RoundId,
        ring: Ring,
        length: usize,
        inputs: &[PackedInput],
    ) -> Result<Vec<PutOutcome>> {
        let (place, shape) = ((round, self.shard), (ring, length));
        let put = || inputs::put(&self.pools, place, shape, inputs);
        step("put_inputs", put).await
    }

    async fn messages(&self, round: RoundId, phase: PhaseName) -> Result<Vec<StoredMessage>> {
        step("messages", || messages::all(&self.pools, round, phase)).await
    }

    async fn count(&self, round: RoundId, phase: PhaseName) -> Result<usize> {
        step("count", || messages::count(&self.pools, round, phase)).await
    }

    async fn counts(&self, round: RoundId) -> Result<[u32; 5]> {
        step("counts", || messages::counts_of(&self.pools, round)).await
    }

    async fn running_sum(&self, round: RoundId, ring: Ring, length: usize) -> Result<RingVector> {
        let total = || sums::total(&self.pools, round, ring, length);
        step("running_sum", total).await
    }

    async fn running_sum_range(
        &self,
        round: RoundId,
        ring: Ring,
        length: usize,
        chunk: usize,
    ) -> Result<RingVector> {
        let part = || sums::chunk(&self.pools, round, ring, length, chunk);
        step("running_sum_range", part).await
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

    async fn begin_unmasking(&self, round: RoundId, chunks: usize) -> Result<bool> {
        let begin = || unmasking::begin(&self.pools, round, chunks);
        step("begin_unmasking", begin).await
    }

    async fn unmasking(&self) -> Result<Vec<RoundId>> {
        step("unmasking", || unmasking::waiting(&self.pools)).await
    }

    async fn lease_chunk(
        &self,
        round: RoundId,
        owner: ReplicaId,
        lease_ms: u64,
    ) -> Result<Option<ChunkLease>> {
        let lease = || unmasking::lease(&self.pools, round, owner, lease_ms);
        step("lease_chunk", lease).await
    }

    async fn renew_chunk(
        &self,
        round: RoundId,
        chunk: usize,
        owner: ReplicaId,
        lease_ms: u64,
    ) -> Result<bool> {
        let renew = || unmasking::renew(&self.pools, (round, chunk), owner, lease_ms);
        step("renew_chunk", renew).await
    }

    async fn put_unmasked(&self, round: RoundId, chunk: usize, packed: &[u8]) -> Result<bool> {
        let put = || unmasking::put(&self.pools, round, chunk, packed);
        step("put_unmasked", put).await
    }

    async fn unmasking_progress(&self, round: RoundId) -> Result<Progress> {
        let progress = || unmasking::progress(&self.pools, round);
        step("unmasking_progress", progress).await
    }

    async fn unmasked_chunk(&self, round: RoundId, chunk: usize) -> Result<Option<Vec<u8>>> {
        let read = || unmasking::chunk(&self.pools, round, chunk);
        step("unmasked_chunk", read).await
    }

    async fn end_round(
        &self,
        round: RoundId,
        phase: PhaseName,
        outcome: &Outcome,
        now: u64,
    ) -> Result<bool> {
        let end = || rounds::end(&self.pools, round, phase, outcome, now);
        let ended = step("end_round", end).await?;
        self.pools.empty_log().await;
        Ok(ended)
    }

    async fn erase(&self, what: Old, before: u64, now: u64) -> Result<u64> {
        let erase = || retention::erase(&self.pools, what, before, now);
        step("erase", erase).await
    }

    async fn append_audit(&self, chain: Chain, actor: &log::Actor, event: &Event) -> Result<Head> {
        let append = || audit::append_alone(&self.pools, chain, actor, event);
        step("append_audit", append).await
    }

    async fn audit_head(&self, chain: Chain) -> Result<Option<Head>> {
        step("audit_head", || audit::head(&self.pools, chain)).await
    }

    async fn audit_chains(&self) -> Result<Vec<Chain>> {
        step("audit_chains", || audit::chains(&self.pools)).await
    }

    async fn audit_entries(&self, chain: Chain, from: u64, limit: u32) -> Result<Vec<AuditEntry>> {
        let entries = || audit::entries(&self.pools, chain, from, limit);
        step("audit_entries", entries).await
    }

    async fn audit_key(&self, candidate: Option<&Secret32>) -> Result<Option<Secret32>> {
        step("audit_key", || audit::key(&self.pools, candidate)).await
    }
}
