//! What an entry says: who did what, when.
//!
//! The names on the wire are stable: they are what auditors' tools go by. New events and new fields
//! may be added; none changes its meaning.
//!
//! Specification: chapter 19, "Audit log", section 19.5.

use std::future::Future;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{
    Digest, MechanismDigest, ModelDigest, RosterIndex, RoundId, TaskId, TrainingDigest,
};
use undertone_protocol::keys::IdentityPublicKey;

use super::canonical::{Decimal, Hex};
use super::spend::UnitCost;

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Actor {
    /// A process of the service, by itself.
    Service {
        /// Which: made anew at each start.
        process: String,
    },
    /// Someone with the database's address, by the command line.
    CommandLine {
        /// The process.
        process: String,
    },
    /// The holder of an access token.
    Token {
        /// The token's id, not its secret; its `token-made` entry has its name.
        id: String,
    },
    /// The owner of an identity key, which signed the request.
    Key {
        /// The key.
        key: Hex<IdentityPublicKey>,
    },
    /// A client of a task, by its roster index.
    Client {
        /// The index.
        index: u32,
    },
    /// The retention job.
    Retention,
    /// Someone who showed no valid token.
    Unknown,
}

tokio::task_local! {
    static ACTING: Actor;
}

/// Does `work` in the name of `actor`: the entries that it appends name it.
pub async fn acting<F: Future>(actor: Actor, work: F) -> F::Output {
    ACTING.scope(actor, work).await
}

impl Actor {
    /// Who acts now: whom [`acting`] names, else this process of the service.
    pub fn current() -> Self {
        ACTING
            .try_with(Clone::clone)
            .unwrap_or_else(|_| Self::this_process())
    }

    /// This process, as the service.
    pub fn this_process() -> Self {
        let process = process().to_owned();
        Self::Service { process }
    }

    /// This process, as a command that someone ran.
    pub fn command_line() -> Self {
        let process = process().to_owned();
        Self::CommandLine { process }
    }
}

impl From<crate::store::Actor> for Actor {
    fn from(actor: crate::store::Actor) -> Self {
        use crate::store::Actor as By;
        match actor {
            By::Service => Self::this_process(),
            By::Database => Self::command_line(),
            By::Token(id) => Self::Token { id: id.to_string() },
            By::Key(key) => Self::Key { key: Hex(key) },
        }
    }
}

/// The name of this process: its number, and a few digits that tell it from an earlier one with the
/// same number.
pub(crate) fn process() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        // Without randomness the number alone has to do.
        let tail = getrandom::u32().unwrap_or_default();
        format!("{}-{tail:08x}", std::process::id())
    })
}

/// Why a phase closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Closed {
    /// All messages that it waited for were there.
    Count,
    /// Its time was up.
    Deadline,
}

/// What of a round's inputs has left its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Revealed {
    /// No input was taken.
    Nothing,
    /// Masked inputs were taken; no share that could unmask their sum was.
    MaskedInputs,
    /// Shares were taken that may unmask the sum, which was not published.
    UnmaskShares,
    /// The sum was published.
    Sum,
}

/// What one mechanism or a composition of them costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Released {
    /// ε.
    pub epsilon: Decimal,
    /// δ.
    pub delta: Decimal,
}

/// What can be said of the privacy of a task's rounds so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Guarantee {
    /// No differential privacy guarantee can be stated.
    None {
        /// Why.
        reason: String,
    },
    /// Differential privacy, for those who followed the mechanism.
    DifferentialPrivacy {
        /// What one round costs.
        round: Released,
        /// What all rounds so far cost a client that was in every one of them.
        total: Released,
        /// Which data sets count as neighbours.
        adjacency: String,
        /// Whose presence is hidden.
        unit: String,
        /// How ε was computed.
        accountant: String,
        /// What was released in one round, in words.
        mechanism: String,
    },
}

/// Messages that were refused, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The round, if the path named one that exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round: Option<Hex<RoundId>>,
    /// The phase that the message was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The problem's name.
    pub problem: String,
    /// Who sent it, if its signature verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<u32>,
    /// How many.
    pub count: u64,
}

/// One client that was invited to enrol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// The id of its token.
    pub token: String,
    /// Its name, for people.
    pub name: String,
}

