//! Requests as the SDK makes them: bounded in time, made again where the service is overloaded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Response, redirect};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::error::BenchError;
use crate::record::{Purpose, Record};

/// How long an answer may take, beside what a long poll is held. More than the SDK waits: with all
/// clients on one machine, the clients are slow too, and a slow answer is in the percentiles.
const ANSWER_TIME: Duration = Duration::from_mins(5);

/// How long the service may be overloaded.
const PATIENCE: Duration = Duration::from_mins(30);

/// The ceilings of the waits between attempts, as in the SDK.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// Attempts of a request that is not answered. Each counts as failed.
const ATTEMPTS: u32 = 5;

/// All clients' way to the service.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    base: String,
    record: Arc<Record>,
}

/// What is kept of an answer's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    Bytes,
    Digest,
}

enum Failure {
    /// The service says when to come again.
    Overloaded(Duration),
    /// No answer.
    Transport(String),
    /// An answer that is none.
    Refused(String),
}

impl Http {
    pub(crate) fn new(base: &str, record: Arc<Record>) -> Result<Self, BenchError> {
        let failed = |e: &dyn std::fmt::Display| BenchError::Http(e.to_string());
        // The library wants TLS even where there is none.
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| failed(&e))?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .map_err(|e| failed(&e))?;
        Ok(Self {
            client,
            base: base.to_owned(),
            record,
        })
    }

    /// The bytes of a resource.
    pub(crate) async fn get(&self, purpose: Purpose, path: &str) -> Result<Vec<u8>, BenchError> {
        self.call(purpose, path, None, Keep::Bytes).await
    }

    /// The SHA-256 digest of a resource, which is read and not kept.
    pub(crate) async fn digest(&self, purpose: Purpose, path: &str) -> Result<Vec<u8>, BenchError> {
        self.call(purpose, path, None, Keep::Digest).await
    }

    /// The JSON of a resource.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        path: &str,
    ) -> Result<T, BenchError> {
        let body = self.get(purpose, path).await?;
        serde_json::from_slice(&body)
            .map_err(|e| BenchError::Misbehaving(format!("the answer to {path}: {e}")))
    }

    /// Sends a message.
    pub(crate) async fn put(
        &self,
        purpose: Purpose,
        path: &str,
        body: Bytes,
    ) -> Result<(), BenchError> {
        let answer = self.call(purpose, path, Some(body), Keep::Bytes).await;
        answer.map(drop)
    }

    async fn call(
        &self,
        purpose: Purpose,
        path: &str,
        body: Option<Bytes>,
        keep: Keep,
    ) -> Result<Vec<u8>, BenchError> {
        let method = if body.is_some() { "PUT" } else { "GET" };
        let started = Instant::now();
        let (mut ceiling, mut unanswered) = (FIRST_DELAY, 0_u32);
        loop {
            let least = match self.attempt(path, body.clone(), keep).await {
                Ok(answer) => {
                    let sent = body.as_ref().map_or(0, Bytes::len);
                    self.record.succeeded(purpose, started.elapsed(), sent);
                    return Ok(answer);
                }
                Err(Failure::Overloaded(least)) if started.elapsed() < PATIENCE => {
                    self.record.retried();
                    least
                }
                Err(Failure::Transport(reason)) if unanswered < ATTEMPTS => {
                    self.record.failed(format!("{method} {path}: {reason}"));
                    unanswered = unanswered.saturating_add(1);
                    Duration::ZERO
                }
                Err(failure) => {
                    let reason = match failure {
                        Failure::Overloaded(_) => "the service stays overloaded".to_owned(),
                        Failure::Transport(reason) | Failure::Refused(reason) => reason,
                    };
                    self.record.failed(format!("{method} {path}: {reason}"));
                    let path = path.to_owned();
                    return Err(BenchError::Request {
                        method,
                        path,
                        reason,
                    });
                }
            };
            tokio::time::sleep(least.saturating_add(full_jitter(ceiling))).await;
            ceiling = ceiling.saturating_mul(2).min(LONGEST_DELAY);
        }
    }

    async fn attempt(
        &self,
        path: &str,
        body: Option<Bytes>,
        keep: Keep,
    ) -> Result<Vec<u8>, Failure> {
        let url = format!("{}/{path}", self.base);
        let request = match body {
            None => self.client.get(url),
            Some(body) => self
                .client
                .put(url)
                .header(CONTENT_TYPE, "application/octet-stream")
                .body(body),
        };
        let unanswered = |e: reqwest::Error| Failure::Transport(with_causes(&e));
        let response = request.timeout(ANSWER_TIME).send().await;
        let response = response.map_err(unanswered)?;
        let status = response.status();
        if status.is_success() {
            return read(response, keep).await.map_err(unanswered);
        }
        let again = response.headers().get(RETRY_AFTER);
        let again = again.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        if let (429 | 503, Some(seconds)) = (status.as_u16(), again) {
            return Err(Failure::Overloaded(Duration::from_secs(seconds)));
        }
        let text = response.text().await.unwrap_or_default();
        Err(Failure::Refused(format!("{status}: {text}")))
    }
}

async fn read(mut response: Response, keep: Keep) -> reqwest::Result<Vec<u8>> {
    let (mut bytes, mut digest) = (Vec::new(), Sha256::new());
    while let Some(chunk) = response.chunk().await? {
        match keep {
            Keep::Bytes => bytes.extend_from_slice(&chunk),
            Keep::Digest => digest.update(&chunk),
        }
    }
    Ok(match keep {
        Keep::Bytes => bytes,
        Keep::Digest => digest.finalize().to_vec(),
    })
}

/// A wait between nothing and the ceiling, evenly.
fn full_jitter(ceiling: Duration) -> Duration {
    // Without randomness, the ceiling itself is as good a wait.
    let part = getrandom::u32().unwrap_or(u32::MAX);
    ceiling.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

/// An error with its causes, which `reqwest` keeps out of its own text.
fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
