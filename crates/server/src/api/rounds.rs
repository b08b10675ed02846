//! What a client reads of a round.
//!
//! Specification: chapter 14, "HTTP binding", section 14.2.

use std::sync::Arc;

use super::openapi::{Bytes, IndexPath, RoundPath};
use axum::Json;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::RosterIndex;
use utoipa::{IntoParams, ToSchema};

use super::poll::{self, Glance};
use super::{Id, Path, binary, parse, parse_index};
use crate::app::App;
use crate::audit::{self, Chain, SignedHeadJson};
use crate::phases::Phase;
use crate::problem::{Problem, ProblemKind};
use crate::store::{RoundAt, RoundRecord, RoundState, Store, StoredResult};
use crate::watch::{Known, Snapshot};
use undertone_protocol::id::RoundId;
use undertone_protocol::params::RoundParams;

type AppState<S> = State<Arc<App<S>>>;

/// The round's parameters.
#[utoipa::path(
    get, path = "/v1/rounds/{round}/params", tag = "rounds",
    params(RoundPath),
    responses((status = 200, description = "RoundParams", body = Bytes, content_type = "application/octet-stream"))
)]
pub(super) async fn params<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Response, Problem> {
    let round = find(&app, &id).await?;
    kept(&round)?;
    Ok(binary(round.params))
}

/// That the round's parameters and sum are still there.
fn kept(round: &RoundRecord) -> Result<(), Problem> {
    if round.erased_at.is_none() {
        return Ok(());
    }
    let detail = format!(
        "what round {} left was erased, its time being over",
        round.id
    );
    Err(Problem::new(ProblemKind::Erased, detail))
}

/// The adapter that the round starts from.
#[utoipa::path(
    get, path = "/v1/rounds/{round}/adapter", tag = "rounds",
    params(RoundPath),
    responses((status = 200, description = "The adapter that the round starts from, safetensors", body = Bytes, content_type = "application/octet-stream"))
)]
pub(super) async fn adapter<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Response, Problem> {
    let round = find(&app, &id).await?;
    kept(&round)?;
    let model = RoundParams::decode(&round.params)?.model;
    let adapter = app
        .downloads()
        .adapter(app.store(), round.task, model)
        .await?;
    let detail = || format!("adapter {model} was erased, its time being over");
    let adapter = adapter.ok_or_else(|| Problem::new(ProblemKind::Erased, detail()))?;
    Ok(binary(adapter))
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusQuery {
    seen: Option<String>,
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    wait: Option<u64>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct StatusJson {
    round: String,
    number: u32,
    phase: &'static str,
    received: usize,
    expected: usize,
    closes_in_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Where the round stands; waits until it is in another phase than `seen`.
#[utoipa::path(
    get, path = "/v1/rounds/{round}/status", tag = "rounds",
    params(RoundPath, StatusQuery),
    responses((status = 200, description = "Where the round stands", body = StatusJson))
)]
pub(super) async fn status<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
    query: Result<Query<StatusQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<StatusJson>, Problem> {
    let Query(query) = query.map_err(|e| Problem::new(ProblemKind::BadRequest, e.body_text()))?;
    let round: RoundId = parse(&id)?;
    let seen = query.seen.as_deref();
    let glance = |snapshot: &Snapshot| match snapshot.round(round) {
        None => Glance::Unknown,
        Some(known) => {
            let found = Found::Known(known.clone(), snapshot.now());
            if seen.is_none_or(|seen| known.is_news(seen)) {
                Glance::News(found)
            } else {
                Glance::Same(found)
            }
        }
    };
    let look = || async {
        let round = find(&app, &id).await?;
        // A round that has ended stays as it is: there is nothing to wait for.
        let ended = !matches!(round.state, RoundState::Open { .. });
        let news = ended || seen != Some(phase_text(&round.state));
        Ok((Found::Stored(round), news))
    };
    match poll::until(&app, query.wait, glance, look).await? {
        Found::Known(known, now) => describe_known(&app, known, now).await.map(Json),
        Found::Stored(round) => describe(&app, round).await.map(Json),
    }
}

/// A round as a snapshot knows it, with the database's clock now, or as it is stored.
enum Found {
    Known(Known, u64),
    Stored(RoundRecord),
}

fn phase_text(state: &RoundState) -> &'static str {
    match state {
        RoundState::Open { phase, .. } => phase.text(),
        RoundState::Finished(_) => "finished",
        RoundState::Failed { .. } => "failed",
    }
}

