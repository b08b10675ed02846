//! Rounds, as an administrator sees them.

use std::sync::Arc;

use super::super::openapi::TaskPath;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Serialize;
use undertone_protocol::aggregator::PhaseName;
use utoipa::ToSchema;

use super::super::{Id, Path, parse};
use super::{PageQuery, next_page};
use crate::app::App;
use crate::auth::Admin;
use crate::auth::rights::Read;
use crate::problem::Problem;
use crate::store::{RoundStanding, RoundSummary, Store};

type AppState<S> = State<Arc<App<S>>>;

/// A page of rounds.
#[derive(Serialize, ToSchema)]
pub(super) struct RoundList {
    rounds: Vec<RoundLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

/// One round of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct RoundLine {
    round: String,
    number: u32,
    /// `open`, `finished` or `failed`.
    state: &'static str,
    /// The open phase, or the one in which it ended.
    phase: &'static str,
    opened_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    closes_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Whose inputs are in the sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    survivors: Option<u32>,
    /// Who sent the message of the phase before and not the one of this phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropouts: Option<Dropouts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    erased_at_ms: Option<u64>,
}

/// How many clients vanished before which message. Witnesses are a part of the survivors only, so
/// ConsistencyCheck has no line; a phase that the round did not reach has none either.
#[derive(Serialize, ToSchema)]
struct Dropouts {
    #[serde(skip_serializing_if = "Option::is_none")]
    share_keys: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    masked_input: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unmask: Option<u32>,
}

impl Dropouts {
    fn of(lost: &[(PhaseName, u32)]) -> Self {
        let before = |phase| lost.iter().find(|lost| lost.0 == phase).map(|lost| lost.1);
        Self {
            share_keys: before(PhaseName::ShareKeys),
            masked_input: before(PhaseName::MaskedInput),
            unmask: before(PhaseName::Unmask),
        }
    }
}

impl From<RoundSummary> for RoundLine {
    fn from(round: RoundSummary) -> Self {
        let dropouts = round.dropouts();
        let open = round.standing == RoundStanding::Open;
        let [_, _, masked, ..] = round.received.unwrap_or_default();
        let finished = round.standing == RoundStanding::Finished;
        Self {
            round: round.id.to_string(),
            number: round.number.0,
            state: match round.standing {
                RoundStanding::Open => "open",
                RoundStanding::Finished => "finished",
                RoundStanding::Failed => "failed",
            },
            phase: round.phase.text(),
            opened_at_ms: round.opened_at,
            closes_at_ms: open.then_some(round.deadline),
            ended_at_ms: round.ended_at,
            reason: round.reason,
            survivors: round.received.filter(|_| finished).map(|_| masked),
            dropouts: dropouts.as_deref().map(Dropouts::of),
            transcript: round.transcript.map(|digest| digest.to_string()),
            erased_at_ms: round.erased_at,
        }
    }
}

/// The rounds of a task, page by page.
#[utoipa::path(
    get, path = "/admin/v1/tasks/{task}/rounds", tag = "admin",
    params(TaskPath, PageQuery),
    security(("token" = [])),
    responses((status = 200, description = "A page of rounds", body = RoundList))
)]
pub(super) async fn list<S: Store>(
    _: Admin<Read>,
    State(app): AppState<S>,
    Path(id): Id,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<RoundList>, Problem> {
    let (after, limit) = PageQuery::read(query)?;
    let after = u32::try_from(after).unwrap_or(u32::MAX);
    let page = app.store().round_page(parse(&id)?, after, limit).await?;
    if page.is_empty() {
        // That there is no round, or that there is no task.
        super::tasks::find(&app, &id).await?;
    }
    Ok(Json(RoundList {
        next: next_page(&page, limit, |round| u64::from(round.number.0)),
        rounds: page.into_iter().map(RoundLine::from).collect(),
    }))
}
