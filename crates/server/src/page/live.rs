//! Pages that move: parts of a page are rendered again when something changes, and those that
//! differ are sent as server-sent events.
//!
//! A stream holds no connection to the database. It ends with the session, and when the service
//! stops; the browser then asks again by itself.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;

use super::Page;
use super::failure::Failure;
use super::session::Visitor;
use crate::problem::{Problem, ProblemKind};
use crate::store::Store;

/// How often counts are looked at; changes of phase are sent at once.
const TICK: Duration = Duration::from_secs(1);

/// How often the session is looked at.
const SESSION_CHECK: Duration = Duration::from_secs(5);

/// How long the browser waits before it comes again.
const RETRY: Duration = Duration::from_secs(2);

/// How many streams there may be at a time.
pub(super) const STREAMS: usize = 256;

/// A part of a page that may change: the id of its element, and what is in it.
pub(super) type Fragment = (&'static str, Markup);

/// Where a fragment stands in its page.
pub(super) fn place((id, content): &Fragment) -> Markup {
    html! { div id=(id) { (content) } }
}

/// What a stream shows.
pub(super) trait Moving<S: Store>: Send + Sync + 'static {
    /// Its parts, as they are now.
    fn parts(
        &self,
        page: &Page<S>,
        visitor: &Visitor,
    ) -> impl Future<Output = Result<Vec<Fragment>, Problem>> + Send;
}

/// Answers with a stream of what changes.
pub(super) fn follow<S: Store>(
    page: Arc<Page<S>>,
    visitor: Result<Visitor, Failure>,
    shown: impl Moving<S>,
) -> Result<Response, Problem> {
    let visitor = visitor.map_err(Failure::without_page)?;
    let (sender, receiver) = mpsc::channel(4);
    let Ok(permit) = page.streams.clone().try_acquire_owned() else {
        return Err(Problem::new(
            ProblemKind::Overloaded,
            "too many browsers follow this service",
        ));
    };
    tokio::spawn(async move {
        let _permit = permit;
        let mut stopping = page.app.stopping();
        tokio::select! {
            () = send(&page, &visitor, &shown, &sender) => {}
            () = sender.closed() => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    });
    let stream = Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::default());
    Ok(stream.into_response())
}

/// Sends until the session or the browser is gone.
async fn send<S: Store>(
    page: &Page<S>,
    visitor: &Visitor,
    shown: &impl Moving<S>,
    sender: &mpsc::Sender<Result<Event, Infallible>>,
) {
    let mut changes = page.app.phase_changes();
    let mut sent: Vec<(&'static str, String)> = Vec::new();
    let mut checked = Instant::now();
    loop {
        changes.mark_unchanged();
        if checked.elapsed() >= SESSION_CHECK {
            if !matches!(visitor.stands(page.app.store()).await, Ok(true)) {
                return;
            }
            checked = Instant::now();
        }
        // If it fails the browser comes again, and is told why by the page.
        let Ok(parts) = shown.parts(page, visitor).await else {
            return;
        };
        for (id, content) in parts {
            let text = content.into_string();
            if sent.iter().any(|before| *before == (id, text.clone())) {
                continue;
            }
            if sender.send(Ok(event(id, &text))).await.is_err() {
                return;
            }
            sent.retain(|before| before.0 != id);
            sent.push((id, text));
        }
        // Whether woken or timed out, the next look decides.
        let _ = tokio::time::timeout(TICK, changes.changed()).await;
    }
}

fn event(id: &'static str, content: &str) -> Event {
    let fragment = (id, maud::PreEscaped(content.to_owned()));
    // A carriage return would end the line of the event; HTML knows it as white space.
    let data = place(&fragment).into_string().replace('\r', " ");
    Event::default().event("fragment").retry(RETRY).data(data)
}
