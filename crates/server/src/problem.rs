//! Errors as problem details (RFC 9457): `application/problem+json` with a stable type.
//!
//! Specification: chapter 17, "Registries", section 17.4.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use undertone_protocol::ProtocolError;
use undertone_protocol::id::RosterIndex;

use crate::error::ServerError;
use crate::store::StoreError;
use crate::telemetry::name;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident, $title:literal;)*) => {
        /// The kinds of problem; clients tell them apart by [`ProblemKind::urn`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ProblemKind {
            $($(#[$doc])* $name,)*
        }

        impl ProblemKind {
            /// Every kind, for the registry in the specification.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable type.
            pub const fn urn(self) -> &'static str {
                match self {
                    $(Self::$name => concat!("urn:undertone:problem:", $text),)*
                }
            }

            /// The last part of the type.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The HTTP status.
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)*
                }
            }

            /// What people read first.
            pub(crate) const fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)*
                }
            }
        }
    };
}

kinds! {
    /// The body is not the canonical encoding of the message.
    MalformedMessage = "malformed-message", BAD_REQUEST, "The message is malformed";
    /// Another protocol version or suite.
    UnsupportedVersion = "unsupported-version", BAD_REQUEST, "The version is not supported";
    /// A vector, list or body has the wrong length.
    WrongLength = "wrong-length", BAD_REQUEST, "The length is wrong";
    /// The body ended before its announced length.
    TruncatedBody = "truncated-body", BAD_REQUEST, "The body was cut off";
    /// The body is longer than any message of this phase.
    BodyTooLarge = "body-too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    /// A key of low order, or used twice.
    BadKey = "bad-key", BAD_REQUEST, "A key is refused";
    /// The path names another client than the message.
    WrongSender = "wrong-sender", BAD_REQUEST, "The sender is another client";
    /// The client is not on the roster.
    NotOnRoster = "not-on-roster", FORBIDDEN, "The client is not on the roster";
    /// The signature does not verify.
    BadSignature = "bad-signature", FORBIDDEN, "The signature does not verify";
    /// The client made an earlier round of the task fail.
    Barred = "barred", FORBIDDEN, "The client is barred from this task";
    /// The client's last input is too recent.
    TooSoon = "too-soon", CONFLICT, "The client rests for now";
    /// The client has no part in this phase.
    NotInSet = "not-in-set", FORBIDDEN, "The client has no part in this phase";
    /// The message binds another view of the round.
    ViewMismatch = "view-mismatch", CONFLICT, "The views of the round conflict";
    /// Fewer parties than the parameters demand.
    TooFew = "too-few", CONFLICT, "There are too few clients";
    /// Other bytes of this sender were accepted before.
    ConflictingMessage = "conflicting-message", CONFLICT, "Another message was accepted before";
    /// The phase has closed.
    LateMessage = "late-message", CONFLICT, "The phase has closed";
    /// The phase has not opened yet.
    PhaseNotOpen = "phase-not-open", CONFLICT, "The phase has not opened yet";
    /// The round has ended.
    RoundEnded = "round-ended", GONE, "The round has ended";
    /// No such task.
    UnknownTask = "unknown-task", NOT_FOUND, "There is no such task";
    /// No such round.
    UnknownRound = "unknown-round", NOT_FOUND, "There is no such round";
    /// No such path.
    NotFound = "not-found", NOT_FOUND, "There is nothing here";
    /// The path does not take this method.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "The method is not allowed";
    /// The path or query cannot be read.
    BadRequest = "bad-request", BAD_REQUEST, "The request cannot be read";
    /// There is no such token.
    UnknownToken = "unknown-token", NOT_FOUND, "There is no such token";
    /// No valid token came with the request.
    Unauthorized = "unauthorized", UNAUTHORIZED, "A valid token is needed";
    /// The token does not allow this.
    Forbidden = "forbidden", FORBIDDEN, "The token does not allow this";
    /// Something else of this id is there already.
    AlreadyExists = "already-exists", CONFLICT, "It exists already, with other content";
    /// The settings of a new task contradict each other, the roster or the adapter.
    TaskRefused = "task-refused", UNPROCESSABLE_ENTITY, "The task is refused";
    /// The task has finished or was cancelled.
    TaskEnded = "task-ended", CONFLICT, "The task has ended";
    /// The enrolment token is unknown, used or expired.
    EnrolmentRefused = "enrolment-refused", FORBIDDEN, "The enrolment is refused";
    /// It was erased, its retention time being over.
    Erased = "erased", GONE, "It was erased";
    /// The body of a request did not come in time.
    RequestTimeout = "request-timeout", REQUEST_TIMEOUT, "The request took too long";
    /// One sender asks for too much; send it again later.
    RateLimited = "rate-limited", TOO_MANY_REQUESTS, "Too many requests";
    /// The database does not answer; ask again.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "The service is not available for now";
    /// More comes in than the service can take; send it again later.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "The service is overloaded";
    /// A fault of the service.
    Internal = "internal", INTERNAL_SERVER_ERROR, "The service failed";
}

