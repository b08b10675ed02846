//! What goes into the store and what comes out.

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{Digest, ModelDigest, RosterIndex, RoundId, RoundNumber, TaskId};
use utoipa::ToSchema;

use undertone_federated::ServerOptimizer;

use super::TaskControl;
use super::listing::state;
use crate::budget::TaskBudget;
use crate::schedule::ScheduleSettings;

/// How the rounds of a task are run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSettings {
    /// How many rounds there are, failed ones included: privacy is accounted for all of them.
    pub rounds: u32,
    /// AdvertiseKeys closes once so many clients are there.
    pub cohort: u32,
    /// The fewest survivors whose sum is unmasked; at least the threshold of the cohort.
    pub min_survivors: u32,
    /// Who masks with whom, and against whom that is safe.
    #[serde(default)]
    pub graph: GraphSettings,
    /// How many clients are admitted, and how long phases may take.
    #[serde(default)]
    pub schedule: ScheduleSettings,
    /// Ring width b, 8 to 64.
    pub bits: u8,
    /// How the adapter is moved by the mean update. A bare number, under this name or the older
    /// `server_learning_rate`, is the rate of federated averaging; rate 1, plain averaging, if it
    /// is left out.
    #[serde(
        default,
        alias = "server_learning_rate",
        deserialize_with = "super::optimizer::read"
    )]
    pub server_optimizer: ServerOptimizer,
    /// Phase deadlines in milliseconds, in phase order.
    pub deadlines_ms: [u32; 5],
    /// What all rounds together may cost; without it, as many run as are planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<TaskBudget>,
}

/// The masking graph of a task's rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GraphSettings {
    /// Its shape: complete for cohorts of up to 100 clients, else the ring, if none is set.
    pub shape: Option<GraphShape>,
    /// The fraction of the roster that may be corrupt, 0 to below 1; if none is set, less than a
    /// third of up to 255 members and a tenth of more, which is what clients ask for.
    pub corrupt: Option<f64>,
    /// The fraction of a cohort that may vanish; on the ring, k and t are chosen for it.
    pub dropout: f64,
}

impl Default for GraphSettings {
    fn default() -> Self {
        Self {
            shape: None,
            corrupt: None,
            dropout: 0.1,
        }
    }
}

/// The shape of a masking graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GraphShape {
    /// Everyone masks with everyone: at most 255 clients.
    Complete,
    /// Each masks with its neighbours on a permuted ring.
    Ring,
}

/// A task to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    /// Its id, which the roster binds.
    pub id: TaskId,
    /// Its name, for people.
    pub name: String,
    /// The signed roster, encoded.
    pub roster: Vec<u8>,
    /// The training settings, as handed to clients.
    pub training: Vec<u8>,
    /// The mechanism, as handed to clients.
    pub mechanism: Vec<u8>,
    /// How rounds are run.
    pub settings: TaskSettings,
    /// The first adapter's bytes.
    pub adapter: Vec<u8>,
    /// When the task was made.
    pub created_at: u64,
}

/// Whether a task still has rounds to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskStatus {
    /// Rounds are opened one after the other.
    Running,
    /// All rounds have ended.
    Finished,
}

/// Where a task stands, as an administrator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Rounds are opened one after the other.
    Running,
    /// No round is opened; one that is open goes on.
    Paused,
    /// All rounds have ended.
    Finished,
    /// No round is opened any more.
    Cancelled,
    /// Its privacy budget covers no further round: none is opened any more.
    Exhausted,
}

impl TaskState {
    /// Its name.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Exhausted => "exhausted",
        }
    }

    /// Whether no round will open any more.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled | Self::Exhausted)
    }
}

/// A stored task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// Its id.
    pub id: TaskId,
    /// Its name.
    pub name: String,
    /// The signed roster, encoded.
    pub roster: Vec<u8>,
    /// The training settings.
    pub training: Vec<u8>,
    /// The mechanism.
    pub mechanism: Vec<u8>,
    /// How rounds are run.
    pub settings: TaskSettings,
    /// The current adapter.
    pub model: ModelDigest,
    /// Whether there are rounds to run.
    pub status: TaskStatus,
    /// What an administrator wants of it.
    pub control: TaskControl,
    /// How many rounds have ended, finished or failed.
    pub rounds_ended: u32,
    /// When it was made.
    pub created_at: u64,
    /// When its privacy budget was found to cover no further round.
    pub exhausted_at: Option<u64>,
}

