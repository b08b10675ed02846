//! Requests over a network that fails: bounded in time and in size, and made again where that can
//! help. Every request of this protocol may be made twice.
//!
//! Specification: chapter 14, "HTTP binding", section 14.5.

use std::error::Error;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Response, Url, redirect};
use tokio::time::{Instant, sleep};

use crate::config::JoinConfig;
use crate::error::{ClientError, RequestError};
use crate::observer::{Event, Observer};
use crate::problem::{Problem, ProblemKind, tidy};
use crate::tls::{self, TlsConfig};

/// The first and the longest ceiling of the waits between attempts.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);

/// The slowest link that still counts as working, in bytes a second: it bounds one attempt.
const SLOWEST_LINK: usize = 32 * 1024;

/// How long a healthy server may take to answer, beside what a long poll and the bytes take.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// The longest description of a problem that is read.
const LONGEST_PROBLEM: usize = 64 * 1024;

const USER_AGENT: &str = concat!("undertone-client/", env!("CARGO_PKG_VERSION"));

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The path below the server's address, with its query.
    pub(crate) path: String,
    /// What is done there.
    pub(crate) method: Method,
    /// The longest answer, in bytes, that is read.
    pub(crate) limit: usize,
    /// How long the server may hold the request back (a long poll).
    pub(crate) wait: Duration,
    /// When to stop trying.
    pub(crate) until: Instant,
}

/// What a request does, with its body.
#[derive(Debug, Clone)]
pub(crate) enum Method {
    Get,
    /// A message of the protocol.
    Put(Bytes),
    /// JSON; made twice, it does the same as once.
    Post(Bytes),
    /// JSON that is sent a single time: made twice, it does two things.
    PostOnce(Bytes),
}

impl Method {
    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Get => 0,
            Self::Put(body) | Self::Post(body) | Self::PostOnce(body) => body.len(),
        }
    }
}

/// An HTTP client of one server.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    client: reqwest::Client,
    base: String,
}

/// Why one attempt failed, and whether another one can help.
struct Failure {
    error: RequestError,
    again: Again,
}

enum Again {
    Never,
    /// Not before this long.
    After(Duration),
}

impl Failure {
    fn never(error: RequestError) -> Self {
        let again = Again::Never;
        Self { error, again }
    }

    fn transport(error: &reqwest::Error) -> Self {
        let again = if error.is_builder() {
            Again::Never
        } else {
            Again::After(Duration::ZERO)
        };
        Self {
            error: RequestError::Transport(with_causes(error)),
            again,
        }
    }
}

impl Http {
    /// # Errors
    /// [`ClientError::ServerUrl`], [`ClientError::Tls`].
    pub(crate) fn new(config: &JoinConfig) -> Result<Self, ClientError> {
        Self::open(&config.server_url()?, &config.tls, HeaderMap::new())
    }

