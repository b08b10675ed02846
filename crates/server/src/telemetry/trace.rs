//! One trace a round, whoever adds to it.
//!
//! The ids of a round's trace follow from the round's id, which is a digest: its first 16 bytes are
//! the trace's id, the next 8 the id of the span that is the whole round, and the last 8, with the
//! phase's number, those of its phases. So all replicas write into one trace without asking each
//! other, also after a restart, and an operator finds it by the round's id.
//!
//! The span of a phase or round is written once, by the process that closed it.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracer};
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RoundId, TaskId};

/// Where spans go and which requests get one; unset where no collector is named.
#[derive(Debug)]
pub(super) struct Tracing {
    pub(super) tracer: SdkTracer,
    /// The share of requests with a span, 0 to 1.
    pub(super) requests: f64,
}

pub(super) static TRACING: OnceLock<Tracing> = OnceLock::new();

/// A place in a round's trace that others hang below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The round.
    pub round: RoundId,
    /// The phase; `None` for the round itself.
    pub phase: Option<PhaseName>,
}

impl Place {
    /// The round itself.
    pub fn round(round: RoundId) -> Self {
        Self { round, phase: None }
    }

    /// A phase of the round.
    pub fn phase(round: RoundId, phase: PhaseName) -> Self {
        let phase = Some(phase);
        Self { round, phase }
    }

    fn trace_id(self) -> TraceId {
        let (id, _) = self.round.as_bytes().split_at(16);
        TraceId::from_bytes(id.try_into().unwrap_or_default())
    }

    fn span_id(self) -> SpanId {
        let (_, rest) = self.round.as_bytes().split_at(16);
        let (of_round, of_phases) = rest.split_at(8);
        let Some(phase) = self.phase else {
            return SpanId::from_bytes(of_round.try_into().unwrap_or_default());
        };
        let number = PhaseName::ALL.iter().position(|name| *name == phase);
        let number = number.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
        let base = u64::from_be_bytes(of_phases.try_into().unwrap_or_default());
        SpanId::from_bytes((base ^ number).to_be_bytes())
    }

    fn context(self) -> Context {
        parent(self.trace_id(), self.span_id(), TraceFlags::SAMPLED)
    }
}

fn parent(trace: TraceId, span: SpanId, flags: TraceFlags) -> Context {
    let state = TraceState::default();
    Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, state))
}

/// Puts a span into a round's trace. It must be new: not entered, and without children.
pub fn within(span: &Span, place: Place) {
    if TRACING.get().is_some() {
        // An error says that the span is filtered out.
        let _ = span.set_parent(place.context());
    }
}

/// Keeps a span and all below it from being exported.
fn untraced(span: &Span) {
    let none = parent(TraceId::from(1), SpanId::from(1), TraceFlags::default());
    let _ = span.set_parent(none);
}

/// The span of a request: in the trace of its round, if its path names one.
pub(super) fn request(method: &'static str, route: &str, path: &str) -> Span {
    let span = tracing::info_span!(
        "request",
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        method,
        route,
        round = field::Empty,
        http.response.status_code = field::Empty,
    );
    let place = place_of(path);
    if let Some(place) = place {
        span.record("round", field::display(place.round));
    }
    let Some(tracing) = TRACING.get() else {
        return span;
    };
    let probe = matches!(route, "/healthz" | "/readyz" | "/metrics");
    if probe || !sampled(tracing.requests) {
        untraced(&span);
    } else if let Some(place) = place {
        within(&span, place);
    }
    span
}

/// The place that a path of the HTTP binding names.
fn place_of(path: &str) -> Option<Place> {
    let mut parts = path.strip_prefix("/v1/rounds/")?.split('/');
    let round = parts.next()?.parse().ok()?;
    let phase = parts.next().and_then(|part| part.parse().ok());
    Some(Place { round, phase })
}

