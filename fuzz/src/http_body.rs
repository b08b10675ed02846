//! Requests to the service's router, in process, over an SQLite store that holds a round in each
//! phase. Whatever comes: no panic, no 5xx, and an error is a problem document.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use axum::body::Body;
use axum::http::{Request, Response, header};
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use tokio::runtime::Runtime;
use tower_service::Service;
use undertone_server::App;
use undertone_server::store::AnyStore;

use crate::edit::{self, Edit};
use crate::service::{self, Served};

#[derive(Debug, Arbitrary)]
struct Call {
    method: u8,
    target: Target,
    headers: Vec<Header>,
    body: Content,
    /// The lengths of the frames that the body comes in.
    frames: Vec<u16>,
    /// The connection breaks after the last frame.
    broken: bool,
}

#[derive(Debug, Arbitrary)]
enum Target {
    /// A message's path: which round, phase and client.
    Message(u8, u8, u8),
    /// A path that is read: which route and round, and a client.
    Read(u8, u8, u8),
    /// The same, damaged.
    Damaged(u8, u8, u8, Vec<Edit>),
    /// Anything.
    Any(Vec<u8>),
}

#[derive(Debug, Arbitrary)]
enum Header {
    Length(u64),
    LengthText(Vec<u8>),
    Type(u8),
    Any(u8, Vec<u8>),
}

#[derive(Debug, Arbitrary)]
enum Content {
    /// A message of the honest round, damaged.
    Message(u8, Vec<Edit>),
    /// Anything.
    Any(Vec<u8>),
    /// Zeros: how many KiB.
    Long(u8),
}

/// Sends one request and checks the answer.
pub fn run(data: &[u8]) {
    static SERVICE: OnceLock<(Runtime, Arc<App<AnyStore>>, Vec<Served>)> = OnceLock::new();
    let (runtime, app, rounds) = SERVICE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let runtime = runtime.expect("a runtime");
        let (app, rounds) = runtime.block_on(service::start());
        (runtime, app, rounds)
    });
    let Ok(call) = Call::arbitrary(&mut Unstructured::new(data)) else {
        return;
    };
    let head = call.method % 8 == 3;
    let Some(request) = build(&call, rounds) else {
        return;
    };
    let answer = runtime.block_on(async {
        // A long poll that the input asks for is left waiting.
        let patience = Duration::from_millis(500);
        let answer = tokio::time::timeout(patience, send(app, request)).await;
        answer.ok()
    });
    if let Some((head_of_answer, body)) = answer {
        judge(&head_of_answer, &body, head);
    }
}

/// Has the router answer, and reads the answer.
pub(crate) async fn send(
    app: &Arc<App<AnyStore>>,
    request: Request<Body>,
) -> (Response<()>, Bytes) {
    let answer: Result<Response<Body>, Infallible> = app.router().call(request).await;
    let Ok(answer) = answer;
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("a body in memory").to_bytes();
    (Response::from_parts(parts, ()), body)
}

fn judge(answer: &Response<()>, body: &Bytes, head: bool) {
    let status = answer.status();
    assert!(!status.is_server_error(), "{status}: {body:?}");
    if status.is_success() {
        return;
    }
    let kind = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .map(|kind| kind.as_bytes());
    assert_eq!(
        kind,
        Some(b"application/problem+json".as_slice()),
        "{status}: {body:?}"
    );
    if !head {
        let problem: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        assert_eq!(problem["status"], status.as_u16());
        let urn = problem["type"].as_str().expect("a type");
        assert!(urn.starts_with("urn:undertone:problem:"), "{urn}");
    }
}

fn build(call: &Call, rounds: &[Served]) -> Option<Request<Body>> {
    let methods = [
        "PUT", "PUT", "GET", "HEAD", "GET", "POST", "DELETE", "OPTIONS",
    ];
    let mut request = Request::builder()
        .method(methods[usize::from(call.method) % methods.len()])
        .uri(target(&call.target, rounds).as_slice());
    for given in call.headers.iter().take(4) {
        request = match given {
            Header::Length(length) => request.header(header::CONTENT_LENGTH, *length),
            Header::LengthText(text) => request.header(header::CONTENT_LENGTH, text.as_slice()),
            Header::Type(which) => {
                let kinds = ["application/octet-stream", "application/json", "text/plain"];
                request.header(
                    header::CONTENT_TYPE,
                    kinds[usize::from(*which) % kinds.len()],
                )
            }
            Header::Any(which, value) => {
                let names = [
                    "expect",
                    "transfer-encoding",
                    "content-encoding",
                    "range",
                    "host",
                ];
                request.header(names[usize::from(*which) % names.len()], value.as_slice())
            }
        };
    }
    request.body(body(call, rounds)).ok()
}

fn target(target: &Target, rounds: &[Served]) -> Vec<u8> {
    let round = |which: u8| &rounds[usize::from(which) % rounds.len()];
    match target {
        Target::Message(at, phase, client) => round(*at).message_path(*phase, *client).into_bytes(),
        Target::Read(at, route, client) => round(*at).read_path(*route, *client).into_bytes(),
        Target::Damaged(at, route, client, edits) => {
            let round = round(*at);
            let mut path = match route % 2 {
                0 => round.message_path(route / 2, *client),
                _ => round.read_path(route / 2, *client),
            }
            .into_bytes();
            edit::apply(&mut path, edits);
            path
        }
        Target::Any(bytes) => bytes.clone(),
    }
}

/// The body, in frames.
fn body(call: &Call, rounds: &[Served]) -> Body {
    let mut bytes = match &call.body {
        Content::Any(bytes) => bytes.clone(),
        Content::Long(kib) => vec![0; usize::from(*kib) * 1024],
        Content::Message(which, edits) => {
            let at = match call.target {
                Target::Message(at, ..) | Target::Read(at, ..) | Target::Damaged(at, ..) => at,
                Target::Any(_) => 0,
            };
            let messages = &rounds[usize::from(at) % rounds.len()].messages;
            let mut bytes = messages[usize::from(*which) % messages.len()].clone();
            edit::apply(&mut bytes, edits);
            bytes
        }
    };
    let mut frames: Vec<io::Result<_>> = Vec::new();
    for length in call.frames.iter().take(8) {
        let rest = bytes.split_off(bytes.len().min(usize::from(*length)));
        frames.push(Ok(std::mem::replace(&mut bytes, rest)));
    }
    frames.push(Ok(bytes));
    if call.broken {
        frames.push(Err(io::Error::other("the connection broke")));
    }
    let frames = frames
        .into_iter()
        .map(|frame| frame.map(|f| http_body::Frame::data(f.into())));
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}
