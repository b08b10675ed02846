//! Clients' parts in the rounds of a task.

use serde::{Deserialize, Serialize};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RosterIndex, RoundId, TaskId};

use super::rounds::Outcome;
use super::{AdminClient, PAGE, Result, text};

/// A round from which something of a client came. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRound {
    /// Its id.
    #[serde(with = "text")]
    pub round: RoundId,
    /// Its number in its task, from 1.
    pub number: u32,
    /// How it stands.
    pub state: Outcome,
    /// When it opened.
    pub opened_at_ms: u64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at_ms: Option<u64>,
    /// Whether the client's masked input was taken: in a round that finished, it is in the sum.
    pub gave_input: bool,
    /// Its messages.
    pub messages: Vec<ClientMessage>,
}

/// A message of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientMessage {
    /// The phase.
    #[serde(with = "text")]
    pub phase: PhaseName,
    /// Milliseconds from the phase's opening.
    pub latency_ms: u64,
    /// It came after the phase had closed, and was refused.
    pub late: bool,
}

#[derive(Deserialize)]
struct Page {
    rounds: Vec<ClientRound>,
    next: Option<u64>,
}

impl AdminClient {
    /// All rounds of a task from which something of a client came.
    ///
    /// # Errors
    /// [`ClientError::Request`](crate::ClientError::Request).
    pub async fn client_rounds(
        &self,
        task: TaskId,
        client: RosterIndex,
    ) -> Result<Vec<ClientRound>> {
        let mut rounds = Vec::new();
        let mut after = Some(0);
        while let Some(from) = after {
            let path = format!(
                "admin/v1/tasks/{task}/clients/{}/rounds?after={from}&limit={PAGE}",
                client.0
            );
            let page: Page = self.get("a client's rounds", path).await?;
            rounds.extend(page.rounds);
            after = page.next.filter(|next| *next > from);
        }
        Ok(rounds)
    }
}
