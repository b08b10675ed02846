//! The HTTP binding, version 1. Bodies of protocol messages are binary; everything else is JSON.
//!
//! Specification: chapter 14, "HTTP binding".
//!
//! To add a route:
//!
//! 1. Write the handler in the module of its subject, with `#[utoipa::path(...)]` above it: method,
//!    full path, `tag`, `params` (the structs of `openapi` for what a path names, an `IntoParams`
//!    struct for a query), `request_body`, the good answer, and `security(("token" = []))` if it
//!    takes an `Admin<_>`.
//! 2. Derive `ToSchema` for the JSON it takes or gives. The answer says no more than the type: a
//!    `String` that is one of a few values is an enum.
//! 3. List it below, or in `admin`, by `handler!(module::name::<S>, Kinds, Of, Problem)`. Problems
//!    become documented answers from their kinds; `Unavailable` and `Internal` are always there.
//!
//! Nothing is routed by another way, so nothing is undocumented; `make openapi-test` then asks the
//! service whether it does as the document says.

mod admin;
mod audit;
pub(crate) mod body;
mod enrolments;
mod health;
mod messages;
mod openapi;
mod poll;
mod rounds;
mod tasks;

use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use undertone_protocol::ProtocolError;
use undertone_protocol::id::RosterIndex;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub(crate) use self::admin::{control_task, note_denials};
use self::openapi::handler;

use crate::app::App;
use crate::problem::{Problem, ProblemKind};
use crate::store::{AnyStore, Store};

/// All routes.
pub(crate) fn router<S: Store>(app: Arc<App<S>>) -> Router {
    let noted = from_fn_with_state(app.clone(), audit::note_refusals::<S>);
    let (router, document) = reading::<S>()
        .merge(sending::<S>().layer(noted))
        .merge(admin::router::<S>(app.clone()))
        .split_for_parts();
    router
        .fallback(|| async { Problem::new(ProblemKind::NotFound, "no such path; see /docs") })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                ProblemKind::MethodNotAllowed,
                "this path takes another method",
            )
        })
        .with_state(app)
        .merge(openapi::pages(&document))
}

/// The `OpenAPI` document of the service.
pub fn document() -> OpenApi {
    reading::<AnyStore>()
        .merge(sending::<AnyStore>())
        .merge(admin::routes::<AnyStore>())
        .into_openapi()
}

/// What is read without a token.
fn reading<S: Store>() -> OpenApiRouter<Arc<App<S>>> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(handler!(health::alive))
        .routes(handler!(health::ready::<S>))
        .routes(handler!(tasks::show::<S>, BadRequest, UnknownTask))
        .routes(handler!(tasks::roster::<S>, BadRequest, UnknownTask))
        .routes(handler!(tasks::training::<S>, BadRequest, UnknownTask))
        .routes(handler!(tasks::mechanism::<S>, BadRequest, UnknownTask))
        .routes(handler!(tasks::adapter::<S>, BadRequest, UnknownTask))
        .routes(handler!(tasks::round::<S>, BadRequest, UnknownTask))
        .routes(handler!(
            rounds::params::<S>,
            BadRequest,
            UnknownRound,
            Erased
        ))
        .routes(handler!(
            rounds::adapter::<S>,
            BadRequest,
            UnknownRound,
            Erased
        ))
        .routes(handler!(rounds::status::<S>, BadRequest, UnknownRound))
        .routes(handler!(
            rounds::directory::<S>,
            BadRequest,
            UnknownRound,
            PhaseNotOpen,
            RoundEnded,
            NotOnRoster,
            NotInSet
        ))
        .routes(handler!(
            rounds::dealt::<S>,
            BadRequest,
            UnknownRound,
            PhaseNotOpen,
            RoundEnded,
            NotOnRoster,
            NotInSet
        ))
        .routes(handler!(
            rounds::survivors::<S>,
            BadRequest,
            UnknownRound,
            PhaseNotOpen,
            RoundEnded
        ))
        .routes(handler!(
            rounds::statements::<S>,
            BadRequest,
            UnknownRound,
            PhaseNotOpen,
            RoundEnded
        ))
        .routes(handler!(
            rounds::result::<S>,
            BadRequest,
            UnknownRound,
            PhaseNotOpen
        ))
        .routes(handler!(
            rounds::sum::<S>,
            BadRequest,
            UnknownRound,
            PhaseNotOpen,
            RoundEnded,
            Erased
        ))
        .routes(handler!(audit::head::<S>, BadRequest, UnknownTask))
        .routes(handler!(audit::links::<S>, BadRequest, UnknownTask))
}

/// What clients send.
fn sending<S: Store>() -> OpenApiRouter<Arc<App<S>>> {
    let messages = OpenApiRouter::new().routes(handler!(
        messages::put::<S>,
        BadRequest,
        UnknownRound,
        PhaseNotOpen,
        RoundEnded,
        NotFound,
        MalformedMessage,
        UnsupportedVersion,
        WrongLength,
        TruncatedBody,
        BodyTooLarge,
        BadKey,
        WrongSender,
        NotOnRoster,
        BadSignature,
        Barred,
        TooSoon,
        NotInSet,
        ViewMismatch,
        TooFew,
        ConflictingMessage,
        LateMessage
    ));
    let enrolments = OpenApiRouter::new()
        .routes(handler!(
            enrolments::enrol::<S>,
            BadRequest,
            BadSignature,
            EnrolmentRefused
        ))
        .layer(DefaultBodyLimit::max(LONGEST_ENROLMENT));
    messages.merge(enrolments)
}

/// The longest enrolment: a token, a key and a signature.
const LONGEST_ENROLMENT: usize = 4096;

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

fn binary(bytes: impl Into<Bytes>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    (kind, bytes.into()).into_response()
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
