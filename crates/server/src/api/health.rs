//! Liveness and readiness.

use std::sync::Arc;

use axum::extract::State;

use crate::app::App;
use crate::problem::Problem;
use crate::store::Store;

/// The process runs.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// The database answers.
pub(super) async fn ready<S: Store>(
    State(app): State<Arc<App<S>>>,
) -> Result<&'static str, Problem> {
    app.store().ping().await?;
    Ok("ready\n")
}
