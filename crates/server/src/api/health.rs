//! Liveness and readiness.

use std::sync::Arc;

use axum::extract::State;

use crate::app::App;
use crate::problem::{Problem, ProblemKind};
use crate::store::Store;

/// The process runs.
#[utoipa::path(
    get, path = "/healthz", tag = "health",
    responses((status = 200, description = "It does", content_type = "text/plain; charset=utf-8", body = String))
)]
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// The database answers, and has the schema that this version needs; the process is not stopping.
#[utoipa::path(
    get, path = "/readyz", tag = "health",
    responses((status = 200, description = "It does", content_type = "text/plain; charset=utf-8", body = String))
)]
pub(super) async fn ready<S: Store>(
    State(app): State<Arc<App<S>>>,
) -> Result<&'static str, Problem> {
    if app.is_stopping() {
        let detail = "the service is stopping; ask another replica";
        return Err(Problem::new(ProblemKind::Unavailable, detail));
    }
    app.store().ping().await?;
    let missing = app.store().missing_migrations().await?;
    if !missing.is_empty() {
        let detail = format!("the database lacks migrations {missing:?}; run `undertone migrate`");
        return Err(Problem::new(ProblemKind::Unavailable, detail));
    }
    Ok("ready\n")
}
