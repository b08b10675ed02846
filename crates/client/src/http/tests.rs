//! Against a real socket on loopback that follows a script: what a network and a server may do.

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use undertone_privacy::{Budget, Delta, Epsilon};
use undertone_protocol::keys::{IdentityKey, Secret32};

use super::*;
use crate::policy::Policy;

/// What the server does with one connection, once it has read the request.
#[derive(Clone)]
enum Act {
    /// Sends these bytes and closes.
    Say(String),
    /// Closes without a word.
    HangUp,
    /// Says nothing for a long time.
    Silence,
    /// Sends a body without end.
    Endless,
}

fn answer(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Say(format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    ))
}

fn problem(status: &str, name: &str, headers: &str) -> Act {
    let body = format!(r#"{{"type":"urn:undertone:problem:{name}","title":"{name}"}}"#);
    answer(status, headers, &body)
}

fn ok(body: &str) -> Act {
    answer("200 OK", "", body)
}

/// A server that follows its script, one act for each connection.
struct Server {
    base: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, script)
    }

    fn on(listener: TcpListener, script: Vec<Act>) -> Self {
        let base = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            for act in script {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                seen.lock().unwrap().push(request);
                match act {
                    Act::HangUp => {}
                    Act::Say(text) => stream.write_all(text.as_bytes()).await.unwrap(),
                    Act::Silence => sleep(Duration::from_mins(1)).await,
                    Act::Endless => {
                        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                        stream.write_all(head.as_bytes()).await.unwrap();
                        let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
                        while stream.write_all(chunk.as_bytes()).await.is_ok() {}
                    }
                }
            }
        });
        Self { base, requests }
    }

    fn http(&self) -> Http {
        http(&self.base)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8(bytes.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                return text;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return text;
        }
    }
}

fn config(base: &str) -> JoinConfig {
    let budget = Budget {
        epsilon: Epsilon::new(1.0).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
    };
    let identity = Arc::new(IdentityKey::from_seed(&Secret32::from([1; 32])));
    let authority = identity.public();
    let policy = Policy::new(budget).unwrap();
    JoinConfig::new(base, [0; 16].into(), identity, authority, policy, "unused")
}

fn http(base: &str) -> Http {
    Http::new(&config(base)).unwrap()
}

fn get(seconds: u64) -> Request {
    Request {
        path: "v1/thing".to_owned(),
        method: Method::Get,
        limit: 1000,
        wait: Duration::ZERO,
        until: Instant::now() + Duration::from_secs(seconds),
    }
}

/// Writes down every retry.
#[derive(Default)]
struct Retries(Vec<(u32, Duration, RequestError)>);

impl Observer for Retries {
    async fn event(&mut self, event: Event<'_>) {
        if let Event::Retrying {
            attempt,
            delay,
            error,
        } = event
        {
            self.0.push((attempt, delay, error.clone()));
        }
    }
}

/// Spec: R-14.9.
#[tokio::test]
async fn what_passes_is_tried_again() {
    let server = Server::start(vec![
        problem("503 Service Unavailable", "unavailable", ""),
        answer("502 Bad Gateway", "", "<html>"),
        answer("504 Gateway Timeout", "", ""),
        answer("429 Too Many Requests", "", ""),
        problem("409 Conflict", "phase-not-open", ""),
        Act::HangUp,
        ok("here"),
    ])
    .await;
    let mut retries = Retries::default();
    let body = server.http().call(&get(30), &mut retries).await.unwrap();
    assert_eq!(body, b"here");
    let attempts: Vec<u32> = retries.0.iter().map(|r| r.0).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5, 6]);
    assert!(matches!(retries.0[5].2, RequestError::Transport(_)));
    for (attempt, delay, _) in &retries.0 {
        let ceiling = FIRST_DELAY * 2_u32.pow(attempt - 1);
        assert!(*delay <= ceiling, "{attempt}: {delay:?}");
    }
    let request = &server.requests()[0];
    assert!(
        request.starts_with("GET /v1/thing HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("user-agent: undertone-client/"),
        "{request}"
    );
}

/// Spec: R-14.9.
#[tokio::test]
async fn what_does_not_pass_is_not() {
    for (status, name) in [
        ("409 Conflict", "late-message"),
        ("409 Conflict", "conflicting-message"),
        ("410 Gone", "round-ended"),
        ("500 Internal Server Error", "internal"),
        ("404 Not Found", "unknown-round"),
    ] {
        let server = Server::start(vec![problem(status, name, ""), ok("too late")]).await;
        let mut retries = Retries::default();
        let error = server.http().call(&get(5), &mut retries).await;
        let Err(RequestError::Refused(problem)) = error else {
            panic!("{name}: {error:?}");
        };
        assert_eq!(problem.kind.name(), name);
        assert_eq!((retries.0.len(), server.requests().len()), (0, 1));
    }
}

