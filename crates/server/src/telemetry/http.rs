//! Every request: its span, its metrics, its line in the log.

use std::borrow::Cow;
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use metrics::{counter, histogram};
use tracing::Instrument;

use super::table::name;
use super::{InFlight, trace};

/// Wraps the handling of one request.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let _in_flight = InFlight::new(name::HTTP_IN_FLIGHT);
    let matched = request.extensions().get::<MatchedPath>();
    let route: Cow<'static, str> = match matched {
        Some(path) => path.as_str().to_owned().into(),
        None => "unmatched".into(),
    };
    let method = method(request.method());
    let span = trace::request(method, &route, request.uri().path());
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    let seconds = started.elapsed().as_secs_f64();
    span.in_scope(|| tracing::debug!(status = status.as_u16(), seconds, "answered"));
    let labels = [
        ("route", route.clone()),
        ("method", method.into()),
        ("status", status.as_str().to_owned().into()),
    ];
    counter!(name::HTTP_REQUESTS, &labels).increment(1);
    histogram!(name::HTTP_SECONDS, "route" => route).record(seconds);
    response
}

/// A method as a label: a client may invent others without end.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
