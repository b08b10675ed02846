//! The admin API of a server, as an administrator's programs use it.
//!
//! ```no_run
//! # async fn example(token: String) -> Result<(), undertone_client::ClientError> {
//! use undertone_client::admin::{AdminClient, AdminConfig};
//!
//! let admin = AdminClient::new(&AdminConfig::new("https://aggregator.example", token.into()))?;
//! for task in admin.tasks().await? {
//!     println!("{} {}: {} of {}", task.task, task.name, task.rounds_ended, task.rounds_total);
//! }
//! # Ok(())
//! # }
//! ```

mod audit;
mod clients;
mod enrolments;
mod rounds;
mod tasks;
mod text;
mod tokens;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::config::server_url;
use crate::error::{ClientError, RequestError};
use crate::http::{Http, Method, Request};
use crate::problem::tidy;
use crate::tls::TlsConfig;

pub use audit::{AuditEntry, AuditPage};
pub use clients::{ClientMessage, ClientRound};
pub use enrolments::{Enrolment, EnrolmentState, Invitation, Invitations, Invite};
pub use rounds::{Dropouts, Outcome, Round, RoundDetail, SetAside};
pub use tasks::{NewTask, Task, TaskDetail, TaskState};
pub use tokens::{NewToken, Revoked, Token, TokenSecret};

/// The longest JSON answer: a page of 500 tasks or rounds.
const JSON_LIMIT: usize = 4 << 20;

/// The largest file: an adapter of 64 million values.
const FILE_LIMIT: usize = 256 << 20;

/// How long a large upload or download may take.
const BULK_TIME: Duration = Duration::from_mins(10);

/// How many entries are asked for at a time.
const PAGE: usize = 500;

/// How a server's admin API is reached.
#[derive(Clone)]
pub struct AdminConfig {
    /// The server's address, as in [`JoinConfig`](crate::JoinConfig::server).
    pub server: String,
    /// The admin token, `ut_...`; `None` where there is none to show.
    pub token: Option<Zeroizing<String>>,
    /// Whether plain `http` may leave this machine. The token would be readable on the way.
    pub allow_plain_http: bool,
    /// How the server is known, and what is shown to it.
    pub tls: TlsConfig,
    /// How long to go on trying to reach a server that does not answer.
    pub patience: Duration,
}

impl AdminConfig {
    /// A configuration with the defaults: https only but for loopback, the platform's certificate
    /// authorities, ten seconds of patience.
    pub fn new(server: impl Into<String>, token: Zeroizing<String>) -> Self {
        Self {
            server: server.into(),
            token: Some(token),
            allow_plain_http: false,
            tls: TlsConfig::default(),
            patience: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for AdminConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminConfig({}, ..)", self.server)
    }
}

/// A client of a server's admin API.
#[derive(Clone)]
pub struct AdminClient {
    http: Http,
    patience: Duration,
}

impl fmt::Debug for AdminClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminClient(..)")
    }
}

type Result<T> = std::result::Result<T, ClientError>;

impl AdminClient {
    /// A client; asks nothing yet.
    ///
    /// # Errors
    /// [`ClientError::ServerUrl`], [`ClientError::AdminToken`], [`ClientError::Tls`].
    pub fn new(config: &AdminConfig) -> Result<Self> {
        let url = server_url(&config.server, config.allow_plain_http)?;
        let mut headers = HeaderMap::new();
        if let Some(token) = &config.token {
            headers.insert(AUTHORIZATION, bearer(token)?);
        }
        Ok(Self {
            http: Http::open(&url, &config.tls, headers)?,
            patience: config.patience,
        })
    }

    async fn get<T: DeserializeOwned>(&self, what: &'static str, path: String) -> Result<T> {
        let body = self.call(what, path, Method::Get, JSON_LIMIT).await?;
        decode(what, &body)
    }

    async fn file(&self, what: &'static str, path: String) -> Result<Vec<u8>> {
        self.call(what, path, Method::Get, FILE_LIMIT).await
    }

    /// POSTs what does the same when it is done twice.
    async fn post<T: DeserializeOwned>(
        &self,
        what: &'static str,
        path: String,
        body: &impl Serialize,
    ) -> Result<T> {
        let method = Method::Post(encode(what, body)?);
        decode(what, &self.call(what, path, method, JSON_LIMIT).await?)
    }

    /// POSTs what must not be done twice.
    async fn post_once<T: DeserializeOwned>(
        &self,
        what: &'static str,
        path: String,
        body: &impl Serialize,
    ) -> Result<T> {
        let method = Method::PostOnce(encode(what, body)?);
        decode(what, &self.call(what, path, method, JSON_LIMIT).await?)
    }

    async fn call(
        &self,
        what: &'static str,
        path: String,
        method: Method,
        limit: usize,
    ) -> Result<Vec<u8>> {
        let bulk = limit == FILE_LIMIT || method.length() > JSON_LIMIT;
        let time = if bulk { BULK_TIME } else { self.patience };
        let now = Instant::now();
        let request = Request {
            path,
            method,
            limit,
            wait: Duration::ZERO,
            until: now.checked_add(time).unwrap_or(now),
        };
        let answer = self.http.call(&request, &mut ()).await;
        answer.map_err(|source| ClientError::Request { what, source })
    }
}

fn bearer(token: &str) -> Result<HeaderValue> {
    let token = token.trim();
    if !token.starts_with("ut_") {
        return Err(ClientError::AdminToken);
    }
    let text = Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&text).map_err(|_| ClientError::AdminToken)?;
    // Debug output of requests leaves it out.
    value.set_sensitive(true);
    Ok(value)
}

fn encode(what: &'static str, body: &impl Serialize) -> Result<Bytes> {
    let body = serde_json::to_vec(body).map_err(|e| unreadable(what, &e))?;
    Ok(body.into())
}

fn decode<T: DeserializeOwned>(what: &'static str, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| unreadable(what, &e))
}

fn unreadable(what: &'static str, error: &serde_json::Error) -> ClientError {
    let detail = tidy(&error.to_string());
    let source = RequestError::Unreadable { what, detail };
    ClientError::Request { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_token_is_not_sent_and_a_token_does_not_print() {
        for bad in ["", "ue_01_02", "secret", "ut_1\n2"] {
            let error = bearer(bad).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let config = AdminConfig::new("http://127.0.0.1:1", "ut_0_secret".to_owned().into());
        let client = AdminClient::new(&config).unwrap();
        let value = bearer(" ut_0_secret\n").unwrap();
        let printed = format!("{config:?} {client:?} {value:?} {:?}", client.http);
        assert!(!printed.contains("secret"), "{printed}");
    }
}