/// One problem: a stable kind, and what it is about this time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: ProblemKind,
    detail: String,
    signer: Option<RosterIndex>,
    retry_after_s: Option<u64>,
}

/// What a response refused: an extension of the response, for those who count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    /// Why.
    pub(crate) kind: ProblemKind,
    /// Who signed what was refused, if the signature verified.
    pub(crate) signer: Option<RosterIndex>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// A problem with its detail.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            signer: None,
            retry_after_s: None,
        }
    }

    /// Names the client whose signature on the refused message verified.
    #[must_use]
    pub fn signed_by(mut self, client: RosterIndex) -> Self {
        self.signer = Some(client);
        self
    }

    /// Says when to come again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Its kind.
    pub fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// What it is about this time.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (kind, status) = (self.kind, self.kind.status());
        let signer = self.signer;
        metrics::counter!(name::PROBLEMS, "kind" => kind.name()).increment(1);
        let body = Body {
            r#type: kind.urn(),
            title: kind.title(),
            status: status.as_u16(),
            detail: &self.detail,
        };
        let mut response = (status, Json(body)).into_response();
        response.extensions_mut().insert(Refused { kind, signer });
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if kind == ProblemKind::Unauthorized {
            // RFC 9110, section 11.6.1.
            let challenge = HeaderValue::from_static("Bearer realm=\"undertone\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        let passes = matches!(kind, ProblemKind::Unavailable | ProblemKind::Overloaded);
        if let Some(seconds) = self.retry_after_s.or(passes.then_some(1)) {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<ProtocolError> for Problem {
    fn from(error: ProtocolError) -> Self {
        let kind = match &error {
            ProtocolError::Malformed { .. } | ProtocolError::Params(_) => {
                ProblemKind::MalformedMessage
            }
            ProtocolError::Unsupported { .. } => ProblemKind::UnsupportedVersion,
            ProtocolError::NotOnRoster(_) => ProblemKind::NotOnRoster,
            ProtocolError::NotInSet { .. } => ProblemKind::NotInSet,
            ProtocolError::BadSignature { .. } => ProblemKind::BadSignature,
            ProtocolError::BadKey { .. } | ProtocolError::Sharing(_) => ProblemKind::BadKey,
            ProtocolError::ViewMismatch { .. } => ProblemKind::ViewMismatch,
            ProtocolError::WrongLength { .. } => ProblemKind::WrongLength,
            ProtocolError::TooFew { .. } => ProblemKind::TooFew,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ServerError> for Problem {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Store(store) => store.into(),
            other => {
                tracing::error!(error = %other, "a request failed");
                Self::new(
                    ProblemKind::Internal,
                    "the service failed; its log says why",
                )
            }
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the store failed");
        match error {
            StoreError::Database(_) => Self::new(
                ProblemKind::Unavailable,
                "the database does not answer; ask again in a moment",
            ),
            _ => Self::new(
                ProblemKind::Internal,
                "the store failed; the service's log says why",
            ),
        }
    }
}
