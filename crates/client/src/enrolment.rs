//! A client hands in its public key, by a one-time token.
//!
//! Specification: chapter 14, "HTTP binding", section 14.8.

use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderMap;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use undertone_protocol::enrolment::prove;
use undertone_protocol::keys::IdentityKey;
use zeroize::Zeroizing;

use crate::config::server_url;
use crate::error::{ClientError, RequestError};
use crate::http::{Http, Method, Request};
use crate::problem::tidy;
use crate::tls::TlsConfig;

const WHAT: &str = "enrolment";

/// The longest answer.
const ANSWER_LIMIT: usize = 64 * 1024;

/// How a key is handed in.
#[derive(Clone)]
pub struct EnrolConfig {
    /// The server's address, as in [`JoinConfig`](crate::JoinConfig::server).
    pub server: String,
    /// The one-time token, `ue_...`.
    pub token: Zeroizing<String>,
    /// Whether plain `http` may leave this machine. The token would be readable on the way.
    pub allow_plain_http: bool,
    /// How the server is known, and what is shown to it.
    pub tls: TlsConfig,
    /// How long to go on trying to reach a server that does not answer.
    pub patience: Duration,
}

impl EnrolConfig {
    /// A configuration with the defaults: https only but for loopback, the platform's certificate
    /// authorities, ten seconds of patience.
    pub fn new(server: impl Into<String>, token: Zeroizing<String>) -> Self {
        Self {
            server: server.into(),
            token,
            allow_plain_http: false,
            tls: TlsConfig::default(),
            patience: Duration::from_secs(10),
        }
    }
}

impl fmt::Debug for EnrolConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EnrolConfig({}, ..)", self.server)
    }
}

/// That the key is on a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// `accepted`, or `repeated` where the same key had come by the same token before.
    pub receipt: String,
    /// What the administrator calls the list.
    pub list: String,
    /// What the administrator calls this client.
    pub name: String,
}

#[derive(Serialize)]
struct Wire<'a> {
    token: &'a str,
    key: String,
    signature: String,
}

/// Hands in the public half of `identity`. Done twice, it is done once.
///
/// # Errors
/// [`ClientError::EnrolmentToken`], [`ClientError::ServerUrl`], [`ClientError::Tls`],
/// [`ClientError::Request`] says what the server refuses.
pub async fn enrol(config: &EnrolConfig, identity: &IdentityKey) -> Result<Enrolled, ClientError> {
    let failed = |source| ClientError::Request { what: WHAT, source };
    let unreadable = |what, error: &serde_json::Error| {
        let detail = tidy(&error.to_string());
        failed(RequestError::Unreadable { what, detail })
    };
    let token = config.token.trim();
    let proof = prove(identity, id(token).ok_or(ClientError::EnrolmentToken)?);
    let body = serde_json::to_vec(&Wire {
        token,
        key: identity.public().to_string(),
        signature: proof.to_string(),
    });
    let url = server_url(&config.server, config.allow_plain_http)?;
    let http = Http::open(&url, &config.tls, HeaderMap::new())?;
    let now = Instant::now();
    let request = Request {
        path: "v1/enrolments".to_owned(),
        method: Method::Post(body.map_err(|e| unreadable("encodable", &e))?.into()),
        limit: ANSWER_LIMIT,
        wait: Duration::ZERO,
        until: now.checked_add(config.patience).unwrap_or(now),
    };
    let answer = http.call(&request, &mut ()).await.map_err(failed)?;
    serde_json::from_slice(&answer).map_err(|e| unreadable("a receipt", &e))
}

/// The public part of a token.
fn id(token: &str) -> Option<[u8; 8]> {
    let (id, secret) = token.strip_prefix("ue_")?.split_once('_')?;
    let mut bytes = [0; 8];
    hex::decode_to_slice(id, &mut bytes).ok()?;
    let digits = secret.len() == 64 && secret.bytes().all(|b| b.is_ascii_hexdigit());
    digits.then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_before_it_is_sent() {
        let secret = "ab".repeat(32);
        assert_eq!(
            id(&format!("ue_0102030405060708_{secret}")),
            Some([1, 2, 3, 4, 5, 6, 7, 8])
        );
        for bad in ["", "ue_01_02", &format!("ut_0102030405060708_{secret}")] {
            assert_eq!(id(bad), None, "{bad}");
        }
        let config = EnrolConfig::new("http://127.0.0.1:1", secret.clone().into());
        assert!(!format!("{config:?}").contains(&secret));
    }
}
