//! The contents of the audit log.
//!
//! Specification: chapter 19, "Audit log", section 19.6.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::LONGEST_PAGE;
use crate::api::parse;
use crate::app::App;
use crate::audit::canonical::Hex;
use crate::audit::refusals::Kind;
use crate::audit::{self, Chain, SignedHeadJson};
use crate::auth::{Admin, rights};
use crate::problem::{Problem, ProblemKind, Refused};
use crate::store::Store;
use undertone_protocol::id::Digest;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// `service`, or the id of a task.
    #[param(pattern = "^(service|[0-9a-f]{32})$")]
    chain: Option<String>,
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    #[serde(default)]
    from: u64,
    #[param(maximum = 4_294_967_295_u32)]
    limit: Option<u32>,
}

/// Without a chain: all chains. With one: its signed head, and a page of its entries.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    chains: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<SignedHeadJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<EntryJson>>,
}

#[derive(Serialize, ToSchema)]
struct EntryJson {
    sequence: u64,
    content: String,
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    digest: Hex<Digest>,
}

/// The log's chains, or the entries of one.
#[utoipa::path(
    get, path = "/admin/v1/audit", tag = "admin",
    params(AuditQuery),
    security(("token" = [])),
    responses((status = 200, description = "Chains, or entries of one", body = AuditJson))
)]
pub(super) async fn read<S: Store>(
    State(app): State<Arc<App<S>>>,
    _admin: Admin<rights::Audit>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<AuditJson>, Problem> {
    let Query(query) = query.map_err(|e| Problem::new(ProblemKind::BadRequest, e.body_text()))?;
    let Some(chain) = query.chain else {
        let chains = app.store().audit_chains().await?;
        return Ok(Json(AuditJson {
            chains: Some(chains.iter().map(ToString::to_string).collect()),
            head: None,
            entries: None,
        }));
    };
    let chain: Chain = parse(&chain)?;
    let limit = query.limit.unwrap_or(LONGEST_PAGE).clamp(1, LONGEST_PAGE);
    // The head comes first, so that the entries up to it are there when they are read.
    let head = audit::signed_head(&app, chain).await?;
    let entries = app.store().audit_entries(chain, query.from, limit).await?;
    let entry = |entry: crate::store::AuditEntry| EntryJson {
        sequence: entry.sequence,
        content: entry.content,
        digest: Hex(entry.digest),
    };
    Ok(Json(AuditJson {
        chains: None,
        head: head.map(Into::into),
        entries: Some(entries.into_iter().map(entry).collect()),
    }))
}

/// Counts requests that showed no valid token, or one without the right, for the audit log.
pub(crate) async fn note_denials<S: Store>(
    State(app): State<Arc<App<S>>>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    let denied = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&response.status());
    if denied && let Some(refused) = response.extensions().get::<Refused>().copied() {
        let kind = Kind {
            round: None,
            phase: Some("admin"),
            problem: refused.kind.name(),
            client: None,
        };
        app.audit().refusals().note(app.store(), kind).await;
    }
    response
}
