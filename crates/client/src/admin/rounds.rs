//! Rounds, and what came of them.

use serde::{Deserialize, Serialize};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{Digest, ModelDigest, RoundId, TaskId};

use super::tasks::check_adapter;
use super::{AdminClient, PAGE, Result, text};
use crate::error::ClientError;

/// How a round stands, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// A phase is open.
    Open,
    /// It ended with a sum.
    Finished,
    /// It ended without one.
    Failed,
}

impl Outcome {
    /// Its name.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }
}

/// A round, in short. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Its id.
    #[serde(with = "text")]
    pub round: RoundId,
    /// Its number in its task, from 1.
    pub number: u32,
    /// How it stands.
    pub state: Outcome,
    /// The open phase, or the one in which it ended.
    #[serde(with = "text")]
    pub phase: PhaseName,
    /// When it opened.
    pub opened_at_ms: u64,
    /// When the open phase closes at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closes_at_ms: Option<u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many clients' inputs are in the sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survivors: Option<u32>,
    /// Who vanished when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropouts: Option<Dropouts>,
    /// The transcript digest of the sum.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "text::option"
    )]
    pub transcript: Option<Digest>,
    /// When its metadata was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erased_at_ms: Option<u64>,
}

/// How many clients vanished before which message, for phases that the round reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropouts {
    /// Before ShareKeys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share_keys: Option<u32>,
    /// Before MaskedInput.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked_input: Option<u32>,
    /// Before Unmask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmask: Option<u32>,
}

/// A round with its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundDetail {
    /// The round, in short.
    #[serde(flatten)]
    pub round: Round,
    /// Roster indices of the clients whose inputs are in the sum.
    pub clients: Vec<u32>,
    /// Shares that failed their commitment.
    pub set_aside: Vec<SetAside>,
    /// Digest of the adapter that the round started from.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "text::option"
    )]
    pub model_before: Option<ModelDigest>,
    /// Digest of the adapter that it left behind.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "text::option"
    )]
    pub model_after: Option<ModelDigest>,
    /// The signed head of the task's audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<serde_json::Value>,
}

/// A share that its dealer's commitment does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// Who revealed it.
    pub holder: u32,
    /// Who dealt it.
    pub dealer: u32,
}

#[derive(Deserialize)]
struct Page {
    rounds: Vec<Round>,
    #[serde(default)]
    next: Option<u64>,
}

impl AdminClient {
    /// All rounds of a task so far, by number.
    ///
    /// # Errors
    /// [`ClientError::Request`].
    pub async fn rounds(&self, task: TaskId) -> Result<Vec<Round>> {
        let (mut rounds, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("admin/v1/tasks/{task}/rounds?limit={PAGE}&after={after}");
            let page: Page = self.get("the rounds", path).await?;
            rounds.extend(page.rounds);
            match page.next {
                Some(next) if next > after => after = next,
                _ => return Ok(rounds),
            }
        }
    }

    /// One round with its result.
    ///
    /// # Errors
    /// [`ClientError::Request`].
    pub async fn round(&self, task: TaskId, number: u32) -> Result<RoundDetail> {
        let path = format!("admin/v1/tasks/{task}/rounds/{number}");
        self.get("the round", path).await
    }

    /// The adapter that a round left behind, checked against the digest in its result.
    ///
    /// # Errors
    /// [`ClientError::Request`]; [`ClientError::Misbehaving`] if it is another one.
    pub async fn adapter_after(&self, task: TaskId, round: &RoundDetail) -> Result<Vec<u8>> {
        let number = round.round.number;
        let path = format!("admin/v1/tasks/{task}/rounds/{number}/adapter");
        let bytes = self.file("the adapter", path).await?;
        let model = round.model_after.ok_or_else(|| {
            ClientError::Misbehaving(format!("it names no adapter after round {number}"))
        })?;
        check_adapter(&bytes, model)?;
        Ok(bytes)
    }
}
