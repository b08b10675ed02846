//! The HTTP binding, version 1. Bodies of protocol messages are binary; everything else is JSON.
//!
//! Specification: chapter 14, "HTTP binding".

mod admin;
mod audit;
pub(crate) mod body;
mod health;
mod messages;
mod poll;
mod rounds;
mod tasks;

use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use serde::de::DeserializeOwned;
use undertone_protocol::ProtocolError;
use undertone_protocol::id::RosterIndex;

use crate::app::App;
use crate::problem::{Problem, ProblemKind};
use crate::store::Store;

/// All routes.
pub(crate) fn router<S: Store>(app: Arc<App<S>>) -> Router {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready::<S>))
        .route("/v1/tasks/{task}", get(tasks::show::<S>))
        .route("/v1/tasks/{task}/roster", get(tasks::roster::<S>))
        .route("/v1/tasks/{task}/training", get(tasks::training::<S>))
        .route("/v1/tasks/{task}/mechanism", get(tasks::mechanism::<S>))
        .route("/v1/tasks/{task}/adapter", get(tasks::adapter::<S>))
        .route("/v1/tasks/{task}/round", get(tasks::round::<S>))
        .route("/v1/tasks/{task}/audit/head", get(audit::head::<S>))
        .route("/v1/tasks/{task}/audit/links", get(audit::links::<S>))
        .route("/v1/rounds/{round}/params", get(rounds::params::<S>))
        .route("/v1/rounds/{round}/adapter", get(rounds::adapter::<S>))
        .route("/v1/rounds/{round}/status", get(rounds::status::<S>))
        .route(
            "/v1/rounds/{round}/directory/{index}",
            get(rounds::directory::<S>),
        )
        .route("/v1/rounds/{round}/dealt/{index}", get(rounds::dealt::<S>))
        .route("/v1/rounds/{round}/survivors", get(rounds::survivors::<S>))
        .route(
            "/v1/rounds/{round}/statements",
            get(rounds::statements::<S>),
        )
        .route("/v1/rounds/{round}/result", get(rounds::result::<S>))
        .route("/v1/rounds/{round}/sum", get(rounds::sum::<S>))
        .route(
            "/v1/rounds/{round}/{phase}/{index}",
            put(messages::put::<S>)
                .layer(from_fn_with_state(app.clone(), audit::note_refusals::<S>)),
        )
        .nest("/admin/v1", admin::router::<S>(app.clone()))
        .fallback(|| async { Problem::new(ProblemKind::NotFound, "no such path; see /v1/tasks") })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                ProblemKind::MethodNotAllowed,
                "this path takes another method",
            )
        })
        .with_state(app)
}

/// Parses an identifier of the path.
fn parse<T: FromStr<Err = ProtocolError>>(text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|e: ProtocolError| Problem::new(ProblemKind::BadRequest, e.to_string()))
}

fn parse_index(text: &str) -> Result<RosterIndex, Problem> {
    text.parse().map(RosterIndex).map_err(|_| {
        let detail = format!("`{text}` is no roster index; it is a whole number from 0");
        Problem::new(ProblemKind::BadRequest, detail)
    })
}

fn binary(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/octet-stream")], bytes).into_response()
}

/// The one path parameter of most routes.
type Id = Path<String>;

/// The parts of a path; what cannot be read is a problem like any other.
struct Path<T>(T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(path)| Self(path))
            .map_err(|e| Problem::new(ProblemKind::BadRequest, e.body_text()))
    }
}