/// Whether it is this request's turn, if `share` of all requests have one.
fn sampled(share: f64) -> bool {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    #[allow(clippy::cast_precision_loss)]
    let turns = |requests: u64| (requests as f64 * share).floor();
    let before = REQUESTS.fetch_add(1, Ordering::Relaxed);
    // Whole numbers this small are exact.
    #[allow(clippy::float_cmp)]
    let turn = turns(before) != turns(before.wrapping_add(1));
    turn
}

/// Writes the span of a phase that this process closed. `opened_at` is in milliseconds since the
/// Unix epoch.
pub fn phase_closed(round: RoundId, phase: PhaseName, opened_at: u64, counts: [usize; 2]) {
    let [received, expected] = counts.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    let attributes = [
        KeyValue::new("undertone.received", received),
        KeyValue::new("undertone.expected", expected),
    ];
    let place = Place::phase(round, phase);
    write(place, phase.text(), opened_at, attributes, Status::Unset);
}

/// Writes the span of a round that this process ended; `failure` says why it failed, if it did.
pub fn round_ended(round: RoundId, task: TaskId, opened_at: u64, failure: Option<&str>) {
    let attributes = [
        KeyValue::new("undertone.round", round.to_string()),
        KeyValue::new("undertone.task", task.to_string()),
    ];
    let status = failure.map_or(Status::Ok, |reason| Status::error(reason.to_owned()));
    write(Place::round(round), "round", opened_at, attributes, status);
}

/// Writes a span that was open since `opened_at` and ends now, under its own id.
fn write<const N: usize>(
    place: Place,
    name: &'static str,
    opened_at: u64,
    attributes: [KeyValue; N],
    status: Status,
) {
    let Some(Tracing { tracer, .. }) = TRACING.get() else {
        return;
    };
    let start: SystemTime = UNIX_EPOCH + Duration::from_millis(opened_at);
    let builder = SpanBuilder::from_name(name)
        .with_start_time(start)
        .with_attributes(attributes);
    let above = match place.phase {
        Some(_) => Place::round(place.round).context(),
        None => Context::new(),
    };
    NEXT.set(Some((place.trace_id(), place.span_id())));
    let mut span = tracer.build_with_context(builder, &above);
    NEXT.set(None);
    span.set_status(status);
    span.end();
}

thread_local! {
    /// The ids of the span that this thread is about to write.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Random ids, but for spans whose ids follow from a round's: a tracer takes them from nowhere else.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get()
            .map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get()
            .map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_the_round() {
        let bytes: [u8; 32] = std::array::from_fn(|i| u8::try_from(i).unwrap() + 1);
        let round = Place::round(RoundId::from(bytes));
        assert_eq!(
            round.trace_id().to_string(),
            "0102030405060708090a0b0c0d0e0f10"
        );
        assert_eq!(round.span_id().to_string(), "1112131415161718");
        let mut ids: Vec<_> = PhaseName::ALL
            .map(|phase| Place::phase(round.round, phase).span_id())
            .to_vec();
        assert_eq!(ids[0].to_string(), "191a1b1c1d1e1f20");
        assert_eq!(ids[4].to_string(), "191a1b1c1d1e1f24");
        ids.push(round.span_id());
        ids.sort_by_key(|id| id.to_bytes());
        ids.dedup();
        assert_eq!(ids.len(), 6);
    }

    #[test]
    fn a_path_names_its_place() {
        let id = "ab".repeat(32);
        let round: RoundId = id.parse().unwrap();
        let status = place_of(&format!("/v1/rounds/{id}/status"));
        assert_eq!(status, Some(Place::round(round)));
        let put = place_of(&format!("/v1/rounds/{id}/share-keys/7"));
        assert_eq!(put, Some(Place::phase(round, PhaseName::ShareKeys)));
        assert_eq!(place_of("/v1/rounds/ab/status"), None);
        assert_eq!(place_of("/v1/tasks/ab"), None);
    }

    #[test]
    fn a_share_of_requests_has_a_span() {
        let count = |share| (0..1000).filter(|_| sampled(share)).count();
        assert_eq!(count(0.0), 0);
        assert_eq!(count(1.0), 1000);
        assert!((249..=251).contains(&count(0.25)));
    }
}
