//! What the service remembers. One method is one protocol step is one transaction.
//!
//! [`AnyStore`] is the store over Postgres, for a service of any number of processes, and over an
//! SQLite file, for one embedded process. Both pass the same conformance suite and keep the same
//! promise: when a method returns `Ok`, what it says is durable.

mod actor;
mod attendance;
mod audit;
mod budget;
mod clock;
mod columns;
mod connect;
mod control;
mod enrolment;
mod history;
mod inputs;
mod leases;
mod listing;
mod messages;
mod optimizer;
mod overview;
mod page_sessions;
mod participation;
mod records;
mod retention;
mod retry;
mod rounds;
mod session;
mod signals;
mod sql;
mod standing;
mod sums;
mod tasks;
mod tokens;
mod unmasking;

use std::future::Future;

pub use actor::Actor;
pub use attendance::{Attended, ClientRound};
pub use connect::Schema;
pub use control::{ControlOutcome, TaskControl};
pub use enrolment::{EnrolOutcome, EnrolmentRecord, NewInvitations};
pub use leases::{Leases, ReplicaId};
pub use listing::{RoundStanding, RoundSummary, TaskSummary};
pub use overview::{EndedRound, TaskOverview};
pub use page_sessions::{NewPageSession, PageSession};
pub use participation::Participant;
pub use records::{
    AuditEntry, GraphSettings, GraphShape, NewRound, NewTask, Outcome, PackedInput, PutOutcome,
    RoundRecord, RoundState, StoredMessage, StoredResult, TaskRecord, TaskSettings, TaskState,
    TaskStatus,
};
pub use retention::Old;
pub use session::PoolUse;
pub use signals::{Listener, Signal};
pub use sql::AnyStore;
pub use standing::{RoundAt, RoundNow, Standing, StandingLine};
pub use sums::{CHUNK, chunk_count, chunk_range};
pub use tokens::{NewToken, TokenRecord};
pub use undertone_federated::ServerOptimizer;
use undertone_privacy::Releases;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::audit::{Chain, Head};
use undertone_protocol::id::{ModelDigest, RosterIndex, RoundId, TaskId};
use undertone_protocol::keys::{IdentityPublicKey, Secret32};
use undertone_protocol::vector::{Ring, RingVector};
pub use unmasking::{ChunkLease, Progress};

use crate::audit::{self as log, Event};
use crate::auth::{SecretHash, TokenId};
use crate::schedule::PastRound;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database answered with an error, or not at all.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The database's schema could not be brought up to date.
    #[error("the database schema does not fit this version: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The database's schema is older than this version, and was not to be changed.
    #[error(
        "the database lacks migrations {missing:?}: run `undertone migrate` on it first, or set \
         migrate_on_start"
    )]
    OldSchema {
        /// What is missing.
        missing: Vec<i64>,
    },
    /// The database's address cannot be used.
    #[error("{url} is not a database address; use postgres://user@host/name or sqlite:PATH")]
    Address {
        /// The address, without its password.
        url: String,
    },
    /// The database cannot be reached, or does not let this user in.
    #[error("cannot use the database at {url}: {reason}")]
    Unreachable {
        /// The address, without its password.
        url: String,
        /// What the driver said.
        reason: String,
    },
    /// A stored value does not decode: the database was changed by something else.
    #[error("the database holds a value that does not decode: {0}")]
    Corrupt(String),
    /// Something of this name is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// A thing that should be there is not.
    #[error("{0} does not exist")]
    Missing(String),
    /// A computation was cut off.
    #[error("a computation was cut off: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// This module's results.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Durable state of tasks and rounds.
