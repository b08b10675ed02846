//! How often one sender may ask, and how long one request may take.

use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use undertone_protocol::id::{RosterIndex, TaskId};

use super::LimitSettings;
use super::address::sender;
use crate::app::App;
use crate::problem::{Problem, ProblemKind};
use crate::store::Store;

/// How often senders that have long been silent are forgotten.
const UPKEEP: Duration = Duration::from_mins(1);

/// Where the orchestrator and Prometheus ask; they must get an answer.
const UNLIMITED: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// What every sender has asked for lately.
#[derive(Debug)]
pub(crate) struct Rates {
    settings: LimitSettings,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    clients: DefaultKeyedRateLimiter<(TaskId, RosterIndex)>,
}

impl Rates {
    pub(crate) fn new(settings: &LimitSettings) -> Self {
        let quota = |second, burst| Quota::per_second(some(second)).allow_burst(some(burst));
        let LimitSettings {
            requests_per_second,
            request_burst,
            client_messages_per_second,
            client_message_burst,
            ..
        } = *settings;
        Self {
            settings: settings.clone(),
            addresses: RateLimiter::keyed(quota(requests_per_second, request_burst)),
            clients: RateLimiter::keyed(quota(client_messages_per_second, client_message_burst)),
        }
    }

    /// Counts a message of a client, whose signature was verified: nobody can use up what another
    /// may send.
    ///
    /// # Errors
    /// [`ProblemKind::RateLimited`].
    pub(crate) fn client(&self, task: TaskId, client: RosterIndex) -> Result<(), Problem> {
        check(&self.clients, &(task, client), "this client's messages")
            .map_err(|problem| problem.signed_by(client))
    }

    fn address(&self, address: IpAddr) -> Result<(), Problem> {
        check(&self.addresses, &address, "requests from this address")
    }

    /// Forgets who has been silent, for as long as it runs.
    pub(crate) async fn upkeep(&self) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.addresses.retain_recent();
            self.clients.retain_recent();
            self.addresses.shrink_to_fit();
            self.clients.shrink_to_fit();
        }
    }
}

fn some(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

fn check<K: Hash + Eq + Clone>(
    limiter: &DefaultKeyedRateLimiter<K>,
    key: &K,
    what: &str,
) -> Result<(), Problem> {
    limiter.check_key(key).map_err(|early| {
        let wait = early.wait_time_from(DefaultClock::default().now());
        let seconds = wait.as_secs().saturating_add(1);
        let detail = format!("{what} come too fast; wait {seconds} s");
        Problem::new(ProblemKind::RateLimited, detail).retry_after(seconds)
    })
}

/// Wraps the handling of one request: in its sender's rate, and in its time.
pub(crate) async fn limit<S: Store>(
    State(app): State<Arc<App<S>>>,
    request: Request,
    next: Next,
) -> Response {
    let rates = app.rates();
    let path = request.uri().path();
    if !UNLIMITED.contains(&path)
        && let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>()
        && let Some(address) = sender(peer.ip(), request.headers(), &rates.settings)
        && let Err(problem) = rates.address(address)
    {
        return problem.into_response();
    }
    // Messages of clients may be long, and are timed while they are read.
    if request.method() == Method::PUT && path.starts_with("/v1/rounds/") {
        return next.run(request).await;
    }
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    let most = rates.settings.request();
    match tokio::time::timeout(most, next.run(request)).await {
        Ok(response) => response,
        Err(_) => late(read, most).into_response(),
    }
}

/// Who sends nothing is not to blame: the service is slow, and may be asked again.
fn late(read: bool, most: Duration) -> Problem {
    let seconds = most.as_secs();
    if read {
        let detail = format!("there was no answer within {seconds} s; ask again in a moment");
        Problem::new(ProblemKind::Unavailable, detail)
    } else {
        let detail = format!("the request took longer than {seconds} s; send its body at once");
        Problem::new(ProblemKind::RequestTimeout, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_what_comes_after_it_waits() {
        let rates = Rates::new(&LimitSettings {
            requests_per_second: 1,
            request_burst: 3,
            client_messages_per_second: 1,
            client_message_burst: 2,
            ..LimitSettings::default()
        });
        let [one, other]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [192, 0, 2, 2].into()];
        for _ in 0..3 {
            rates.address(one).unwrap();
        }
        let refused = rates.address(one).unwrap_err();
        assert_eq!(refused.kind(), ProblemKind::RateLimited);
        let response = refused.into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "1");
        rates.address(other).unwrap();

        let task = TaskId::from([1; 16]);
        for _ in 0..2 {
            rates.client(task, RosterIndex(1)).unwrap();
        }
        assert!(rates.client(task, RosterIndex(1)).is_err());
        rates.client(task, RosterIndex(2)).unwrap();
        rates.client(TaskId::from([2; 16]), RosterIndex(1)).unwrap();
    }
}
