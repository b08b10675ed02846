//! What anyone may read of the audit log: signed heads, and links without contents.
//!
//! Specification: chapter 19, "Audit log", sections 19.3 and 19.6.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::audit::{Chain, content_digest};
use utoipa::{IntoParams, ToSchema};

use super::openapi::TaskPath;
use super::{Id, Path, parse, tasks};
use crate::app::App;
use crate::audit::refusals::Kind;
use crate::audit::{self, SignedHeadJson};
use crate::problem::{Problem, ProblemKind, Refused};
use crate::store::Store;

type AppState<S> = State<Arc<App<S>>>;

/// The most links in one answer: within the 64 KiB that a client reads.
const MOST_LINKS: u32 = 500;

/// The signed head of a task's chain.
#[utoipa::path(
    get, path = "/v1/tasks/{task}/audit/head", tag = "tasks",
    params(TaskPath),
    responses((status = 200, description = "The signed head", body = SignedHeadJson))
)]
pub(super) async fn head<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Json<SignedHeadJson>, Problem> {
    let task = tasks::find(&app, &id).await?.id;
    let head = audit::signed_head(&app, Chain::Task(task)).await?;
    let head = head.ok_or_else(|| {
        let detail = format!("nothing of task {task} has been recorded since it was upgraded");
        Problem::new(ProblemKind::NotFound, detail)
    })?;
    Ok(Json(head.into()))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LinksQuery {
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    #[serde(default)]
    from: u64,
    #[param(maximum = 4_294_967_295_u32)]
    limit: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct LinksJson {
    chain: String,
    links: Vec<LinkJson>,
}

#[derive(Serialize, ToSchema)]
struct LinkJson {
    sequence: u64,
    content: String,
}

/// The links of a task's chain from number `from` on, at most `limit` of them.
#[utoipa::path(
    get, path = "/v1/tasks/{task}/audit/links", tag = "tasks",
    params(TaskPath, LinksQuery),
    responses((status = 200, description = "Links, ascending", body = LinksJson))
)]
pub(super) async fn links<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
    query: Result<Query<LinksQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<LinksJson>, Problem> {
    let Query(query) = query.map_err(|e| Problem::new(ProblemKind::BadRequest, e.body_text()))?;
    let chain = Chain::Task(parse(&id)?);
    let limit = query.limit.unwrap_or(MOST_LINKS).min(MOST_LINKS);
    let entries = app.store().audit_entries(chain, query.from, limit).await?;
    let link = |entry: &crate::store::AuditEntry| LinkJson {
        sequence: entry.sequence,
        content: content_digest(entry.content.as_bytes()).to_string(),
    };
    Ok(Json(LinksJson {
        chain: chain.to_string(),
        links: entries.iter().map(link).collect(),
    }))
}

/// Counts what is refused of clients' messages, for the audit log.
pub(super) async fn note_refusals<S: Store>(
    State(app): AppState<S>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let Some(Refused { kind, signer }) = response.extensions().get::<Refused>().copied() else {
        return response;
    };
    if kind.status().is_client_error() {
        let mut parts = path.rsplit('/').skip(1);
        let phase = parts.next().and_then(|name| name.parse::<PhaseName>().ok());
        let round = parts.next().and_then(|id| id.parse().ok());
        let kind = Kind {
            round: round.filter(|_| kind != ProblemKind::UnknownRound),
            phase: phase.map(PhaseName::text),
            problem: kind.name(),
            client: signer,
        };
        app.audit().refusals().note(app.store(), kind).await;
    }
    response
}