///
/// Times are milliseconds since the Unix epoch, given by the caller. Every method is one
/// transaction; rows are locked in the order task, round, sum, unmasked chunks, lease, audit head.
/// What is changed must be there: an unknown task or round is [`StoreError::Missing`].
///
/// A method whose connection breaks while it commits is tried again, and may then find its own
/// work: a message is `Repeated`, and a change says that it was not this call that made it. A
/// caller looks at the state, not at who brought it about.
pub trait Store: Clone + Send + Sync + 'static {
    /// How the connections to the database are used now.
    fn pools(&self) -> Vec<PoolUse>;

    /// Whether the database answers.
    fn ping(&self) -> impl Future<Output = Result<()>> + Send;

    /// The migrations that the database's schema lacks, ascending.
    fn missing_migrations(&self) -> impl Future<Output = Result<Vec<i64>>> + Send;

    /// The database's clock, in milliseconds since the Unix epoch: what all processes of a service
    /// agree on.
    fn now(&self) -> impl Future<Output = Result<u64>> + Send;

    /// Renews the leases that `owner` holds for another `lease_ms` milliseconds, takes over those
    /// that ran out, and takes those of running tasks that nobody has.
    fn renew_leases(
        &self,
        owner: ReplicaId,
        lease_ms: u64,
    ) -> impl Future<Output = Result<Leases>> + Send;

    /// Gives up all leases of `owner`.
    fn release_leases(&self, owner: ReplicaId) -> impl Future<Output = Result<()>> + Send;

    /// Lets the leases of processes that are known to be gone run out now, and returns how many
    /// processes that were: on Postgres those whose [`Listener`] is gone; on SQLite, when `owner`
    /// is `starting`, all others, as one process serves from a file.
    fn bury(&self, owner: ReplicaId, starting: bool) -> impl Future<Output = Result<usize>> + Send;

    /// Listens to the signals of all processes, and shows them that `owner` lives.
    fn listen(&self, owner: ReplicaId) -> impl Future<Output = Result<Listener>> + Send;

    /// Signals to all processes that listen. (Changes of the store signal by themselves.)
    fn signal(&self, signal: Signal) -> impl Future<Output = Result<()>> + Send;

    /// Stores a new task with its first adapter. Returns whether it did: the same task may be there
    /// already.
    ///
    /// Fails with [`StoreError::Exists`] if another task has the id.
    fn create_task(&self, task: &NewTask) -> impl Future<Output = Result<bool>> + Send;

    /// One task.
    fn task(&self, id: TaskId) -> impl Future<Output = Result<Option<TaskRecord>>> + Send;

    /// All tasks, in the order they were made.
    fn tasks(&self) -> impl Future<Output = Result<Vec<TaskRecord>>> + Send;

    /// At most `limit` tasks that were made after the one at place `after`, in that order.
    fn task_page(
        &self,
        after: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<TaskSummary>>> + Send;

    /// At most `limit` rounds of a task with numbers above `after`, in that order. An unknown task
    /// has none.
    fn round_page(
        &self,
        task: TaskId,
        after: u32,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<RoundSummary>>> + Send;

    /// At most `limit` tasks that were made before the one at place `before`, the youngest first,
    /// each with its last round.
    fn task_overviews(
        &self,
        before: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<TaskOverview>>> + Send;

    /// Pauses, resumes or cancels a task. While it is paused no round opens, and one that is open
    /// goes on; cancelling fails the open round, as [`end_round`](Self::end_round) does, and is
    /// for ever.
    fn control_task(
        &self,
        task: TaskId,
        to: TaskControl,
        now: u64,
        actor: Actor,
    ) -> impl Future<Output = Result<ControlOutcome>> + Send;

    /// Stores an admin token. Fails with [`StoreError::Exists`] if the id is taken.
    fn create_token(
        &self,
        token: &NewToken,
        actor: Actor,
    ) -> impl Future<Output = Result<()>> + Send;

    /// One admin token.
    fn token(&self, id: TokenId) -> impl Future<Output = Result<Option<TokenRecord>>> + Send;

    /// All admin tokens, in the order they were made.
    fn tokens(&self) -> impl Future<Output = Result<Vec<TokenRecord>>> + Send;

    /// Revokes an admin token; returns whether it had not been revoked before.
    fn revoke_token(
        &self,
        id: TokenId,
        now: u64,
        actor: Actor,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Notes that an admin token was used.
    fn token_used(&self, id: TokenId, now: u64) -> impl Future<Output = Result<()>> + Send;

    /// Stores one-time enrolment tokens, all or none. Fails with [`StoreError::Exists`] if an id is
    /// taken.
    fn invite(
        &self,
        invitations: &NewInvitations,
        actor: Actor,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Takes up a key that came with an enrolment token, if it is the first with this token, and on
    /// its list.
    fn enrol(
        &self,
        token: (TokenId, SecretHash),
        key: IdentityPublicKey,
        now: u64,
    ) -> impl Future<Output = Result<EnrolOutcome>> + Send;

    /// At most `limit` invitations that were made after the one at place `after`, in that order; of
    /// one list, if one is named.
    fn enrolment_page(
        &self,
        list: Option<&str>,
        after: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<EnrolmentRecord>>> + Send;

    /// Stores a session of the operators' page, and removes those that have ended.
    fn open_page_session(
        &self,
        session: &NewPageSession,
    ) -> impl Future<Output = Result<()>> + Send;

    /// A session of the operators' page by the hash of its secret.
    fn page_session(
        &self,
        hash: SecretHash,
    ) -> impl Future<Output = Result<Option<PageSession>>> + Send;

    /// Ends a session of the operators' page; one that is not there has ended.
    fn close_page_session(&self, hash: SecretHash) -> impl Future<Output = Result<()>> + Send;

    /// The bytes of an adapter of a task.
    fn adapter(
        &self,
        task: TaskId,
        model: ModelDigest,
    ) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send;

    /// What the optimiser of a task kept for the next round; `None` before the first round that
    /// finished, after the last, and where the optimiser keeps nothing.
    fn optimizer_state(&self, task: TaskId)
    -> impl Future<Output = Result<Option<Vec<u8>>>> + Send;

    /// The round for which a client is barred from the task's later rounds, if it is.
    fn barred(
        &self,
        task: TaskId,
        client: RosterIndex,
    ) -> impl Future<Output = Result<Option<RoundId>>> + Send;

    /// Opens a round, if the task is running and neither paused nor cancelled, has no open round,
    /// the round's number is one more than the rounds that ended, and the task's budget, if it has
    /// one, covers it: else the task is stopped. Returns whether it did: another process may have
    /// been first.
    fn open_round(&self, round: &NewRound) -> impl Future<Output = Result<bool>> + Send;

    /// One round.
    fn round(&self, id: RoundId) -> impl Future<Output = Result<Option<RoundRecord>>> + Send;

    /// One round. If it has finished, its sum is left out, as an empty one: it is as long as all
    /// the rest is short, and only whoever asks for it needs it.
    fn round_without_sum(
        &self,
        id: RoundId,
    ) -> impl Future<Output = Result<Option<RoundRecord>>> + Send;

    /// All rounds of a task by number.
    fn rounds(&self, task: TaskId) -> impl Future<Output = Result<Vec<RoundRecord>>> + Send;

    /// Where all tasks that have something to do, and their latest rounds, stand at one moment.
    fn standing(&self) -> impl Future<Output = Result<Standing>> + Send;

    /// Where one task and its latest rounds stand, whether it has something to do or not.
    fn standing_of(&self, task: TaskId) -> impl Future<Output = Result<Vec<StandingLine>>> + Send;

    /// The open round of a task.
    fn open_round_of(
        &self,
        task: TaskId,
    ) -> impl Future<Output = Result<Option<RoundRecord>>> + Send;

    /// Stores one message of a phase other than MaskedInput, if that phase is open.
    ///
    /// A message that was erased when its round ended is not recognised any more: the same bytes
    /// are `NotOpen` then.
    fn put_message(
        &self,
        round: RoundId,
        phase: PhaseName,
        message: &StoredMessage,
    ) -> impl Future<Output = Result<PutOutcome>> + Send;

    /// Adds masked vectors to the running sum and stores their signed headers as the senders'
    /// MaskedInput messages, in one transaction: each if the phase is open and its sender has not
    /// been added yet. Returns what became of each input, in their order.
    ///
    /// Of two inputs of one sender the first counts. Fails with [`StoreError::Corrupt`], and
    /// changes nothing, if a vector is not `length` packed elements of `ring`, or if ring and
    /// length are not those of the inputs before; that they are the round's, the caller has
    /// checked.
    fn put_inputs(
        &self,
        round: RoundId,
        ring: Ring,
        length: usize,
        inputs: &[PackedInput],
    ) -> impl Future<Output = Result<Vec<PutOutcome>>> + Send;

    /// The messages of a phase, ascending by sender. For MaskedInput these are the headers of the
    /// inputs that are in the running sum.
    fn messages(
        &self,
        round: RoundId,
        phase: PhaseName,
    ) -> impl Future<Output = Result<Vec<StoredMessage>>> + Send;

    /// How many messages of a phase are stored.
    fn count(&self, round: RoundId, phase: PhaseName)
    -> impl Future<Output = Result<usize>> + Send;

    /// How many messages of each phase are stored, in phase order.
    fn counts(&self, round: RoundId) -> impl Future<Output = Result<[u32; 5]>> + Send;

    /// The running sum over all inputs that were put: the zero vector if there are none. It is
    /// read chunk by chunk, so it is of one moment only once the phase has closed.
    fn running_sum(
        &self,
        round: RoundId,
        ring: Ring,
        length: usize,
    ) -> impl Future<Output = Result<RingVector>> + Send;

    /// One chunk of the running sum of `length` elements: those that [`chunk_range`] names, of
    /// [`chunk_count`] chunks.
    fn running_sum_range(
        &self,
        round: RoundId,
        ring: Ring,
        length: usize,
        chunk: usize,
    ) -> impl Future<Output = Result<RingVector>> + Send;

    /// Closes phase `from` and opens `to` until `deadline`, if `from` is open and `to` comes right
    /// after it. Returns whether it did. Once it has, no message of `from` is stored any more.
    fn close_phase(
        &self,
        round: RoundId,
        from: PhaseName,
        to: PhaseName,
        deadline: u64,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Closes the Unmask phase, if it is open: no share is taken any more, and the sum is set up to
    /// be unmasked in `chunks` chunks. Returns whether it did.
    fn begin_unmasking(
        &self,
        round: RoundId,
        chunks: usize,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// The rounds with a chunk to unmask that no process is at.
    fn unmasking(&self) -> impl Future<Output = Result<Vec<RoundId>>> + Send;

    /// Leases a chunk that no process is at, for `lease_ms` milliseconds.
    fn lease_chunk(
        &self,
        round: RoundId,
        owner: ReplicaId,
        lease_ms: u64,
    ) -> impl Future<Output = Result<Option<ChunkLease>>> + Send;

    /// Keeps a leased chunk for another `lease_ms` milliseconds; returns whether it still was
    /// `owner`'s to unmask.
    fn renew_chunk(
        &self,
        round: RoundId,
        chunk: usize,
        owner: ReplicaId,
        lease_ms: u64,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Stores a chunk of the sum, packed, without masks. Returns whether it was not there yet: what
    /// a chunk is follows from what is stored, so it does not matter who computed it.
    fn put_unmasked(
        &self,
        round: RoundId,
        chunk: usize,
        packed: &[u8],
    ) -> impl Future<Output = Result<bool>> + Send;

    /// How many chunks of the sum are unmasked.
    fn unmasking_progress(&self, round: RoundId) -> impl Future<Output = Result<Progress>> + Send;

    /// A chunk of the sum, packed, without masks; `None` if it is not there yet, or erased.
    fn unmasked_chunk(
        &self,
        round: RoundId,
        chunk: usize,
    ) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send;

    /// Ends a round that is open in `phase`: stores the outcome, erases masked state and messages
    /// that hold shares (running sum, unmasked chunks, ShareKeys, Unmask), bars the culprit of a failure, moves the task to the new adapter if
    /// there is one, counts the round as ended, and finishes the task after its last round.
    /// Returns whether it did.
    fn end_round(
        &self,
        round: RoundId,
        phase: PhaseName,
        outcome: &Outcome,
        now: u64,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// The last rounds of a task that ended, at most `limit`, the latest first: what the next one
    /// is planned from.
    fn past_rounds(
        &self,
        task: TaskId,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<PastRound>>> + Send;

    /// Notes a straggler: a client's message came after its phase had closed. Returns whether it
    /// is the first of this client in this phase.
    fn note_late(
        &self,
        round: RoundId,
        phase: PhaseName,
        client: RosterIndex,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// At most `limit` rounds of a task with numbers above `after` from which anything of a client
    /// came, in that order.
    fn client_rounds(
        &self,
        task: TaskId,
        client: RosterIndex,
        after: u32,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<ClientRound>>> + Send;

    /// All clients of which anything came in a task, ascending, with the number of rounds that each
    /// was in. A phase that is open is not counted yet.
    fn participants(&self, task: TaskId) -> impl Future<Output = Result<Vec<Participant>>> + Send;

    /// In how many rounds of a task that have ended inputs were taken, and sums published.
    fn releases(&self, task: TaskId) -> impl Future<Output = Result<Releases>> + Send;

    /// When the latest round opened, not before `since`, in which a client's input was taken.
    fn last_input(
        &self,
        task: TaskId,
        client: RosterIndex,
        since: u64,
    ) -> impl Future<Output = Result<Option<u64>>> + Send;

    /// Erases one batch of what is left of things that ended, or expired, before `before`; returns
    /// how many they were: 0 if there are no more, or other processes are at them. The audit log is
    /// never cut.
    fn erase(&self, what: Old, before: u64, now: u64) -> impl Future<Output = Result<u64>> + Send;

    /// Appends an entry to the audit log that records no change of the store itself. (Changes of
    /// the store append theirs in their own transaction.)
    ///
    /// If the connection breaks while the entry is committed it is tried again, and may then stand
    /// there twice.
    fn append_audit(
        &self,
        chain: Chain,
        actor: &log::Actor,
        event: &Event,
    ) -> impl Future<Output = Result<Head>> + Send;

    /// The last entry of a chain; `None` if it has none.
    fn audit_head(&self, chain: Chain) -> impl Future<Output = Result<Option<Head>>> + Send;

    /// All chains of the audit log: tasks' by id, then the service's.
    fn audit_chains(&self) -> impl Future<Output = Result<Vec<Chain>>> + Send;

    /// Up to `limit` entries of a chain, ascending, from number `from` on.
    fn audit_entries(
        &self,
        chain: Chain,
        from: u64,
        limit: u32,
    ) -> impl Future<Output = Result<Vec<AuditEntry>>> + Send;

    /// The seed of the key that signs audit heads, if the database keeps one; `candidate` becomes
    /// that if there was none.
    fn audit_key(
        &self,
        candidate: Option<&Secret32>,
    ) -> impl Future<Output = Result<Option<Secret32>>> + Send;
}
