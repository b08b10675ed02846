//! Tokens made, listed and revoked by holders of tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::{Id, Path};
use super::{bad_json, whole};
use crate::app::App;
use crate::auth::rights::Tokens;
use crate::auth::{Admin, Scope, Scopes, TokenId, issue};
use crate::driver::now_ms;
use crate::error::ServerError;
use crate::problem::{Problem, ProblemKind};
use crate::store::{Store, StoreError, TokenRecord};

type AppState<S> = State<Arc<App<S>>>;

/// A token, without its secret.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenLine {
    token: String,
    name: String,
    scopes: Scopes,
    created_at_ms: u64,
    expires_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at_ms: Option<u64>,
    /// To the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_at_ms: Option<u64>,
    valid: bool,
}

impl TokenLine {
    fn of(token: TokenRecord, now: u64) -> Self {
        Self {
            token: token.id.to_string(),
            valid: token.is_valid(now),
            name: token.name,
            scopes: token.scopes,
            created_at_ms: token.created_at,
            expires_at_ms: token.expires_at,
            revoked_at_ms: token.revoked_at,
            used_at_ms: token.used_at,
        }
    }
}

/// All tokens.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenList {
    tokens: Vec<TokenLine>,
}

/// All tokens, without their secrets.
#[utoipa::path(
    get, path = "/admin/v1/tokens", tag = "admin",
    security(("token" = [])),
    responses((status = 200, description = "All tokens", body = TokenList))
)]
pub(super) async fn list<S: Store>(
    _: Admin<Tokens>,
    State(app): AppState<S>,
) -> Result<Json<TokenList>, Problem> {
    let now = now_ms();
    let tokens = app.store().tokens().await?;
    let tokens = tokens.into_iter().map(|t| TokenLine::of(t, now)).collect();
    Ok(Json(TokenList { tokens }))
}

/// What a new token shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateToken {
    /// For people: no control characters.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    name: String,
    #[schema(value_type = Vec<Scope>, min_items = 1)]
    scopes: Scopes,
    /// How long it is valid, in seconds.
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 18_446_744_073_709_551_615_u64)]
    expires_in_s: u64,
}

/// A new token, with its secret: shown this once.
#[derive(Serialize, ToSchema)]
struct Created<'a> {
    token: String,
    secret: &'a str,
    expires_at_ms: u64,
}

/// Makes a token. It can't allow more than the one that it is made with.
#[utoipa::path(
    post, path = "/admin/v1/tokens", tag = "admin",
    security(("token" = [])),
    request_body = CreateToken,
    responses((status = 201, description = "The token, with its secret, shown this once", body = Created))
)]
pub(super) async fn create<S: Store>(
    admin: Admin<Tokens>,
    State(app): AppState<S>,
    wish: Result<Json<CreateToken>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(wish) = wish.map_err(|e| bad_json(&e))?;
    let beyond = wish.scopes.beyond(&admin.holder().scopes);
    if !beyond.is_empty() {
        let detail = format!("a token cannot give what it does not have: {beyond}");
        return Err(Problem::new(ProblemKind::Forbidden, detail));
    }
    let actor = admin.holder().actor();
    let (token, mut new) =
        issue(wish.name, wish.scopes, wish.expires_in_s, now_ms()).map_err(refused)?;
    // Nor does it outlive the one that it is made with.
    new.expires_at = new.expires_at.min(admin.holder().expires_at);
    app.store().create_token(&new, actor).await?;
    tracing::info!(token = %new.id, scopes = %new.scopes, %actor, "token made");
    let secret = token.reveal();
    let created = Created {
        token: new.id.to_string(),
        secret: &secret,
        expires_at_ms: new.expires_at,
    };
    // No cache keeps it.
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, Json(created)).into_response())
}

fn refused(error: ServerError) -> Problem {
    match error {
        ServerError::Token(_) => Problem::new(ProblemKind::BadRequest, error.to_string()),
        other => other.into(),
    }
}

/// What became of a revocation.
#[derive(Serialize, ToSchema)]
pub(super) struct Revoked {
    token: String,
    /// Whether it was this request that did it.
    revoked_now: bool,
}

/// Revokes a token, at once and for ever.
#[utoipa::path(
    post, path = "/admin/v1/tokens/{token}/revoke", tag = "admin",
    params(("token" = String, Path, description = "The token's id")),
    security(("token" = [])),
    responses((status = 200, description = "What became of it", body = Revoked))
)]
pub(super) async fn revoke<S: Store>(
    admin: Admin<Tokens>,
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Json<Revoked>, Problem> {
    let unknown = || {
        let detail = format!("token {id} is not on this service; `undertone token list` shows all");
        Problem::new(ProblemKind::UnknownToken, detail)
    };
    let token: TokenId = id.parse().map_err(|_| unknown())?;
    let actor = admin.holder().actor();
    let revoked = app.store().revoke_token(token, now_ms(), actor).await;
    let revoked_now = match revoked {
        Err(StoreError::Missing(_)) => return Err(unknown()),
        other => other?,
    };
    if revoked_now {
        tracing::info!(%token, %actor, "token revoked");
    }
    Ok(Json(Revoked {
        token: id,
        revoked_now,
    }))
}