async fn describe<S: Store>(app: &App<S>, round: RoundRecord) -> Result<StatusJson, Problem> {
    let mut status = StatusJson {
        round: round.id.to_string(),
        number: round.number.0,
        phase: phase_text(&round.state),
        received: 0,
        expected: 0,
        closes_in_ms: 0,
        reason: None,
    };
    match &round.state {
        RoundState::Open { phase, deadline } => {
            status.received = app.store().count(round.id, *phase).await?;
            let now = app.store().now().await?;
            status.closes_in_ms = deadline.saturating_sub(now);
            status.expected = expected(app, &round, *phase).await?;
        }
        RoundState::Failed { reason } => status.reason = Some(reason.clone()),
        RoundState::Finished(_) => {}
    }
    Ok(status)
}

async fn describe_known<S: Store>(
    app: &App<S>,
    known: Known,
    now: u64,
) -> Result<StatusJson, Problem> {
    let mut status = StatusJson {
        round: known.round.id.to_string(),
        number: known.round.number,
        phase: known.phase(),
        received: 0,
        expected: 0,
        closes_in_ms: 0,
        reason: None,
    };
    match known.round.at {
        RoundAt::Open {
            phase,
            deadline,
            received,
        } => {
            status.received = received;
            status.closes_in_ms = deadline.saturating_sub(now);
            // The first who asks finds out for all.
            let find_out = || async {
                match app.store().round_without_sum(known.round.id).await? {
                    Some(round) => expected(app, &round, phase).await,
                    None => Ok(0),
                }
            };
            status.expected = *known.expected.get_or_try_init(find_out).await?;
        }
        RoundAt::Failed { reason } => status.reason = Some(reason),
        RoundAt::Finished => {}
    }
    Ok(status)
}

/// How many messages a phase waits for at most; 0 if the round cannot get there and will fail.
async fn expected<S: Store>(
    app: &App<S>,
    round: &RoundRecord,
    phase: PhaseName,
) -> Result<usize, Problem> {
    let rebuilt = app.phases().load(app.store(), round, phase).await?;
    Ok(rebuilt.map_or(0, |rebuilt| {
        let most = *rebuilt.context().params().directory_sizes().end();
        let admitted = round
            .admitted
            .and_then(|admitted| usize::try_from(admitted).ok());
        rebuilt.expected().or(admitted).unwrap_or(most)
    }))
}

/// One client's part of the directory U1.
#[utoipa::path(
    get, path = "/v1/rounds/{round}/directory/{index}", tag = "rounds",
    params(RoundPath, IndexPath),
    responses((status = 200, description = "DirectoryView", body = Bytes, content_type = "application/octet-stream"))
)]
pub(super) async fn directory<S: Store>(
    State(app): AppState<S>,
    Path((id, index)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let index = parse_index(&index)?;
    match at(&app, &id, PhaseName::ShareKeys).await?.as_ref() {
        Phase::ShareKeys(phase) => Ok(binary(phase.directory().encode_for(index)?)),
        _ => Err(unexpected()),
    }
}

/// U2 and the shares dealt to one client.
#[utoipa::path(
    get, path = "/v1/rounds/{round}/dealt/{index}", tag = "rounds",
    params(RoundPath, IndexPath),
    responses((status = 200, description = "DealtToClient", body = Bytes, content_type = "application/octet-stream"))
)]
pub(super) async fn dealt<S: Store>(
    State(app): AppState<S>,
    Path((id, index)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let index = parse_index(&index)?;
    match at(&app, &id, PhaseName::MaskedInput).await?.as_ref() {
        Phase::MaskedInput(phase) => Ok(binary(phase.dealt_to(index)?)),
        _ => Err(unexpected()),
    }
}

/// The set U3.
#[utoipa::path(
    get, path = "/v1/rounds/{round}/survivors", tag = "rounds",
    params(RoundPath),
    responses((status = 200, description = "Bitmap of U3", body = Bytes, content_type = "application/octet-stream"))
)]
pub(super) async fn survivors<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Response, Problem> {
    match at(&app, &id, PhaseName::ConsistencyCheck).await?.as_ref() {
        Phase::ConsistencyCheck(phase) => Ok(binary(phase.survivors_encoded()?)),
        _ => Err(unexpected()),
    }
}

