//! What can go wrong: an error that ends a client, a request that failed, a round that was lost.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use undertone_privacy::PrivacyError;
use undertone_protocol::ProtocolError;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RoundId, TaskId};
use undertone_protocol::keys::IdentityPublicKey;

use crate::problem::{Problem, ProblemKind};

/// Why a client could not join, or had to stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server's address cannot be used.
    #[error("the server address {url} cannot be used: {reason}")]
    ServerUrl {
        /// The address.
        url: String,
        /// Why not.
        reason: String,
    },
    /// TLS or the HTTP client could not be set up.
    #[error("TLS could not be set up: {0}")]
    Tls(String),
    /// The admin token cannot be one.
    #[error("the admin token is not one: it starts with ut_; `undertone token create` makes one")]
    AdminToken,
    /// The enrolment token cannot be one.
    #[error("the enrolment token is not one: it starts with ue_; ask whoever invited you")]
    EnrolmentToken,
    /// The server refused, or could not be reached in time.
    #[error("asking for {what} failed: {source}")]
    Request {
        /// What was asked for.
        what: &'static str,
        /// What went wrong.
        source: RequestError,
    },
    /// The server says something about the task that cannot be.
    #[error("the server misbehaves: {0}")]
    Misbehaving(String),
    /// The roster is not signed by the pinned authority, or is no roster.
    #[error("the roster of the task is refused: {0}")]
    Roster(ProtocolError),
    /// The identity is not listed.
    #[error(
        "the identity key {0} is not on the roster of this task; ask the task authority to add it"
    )]
    NotOnRoster(IdentityPublicKey),
    /// An earlier round failed by this client's shares; the service takes no more from it.
    #[error("the service has barred this client from the task: {0}")]
    Barred(Problem),
    /// Another process, or another client of this process, uses the state directory.
    #[error("{} is in use by another client; each client needs a state directory of its own", path.display())]
    StateDirInUse {
        /// The journal.
        path: PathBuf,
    },
    /// The journal could not be read or written.
    #[error("the journal {} failed: {source}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The journal holds something that this client never wrote.
    #[error(
        "the journal {} is damaged at line {line}: {detail}. It is the record of the privacy \
         budget spent on this data and of the rounds answered. Restore it from a backup; without \
         one, use a new state directory only with a budget reduced by all that may have been spent",
        path.display()
    )]
    JournalDamaged {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// The service's audit log does not go on from what this client remembers of it.
    #[error(
        "the service's audit log of task {task} is not the one that this client remembers: {what}. \
         What it remembers stands in {}, what it refused in {}, both signed by the service: show \
         them to the operator and to the task's other clients. Where there is a good reason, such \
         as a database restored from a backup, remove the first file and join again",
        remembered.display(), refused.display()
    )]
    AuditLog {
        /// The task.
        task: TaskId,
        /// What does not fit.
        what: String,
        /// The file with the head that was accepted last.
        remembered: PathBuf,
        /// The file with the head that was refused, if there was one.
        refused: PathBuf,
    },
    /// Another key than the pinned one signs the service's audit log.
    #[error(
        "the service signs its audit log with key {found}, and {expected} is the one it should \
         have; ask its operator which is right"
    )]
    AuditKey {
        /// The key that was pinned.
        expected: IdentityPublicKey,
        /// The key that signed.
        found: IdentityPublicKey,
    },
    /// What is remembered of the audit log could not be read or written.
    #[error(
        "the audit head in {} cannot be used: {reason}; restore it, or remove it to take the \
         service's next one for the first", path.display()
    )]
    AuditMemory {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A step of a round was about to be taken twice, or before the step that it needs.
    #[error("round {round}: the step `{step}` may not be taken now; the journal forbids it")]
    Step {
        /// The round.
        round: RoundId,
        /// The step.
        step: &'static str,
    },
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness: {0}")]
    Randomness(String),
    /// The trainer failed.
    #[error("training failed: {0}")]
    Trainer(#[source] Box<dyn Error + Send + Sync>),
    /// The trainer's update has the wrong length.
    #[error("the trainer returned {found} values, the adapter has {expected}")]
    UpdateLength {
        /// The adapter's length.
        expected: usize,
        /// The update's length.
        found: usize,
    },
    /// The trainer's update cannot be encoded.
    #[error("the trainer's update cannot be encoded: {0}")]
    Update(ProtocolError),
    /// The mechanism sums gradients of single examples, and the trainer gives none.
    #[error(
        "the task's mechanism sums the gradients of single examples, which this trainer does not \
         give; use one that does, or take part in tasks with another mechanism"
    )]
    NoGradients,
    /// A receipt for a spend could not be made.
    #[error("the receipt for a spend could not be made: {0}")]
    Receipt(String),
    /// The ledger cannot be kept, or a budget means nothing.
    #[error("the privacy budget cannot be kept: {0}")]
    Privacy(#[from] PrivacyError),
    /// A computation on a thread of its own panicked: a defect of this crate.
    #[error("a computation of this client was cut off")]
    CutOff,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The server refused.
    #[error("the server refused: {0}")]
    Refused(Problem),
    /// No answer came back, or not all of it.
    #[error("{0}")]
    Transport(String),
    /// The answer is longer than it can be.
    #[error("the server's answer is longer than the {limit} bytes that it can have")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The answer is not what it should be.
    #[error("the server's answer is not {what}: {detail}")]
    Unreadable {
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// Retries went on until the time was up.
    #[error("gave up after {attempts} attempts: {last}")]
    GaveUp {
        /// How often the request was made.
        attempts: u32,
        /// The last failure.
        last: Box<RequestError>,
    },
}

/// The longest rest before this client asks whether the task has ended.
const LONGEST_REST: Duration = Duration::from_hours(1);

impl LostReason {
    /// How long the server wants this client to leave out rounds, if that is why it lost this one.
    pub(crate) fn rest(&self) -> Option<Duration> {
        match self {
            Self::Request(RequestError::Refused(problem))
                if problem.kind == ProblemKind::TooSoon =>
            {
                Some(problem.retry_after?.min(LONGEST_REST))
            }
            _ => None,
        }
    }
}

/// Why a round was lost for this client. The task goes on with the next round.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LostReason {
    /// The round failed for everyone.
    #[error("the round failed: {0}")]
    RoundFailed(String),
    /// The round went on without this client: it was too late.
    #[error("the round went on to {now} while this client waited for {awaited}")]
    Missed {
        /// The phase that this client waited for, or `the result`.
        awaited: String,
        /// Where the round stood.
        now: String,
    },
    /// The phase did not open, or the round not end, within its deadline and the client's patience.
    #[error("the {0} phase overran its deadline by more than this client's patience")]
    Overrun(PhaseName),
    /// A request failed.
    #[error("{0}")]
    Request(#[from] RequestError),
    /// What the server handed out breaks the protocol: the views conflict, signatures or keys are
    /// bad, sets too small.
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    /// What the server says contradicts itself.
    #[error("the server misbehaves: {0}")]
    Misbehaving(String),
}