/// How an administrator's request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminOutcome {
    /// It was done.
    Done,
    /// It was not allowed.
    Denied,
    /// It was allowed and failed.
    Failed,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Event {
    /// A task was made. Also in the service's chain, so that no task's chain can go missing.
    TaskCreated {
        /// The task.
        task: Hex<TaskId>,
        /// Its name.
        name: String,
        /// Digest of its first adapter.
        model: Hex<ModelDigest>,
        /// Digest of its training settings.
        training: Hex<TrainingDigest>,
        /// Digest of its mechanism.
        mechanism: Hex<MechanismDigest>,
        /// How its rounds are run.
        settings: serde_json::Value,
    },
    /// No round is opened until it is resumed.
    TaskPaused {
        /// Why, in the administrator's words.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reason: Option<String>,
    },
    /// Rounds are opened again.
    TaskResumed {},
    /// No further round is opened, ever.
    TaskCancelled {
        /// Why, in the administrator's words.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        reason: Option<String>,
    },
    /// The task's budget covers no further round: none is opened any more.
    BudgetExhausted {
        /// In how many rounds inputs were taken.
        rounds: u64,
        /// The budget, as in the task's settings.
        budget: serde_json::Value,
        /// What these rounds cost.
        guarantee: Guarantee,
    },
    /// The last round has ended.
    TaskFinished {
        /// How many rounds there were.
        rounds: u32,
    },
    /// A round was opened. Its id is the digest of its parameters.
    RoundOpened {
        /// The round.
        round: Hex<RoundId>,
        /// Its number.
        number: u32,
        /// When AdvertiseKeys closes at the latest.
        deadline: u64,
    },
    /// A phase was closed: no message of it is taken any more.
    PhaseClosed {
        /// The round.
        round: Hex<RoundId>,
        /// The phase.
        phase: String,
        /// How many messages were taken in it.
        received: u32,
        /// Digest of the set of their senders.
        senders: Hex<Digest>,
        /// Why it closed.
        why: Closed,
    },
    /// The masks are being taken off the sum.
    UnmaskBegun {
        /// The round.
        round: Hex<RoundId>,
    },
    /// A round ended with a sum.
    RoundFinished {
        /// The round.
        round: Hex<RoundId>,
        /// Its number.
        number: u32,
        /// How many clients' inputs are in the sum.
        survivors: u32,
        /// Digest of the set of these clients.
        survivors_digest: Hex<Digest>,
        /// The transcript.
        transcript: Hex<Digest>,
        /// How many shares failed their commitment.
        set_aside: u32,
        /// Digest of the adapter before.
        model_before: Hex<ModelDigest>,
        /// Digest of the adapter after.
        model_after: Hex<ModelDigest>,
    },
    /// A round ended without one.
    RoundFailed {
        /// The round.
        round: Hex<RoundId>,
        /// Its number.
        number: u32,
        /// The phase in which it ended.
        phase: String,
        /// Why.
        reason: String,
        /// The client at fault beyond doubt.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        culprit: Option<u32>,
    },
    /// A client has no part in later rounds of the task.
    ClientBarred {
        /// The client.
        client: u32,
        /// The round that it made fail.
        round: Hex<RoundId>,
    },
    /// What a round that has ended cost, and all rounds so far.
    PrivacySpent {
        /// The round.
        round: Hex<RoundId>,
        /// What left the clients.
        revealed: Revealed,
        /// How many clients' inputs were taken.
        clients: u32,
        /// In how many rounds of the task, this one included, inputs were taken.
        rounds: u64,
        /// What can be said of them.
        guarantee: Guarantee,
        /// How many sums of the task were published, this round's included.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        sums: Option<u64>,
        /// Digest of the mechanism.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        mechanism: Option<Hex<MechanismDigest>>,
        /// What one round costs, at each unit at which the mechanism promises anything.
        #[serde(skip_serializing_if = "Vec::is_empty", default)]
        costs: Vec<UnitCost>,
    },
    /// Messages that were refused since the last such entry.
    MessagesRefused {
        /// Counted by round, phase, problem and sender.
        refused: Vec<Refusal>,
        /// How many more were refused, beyond the kinds that one entry lists.
        others: u64,
        /// The time that the entry covers, in milliseconds.
        over_ms: u64,
    },
    /// An administrator did something, or tried to.
    Admin {
        /// What: the method and the path.
        action: String,
        /// How it ended.
        outcome: AdminOutcome,
        /// More, where there is more to say.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        detail: Option<String>,
    },
    /// An access token was made.
    TokenMade {
        /// Its id.
        token: String,
        /// Its name.
        name: String,
        /// What it allows.
        scopes: Vec<String>,
        /// When it expires, if it does.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        expires_at: Option<u64>,
    },
    /// An access token was revoked.
    TokenRevoked {
        /// Its id.
        token: String,
    },
    /// One-time tokens were made, by which clients enrol.
    ClientsInvited {
        /// The list that their keys are for.
        list: String,
        /// The tokens.
        invited: Vec<Invited>,
        /// When they expire.
        expires_at: u64,
    },
    /// A client's key was taken up for a task's roster.
    ClientEnrolled {
        /// The task or the list that it is for.
        list: String,
        /// The client's key.
        key: Hex<IdentityPublicKey>,
        /// Its name, for people.
        name: String,
    },
    /// Data was erased because its time was up.
    Erased {
        /// What.
        what: String,
        /// How many rows.
        rows: u64,
        /// What was older than this went.
        before: u64,
    },
    /// A process of the service started.
    ServiceStarted {
        /// Its version.
        version: String,
        /// Its settings, without secrets.
        settings: serde_json::Value,
        /// The key that signs heads.
        audit_key: Hex<IdentityPublicKey>,
    },
}

impl Event {
    /// The end of a phase.
    pub(crate) fn phase_closed(
        round: RoundId,
        phase: PhaseName,
        senders: &[RosterIndex],
        why: Closed,
    ) -> Self {
        Self::PhaseClosed {
            round: Hex(round),
            phase: phase.text().to_owned(),
            received: count(senders.len()),
            senders: Hex(undertone_protocol::audit::clients_digest(
                senders.iter().copied(),
            )),
            why,
        }
    }
}

/// A number of clients.
pub(crate) fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The content of an entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// Who.
    pub actor: Actor,
    /// What.
    pub event: Event,
    /// When, in milliseconds since the Unix epoch.
    pub time: u64,
}
