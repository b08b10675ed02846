//! The server's resources: paths, sizes, and the JSON that they hold.
//!
//! Specification: chapter 14, "HTTP binding", sections 14.1 to 14.4.

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{Digest, RosterIndex, RoundId, RoundNumber, TaskId};

use crate::error::RequestError;
use crate::heads::AuditHead;
use crate::http::{Http, Method, Request};
use crate::observer::Observer;

/// The longest time that a server holds a long poll.
pub(crate) const LONG_POLL: Duration = Duration::from_secs(30);

/// The largest JSON that describes one thing.
const SMALL_JSON: usize = 64 * 1024;

/// Everything of one round that grows with its directory: 254 neighbours' entries, shares and
/// proofs, and one bit a client; about 300 KiB each for a million clients.
pub(crate) const DIRECTORY_LIMIT: usize = 1 << 20;

/// A roster of about a million members.
pub(crate) const ROSTER_LIMIT: usize = 1 << 25;

/// Round parameters: 233 bytes today.
pub(crate) const PARAMS_LIMIT: usize = 4096;

/// Training settings.
pub(crate) const TRAINING_LIMIT: usize = 1 << 20;

/// A mechanism.
pub(crate) const MECHANISM_LIMIT: usize = SMALL_JSON;

/// An adapter of so many values: 4 bytes each, and its tensors' names and shapes.
pub(crate) fn adapter_limit(values: usize) -> usize {
    values.saturating_mul(4).saturating_add(1 << 20)
}

/// A task as the server describes it. Nothing in it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TaskInfo {
    /// The task's id.
    #[serde(deserialize_with = "from_text")]
    pub task: TaskId,
    /// Its name.
    pub name: String,
    /// Whether it is still running.
    pub status: TaskStatus,
    /// How many rounds have ended.
    pub rounds_ended: u32,
    /// How many it will have.
    pub rounds_total: u32,
    /// Why no further round comes, once the task has ended: `finished`, `cancelled`, or `exhausted`
    /// where the service's own privacy budget for the task covers none.
    #[serde(default)]
    pub ended: Option<String>,
}

/// Whether a task has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskStatus {
    /// Rounds follow.
    Running,
    /// No round follows.
    Finished,
}

/// The answer to the question for a next round.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub(crate) enum NextRound {
    /// A round is open.
    Open {
        #[serde(deserialize_with = "from_text")]
        round: RoundId,
        #[serde(deserialize_with = "from_number")]
        number: RoundNumber,
    },
    /// None is open yet.
    Waiting,
    /// None will be.
    Finished,
}

/// Where a round stands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct RoundStatus {
    #[serde(deserialize_with = "from_text")]
    pub(crate) round: RoundId,
    #[serde(deserialize_with = "from_text")]
    pub(crate) phase: Stage,
    #[serde(default)]
    pub(crate) reason: Option<String>,
}

/// A phase that is open, or how the round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Open(PhaseName),
    Finished,
    Failed,
}

impl Stage {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Open(phase) => phase.text(),
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for Stage {
    type Err = undertone_protocol::ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "finished" => Ok(Self::Finished),
            "failed" => Ok(Self::Failed),
            phase => phase.parse().map(Self::Open),
        }
    }
}

/// How a round ended, as the server published it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RoundResult {
    /// The round.
    #[serde(deserialize_with = "from_text")]
    pub round: RoundId,
    /// Its number.
    #[serde(deserialize_with = "from_number")]
    pub number: RoundNumber,
    /// The roster indices of the clients whose inputs are in the sum, ascending.
    #[serde(deserialize_with = "from_indices")]
    pub survivors: Vec<RosterIndex>,
    /// The transcript digest: it binds parameters, directory, U2, U3 and the sum.
    #[serde(deserialize_with = "from_text")]
    pub transcript: Digest,
    /// Shares that failed their commitment.
    #[serde(default)]
    pub set_aside: Vec<SetAsideShare>,
    /// The signed head of the task's audit log, when the result was asked for.
    #[serde(default)]
    pub audit: Option<AuditHead>,
}

/// A share that its dealer's commitment does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct SetAsideShare {
    /// Who revealed it.
    #[serde(deserialize_with = "from_index")]
    pub holder: RosterIndex,
    /// Who dealt it.
    #[serde(deserialize_with = "from_index")]
    pub dealer: RosterIndex,
}

