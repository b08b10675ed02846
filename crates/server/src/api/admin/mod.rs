//! The admin API, version 1: tasks, rounds, tokens, enrolment. Every route but one wants a bearer
//! token, with the right that its handler names; a client enrols with a one-time token instead.

mod audit;
mod clients;
mod create;
mod enrolments;
mod privacy;
mod results;
mod rounds;
mod tasks;
mod tokens;

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Query};
use axum::http::header;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;

pub(crate) use self::audit::note_denials;
pub(crate) use self::tasks::control_task;
use super::openapi::handler;
use crate::app::App;
use crate::problem::{Problem, ProblemKind};
use crate::store::Store;

/// The longest JSON body.
const LONGEST_JSON: usize = 64 * 1024;

/// How many entries a page has where the request does not say, and at most.
const PAGE: u32 = 50;
const LONGEST_PAGE: u32 = 500;

/// The routes below `/admin/v1`.
pub(super) fn routes<S: Store>() -> OpenApiRouter<Arc<App<S>>> {
    about_tasks::<S>()
        .merge(about_rounds::<S>())
        .merge(about_people::<S>())
        .layer(DefaultBodyLimit::max(LONGEST_JSON))
}

fn about_tasks<S: Store>() -> OpenApiRouter<Arc<App<S>>> {
    OpenApiRouter::new()
        .routes(handler!(
            tasks::list::<S>,
            Unauthorized,
            Forbidden,
            BadRequest
        ))
        .routes(handler!(
            create::create::<S>,
            Unauthorized,
            Forbidden,
            BadRequest,
            WrongLength,
            TruncatedBody,
            BodyTooLarge,
            AlreadyExists,
            TaskRefused
        ))
        .routes(handler!(
            tasks::show::<S>,
            Unauthorized,
            Forbidden,
            BadRequest,
            UnknownTask
        ))
        .routes(handler!(
            privacy::show::<S>,
            Unauthorized,
            Forbidden,
            BadRequest,
            UnknownTask
        ))
        .routes(handler!(
            tasks::pause::<S>,
            Unauthorized,
            Forbidden,
            BadRequest,
            UnknownTask,
            TaskEnded
        ))
        .routes(handler!(
            tasks::resume::<S>,
            Unauthorized,
            Forbidden,
            BadRequest,
            UnknownTask,
            TaskEnded
        ))
        .routes(handler!(
            tasks::cancel::<S>,
            Unauthorized,
            Forbidden,
            BadRequest,
            UnknownTask,
            TaskEnded
        ))
        .routes(handler!(
            tasks::roster::<S>,
            Unauthorized,
            Forbidden,
            BadRequest,
            UnknownTask
        ))
        .routes(handler!(
            tasks::adapter::<S>,
            Unauthorized,
            Forbidden,
            BadRequest,
            UnknownTask
        ))
}

/// Rounds, what came of them, and who was in them.
fn about_rounds<S: Store>() -> OpenApiRouter<Arc<App<S>>> {
    OpenApiRouter::new()
        .routes(handler!(
            rounds::list::<S>,
            Unauthorized,
            Forbidden,
            BadRequest,
            UnknownTask
        ))
        .routes(handler!(
            results::show::<S>,
            Unauthorized,
            Forbidden,
            BadRequest,
            UnknownTask,
            UnknownRound
        ))
        .routes(handler!(
            results::adapter::<S>,
            Unauthorized,
            Forbidden,
            BadRequest,
            UnknownTask,
            UnknownRound,
            PhaseNotOpen,
            Erased
        ))
        .routes(handler!(
            clients::rounds::<S>,
            Unauthorized,
            Forbidden,
            BadRequest,
            UnknownTask
        ))
}

/// Who may do what, who is to take part, and who did what.
fn about_people<S: Store>() -> OpenApiRouter<Arc<App<S>>> {
    OpenApiRouter::new()
        .routes(handler!(tokens::list::<S>, Unauthorized, Forbidden))
        .routes(handler!(
            tokens::create::<S>,
            Unauthorized,
            Forbidden,
            BadRequest
        ))
        .routes(handler!(
            tokens::revoke::<S>,
            Unauthorized,
            Forbidden,
            UnknownToken
        ))
        .routes(handler!(
            enrolments::invite::<S>,
            Unauthorized,
            Forbidden,
            BadRequest
        ))
        .routes(handler!(
            enrolments::list::<S>,
            Unauthorized,
            Forbidden,
            BadRequest
        ))
        .routes(handler!(
            audit::read::<S>,
            Unauthorized,
            Forbidden,
            BadRequest,
            UnknownTask
        ))
}

/// The routes, with denials put on record.
pub(super) fn router<S: Store>(app: Arc<App<S>>) -> OpenApiRouter<Arc<App<S>>> {
    routes().layer(from_fn_with_state(app, audit::note_denials::<S>))
}

/// Where a page of a list begins, and how long it may be.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Entries after this one: the `next` of the page before.
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    #[serde(default)]
    after: u64,
    #[param(maximum = 4_294_967_295_u32)]
    limit: Option<u32>,
}

impl PageQuery {
    fn read(query: Result<Query<Self>, QueryRejection>) -> Result<(u64, u32), Problem> {
        let Query(query) =
            query.map_err(|e| Problem::new(ProblemKind::BadRequest, e.body_text()))?;
        let limit = query.limit.unwrap_or(PAGE).clamp(1, LONGEST_PAGE);
        Ok((query.after, limit))
    }
}

/// Where the next page begins; nothing if this one was not full.
fn next_page<T>(page: &[T], limit: u32, place: impl Fn(&T) -> u64) -> Option<u64> {
    let full = usize::try_from(limit).is_ok_and(|limit| page.len() >= limit);
    page.last().filter(|_| full).map(place)
}

/// A whole number from 0: JSON has no other numbers than `60` and `60.0`, which are the same.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let float = number
        .as_f64()
        .filter(|f| f.fract() == 0.0 && (0.0..LARGEST).contains(f));
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and in range"
    )]
    let whole = number.as_u64().or(float.map(|f| f as u64));
    whole.ok_or_else(|| D::Error::custom(format!("{number} is no whole number from 0")))
}

/// 2^64.
const LARGEST: f64 = 18_446_744_073_709_551_616.0;

/// What is wrong with a JSON body.
fn bad_json(rejection: &JsonRejection) -> Problem {
    Problem::new(ProblemKind::BadRequest, rejection.body_text())
}

/// A file to be saved under a name.
fn file(bytes: Vec<u8>, name: &str) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    (headers, bytes).into_response()
}
