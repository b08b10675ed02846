//! What came of one round: its result, and the adapter after it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use undertone_protocol::id::ModelDigest;
use utoipa::{IntoParams, ToSchema};

use super::super::Path;
use super::super::openapi::Bytes;
use super::super::rounds::SetAsideJson;
use super::file;
use super::rounds::RoundLine;
use super::tasks::find;
use crate::app::App;
use crate::audit::{self, Chain, SignedHeadJson};
use crate::auth::Admin;
use crate::auth::rights::Read;
use crate::problem::{Problem, ProblemKind};
use crate::store::{RoundStanding, RoundState, RoundSummary, Store};

type AppState<S> = State<Arc<App<S>>>;

/// A round of a task, by its number.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes a path; it is never made")]
pub(super) struct NumberedPath {
    /// The task's id.
    #[param(pattern = "^[0-9a-f]{32}$")]
    task: String,
    /// The round's number in the task, from 1.
    #[param(minimum = 0, maximum = 4_294_967_295_u32)]
    number: u32,
}

/// A round with its result, where it has one.
#[derive(Serialize, ToSchema)]
pub(super) struct RoundDetail {
    #[serde(flatten)]
    line: RoundLine,
    /// Roster indices of the clients whose inputs are in the sum.
    clients: Vec<u32>,
    /// Shares that failed their commitment.
    set_aside: Vec<SetAsideJson>,
    /// Digest of the adapter that the round started from.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_before: Option<String>,
    /// Digest of the adapter that it left behind, once it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    model_after: Option<String>,
    /// The signed head of the task's audit log, once the round has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<SignedHeadJson>,
}

/// One round with its result.
#[utoipa::path(
    get, path = "/admin/v1/tasks/{task}/rounds/{number}", tag = "admin",
    params(NumberedPath),
    security(("token" = [])),
    responses((status = 200, description = "The round", body = RoundDetail))
)]
pub(super) async fn show<S: Store>(
    _: Admin<Read>,
    State(app): AppState<S>,
    Path((id, number)): Path<(String, String)>,
) -> Result<Json<RoundDetail>, Problem> {
    let Numbered { round, after } = numbered(&app, &id, &number).await?;
    let mut detail = RoundDetail {
        clients: Vec::new(),
        set_aside: Vec::new(),
        model_before: round.model.map(|model| model.to_string()),
        model_after: after.map(|model| model.to_string()),
        audit: None,
        line: RoundLine::from(round.clone()),
    };
    if round.standing == RoundStanding::Open {
        return Ok(Json(detail));
    }
    let chain = Chain::Task(super::super::parse(&id)?);
    detail.audit = audit::signed_head(&app, chain).await?.map(Into::into);
    let stored = app.store().round_without_sum(round.id).await?;
    if let Some(RoundState::Finished(result)) = stored.map(|round| round.state) {
        detail.clients = result.survivors.iter().map(|client| client.0).collect();
        detail.set_aside = result.set_aside.into_iter().map(Into::into).collect();
    }
    Ok(Json(detail))
}

/// The adapter that a round left behind.
#[utoipa::path(
    get, path = "/admin/v1/tasks/{task}/rounds/{number}/adapter", tag = "admin",
    params(NumberedPath),
    security(("token" = [])),
    responses((status = 200, description = "The adapter, safetensors", body = Bytes, content_type = "application/octet-stream"))
)]
pub(super) async fn adapter<S: Store>(
    _: Admin<Read>,
    State(app): AppState<S>,
    Path((id, number)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let Some(model) = numbered(&app, &id, &number).await?.after else {
        let detail = format!("round {number} has not ended; there is no adapter after it yet");
        return Err(Problem::new(ProblemKind::PhaseNotOpen, detail));
    };
    let task = super::super::parse(&id)?;
    let Some(bytes) = app.store().adapter(task, model).await? else {
        let detail = format!("adapter {model} was erased, its retention time being over");
        return Err(Problem::new(ProblemKind::Erased, detail));
    };
    Ok(file(bytes, &format!("{task}-{number}.safetensors")))
}

struct Numbered {
    round: RoundSummary,
    /// The adapter after it, if it has ended: the one that the next round started from, or the
    /// task's where no other round has ended since.
    after: Option<ModelDigest>,
}

/// A round of a task by its number.
async fn numbered<S: Store>(app: &App<S>, id: &str, number: &str) -> Result<Numbered, Problem> {
    let number: u32 = number.parse().map_err(|_| {
        let detail = format!("`{number}` is no number of a round; they count from 1");
        Problem::new(ProblemKind::BadRequest, detail)
    })?;
    let mut task = find(app, id).await?;
    loop {
        let after = number.saturating_sub(1);
        let mut page = app.store().round_page(task.id, after, 2).await?.into_iter();
        let Some(round) = page.next().filter(|round| round.number.0 == number) else {
            let detail = format!("task {id} has no round {number}");
            return Err(Problem::new(ProblemKind::UnknownRound, detail));
        };
        if round.standing == RoundStanding::Open {
            return Ok(Numbered { round, after: None });
        }
        if let Some(next) = page.next() {
            let after = next.model;
            return Ok(Numbered { round, after });
        }
        if task.rounds_ended == number {
            let after = Some(task.model);
            return Ok(Numbered { round, after });
        }
        // The round ended after the task was read, or another one opened since.
        task = find(app, id).await?;
    }
}