fn from_text<'de, D: Deserializer<'de>, T>(deserializer: D) -> Result<T, D::Error>
where
    T: FromStr<Err = undertone_protocol::ProtocolError>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

fn from_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RoundNumber, D::Error> {
    u32::deserialize(deserializer).map(RoundNumber)
}

fn from_index<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RosterIndex, D::Error> {
    u32::deserialize(deserializer).map(RosterIndex)
}

fn from_indices<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RosterIndex>, D::Error> {
    let indices = Vec::<u32>::deserialize(deserializer)?;
    Ok(indices.into_iter().map(RosterIndex).collect())
}

/// A line to the server, and who is told when it is bad.
pub(crate) struct Link<'a, O> {
    pub(crate) http: &'a Http,
    pub(crate) observer: &'a mut O,
    /// How long requests are made again, from their start.
    pub(crate) patience: Duration,
}

impl<O: Observer> Link<'_, O> {
    /// The bytes of a resource, at most `limit` of them.
    pub(crate) async fn bytes(
        &mut self,
        path: String,
        limit: usize,
    ) -> Result<Vec<u8>, RequestError> {
        self.call(path, Method::Get, limit, Duration::ZERO).await
    }

    /// The JSON of a resource, `what` it is for errors, held back for up to `wait`.
    pub(crate) async fn json<T: DeserializeOwned>(
        &mut self,
        what: &'static str,
        path: String,
        wait: Duration,
    ) -> Result<T, RequestError> {
        let body = self.call(path, Method::Get, SMALL_JSON, wait).await?;
        serde_json::from_slice(&body).map_err(|e| RequestError::Unreadable {
            what,
            detail: crate::problem::tidy(&e.to_string()),
        })
    }

    /// Whose inputs are in the sum of a round that ended; nobody's if it failed.
    pub(crate) async fn survivors_of(
        &mut self,
        round: RoundId,
    ) -> Result<Vec<RosterIndex>, RequestError> {
        #[derive(Deserialize)]
        struct Ended {
            #[serde(default, deserialize_with = "from_indices")]
            survivors: Vec<RosterIndex>,
        }
        let path = format!("v1/rounds/{round}/result");
        let ended: Ended = self.json("a round's result", path, Duration::ZERO).await?;
        Ok(ended.survivors)
    }

    /// Sends this client's message of a phase.
    pub(crate) async fn put(
        &mut self,
        round: RoundId,
        phase: PhaseName,
        index: RosterIndex,
        body: Bytes,
    ) -> Result<(), RequestError> {
        let path = format!("v1/rounds/{round}/{phase}/{index}");
        self.call(path, Method::Put(body), SMALL_JSON, Duration::ZERO)
            .await
            .map(drop)
    }

    /// The open round with a number above `after`, as soon as there is one.
    pub(crate) async fn next_round(
        &mut self,
        task: TaskId,
        after: RoundNumber,
    ) -> Result<NextRound, RequestError> {
        let wait = LONG_POLL.as_secs();
        let path = format!("v1/tasks/{task}/round?after={after}&wait={wait}");
        self.json("the next round", path, LONG_POLL).await
    }

    /// Where a round stands: at once, or as soon as it no longer stands at `seen`.
    pub(crate) async fn status(
        &mut self,
        round: RoundId,
        seen: Option<PhaseName>,
    ) -> Result<RoundStatus, RequestError> {
        let (query, wait) = match seen {
            None => (String::new(), Duration::ZERO),
            Some(phase) => {
                let query = format!("?seen={phase}&wait={}", LONG_POLL.as_secs());
                (query, LONG_POLL)
            }
        };
        let path = format!("v1/rounds/{round}/status{query}");
        self.json("a round's status", path, wait).await
    }

    async fn call(
        &mut self,
        path: String,
        method: Method,
        limit: usize,
        wait: Duration,
    ) -> Result<Vec<u8>, RequestError> {
        let now = Instant::now();
        let time = self.patience.saturating_add(wait);
        let request = Request {
            path,
            method,
            limit,
            wait,
            until: now.checked_add(time).unwrap_or(now),
        };
        self.http.call(&request, self.observer).await
    }
}
