//! Clients' parts in the rounds of a task: what an auditor asks of the service.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Serialize;
use undertone_protocol::aggregator::PhaseName;
use utoipa::{IntoParams, ToSchema};

use super::super::openapi::TaskPath;
use super::super::{Path, parse, parse_index};
use super::{PageQuery, next_page};
use crate::app::App;
use crate::auth::Admin;
use crate::auth::rights::Read;
use crate::problem::Problem;
use crate::store::{ClientRound, RoundStanding, Store};

/// The path of a client of a task.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[allow(dead_code, reason = "describes a path; it is never made")]
pub(super) struct ClientPath {
    /// The client's roster index.
    #[param(minimum = 0, maximum = 4_294_967_295_u32)]
    client: u32,
}

/// A page of a client's rounds.
#[derive(Serialize, ToSchema)]
pub(super) struct ClientRoundList {
    rounds: Vec<ClientRoundLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// A round from which something of the client came.
#[derive(Serialize, ToSchema)]
struct ClientRoundLine {
    round: String,
    number: u32,
    /// `open`, `finished` or `failed`.
    state: &'static str,
    opened_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at_ms: Option<u64>,
    /// Whether its masked input was taken: in a round that finished, it is in the sum.
    gave_input: bool,
    /// Its messages.
    messages: Vec<MessageLine>,
}

#[derive(Serialize, ToSchema)]
struct MessageLine {
    phase: &'static str,
    /// How long after the phase had opened it came.
    latency_ms: u64,
    /// It came after the phase had closed, and was refused.
    late: bool,
}

impl From<ClientRound> for ClientRoundLine {
    fn from(round: ClientRound) -> Self {
        let messages = PhaseName::ALL.into_iter().zip(round.phases);
        let message = |(phase, attended): (PhaseName, Option<crate::store::Attended>)| {
            let attended = attended?;
            Some(MessageLine {
                phase: phase.text(),
                latency_ms: attended.latency_ms,
                late: attended.late,
            })
        };
        Self {
            gave_input: round.gave_input(),
            round: round.id.to_string(),
            number: round.number.0,
            state: match round.standing {
                RoundStanding::Open => "open",
                RoundStanding::Finished => "finished",
                RoundStanding::Failed => "failed",
            },
            opened_at_ms: round.opened_at,
            ended_at_ms: round.ended_at,
            messages: messages.filter_map(message).collect(),
        }
    }
}

/// The rounds of a task from which anything of a client came, page by page. What it sent in a
/// phase that is open shows once the phase has closed.
#[utoipa::path(
    get, path = "/admin/v1/tasks/{task}/clients/{client}/rounds", tag = "admin",
    params(TaskPath, ClientPath, PageQuery),
    security(("token" = [])),
    responses((status = 200, description = "A page of rounds", body = ClientRoundList))
)]
pub(super) async fn rounds<S: Store>(
    _: Admin<Read>,
    State(app): State<Arc<App<S>>>,
    Path((task, client)): Path<(String, String)>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<ClientRoundList>, Problem> {
    let (after, limit) = PageQuery::read(query)?;
    let after = u32::try_from(after).unwrap_or(u32::MAX);
    let (id, client) = (parse(&task)?, parse_index(&client)?);
    let page = app.store().client_rounds(id, client, after, limit).await?;
    if page.is_empty() {
        // That nothing came of the client, or that there is no task.
        super::tasks::find(&app, &task).await?;
    }
    Ok(Json(ClientRoundList {
        next: next_page(&page, limit, |round| u64::from(round.number.0)),
        rounds: page.into_iter().map(ClientRoundLine::from).collect(),
    }))
}
