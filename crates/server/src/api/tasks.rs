//! What a client reads of a task.
//!
//! Specification: chapter 14, "HTTP binding", section 14.1.

use std::sync::Arc;

use super::openapi::{Bytes, TaskPath};
use axum::Json;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::poll::{self, Glance};
use super::{Id, Path, binary, parse};
use crate::app::App;
use crate::problem::{Problem, ProblemKind};
use crate::store::{Store, StoreError, TaskRecord, TaskState, TaskStatus};
use crate::watch::Snapshot;
use undertone_protocol::id::{RoundId, TaskId};

type AppState<S> = State<Arc<App<S>>>;

#[derive(Serialize, ToSchema)]
pub(super) struct TaskJson {
    task: String,
    name: String,
    status: TaskStatus,
    rounds_ended: u32,
    rounds_total: u32,
    model: String,
    /// Why no further round comes, where the status is `finished`: `finished`, `cancelled`, or
    /// `exhausted`, where the task's privacy budget covers none.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<TaskState>,
}

/// One task.
#[utoipa::path(
    get, path = "/v1/tasks/{task}", tag = "tasks",
    params(TaskPath),
    responses((status = 200, description = "The task", body = TaskJson))
)]
pub(super) async fn show<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Json<TaskJson>, Problem> {
    let task = find(&app, &id).await?;
    let status = status(&task);
    let ended = Some(task.state()).filter(|state| state.is_over());
    Ok(Json(TaskJson {
        task: task.id.to_string(),
        name: task.name,
        status,
        rounds_ended: task.rounds_ended,
        rounds_total: task.settings.rounds,
        model: task.model.to_string(),
        ended,
    }))
}

/// For a client, a task that was cancelled, or stopped at its budget, has ended like any other.
fn status(task: &TaskRecord) -> TaskStatus {
    if task.state().is_over() {
        TaskStatus::Finished
    } else {
        TaskStatus::Running
    }
}

/// The signed roster.
#[utoipa::path(
    get, path = "/v1/tasks/{task}/roster", tag = "tasks",
    params(TaskPath),
    responses((status = 200, description = "The signed roster", body = Bytes, content_type = "application/octet-stream"))
)]
pub(super) async fn roster<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Response, Problem> {
    let roster = app.downloads().roster(app.store(), parse(&id)?).await?;
    roster.map(binary).ok_or_else(|| unknown(&id))
}

/// The training settings.
#[utoipa::path(
    get, path = "/v1/tasks/{task}/training", tag = "tasks",
    params(TaskPath),
    responses((status = 200, description = "The training settings", content_type = "application/json", body = Object))
)]
pub(super) async fn training<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Response, Problem> {
    Ok(json_bytes(find(&app, &id).await?.training))
}

/// The mechanism.
#[utoipa::path(
    get, path = "/v1/tasks/{task}/mechanism", tag = "tasks",
    params(TaskPath),
    responses((status = 200, description = "The mechanism", content_type = "application/json", body = Object))
)]
pub(super) async fn mechanism<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Response, Problem> {
    Ok(json_bytes(find(&app, &id).await?.mechanism))
}

/// The current adapter.
#[utoipa::path(
    get, path = "/v1/tasks/{task}/adapter", tag = "tasks",
    params(TaskPath),
    responses((status = 200, description = "The current adapter, safetensors", body = Bytes, content_type = "application/octet-stream"))
)]
pub(super) async fn adapter<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Response, Problem> {
    let task = find(&app, &id).await?;
    let adapter = app
        .downloads()
        .adapter(app.store(), task.id, task.model)
        .await?;
    Ok(binary(adapter.ok_or_else(|| {
        StoreError::Missing(format!("adapter {}", task.model))
    })?))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RoundQuery {
    #[serde(default)]
    #[param(maximum = 4_294_967_295_u32)]
    after: u32,
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    wait: Option<u64>,
}

#[derive(Serialize, ToSchema)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub(super) enum NextRound {
    Open { round: String, number: u32 },
    Finished,
    Waiting,
}

/// The open round with a number above `after`; waits for one.
#[utoipa::path(
    get, path = "/v1/tasks/{task}/round", tag = "tasks",
    params(TaskPath, RoundQuery),
    responses((status = 200, description = "The open round, or that there is none", body = NextRound))
)]
pub(super) async fn round<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
    query: Result<Query<RoundQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<NextRound>, Problem> {
    let Query(query) = query.map_err(|e| Problem::new(ProblemKind::BadRequest, e.body_text()))?;
    let task: TaskId = parse(&id)?;
    let above = |(round, number): &(RoundId, u32)| {
        (*number > query.after).then(|| NextRound::Open {
            round: round.to_string(),
            number: *number,
        })
    };
    let glance = |snapshot: &Snapshot| match snapshot.task(task) {
        None => Glance::Unknown,
        Some((true, _)) => Glance::News(NextRound::Finished),
        Some((false, open)) => match open.as_ref().and_then(above) {
            Some(next) => Glance::News(next),
            None => Glance::Same(NextRound::Waiting),
        },
    };
    let look = || async {
        let task = find(&app, &id).await?;
        if status(&task) == TaskStatus::Finished {
            return Ok((NextRound::Finished, true));
        }
        let open = app.store().open_round_of(task.id).await?;
        let open = open.map(|round| (round.id, round.number.0));
        Ok(match open.as_ref().and_then(above) {
            Some(next) => (next, true),
            None => (NextRound::Waiting, false),
        })
    };
    Ok(Json(poll::until(&app, query.wait, glance, look).await?))
}

pub(super) async fn find<S: Store>(app: &App<S>, id: &str) -> Result<TaskRecord, Problem> {
    let task = app.store().task(parse(id)?).await?;
    task.ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Problem {
    let detail = format!("task {id} is not on this service");
    Problem::new(ProblemKind::UnknownTask, detail)
}

fn json_bytes(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}