    /// A client of the server at `url`; every request has these headers.
    ///
    /// # Errors
    /// [`ClientError::Tls`].
    pub(crate) fn open(
        url: &Url,
        tls: &TlsConfig,
        headers: HeaderMap,
    ) -> Result<Self, ClientError> {
        let https = url.scheme() == "https";
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::config(tls, https)?)
            .default_headers(headers)
            .user_agent(USER_AGENT)
            // Only the configured server: its certificate was checked, its host was judged.
            .redirect(redirect::Policy::none())
            .https_only(https)
            .referer(false)
            .connect_timeout(Duration::from_secs(10))
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(15));
        if !https {
            // A proxy would carry it off this machine.
            builder = builder.no_proxy();
        }
        Ok(Self {
            client: builder
                .build()
                .map_err(|e| ClientError::Tls(with_causes(&e)))?,
            base: url.as_str().trim_end_matches('/').to_owned(),
        })
    }

    /// Makes a request, again where it fails for a reason that passes: no connection, a connection
    /// lost, no answer in time, 429, 502, 503, 504, or a phase that has yet to open. Waits grow
    /// exponentially, with full jitter, and are never shorter than the server's `Retry-After`.
    ///
    /// # Errors
    /// [`RequestError`]: at once where another attempt can't help, [`RequestError::GaveUp`] where
    /// the next one would come after `request.until`.
    pub(crate) async fn call<O: Observer>(
        &self,
        request: &Request,
        observer: &mut O,
    ) -> Result<Vec<u8>, RequestError> {
        let mut ceilings = ExponentialBuilder::default()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(LONGEST_DELAY)
            .without_max_times()
            .build();
        let mut attempts = 0_u32;
        loop {
            let Failure { error, again } = match self.attempt(request).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            attempts = attempts.saturating_add(1);
            let Again::After(least) = again else {
                return Err(error);
            };
            if matches!(request.method, Method::PostOnce(_)) {
                return Err(error);
            }
            let ceiling = ceilings.next().unwrap_or(LONGEST_DELAY);
            let delay = least.saturating_add(full_jitter(ceiling));
            let next = Instant::now().checked_add(delay);
            if next.is_none_or(|next| next >= request.until) {
                let last = Box::new(error);
                return Err(RequestError::GaveUp { attempts, last });
            }
            tracing::debug!(path = request.path, attempts, ?delay, %error, "trying again");
            let event = Event::Retrying {
                attempt: attempts,
                delay,
                error: &error,
            };
            observer.event(event).await;
            sleep(delay).await;
        }
    }

    async fn attempt(&self, request: &Request) -> Result<Vec<u8>, Failure> {
        let url = format!("{}/{}", self.base, request.path);
        let sent = request.method.length();
        let transfer = sent.saturating_add(request.limit) / SLOWEST_LINK;
        let transfer = Duration::from_secs(u64::try_from(transfer).unwrap_or(u64::MAX));
        let left = request.until.saturating_duration_since(Instant::now());
        let timeout = ANSWER_TIME
            .saturating_add(request.wait)
            .saturating_add(transfer)
            .min(left);
        let builder = match &request.method {
            Method::Get => self.client.get(url),
            Method::Put(body) => self
                .client
                .put(url)
                .header(CONTENT_TYPE, "application/octet-stream")
                .body(body.clone()),
            Method::Post(body) | Method::PostOnce(body) => self
                .client
                .post(url)
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone()),
        };
        let response = builder
            .timeout(timeout)
            .send()
            .await
            .map_err(|e| Failure::transport(&e))?;
        if response.status().is_success() {
            read(response, request.limit).await
        } else {
            Err(refusal(response).await)
        }
    }
}

/// Reads a body of at most `limit` bytes, whatever length it claims to have.
async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
    let too_large = || Failure::never(RequestError::TooLarge { limit });
    let claimed = response.content_length().unwrap_or(0);
    if usize::try_from(claimed).is_ok_and(|n| n > limit) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| Failure::transport(&e))? {
        if chunk.len() > limit.saturating_sub(body.len()) {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What an answer with another status than success means.
async fn refusal(response: Response) -> Failure {
    let status = response.status().as_u16();
    // Seconds only: the service sends no dates.
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let body = read(response, LONGEST_PROBLEM).await.unwrap_or_default();
    let mut problem = Problem::from_answer(status, &body);
    problem.retry_after = retry_after;
    let passes =
        matches!(status, 429 | 502 | 503 | 504) || problem.kind == ProblemKind::PhaseNotOpen;
    let error = RequestError::Refused(problem);
    let again = if passes {
        Again::After(retry_after.unwrap_or_default())
    } else {
        Again::Never
    };
    Failure { error, again }
}

/// A wait between nothing and the ceiling, evenly: clients that lost the server together do not
/// come back together.
fn full_jitter(ceiling: Duration) -> Duration {
    // Without randomness, the ceiling itself is as good a wait.
    let part = getrandom::u32().unwrap_or(u32::MAX);
    ceiling.mul_f64(f64::from(part) / f64::from(u32::MAX))
}

/// An error with its causes, which `reqwest` keeps out of its own text.
fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    tidy(&text)
}

#[cfg(test)]
mod tests;
