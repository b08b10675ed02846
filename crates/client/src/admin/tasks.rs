//! Tasks: made, listed, shown, controlled.

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use undertone_privacy::PrivacyUnit;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::id::{ModelDigest, TaskId};
use undertone_protocol::roster::Roster;

use super::{AdminClient, PAGE, Result, text};
use crate::error::{ClientError, RequestError};

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// A task, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    #[serde(with = "text")]
    pub task: TaskId,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: TaskState,
    /// How many rounds have ended, failed ones included.
    pub rounds_ended: u32,
    /// How many there are in all.
    pub rounds_total: u32,
    /// Digest of the current adapter.
    #[serde(with = "text")]
    pub model: ModelDigest,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at_ms: u64,
}

/// A task with its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskDetail {
    /// The task, in short.
    #[serde(flatten)]
    pub task: Task,
    /// How its rounds are run.
    pub settings: serde_json::Value,
    /// What clients clip and add.
    pub mechanism: serde_json::Value,
    /// What clients train.
    pub training: serde_json::Value,
    /// The task's privacy budget, if it has one, and what is left of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<TaskBudget>,
}

/// The privacy budget of a task, and what is left of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskBudget {
    /// Whose presence is hidden.
    pub unit: PrivacyUnit,
    /// The most epsilon over all rounds.
    pub epsilon: f64,
    /// The delta of that.
    pub delta: f64,
    /// Epsilon of the rounds so far in which inputs were taken; none where nothing bounds it.
    pub spent: Option<f64>,
    /// In how many rounds inputs were taken.
    pub rounds_taken: u64,
    /// In how many they may be.
    pub rounds_covered: u64,
}

/// What a new task is made of.
#[derive(Debug)]
pub struct NewTask<'a> {
    /// Its name, for people.
    pub name: &'a str,
    /// The signed roster, which binds the task's id.
    pub roster: &'a Roster,
    /// How its rounds are run: the server knows the fields, and says which is wrong.
    pub settings: &'a serde_json::Value,
    /// The mechanism's document, JSON, as clients shall read it, byte by byte.
    pub mechanism: &'a [u8],
    /// The training settings' document, JSON, as clients shall read it, byte by byte.
    pub training: &'a [u8],
    /// The adapter that the first round starts from.
    pub adapter: &'a Adapter,
}

#[derive(Serialize)]
struct Wire<'a> {
    name: &'a str,
    roster: String,
    settings: &'a serde_json::Value,
    mechanism: &'a RawValue,
    training: &'a RawValue,
    adapter: String,
}

#[derive(Deserialize)]
struct Page {
    tasks: Vec<Task>,
    #[serde(default)]
    next: Option<u64>,
}

impl AdminClient {
    /// Makes a task. Made twice, it is there once.
    ///
    /// # Errors
    /// [`ClientError::Request`] says what the server refuses.
    pub async fn create_task(&self, new: &NewTask<'_>) -> Result<TaskDetail> {
        const WHAT: &str = "a new task";
        let document = |name: &str, bytes: &'_ [u8]| -> Result<Box<RawValue>> {
            serde_json::from_slice(bytes).map_err(|e| ClientError::Request {
                what: WHAT,
                source: RequestError::Unreadable {
                    what: "JSON",
                    detail: format!("{name}: {e}"),
                },
            })
        };
        let (mechanism, training) = (
            document("mechanism", new.mechanism)?,
            document("training", new.training)?,
        );
        let adapter = new.adapter.to_bytes().map_err(|e| unusable(&e))?;
        let wire = Wire {
            name: new.name,
            roster: BASE64_STANDARD.encode(new.roster.encode().map_err(|e| unusable(&e))?),
            settings: new.settings,
            mechanism: &mechanism,
            training: &training,
            adapter: BASE64_STANDARD.encode(adapter),
        };
        self.post(WHAT, "admin/v1/tasks".to_owned(), &wire).await
    }

    /// All tasks, in the order they were made.
    ///
    /// # Errors
    /// [`ClientError::Request`].
    pub async fn tasks(&self) -> Result<Vec<Task>> {
        let (mut tasks, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("admin/v1/tasks?limit={PAGE}&after={after}");
            let page: Page = self.get("the tasks", path).await?;
            tasks.extend(page.tasks);
            match page.next {
                // A server that does not move on is not followed round and round.
                Some(next) if next > after => after = next,
                _ => return Ok(tasks),
            }
        }
    }

    /// One task with its settings.
    ///
    /// # Errors
    /// [`ClientError::Request`].
    pub async fn task(&self, task: TaskId) -> Result<TaskDetail> {
        self.get("the task", format!("admin/v1/tasks/{task}")).await
    }

    /// What can be shown to an auditor of a task's privacy: the service's report, as it stands.
    ///
    /// # Errors
    /// [`ClientError::Request`].
    pub async fn privacy_report(&self, task: TaskId) -> Result<serde_json::Value> {
        let path = format!("admin/v1/tasks/{task}/privacy");
        self.get("the privacy report", path).await
    }

    /// Opens no further round until [`resume`](Self::resume).
    ///
    /// # Errors
    /// [`ClientError::Request`].
    pub async fn pause(&self, task: TaskId) -> Result<TaskDetail> {
        self.control(task, "pause").await
    }

    /// Opens rounds again.
    ///
    /// # Errors
    /// [`ClientError::Request`].
    pub async fn resume(&self, task: TaskId) -> Result<TaskDetail> {
        self.control(task, "resume").await
    }

    /// Ends a task for ever; an open round fails.
    ///
    /// # Errors
    /// [`ClientError::Request`].
    pub async fn cancel(&self, task: TaskId) -> Result<TaskDetail> {
        self.control(task, "cancel").await
    }

    async fn control(&self, task: TaskId, verb: &str) -> Result<TaskDetail> {
        let path = format!("admin/v1/tasks/{task}/{verb}");
        let nothing = serde_json::json!({});
        self.post("the task to change", path, &nothing).await
    }

    /// The signed roster of a task. Its signature is checked; whose it is, is for the caller to
    /// judge.
    ///
    /// # Errors
    /// [`ClientError::Request`], [`ClientError::Roster`].
    pub async fn roster(&self, task: TaskId) -> Result<Roster> {
        let path = format!("admin/v1/tasks/{task}/roster");
        let bytes = self.file("the roster", path).await?;
        Roster::decode_own(&bytes).map_err(ClientError::Roster)
    }

    /// The current adapter of a task.
    ///
    /// # Errors
    /// [`ClientError::Request`]; [`ClientError::Misbehaving`] if it is not the one that the task
    /// names.
    pub async fn adapter(&self, task: &Task) -> Result<Vec<u8>> {
        let path = format!("admin/v1/tasks/{}/adapter", task.task);
        let bytes = self.file("the adapter", path).await?;
        check_adapter(&bytes, task.model)?;
        Ok(bytes)
    }
}

fn unusable(error: &dyn std::fmt::Display) -> ClientError {
    ClientError::Request {
        what: "a new task",
        source: RequestError::Unreadable {
            what: "encodable",
            detail: error.to_string(),
        },
    }
}

/// That the bytes are the adapter of this digest, and an adapter at all.
pub(super) fn check_adapter(bytes: &[u8], model: ModelDigest) -> Result<()> {
    let found = ModelDigest::of(bytes);
    if found != model {
        let what = format!("it sends adapter {found} instead of {model}");
        return Err(ClientError::Misbehaving(what));
    }
    Adapter::from_bytes(bytes)
        .map(drop)
        .map_err(|e| ClientError::Misbehaving(format!("its adapter is none: {e}")))
}
