//! Liveness and readiness.

use std::sync::Arc;

use axum::extract::State;

use crate::app::App;
use crate::problem::Problem;
use crate::store::Store;

/// The process runs.
#[utoipa::path(
    get, path = "/healthz", tag = "health",
    responses((status = 200, description = "It does", content_type = "text/plain; charset=utf-8", body = String))
)]
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// The database answers.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses((status = 200, description = "It does", content_type = "text/plain; charset=utf-8", body = String))
)]
pub(super) async fn ready<S: Store>(
    State(app): State<Arc<App<S>>>,
) -> Result<&'static str, Problem> {
    app.store().ping().await?;
    Ok("ready\n")
}
