//! Tasks, as an administrator sees and controls them.

use std::sync::Arc;

use super::super::openapi::{Bytes, TaskPath};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Serialize;
use undertone_privacy::{Epsilon, Mechanism, PrivacyError, PrivacyUnit, promise};
use undertone_protocol::id::TaskId;
use utoipa::ToSchema;

use super::super::{Id, Path, parse};
use super::{PageQuery, file, next_page};
use crate::app::App;
use crate::auth::Admin;
use crate::auth::rights::{Read, Tasks};
use crate::driver::now_ms;
use crate::error::ServerError;
use crate::problem::{Problem, ProblemKind};
use crate::store::{
    Actor, ControlOutcome, Store, StoreError, TaskControl, TaskRecord, TaskSettings, TaskState,
    TaskSummary,
};

type AppState<S> = State<Arc<App<S>>>;

/// A page of tasks.
#[derive(Serialize, ToSchema)]
pub(super) struct TaskList {
    tasks: Vec<TaskLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// One task of a list.
#[derive(Serialize, ToSchema)]
struct TaskLine {
    task: String,
    name: String,
    state: TaskState,
    rounds_ended: u32,
    rounds_total: u32,
    model: String,
    created_at_ms: u64,
}

impl From<TaskSummary> for TaskLine {
    fn from(task: TaskSummary) -> Self {
        Self {
            task: task.id.to_string(),
            name: task.name,
            state: task.state,
            rounds_ended: task.rounds_ended,
            rounds_total: task.rounds_total,
            model: task.model.to_string(),
            created_at_ms: task.created_at,
        }
    }
}

/// All tasks, page by page.
#[utoipa::path(
    get, path = "/admin/v1/tasks", tag = "admin",
    params(PageQuery),
    security(("token" = [])),
    responses((status = 200, description = "A page of tasks", body = TaskList))
)]
pub(super) async fn list<S: Store>(
    _: Admin<Read>,
    State(app): AppState<S>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<TaskList>, Problem> {
    let (after, limit) = PageQuery::read(query)?;
    let page = app.store().task_page(after, limit).await?;
    Ok(Json(TaskList {
        next: next_page(&page, limit, |task| task.made),
        tasks: page.into_iter().map(TaskLine::from).collect(),
    }))
}

/// One task with its settings.
#[derive(Serialize, ToSchema)]
pub(super) struct TaskDetail {
    #[serde(flatten)]
    line: TaskLine,
    /// As in the settings file of `undertone task create`.
    #[schema(value_type = Object)]
    settings: TaskSettings,
    mechanism: serde_json::Value,
    training: serde_json::Value,
    /// The privacy budget, if the task has one, and what is left of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BudgetLine>,
}

/// A task's privacy budget, and what is left of it.
#[derive(Serialize, ToSchema)]
struct BudgetLine {
    /// `example` or `client`.
    #[schema(value_type = String)]
    unit: PrivacyUnit,
    epsilon: f64,
    delta: f64,
    /// Epsilon of the rounds so far in which inputs were taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    spent: Option<f64>,
    rounds_taken: u64,
    rounds_covered: u64,
}

async fn budget_line<S: Store>(
    app: &App<S>,
    task: &TaskRecord,
) -> Result<Option<BudgetLine>, Problem> {
    let Some(budget) = task.settings.budget else {
        return Ok(None);
    };
    let taken = app.store().releases(task.id).await?.inputs;
    let mechanism: Mechanism = serde_json::from_slice(&task.mechanism)
        .map_err(|e| StoreError::Corrupt(format!("mechanism: {e}")))?;
    // A few milliseconds for an accountant.
    let compute = move || {
        let cost = promise::cost(&mechanism, budget.unit)?;
        let spent = promise::epsilon(&cost, taken, budget.delta);
        Ok::<_, PrivacyError>((spent.ok(), budget.rounds(&mechanism)?))
    };
    let (spent, covered) = tokio::task::spawn_blocking(compute)
        .await
        .map_err(ServerError::from)?
        .map_err(ServerError::from)?;
    Ok(Some(BudgetLine {
        unit: budget.unit,
        epsilon: budget.epsilon.get(),
        delta: budget.delta.get(),
        spent: if taken == 0 {
            Some(0.0)
        } else {
            spent.map(Epsilon::get)
        },
        rounds_taken: taken,
        rounds_covered: covered,
    }))
}

/// One task.
#[utoipa::path(
    get, path = "/admin/v1/tasks/{task}", tag = "admin",
    params(TaskPath),
    security(("token" = [])),
    responses((status = 200, description = "The task", body = TaskDetail))
)]
pub(super) async fn show<S: Store>(
    _: Admin<Read>,
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Json<TaskDetail>, Problem> {
    detail(&app, find(&app, &id).await?).await.map(Json)
}

pub(super) async fn detail<S: Store>(
    app: &App<S>,
    task: TaskRecord,
) -> Result<TaskDetail, Problem> {
    let budget = budget_line(app, &task).await?;
    let json = |bytes: &[u8]| {
        serde_json::from_slice(bytes).map_err(|e| StoreError::Corrupt(e.to_string()))
    };
    Ok(TaskDetail {
        mechanism: json(&task.mechanism)?,
        training: json(&task.training)?,
        line: TaskLine {
            task: task.id.to_string(),
            state: task.state(),
            name: task.name,
            rounds_ended: task.rounds_ended,
            rounds_total: task.settings.rounds,
            model: task.model.to_string(),
            created_at_ms: task.created_at,
        },
        settings: task.settings,
        budget,
    })
}

/// No round opens until the task is resumed.
#[utoipa::path(
    post, path = "/admin/v1/tasks/{task}/pause", tag = "admin",
    params(TaskPath),
    security(("token" = [])),
    responses((status = 200, description = "The task as it is now", body = TaskDetail))
)]
pub(super) async fn pause<S: Store>(
    admin: Admin<Tasks>,
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Json<TaskDetail>, Problem> {
    control(&app, &id, TaskControl::Paused, &admin).await
}

/// Rounds open again.
#[utoipa::path(
    post, path = "/admin/v1/tasks/{task}/resume", tag = "admin",
    params(TaskPath),
    security(("token" = [])),
    responses((status = 200, description = "The task as it is now", body = TaskDetail))
)]
pub(super) async fn resume<S: Store>(
    admin: Admin<Tasks>,
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Json<TaskDetail>, Problem> {
    control(&app, &id, TaskControl::Run, &admin).await
}

/// No round opens any more, and the open one fails.
#[utoipa::path(
    post, path = "/admin/v1/tasks/{task}/cancel", tag = "admin",
    params(TaskPath),
    security(("token" = [])),
    responses((status = 200, description = "The task as it is now", body = TaskDetail))
)]
pub(super) async fn cancel<S: Store>(
    admin: Admin<Tasks>,
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Json<TaskDetail>, Problem> {
    control(&app, &id, TaskControl::Cancelled, &admin).await
}

async fn control<S: Store>(
    app: &App<S>,
    id: &str,
    to: TaskControl,
    admin: &Admin<Tasks>,
) -> Result<Json<TaskDetail>, Problem> {
    control_task(app, parse(id)?, to, admin.holder().actor()).await?;
    detail(app, find(app, id).await?).await.map(Json)
}

/// Pauses, resumes or cancels a task, and tells whoever waits for that.
pub(crate) async fn control_task<S: Store>(
    app: &App<S>,
    task: TaskId,
    to: TaskControl,
    actor: Actor,
) -> Result<(), Problem> {
    match app.store().control_task(task, to, now_ms(), actor).await {
        Err(StoreError::Missing(_)) => return Err(unknown(&task.to_string())),
        Err(error) => return Err(error.into()),
        Ok(ControlOutcome::Finished) => return Err(ended("all its rounds have ended")),
        Ok(ControlOutcome::Cancelled) => return Err(ended("it was cancelled, which is for ever")),
        Ok(ControlOutcome::Exhausted) => {
            return Err(ended("its privacy budget covers no further round"));
        }
        Ok(ControlOutcome::Unchanged) => {}
        Ok(ControlOutcome::Changed) => {
            tracing::info!(%task, control = to.text(), %actor, "task controlled");
            // A resumed task opens a round now; clients of a cancelled one are told now.
            app.changed(task);
        }
    }
    Ok(())
}

fn ended(why: &str) -> Problem {
    let detail = format!("the task can no longer be controlled: {why}");
    Problem::new(ProblemKind::TaskEnded, detail)
}

/// The signed roster.
#[utoipa::path(
    get, path = "/admin/v1/tasks/{task}/roster", tag = "admin",
    params(TaskPath),
    security(("token" = [])),
    responses((status = 200, description = "The signed roster", body = Bytes, content_type = "application/octet-stream"))
)]
pub(super) async fn roster<S: Store>(
    _: Admin<Read>,
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Response, Problem> {
    let task = find(&app, &id).await?;
    Ok(file(task.roster, &format!("{}.roster", task.id)))
}

/// The current adapter.
#[utoipa::path(
    get, path = "/admin/v1/tasks/{task}/adapter", tag = "admin",
    params(TaskPath),
    security(("token" = [])),
    responses((status = 200, description = "The current adapter, safetensors", body = Bytes, content_type = "application/octet-stream"))
)]
pub(super) async fn adapter<S: Store>(
    _: Admin<Read>,
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Response, Problem> {
    let task = find(&app, &id).await?;
    let adapter = app.store().adapter(task.id, task.model).await?;
    let adapter = adapter.ok_or_else(|| StoreError::Missing(format!("adapter {}", task.model)))?;
    let name = format!("{}-{}.safetensors", task.id, task.rounds_ended);
    Ok(file(adapter, &name))
}

/// The task of a path.
pub(super) async fn find<S: Store>(app: &App<S>, id: &str) -> Result<TaskRecord, Problem> {
    let task = app.store().task(parse(id)?).await?;
    task.ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Problem {
    Problem::new(
        ProblemKind::UnknownTask,
        format!("task {id} is not on this service; `undertone task list` shows all"),
    )
}
