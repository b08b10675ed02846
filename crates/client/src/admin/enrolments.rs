//! Clients invited to enrol, and the keys that they handed in.

use std::fmt;

use serde::{Deserialize, Serialize};
use undertone_protocol::keys::IdentityPublicKey;
use zeroize::Zeroizing;

use super::{AdminClient, PAGE, Result, text};

/// Who is invited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Invite {
    /// The list that their keys are for: what becomes one roster.
    pub list: String,
    /// What the clients are called, one each.
    pub names: Vec<String>,
    /// How long their tokens are valid, in seconds.
    pub expires_in_s: u64,
}

/// One-time tokens, with their secrets: the server does not show them again.
#[derive(Debug, Deserialize)]
pub struct Invitations {
    /// The list.
    pub list: String,
    /// When the tokens stop being valid, in milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
    /// The tokens, in the order of the names.
    pub invitations: Vec<Invitation>,
}

/// One client's token.
#[derive(Deserialize)]
pub struct Invitation {
    /// What the client is called.
    pub name: String,
    /// The token's id.
    pub token: String,
    /// The whole token, `ue_...`, for this client alone.
    #[serde(deserialize_with = "super::tokens::secret")]
    pub secret: Zeroizing<String>,
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invitation({}, {}, ..)", self.name, self.token)
    }
}

/// A client that was invited. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The id of its token.
    pub token: String,
    /// Its list.
    pub list: String,
    /// What it is called.
    pub name: String,
    /// How it stands.
    pub state: EnrolmentState,
    /// When it was invited.
    pub created_at_ms: u64,
    /// When its token stops being valid.
    pub expires_at_ms: u64,
    /// Its public key, once it has enrolled.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "text::option"
    )]
    pub key: Option<IdentityPublicKey>,
    /// When it enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolled_at_ms: Option<u64>,
}

/// How it stands with an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnrolmentState {
    /// The token is valid and was not used.
    Invited,
    /// The key is there.
    Enrolled,
    /// The token was not used in its time.
    Expired,
}

impl EnrolmentState {
    /// Its name.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Enrolled => "enrolled",
            Self::Expired => "expired",
        }
    }
}

#[derive(Deserialize)]
struct Page {
    enrolments: Vec<Enrolment>,
    #[serde(default)]
    next: Option<u64>,
}

impl AdminClient {
    /// Makes a one-time token for each client. This is asked once only: an answer that is lost
    /// leaves tokens behind whose secrets nobody knows.
    ///
    /// # Errors
    /// [`ClientError::Request`](crate::ClientError::Request).
    pub async fn invite(&self, invite: &Invite) -> Result<Invitations> {
        let path = "admin/v1/enrolments".to_owned();
        self.post_once("invitations", path, invite).await
    }

    /// Everyone who was invited, in that order; of one list, if one is named.
    ///
    /// # Errors
    /// [`ClientError::Request`](crate::ClientError::Request).
    pub async fn enrolments(&self, list: Option<&str>) -> Result<Vec<Enrolment>> {
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("admin/v1/enrolments?limit={PAGE}&after={after}");
            let page: Page = self.get("the enrolments", path).await?;
            let wanted = |enrolment: &Enrolment| list.is_none_or(|list| enrolment.list == list);
            all.extend(page.enrolments.into_iter().filter(wanted));
            match page.next {
                Some(next) if next > after => after = next,
                _ => return Ok(all),
            }
        }
    }
}