/// Spec: R-14.10.
#[tokio::test]
async fn retry_after_is_obeyed() {
    let busy = |seconds: u64| {
        let header = format!("retry-after: {seconds}\r\n");
        problem("503 Service Unavailable", "overloaded", &header)
    };
    let server = Server::start(vec![busy(1), ok("x")]).await;
    let started = Instant::now();
    server.http().call(&get(30), &mut ()).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    // Longer than there is time, or than any clock: no use in waiting.
    for seconds in [60, u64::MAX] {
        let server = Server::start(vec![busy(seconds), ok("x")]).await;
        let started = Instant::now();
        let error = server.http().call(&get(20), &mut ()).await;
        assert!(
            matches!(error, Err(RequestError::GaveUp { attempts: 1, .. })),
            "{error:?}"
        );
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}

/// Spec: R-14.8.
#[tokio::test]
async fn a_lost_answer_sends_the_same_bytes_again() {
    let server = Server::start(vec![
        Act::HangUp,
        // The answer breaks off in the middle.
        Act::Say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhal".to_owned()),
        ok(r#"{"receipt":"repeated"}"#),
    ])
    .await;
    let request = Request {
        method: Method::Put(Bytes::from_static(b"the message")),
        ..get(30)
    };
    let mut retries = Retries::default();
    server.http().call(&request, &mut retries).await.unwrap();
    assert_eq!(retries.0.len(), 2);
    for request in server.requests() {
        assert!(request.starts_with("PUT /v1/thing "), "{request}");
        assert!(request.ends_with("\r\n\r\nthe message"), "{request}");
        assert!(request.contains("content-type: application/octet-stream"));
    }
}

/// Spec: R-14.3.
#[tokio::test]
async fn bodies_are_bounded_whatever_they_claim() {
    let exact = Server::start(vec![ok(&"x".repeat(1000))]).await;
    let body = exact.http().call(&get(5), &mut ()).await.unwrap();
    assert_eq!(body.len(), 1000);
    let claims = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nx".to_owned();
    for act in [ok(&"x".repeat(1001)), Act::Endless, Act::Say(claims)] {
        let server = Server::start(vec![act]).await;
        let error = server.http().call(&get(5), &mut ()).await;
        assert_eq!(error, Err(RequestError::TooLarge { limit: 1000 }));
    }
}

#[tokio::test]
async fn time_bounds_it_all() {
    let started = Instant::now();
    let silent = Server::start(vec![Act::Silence]).await;
    let error = silent.http().call(&get(1), &mut ()).await;
    assert!(
        matches!(&error, Err(RequestError::GaveUp { attempts: 1, last })
            if matches!(**last, RequestError::Transport(_))),
        "{error:?}"
    );
    // Nobody listens.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", port.local_addr().unwrap());
    drop(port);
    let error = http(&base).call(&get(1), &mut ()).await;
    let Err(RequestError::GaveUp { attempts, last }) = error else {
        panic!("{error:?}");
    };
    assert!(attempts > 1);
    assert!(last.to_string().contains("onnection refused"), "{last}");
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_server_that_comes_back_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let restart = tokio::spawn(async move {
        sleep(Duration::from_millis(400)).await;
        Server::on(TcpListener::bind(address).await.unwrap(), vec![ok("back")])
    });
    let body = http(&format!("http://{address}"))
        .call(&get(30), &mut ())
        .await;
    assert_eq!(body.unwrap(), b"back");
    restart.await.unwrap();
}

/// Serves TLS with a fresh certificate for `localhost`, one connection after the other.
async fn tls_server() -> (String, CertificateDer<'static>) {
    let fresh = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = fresh.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(fresh.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!(
        "https://localhost:{}",
        listener.local_addr().unwrap().port()
    );
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let reply = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecret";
            stream.write_all(reply.as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        }
    });
    (base, certificate)
}

/// Spec: R-14.1.
#[tokio::test]
async fn https_works_with_the_right_authority_only() {
    let (base, certificate) = tls_server().await;
    let mut config = config(&base);
    config.tls.roots = vec![certificate];
    let body = Http::new(&config).unwrap().call(&get(10), &mut ()).await;
    assert_eq!(body.unwrap(), b"secret");

    let (_, other) = tls_server().await;
    config.tls.roots = vec![other];
    let error = Http::new(&config).unwrap().call(&get(1), &mut ()).await;
    let Err(RequestError::GaveUp { last, .. }) = error else {
        panic!("{error:?}");
    };
    assert!(last.to_string().contains("certificate"), "{last}");

    // The platform's authorities don't know it either; a bare machine has none at all.
    config.tls.roots = Vec::new();
    match Http::new(&config) {
        Ok(http) => assert!(http.call(&get(1), &mut ()).await.is_err()),
        Err(error) => assert!(matches!(error, ClientError::Tls(_)), "{error}"),
    }
}

/// Spec: R-14.2.
#[tokio::test]
async fn nobody_is_sent_elsewhere() {
    let elsewhere = Server::start(vec![ok("elsewhere")]).await;
    let location = format!("location: {}/\r\n", elsewhere.base);
    let server = Server::start(vec![answer("307 Temporary Redirect", &location, "")]).await;
    let error = server.http().call(&get(5), &mut ()).await;
    assert!(matches!(error, Err(RequestError::Refused(p)) if p.status == 307));
    assert!(elsewhere.requests().is_empty());
}

proptest! {
    #[test]
    fn jitter_stays_below_its_ceiling(millis in 0_u64..100_000) {
        let ceiling = Duration::from_millis(millis);
        prop_assert!(full_jitter(ceiling) <= ceiling);
    }
}
