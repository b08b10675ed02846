//! A client hands in its key.
//!
//! Specification: chapter 14, "HTTP binding", section 14.8.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use serde::{Deserialize, Serialize};
use undertone_protocol::enrolment;
use undertone_protocol::keys::{IdentityPublicKey, SignatureBytes};
use utoipa::ToSchema;

use super::parse;
use crate::app::App;
use crate::auth::{Token, TokenKind};
use crate::driver::now_ms;
use crate::problem::{Problem, ProblemKind};
use crate::store::{EnrolOutcome, Store};

/// A key, with the token that lets it in, and the proof that the client has its secret half.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Enrolment {
    /// The one-time token.
    #[schema(pattern = "^ue_[0-9a-f]{16}_[0-9a-f]{64}$")]
    token: String,
    /// The client's public key.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    key: String,
    /// Its signature over the token's id.
    #[schema(pattern = "^[0-9a-f]{128}$")]
    signature: String,
}

/// That the key is on the list.
#[derive(Serialize, ToSchema)]
pub(super) struct EnrolmentReceipt {
    receipt: ReceiptKind,
    /// What the administrator calls the list.
    list: String,
    /// What the administrator calls this client.
    name: String,
}

/// Whether it came for the first time.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
enum ReceiptKind {
    Accepted,
    Repeated,
}

/// Takes up a client's key by a one-time token.
#[utoipa::path(
    post, path = "/v1/enrolments", tag = "tasks",
    request_body = Enrolment,
    responses((status = 200, description = "The key is on the list", body = EnrolmentReceipt))
)]
pub(super) async fn enrol<S: Store>(
    State(app): State<Arc<App<S>>>,
    body: Result<Json<Enrolment>, JsonRejection>,
) -> Result<Json<EnrolmentReceipt>, Problem> {
    let Json(body) = body.map_err(|e| Problem::new(ProblemKind::BadRequest, e.body_text()))?;
    let token = Token::parse(TokenKind::Enrolment, &body.token).map_err(|_| unknown())?;
    let key: IdentityPublicKey = parse(&body.key)?;
    let signature: SignatureBytes = parse(&body.signature)?;
    enrolment::verify(key, *token.id().as_bytes(), &signature)?;
    let id = (token.id(), token.hash());
    match app.store().enrol(id, key, now_ms()).await? {
        EnrolOutcome::Enrolled { list, name } => {
            tracing::info!(token = %token.id(), %key, list, "client enrolled");
            let receipt = ReceiptKind::Accepted;
            Ok(Json(EnrolmentReceipt {
                receipt,
                list,
                name,
            }))
        }
        EnrolOutcome::Repeated { list, name } => {
            let receipt = ReceiptKind::Repeated;
            Ok(Json(EnrolmentReceipt {
                receipt,
                list,
                name,
            }))
        }
        EnrolOutcome::Unknown => Err(unknown()),
        EnrolOutcome::Expired => Err(refused("the token has expired; ask for another one")),
        EnrolOutcome::Used => Err(refused(
            "another key was enrolled with this token; if that was not you, tell whoever gave it \
             to you",
        )),
        EnrolOutcome::KnownKey => Err(refused(
            "this key stands on the list by another token; each client needs a key of its own",
        )),
    }
}

fn unknown() -> Problem {
    refused("there is no such token; ask whoever invited you for another one")
}

fn refused(why: &str) -> Problem {
    Problem::new(ProblemKind::EnrolmentRefused, why)
}
