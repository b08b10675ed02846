//! The server's refusals: problem+json (RFC 9457) as a type.
//!
//! Specification: chapter 14, "HTTP binding", section 14.6.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

const URN: &str = "urn:undertone:problem:";

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// The kinds of problem that a server names.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ProblemKind {
            $($(#[$doc])* $name,)*
            /// A kind that this version does not know, or an answer that names none.
            Other(String),
        }

        impl ProblemKind {
            /// The kind that a problem's `type` names.
            fn from_type(text: &str) -> Self {
                match text.strip_prefix(URN) {
                    $(Some($text) => Self::$name,)*
                    _ => Self::Other(text.to_owned()),
                }
            }

            /// The kind's name on the wire.
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Other(name) => name,
                }
            }
        }
    };
}

kinds! {
    /// Bytes that are not the canonical encoding of a message.
    MalformedMessage = "malformed-message";
    /// A protocol version or suite that the server does not speak.
    UnsupportedVersion = "unsupported-version";
    /// A vector or list of the wrong length.
    WrongLength = "wrong-length";
    /// The body ended early.
    TruncatedBody = "truncated-body";
    /// The body is larger than its message can be.
    BodyTooLarge = "body-too-large";
    /// A key that must not be used.
    BadKey = "bad-key";
    /// The path names another sender than the message.
    WrongSender = "wrong-sender";
    /// The sender is not on the task's roster.
    NotOnRoster = "not-on-roster";
    /// A signature does not verify.
    BadSignature = "bad-signature";
    /// The sender made an earlier round of the task fail.
    Barred = "barred";
    /// The sender's last input is too recent.
    TooSoon = "too-soon";
    /// The sender is not in the set that this phase is for.
    NotInSet = "not-in-set";
    /// The message binds another view than the server's.
    ViewMismatch = "view-mismatch";
    /// Fewer parties than the parameters demand.
    TooFew = "too-few";
    /// Other bytes of this sender were accepted in this phase.
    ConflictingMessage = "conflicting-message";
    /// The phase has closed.
    LateMessage = "late-message";
    /// The phase has not opened yet.
    PhaseNotOpen = "phase-not-open";
    /// The round has ended.
    RoundEnded = "round-ended";
    /// No such task.
    UnknownTask = "unknown-task";
    /// No such round.
    UnknownRound = "unknown-round";
    /// No such resource.
    NotFound = "not-found";
    /// The resource does not take this method.
    MethodNotAllowed = "method-not-allowed";
    /// A request that makes no sense to the server.
    BadRequest = "bad-request";
    /// No valid token came with the request.
    Unauthorized = "unauthorized";
    /// The token does not allow this.
    Forbidden = "forbidden";
    /// No such token.
    UnknownToken = "unknown-token";
    /// Something else of this id is there.
    AlreadyExists = "already-exists";
    /// The settings of a new task are refused.
    TaskRefused = "task-refused";
    /// The task has finished or was cancelled.
    TaskEnded = "task-ended";
    /// The enrolment token is unknown, used or expired.
    EnrolmentRefused = "enrolment-refused";
    /// It was erased, its retention time being over.
    Erased = "erased";
    /// The request took too long to come.
    RequestTimeout = "request-timeout";
    /// This client asks for too much; send it again later.
    RateLimited = "rate-limited";
    /// The server cannot serve this now.
    Unavailable = "unavailable";
    /// More comes in than the server can take; send it again later.
    Overloaded = "overloaded";
    /// The server failed.
    Internal = "internal";
}

/// The longest text of a server that is kept: it ends up in errors and logs.
const LONGEST_TEXT: usize = 500;

/// What a server said when it refused a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind.
    pub kind: ProblemKind,
    /// The kind in words.
    pub title: String,
    /// What is wrong this time; may be empty.
    pub detail: String,
    /// The HTTP status of the answer.
    pub status: u16,
    /// When the server says to come again.
    pub retry_after: Option<Duration>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

impl Problem {
    /// Reads the body of an answer with an error status. A body that is no problem+json (a
    /// proxy's page, say) still gives a problem, of kind [`ProblemKind::Other`]. The status is the
    /// answer's own, whatever the body says.
    pub fn from_answer(status: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<Wire>(body) {
            Ok(wire) => Self {
                kind: match ProblemKind::from_type(&wire.kind) {
                    ProblemKind::Other(name) => ProblemKind::Other(tidy(&name)),
                    known => known,
                },
                title: tidy(&wire.title),
                detail: tidy(&wire.detail),
                status,
                retry_after: None,
            },
            Err(_) => Self {
                kind: ProblemKind::Other("about:blank".to_owned()),
                title: "an answer without a problem description".to_owned(),
                detail: String::new(),
                status,
                retry_after: None,
            },
        }
    }
}

/// Text of the server without control characters, which could forge log lines, and cut short.
pub(crate) fn tidy(text: &str) -> String {
    text.chars()
        .take(LONGEST_TEXT)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({}, HTTP {})",
            self.title,
            self.kind.name(),
            self.status
        )?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_problem_is_typed() {
        let body = br#"{"type":"urn:undertone:problem:late-message","title":"The phase has closed",
            "status":200,"detail":"share-keys closed","instance":"/x"}"#;
        let problem = Problem::from_answer(409, body);
        assert_eq!(problem.kind, ProblemKind::LateMessage);
        assert_eq!(problem.status, 409, "the answer's own status counts");
        assert_eq!(
            problem.to_string(),
            "The phase has closed (late-message, HTTP 409): share-keys closed"
        );
    }

    #[test]
    fn every_kind_reads_back() {
        for name in [
            "malformed-message",
            "phase-not-open",
            "round-ended",
            "internal",
        ] {
            let body = format!(r#"{{"type":"{URN}{name}","title":"t"}}"#);
            let kind = Problem::from_answer(400, body.as_bytes()).kind;
            assert_eq!(kind.name(), name);
            assert!(!matches!(kind, ProblemKind::Other(_)), "{name}");
        }
    }

    #[test]
    fn other_bodies_are_problems_too() {
        for body in [&b"<html>502</html>"[..], b"", b"[1]", b"\xff\xfe"] {
            let problem = Problem::from_answer(502, body);
            assert!(matches!(problem.kind, ProblemKind::Other(_)));
            assert_eq!(problem.status, 502);
        }
        let unknown = Problem::from_answer(400, br#"{"type":"urn:undertone:problem:new-one"}"#);
        assert_eq!(unknown.kind.name(), "urn:undertone:problem:new-one");
    }

    #[test]
    fn text_cannot_forge_log_lines() {
        let long = "x".repeat(10_000);
        let body =
            serde_json::json!({"type": "a\nb", "title": "t\r\nERROR all is lost", "detail": long});
        let problem = Problem::from_answer(400, body.to_string().as_bytes());
        assert!(!problem.to_string().contains(['\n', '\r']));
        assert_eq!(problem.detail.len(), LONGEST_TEXT);
    }
}
