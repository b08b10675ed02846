//! The one door for clients' messages.
//!
//! Specification: chapter 14, "HTTP binding", section 14.3.

use std::sync::Arc;

use super::openapi::{Bytes, IndexPath, PhasePath, RoundPath};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RosterIndex, TaskId};
use utoipa::ToSchema;

use super::body::{Length, Reader};
use super::rounds::{find, reached};
use super::{Path, parse_index};
use crate::app::App;
use crate::phases::Phase;
use crate::problem::{Problem, ProblemKind};
use crate::store::{PutOutcome, RoundRecord, Store, StoredMessage};
use crate::telemetry;
use crate::upload;

/// The longest message but for masked inputs: ShareKeys to 254 neighbours takes 37 KB.
const LONGEST_MESSAGE: usize = 64 * 1024;

#[derive(Serialize, ToSchema)]
pub(super) struct Receipt {
    receipt: &'static str,
}

/// Takes one message of one phase. The answer comes when the message is durable.
#[utoipa::path(
    put, path = "/v1/rounds/{round}/{phase}/{index}", tag = "rounds",
    params(RoundPath, PhasePath, IndexPath),
    request_body(content = Bytes, content_type = "application/octet-stream"),
    responses((status = 200, description = "The message is durable", body = Receipt))
)]
pub(super) async fn put<S: Store>(
    State(app): State<Arc<App<S>>>,
    Path((round, phase, index)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Receipt>, Problem> {
    let mut reader = Reader::new(&headers, body, app.uploads().settings());
    let taken = take(&app, (&round, &phase, &index), &mut reader).await;
    if taken.is_err() {
        reader.discard().await;
    }
    taken
}

async fn take<S: Store>(
    app: &Arc<App<S>>,
    (round, phase, index): (&str, &str, &str),
    reader: &mut Reader,
) -> Result<Json<Receipt>, Problem> {
    let phase: PhaseName = phase.parse().map_err(|_| {
        Problem::new(
            ProblemKind::NotFound,
            format!("there is no phase `{phase}`"),
        )
    })?;
    let index = parse_index(index)?;
    let round = find(app, round).await?;
    let rebuilt = reached(app, &round, phase).await?;
    // Before the body is read: who is not on the roster has nothing to send.
    rebuilt.context().roster().key(index)?;
    if phase == PhaseName::AdvertiseKeys {
        not_barred(app, round.task, index).await?;
    }
    let outcome = if let Phase::MaskedInput(phase) = rebuilt.as_ref() {
        reader.expect(Length::Exactly(phase.body_length()))?;
        let header = upload::header(reader, phase).await?;
        same(index, header.sender)?;
        app.rates().client(round.task, index)?;
        let taken = upload::input(app, reader, phase, header).await;
        taken.map_err(|problem| problem.signed_by(index))?
    } else {
        reader.expect(Length::AtMost(LONGEST_MESSAGE))?;
        let bytes = reader.all().await?;
        same(index, rebuilt.check(&bytes)?)?;
        app.rates().client(round.task, index)?;
        if phase == PhaseName::AdvertiseKeys {
            rested(app, &round, index).await?;
        }
        let message = StoredMessage {
            sender: index,
            bytes,
        };
        app.store().put_message(round.id, phase, &message).await?
    };
    if outcome == PutOutcome::NotOpen {
        app.store().note_late(round.id, phase, index).await?;
    }
    receipt(app, outcome, &round, (phase, index))
}

/// A client that dealt shares that cannot be combined spoils one round, not more.
async fn not_barred<S: Store>(
    app: &App<S>,
    task: TaskId,
    client: RosterIndex,
) -> Result<(), Problem> {
    match app.store().barred(task, client).await? {
        None => Ok(()),
        Some(round) => Err(Problem::new(
            ProblemKind::Barred,
            format!(
                "the shares that client {client} dealt made round {round} fail; it has no part in \
                 later rounds of this task. Ask the task authority for a place under another key"
            ),
        )),
    }
}

/// A client whose input was taken a short while ago leaves this round out, where the task says so.
async fn rested<S: Store>(
    app: &App<S>,
    round: &RoundRecord,
    client: RosterIndex,
) -> Result<(), Problem> {
    let rest = round.min_interval_ms;
    if rest == 0 {
        return Ok(());
    }
    let since = round.opened_at.saturating_sub(rest).saturating_add(1);
    let last = app.store().last_input(round.task, client, since).await?;
    let Some(last) = last else { return Ok(()) };
    let rested = last.saturating_add(rest);
    let now = app.store().now().await?;
    let left = rested.saturating_sub(now).div_ceil(1000).max(1);
    Err(Problem::new(
        ProblemKind::TooSoon,
        format!(
            "the input of client {client} was taken in a round that opened less than {rest} ms \
             before this one; it takes part in rounds that open in {left} s or later"
        ),
    )
    .retry_after(left)
    .signed_by(client))
}

fn same(index: RosterIndex, sender: RosterIndex) -> Result<(), Problem> {
    if index == sender {
        return Ok(());
    }
    let detail = format!("the path names client {index}, the message is from client {sender}");
    Err(Problem::new(ProblemKind::WrongSender, detail).signed_by(sender))
}

fn receipt<S: Store>(
    app: &App<S>,
    outcome: PutOutcome,
    round: &RoundRecord,
    (phase, index): (PhaseName, RosterIndex),
) -> Result<Json<Receipt>, Problem> {
    telemetry::rounds::received(phase, outcome);
    match outcome {
        PutOutcome::Accepted => {
            app.message_arrived(round.task);
            Ok(Json(Receipt {
                receipt: "accepted",
            }))
        }
        PutOutcome::Repeated => Ok(Json(Receipt {
            receipt: "repeated",
        })),
        PutOutcome::Conflict => Err(Problem::new(
            ProblemKind::ConflictingMessage,
            format!("other bytes of client {index} were accepted in {phase}; they stand"),
        )
        .signed_by(index)),
        PutOutcome::NotOpen => Err(Problem::new(
            ProblemKind::LateMessage,
            format!("{phase} has closed"),
        )
        .signed_by(index)),
    }
}
