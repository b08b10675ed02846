//! Admin tokens: made, listed, revoked.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{AdminClient, Result};

/// A token, without its secret. Times are milliseconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub token: String,
    /// Its name.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at_ms: u64,
    /// When it stops being valid.
    pub expires_at_ms: u64,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at_ms: Option<u64>,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at_ms: Option<u64>,
    /// Whether it is neither expired nor revoked.
    pub valid: bool,
}

/// What a new token shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewToken {
    /// Its name, for people.
    pub name: String,
    /// What it shall allow: no more than the token that makes it.
    pub scopes: Vec<String>,
    /// How long it is valid, in seconds.
    pub expires_in_s: u64,
}

/// A new token, with its secret: the server does not show it again.
#[derive(Deserialize)]
pub struct TokenSecret {
    /// Its id.
    pub token: String,
    /// The whole token.
    #[serde(deserialize_with = "secret")]
    pub secret: Zeroizing<String>,
    /// When it stops being valid.
    pub expires_at_ms: u64,
}

pub(super) fn secret<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSecret({}, ..)", self.token)
    }
}

/// What became of a revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// The token's id.
    pub token: String,
    /// Whether it was this request that did it.
    pub revoked_now: bool,
}

#[derive(Deserialize)]
struct List {
    tokens: Vec<Token>,
}

impl AdminClient {
    /// Makes a token. This is asked once only: an answer that is lost leaves a token behind whose
    /// secret nobody knows.
    ///
    /// # Errors
    /// [`ClientError::Request`](crate::ClientError::Request).
    pub async fn create_token(&self, new: &NewToken) -> Result<TokenSecret> {
        let path = "admin/v1/tokens".to_owned();
        self.post_once("a new token", path, new).await
    }

    /// All tokens, without their secrets.
    ///
    /// # Errors
    /// [`ClientError::Request`](crate::ClientError::Request).
    pub async fn tokens(&self) -> Result<Vec<Token>> {
        let list: List = self.get("the tokens", "admin/v1/tokens".to_owned()).await?;
        Ok(list.tokens)
    }

    /// Revokes a token, at once and for ever.
    ///
    /// # Errors
    /// [`ClientError::Request`](crate::ClientError::Request).
    pub async fn revoke_token(&self, token: &str) -> Result<Revoked> {
        // What is no id must not become another path: the server then says that it is unknown.
        let id = token.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let path = format!("admin/v1/tokens/{id}/revoke");
        self.post("the token to revoke", path, &serde_json::json!({}))
            .await
    }
}