/// The witnesses' statements.
#[utoipa::path(
    get, path = "/v1/rounds/{round}/statements", tag = "rounds",
    params(RoundPath),
    responses((status = 200, description = "The witnesses' statements", body = Bytes, content_type = "application/octet-stream"))
)]
pub(super) async fn statements<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Response, Problem> {
    match at(&app, &id, PhaseName::Unmask).await?.as_ref() {
        Phase::Unmask(phase) => Ok(binary(phase.statements().to_vec())),
        _ => Err(unexpected()),
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct ResultJson {
    round: String,
    number: u32,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    survivors: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript: Option<String>,
    set_aside: Vec<SetAsideJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit: Option<SignedHeadJson>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SetAsideJson {
    holder: u32,
    dealer: u32,
}

impl From<(RosterIndex, RosterIndex)> for SetAsideJson {
    fn from((holder, dealer): (RosterIndex, RosterIndex)) -> Self {
        Self {
            holder: holder.0,
            dealer: dealer.0,
        }
    }
}

/// How the round ended.
#[utoipa::path(
    get, path = "/v1/rounds/{round}/result", tag = "rounds",
    params(RoundPath),
    responses((status = 200, description = "How the round ended", body = ResultJson))
)]
pub(super) async fn result<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Json<ResultJson>, Problem> {
    let round = find(&app, &id).await?;
    let mut json = ResultJson {
        round: round.id.to_string(),
        number: round.number.0,
        outcome: phase_text(&round.state),
        reason: None,
        survivors: Vec::new(),
        transcript: None,
        set_aside: Vec::new(),
        audit: None,
    };
    if !matches!(round.state, RoundState::Open { .. }) {
        let head = audit::signed_head(&app, Chain::Task(round.task)).await?;
        json.audit = head.map(Into::into);
    }
    match round.state {
        RoundState::Finished(StoredResult {
            survivors,
            transcript,
            set_aside,
            ..
        }) => {
            json.survivors = survivors.iter().map(|s| s.0).collect();
            json.transcript = Some(transcript.to_string());
            json.set_aside = set_aside.into_iter().map(SetAsideJson::from).collect();
            Ok(Json(json))
        }
        RoundState::Failed { reason } => {
            json.reason = Some(reason);
            Ok(Json(json))
        }
        RoundState::Open { phase, .. } => Err(not_there_yet(phase)),
    }
}

/// The packed sum of a finished round.
#[utoipa::path(
    get, path = "/v1/rounds/{round}/sum", tag = "rounds",
    params(RoundPath),
    responses((status = 200, description = "The packed sum", body = Bytes, content_type = "application/octet-stream"))
)]
pub(super) async fn sum<S: Store>(
    State(app): AppState<S>,
    Path(id): Id,
) -> Result<Response, Problem> {
    let round = find(&app, &id).await?;
    kept(&round)?;
    match round.state {
        RoundState::Finished(_) => {
            let sum = app.downloads().sum(app.store(), round.id).await?;
            sum.map(binary).ok_or_else(|| unknown(&id))
        }
        RoundState::Failed { reason } => Err(Problem::new(
            ProblemKind::RoundEnded,
            format!("the round has no sum, it failed: {reason}"),
        )),
        RoundState::Open { phase, .. } => Err(not_there_yet(phase)),
    }
}

/// A round, without its sum.
pub(super) async fn find<S: Store>(app: &App<S>, id: &str) -> Result<RoundRecord, Problem> {
    let round = app.store().round_without_sum(parse(id)?).await?;
    round.ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Problem {
    Problem::new(
        ProblemKind::UnknownRound,
        format!("round {id} is not on this service"),
    )
}

/// A phase that the round has reached and not yet left behind by ending.
async fn at<S: Store>(app: &App<S>, id: &str, name: PhaseName) -> Result<Arc<Phase>, Problem> {
    let round = find(app, id).await?;
    reached(app, &round, name).await
}

/// A phase that an open round has reached.
pub(super) async fn reached<S: Store>(
    app: &App<S>,
    round: &RoundRecord,
    name: PhaseName,
) -> Result<Arc<Phase>, Problem> {
    match &round.state {
        RoundState::Open { phase, .. } if *phase < name => Err(not_there_yet(*phase)),
        RoundState::Open { .. } => {
            app.phases()
                .load(app.store(), round, name)
                .await?
                .map_err(|failure| {
                    Problem::new(
                        ProblemKind::RoundEnded,
                        format!("the round fails: {failure}"),
                    )
                })
        }
        RoundState::Finished(_) => Err(Problem::new(
            ProblemKind::RoundEnded,
            "the round has finished; see its result",
        )),
        RoundState::Failed { reason } => Err(Problem::new(
            ProblemKind::RoundEnded,
            format!("the round has failed: {reason}"),
        )),
    }
}

fn not_there_yet(phase: PhaseName) -> Problem {
    let detail = format!("the round is in {phase}; wait for its status to change and ask again");
    Problem::new(ProblemKind::PhaseNotOpen, detail)
}

fn unexpected() -> Problem {
    Problem::new(ProblemKind::Internal, "a phase was rebuilt as another")
}
