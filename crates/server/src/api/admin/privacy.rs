//! What can be shown to an auditor of a task's privacy.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::super::openapi::TaskPath;
use super::super::{Id, Path};
use super::tasks::find;
use crate::app::App;
use crate::auth::Admin;
use crate::auth::rights::Read;
use crate::problem::Problem;
use crate::report::{self, PrivacyReport};
use crate::store::Store;

/// Promises, costs round by round, participation, budget and audit head of one task.
#[utoipa::path(
    get, path = "/admin/v1/tasks/{task}/privacy", tag = "admin",
    params(TaskPath),
    security(("token" = [])),
    responses((status = 200, description = "The privacy report", body = Object))
)]
pub(super) async fn show<S: Store>(
    _: Admin<Read>,
    State(app): State<Arc<App<S>>>,
    Path(id): Id,
) -> Result<Json<PrivacyReport>, Problem> {
    let task = find(&app, &id).await?;
    Ok(Json(report::load(&app, task).await?))
}
