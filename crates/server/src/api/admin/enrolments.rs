//! Clients invited to enrol, and the keys that they handed in.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{LONGEST_PAGE, PAGE, bad_json, next_page, whole};
use crate::app::App;
use crate::auth::rights::Enrol;
use crate::auth::{Admin, Token, TokenKind};
use crate::driver::now_ms;
use crate::error::ServerError;
use crate::problem::{Problem, ProblemKind};
use crate::store::{EnrolmentRecord, NewInvitations, Store};
use crate::task::is_name;

type AppState<S> = State<Arc<App<S>>>;

/// How many clients one request invites at most.
const MOST_INVITED: usize = 500;

/// Who is invited.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Invite {
    /// The list that their keys are for: what becomes one roster.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    list: String,
    /// What the clients are called, one each.
    #[schema(min_items = 1, max_items = 500, value_type = Vec<ClientName>)]
    names: Vec<String>,
    /// How long the tokens are valid, in seconds.
    #[serde(deserialize_with = "whole")]
    #[schema(minimum = 1, maximum = 18_446_744_073_709_551_615_u64)]
    expires_in_s: u64,
}

/// What people call a client: no control characters.
#[derive(ToSchema)]
#[schema(value_type = String, min_length = 1, max_length = 200, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
#[allow(dead_code, reason = "describes a text; it is never made")]
struct ClientName(String);

/// The tokens, with their secrets: shown this once.
#[derive(Serialize, ToSchema)]
struct Invitations<'a> {
    list: &'a str,
    expires_at_ms: u64,
    #[serde(rename = "invitations")]
    invited: Vec<Invitation<'a>>,
}

#[derive(Serialize, ToSchema)]
struct Invitation<'a> {
    name: &'a str,
    token: String,
    secret: &'a str,
}

/// Makes a one-time token for each client, by which it hands in its key.
#[utoipa::path(
    post, path = "/admin/v1/enrolments", tag = "admin",
    security(("token" = [])),
    request_body = Invite,
    responses((status = 201, description = "The tokens, with their secrets, shown this once", body = Invitations))
)]
pub(super) async fn invite<S: Store>(
    admin: Admin<Enrol>,
    State(app): AppState<S>,
    wish: Result<Json<Invite>, JsonRejection>,
) -> Result<Response, Problem> {
    let Json(wish) = wish.map_err(|e| bad_json(&e))?;
    check(&wish)?;
    let now = now_ms();
    let tokens = wish.names.iter().map(|_| Token::draw(TokenKind::Enrolment));
    let tokens: Vec<Token> = tokens
        .collect::<Result<_, _>>()
        .map_err(ServerError::from)?;
    let names = wish.names.iter().cloned();
    let new = NewInvitations {
        list: wish.list,
        invited: tokens
            .iter()
            .zip(names)
            .map(|(token, name)| (token.id(), token.hash(), name))
            .collect(),
        created_at: now,
        expires_at: now.saturating_add(wish.expires_in_s.saturating_mul(1000)),
    };
    let actor = admin.holder().actor();
    app.store().invite(&new, actor).await?;
    let (list, invited) = (&new.list, new.invited.len());
    tracing::info!(list, invited, %actor, "clients invited");
    let secrets: Vec<_> = tokens.iter().map(Token::reveal).collect();
    let answer = Invitations {
        list,
        expires_at_ms: new.expires_at,
        invited: new
            .invited
            .iter()
            .zip(&secrets)
            .map(|((id, _, name), secret)| Invitation {
                name,
                token: id.to_string(),
                secret,
            })
            .collect(),
    };
    // No cache keeps it.
    let headers = [(header::CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, Json(answer)).into_response())
}

fn check(wish: &Invite) -> Result<(), Problem> {
    let refuse = |what: &str| Err(Problem::new(ProblemKind::BadRequest, what));
    if wish.names.is_empty() || wish.names.len() > MOST_INVITED {
        return refuse("1 to 500 clients can be invited at a time");
    }
    if !is_name(&wish.list) || !wish.names.iter().all(|name| is_name(name)) {
        return refuse(
            "the list and each client need a name of 1 to 200 characters, none of them a control \
             character",
        );
    }
    if wish.expires_in_s == 0 {
        return refuse("the tokens have to be valid for a second at least");
    }
    Ok(())
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct EnrolmentQuery {
    /// Those of one list only.
    list: Option<String>,
    /// Entries after this one: the `next` of the page before.
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    #[serde(default)]
    after: u64,
    #[param(maximum = 4_294_967_295_u32)]
    limit: Option<u32>,
}

/// A page of invitations.
#[derive(Serialize, ToSchema)]
pub(super) struct EnrolmentList {
    enrolments: Vec<EnrolmentLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// A client that was invited.
#[derive(Serialize, ToSchema)]
struct EnrolmentLine {
    token: String,
    list: String,
    name: String,
    state: EnrolmentState,
    created_at_ms: u64,
    expires_at_ms: u64,
    /// Its public key, once it has enrolled.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrolled_at_ms: Option<u64>,
}

/// How it stands with an invitation.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum EnrolmentState {
    Invited,
    Enrolled,
    Expired,
}

impl EnrolmentLine {
    fn of(record: EnrolmentRecord, now: u64) -> Self {
        let state = if record.enrolled.is_some() {
            EnrolmentState::Enrolled
        } else if now < record.expires_at {
            EnrolmentState::Invited
        } else {
            EnrolmentState::Expired
        };
        Self {
            token: record.token.to_string(),
            list: record.list,
            name: record.name,
            state,
            created_at_ms: record.created_at,
            expires_at_ms: record.expires_at,
            key: record.enrolled.map(|(key, _)| key.to_string()),
            enrolled_at_ms: record.enrolled.map(|(_, at)| at),
        }
    }
}

/// Who was invited, and the keys of those who enrolled, page by page.
#[utoipa::path(
    get, path = "/admin/v1/enrolments", tag = "admin",
    params(EnrolmentQuery),
    security(("token" = [])),
    responses((status = 200, description = "A page of invitations", body = EnrolmentList))
)]
pub(super) async fn list<S: Store>(
    _: Admin<Enrol>,
    State(app): AppState<S>,
    query: Result<Query<EnrolmentQuery>, QueryRejection>,
) -> Result<Json<EnrolmentList>, Problem> {
    let Query(query) = query.map_err(|e| Problem::new(ProblemKind::BadRequest, e.body_text()))?;
    let limit = query.limit.unwrap_or(PAGE).clamp(1, LONGEST_PAGE);
    let (list, after) = (query.list.as_deref(), query.after);
    if list.is_some_and(|list| list.contains('\0')) {
        return Err(Problem::new(
            ProblemKind::BadRequest,
            "a list's name has no NUL",
        ));
    }
    let page = app.store().enrolment_page(list, after, limit).await?;
    let now = now_ms();
    Ok(Json(EnrolmentList {
        next: next_page(&page, limit, |record| record.made),
        enrolments: page
            .into_iter()
            .map(|record| EnrolmentLine::of(record, now))
            .collect(),
    }))
}