impl TaskRecord {
    /// Where it stands.
    pub fn state(&self) -> TaskState {
        state(self.status, self.control, self.exhausted_at.is_some())
    }
}

/// A round to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRound {
    /// Its id.
    pub id: RoundId,
    /// Its task.
    pub task: TaskId,
    /// Its number, from 1.
    pub number: RoundNumber,
    /// Its parameters, encoded.
    pub params: Vec<u8>,
    /// When it opens.
    pub opened_at: u64,
    /// When AdvertiseKeys closes at the latest.
    pub deadline: u64,
    /// AdvertiseKeys closes once so many clients are there.
    pub admitted: u32,
    /// How long a client rests from the opening of a round that took its input to that of the
    /// next, in milliseconds.
    pub min_interval_ms: u64,
}

/// Where a round stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoundState {
    /// A phase is open until its deadline.
    Open {
        /// The phase.
        phase: PhaseName,
        /// When it closes at the latest.
        deadline: u64,
    },
    /// It ended with a sum.
    Finished(StoredResult),
    /// It ended without one.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A stored round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoundRecord {
    /// Its id.
    pub id: RoundId,
    /// Its task.
    pub task: TaskId,
    /// Its number.
    pub number: RoundNumber,
    /// Its parameters, encoded.
    pub params: Vec<u8>,
    /// Where it stands.
    pub state: RoundState,
    /// When it opened.
    pub opened_at: u64,
    /// AdvertiseKeys closes once so many clients are there; none in rounds of earlier versions.
    pub admitted: Option<u32>,
    /// How long a client rests from the opening of a round that took its input to that of the
    /// next, in milliseconds.
    pub min_interval_ms: u64,
    /// When its Unmask phase closed: since then the masks are taken off, until it ends.
    pub unmasking_at: Option<u64>,
    /// When it ended.
    pub ended_at: Option<u64>,
    /// When its parameters, messages and sum were erased.
    pub erased_at: Option<u64>,
}

/// A client's message as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Who sent it.
    pub sender: RosterIndex,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A masked input that passed every check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedInput {
    /// Its signed header.
    pub header: StoredMessage,
    /// The masked vector, packed.
    pub packed: Bytes,
}

/// What became of a message that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutOutcome {
    /// It is stored.
    Accepted,
    /// The same bytes were stored before; nothing changed.
    Repeated,
    /// Other bytes of this sender were stored before; nothing changed.
    Conflict,
    /// The phase is not the open one; nothing changed. Where the very bytes were stored while it
    /// was open, the outcome is `Repeated` instead.
    NotOpen,
}

/// The public result of a finished round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredResult {
    /// The sum, packed.
    pub sum: Vec<u8>,
    /// Who is in it.
    pub survivors: Vec<RosterIndex>,
    /// The transcript digest.
    pub transcript: Digest,
    /// Shares that failed their commitment, as (holder, dealer).
    pub set_aside: Vec<(RosterIndex, RosterIndex)>,
}

/// How a round ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With a sum, and the adapter that follows from it.
    Finished {
        /// The public result.
        result: StoredResult,
        /// The new adapter's bytes.
        adapter: Vec<u8>,
        /// What the server's optimiser keeps for the next round; empty if it keeps nothing.
        optimizer: Vec<u8>,
    },
    /// Without one.
    Failed {
        /// Why.
        reason: String,
        /// Who made it fail, beyond doubt: barred from later rounds of the task.
        culprit: Option<RosterIndex>,
    },
}

/// A stored entry of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Its number in its chain, from 0.
    pub sequence: u64,
    /// Its content, canonical JSON.
    pub content: String,
    /// Its digest as it is stored; [`Follower`](undertone_protocol::audit::Follower) computes it.
    pub digest: Digest,
}
