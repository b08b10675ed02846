//! The operators' page without a browser: who gets in, what a form needs, what every answer says,
//! and how streams of events end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use undertone_protocol::audit::Chain;
use undertone_server::auth::{Scope, Token, TokenKind};
use undertone_server::driver::now_ms;
use undertone_server::store::{Actor, NewPageSession, Store, TaskControl};
use undertone_server::{App, ServerError, Settings, app};
use undertone_tests::database::Database;
use undertone_tests::page::{Visit, token};
use undertone_tests::task::Task;

const HOUR_MS: u64 = 3_600_000;

async fn task(database: &Database) -> Task {
    Task::create(database.url(), 5, 3, [3_600_000; 5]).await
}

type Serving = JoinHandle<Result<(), ServerError>>;

/// Serves the task until the sender says to stop.
async fn serve(task: &Task) -> (String, oneshot::Sender<()>, Serving) {
    let listener = app::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel();
    let app = App::new(task.store.clone(), Settings::default());
    let stopped = async { stopped.await.unwrap_or_default() };
    let serving = tokio::spawn(app::serve(app, listener, stopped));
    (server, stop, serving)
}

#[tokio::test]
async fn nobody_gets_in_without_a_token() {
    let database = Database::sqlite();
    let task = task(&database).await;
    let server = task.serve().await;
    let page = format!("/tasks/{}", task.id);
    let audit = format!("{page}/audit");
    let visit = Visit::new(&server);
    for (path, login) in [
        ("/", "/login".to_owned()),
        (&page, format!("/login?next={page}")),
        (&audit, format!("/login?next={audit}")),
        ("/service/audit", "/login?next=/service/audit".to_owned()),
    ] {
        let seen = visit.get(path).await;
        assert_eq!((seen.status, seen.location()), (303, login.as_str()));
        assert!(!seen.body.contains(&task.id.to_string()));
    }
    for path in ["/events", &format!("{page}/events")] {
        assert_eq!(visit.get(path).await.status, 401, "{path}");
    }
    for wrong in [
        "",
        "ut_0011223344556677_00",
        &Token::draw(TokenKind::Admin).unwrap().reveal(),
        &Token::draw(TokenKind::Enrolment).unwrap().reveal(),
    ] {
        let seen = visit.log_in(wrong).await;
        assert_eq!(seen.status, 401);
        assert!(seen.body.contains("This token is not valid here"));
        assert!(wrong.is_empty() || !seen.body.contains(wrong));
        assert_eq!(visit.cookie("undertone"), None);
    }
}

#[tokio::test]
async fn a_session_ends_when_it_should() {
    let database = Database::sqlite();
    let task = task(&database).await;
    let server = task.serve().await;
    let store = &task.store;

    // By logging out.
    let everything = token(store, &Scope::ALL, HOUR_MS).await;
    let visit = Visit::logged_in(&server, &everything).await;
    let home = visit.get("/").await;
    assert!(home.status == 200 && home.body.contains("Ada's laptop"));
    let kept = visit.cookie("undertone").unwrap();
    let left = visit.post("/logout", &[("csrf", &home.csrf())]).await;
    assert_eq!((left.status, left.location()), (303, "/login"));
    assert_eq!(visit.cookie("undertone"), None);
    visit.keep("undertone", &kept);
    assert_eq!(visit.get("/").await.status, 303, "not by cookie alone");

    // With its token: revoked, or expired.
    let visit = Visit::logged_in(&server, &everything).await;
    assert_eq!(visit.get("/").await.status, 200);
    let revoked = store.revoke_token(everything.id(), now_ms(), Actor::Database);
    assert!(revoked.await.unwrap());
    assert_eq!(visit.get("/").await.status, 303);
    let short = token(store, &Scope::ALL, 1500).await;
    let visit = Visit::logged_in(&server, &short).await;
    assert_eq!(visit.get("/").await.status, 200);
    tokio::time::sleep(Duration::from_millis(1600)).await;
    assert_eq!(visit.get("/").await.status, 303);

    // By its own time. A secret's hash is made as a token's is.
    let lasting = token(store, &Scope::ALL, HOUR_MS).await;
    for (expires_at, status) in [(now_ms() + 60_000, 200), (now_ms() - 1, 303)] {
        let secret = Token::draw(TokenKind::Admin).unwrap();
        let session = NewPageSession {
            hash: secret.hash(),
            token: lasting.id(),
            created_at: expires_at - 60_000,
            expires_at,
        };
        store.open_page_session(&session).await.unwrap();
        let visit = Visit::new(&server);
        let digits = secret.reveal().rsplit('_').next().unwrap().to_owned();
        visit.keep("undertone", &digits);
        assert_eq!(visit.get("/").await.status, status);
    }
}

#[tokio::test]
async fn forms_are_taken_from_this_page_only() {
    let database = Database::sqlite();
    let task = task(&database).await;
    let server = task.serve().await;
    let everything = token(&task.store, &Scope::ALL, HOUR_MS).await;
    let visit = Visit::logged_in(&server, &everything).await;
    let other = Visit::logged_in(&server, &everything).await;
    let pause = format!("/tasks/{}/control/pause", task.id);
    let csrf = visit.get(&pause).await.csrf();
    let control = || async { task.store.task(task.id).await.unwrap().unwrap().control };

    let others = other.get("/").await.csrf();
    let login = Visit::new(&server).get("/login").await.csrf();
    for wrong in ["", "00", &others, &login] {
        let seen = visit.post(&pause, &[("csrf", wrong)]).await;
        assert_eq!(seen.status, 403, "{}", seen.body);
    }
    assert_eq!(visit.post(&pause, &[]).await.status, 400);
    for header in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let seen = visit.post_with(&pause, &[("csrf", &csrf)], &[header]).await;
        assert_eq!(seen.status, 403, "{header:?}");
        let token = everything.reveal();
        let csrf = visit.cookie("undertone-login").map(|_| String::new());
        let fields = [("csrf", csrf.as_deref().unwrap_or("00")), ("token", &token)];
        let seen = visit.post_with("/login", &fields, &[header]).await;
        assert_eq!(seen.status, 403, "{header:?}");
    }
    let no_cookie = Visit::new(&server);
    let fields = [("csrf", csrf.as_str()), ("token", &everything.reveal())];
    let seen = no_cookie.post("/login", &fields).await;
    assert!(
        seen.status == 403 && seen.body.contains("HTTPS"),
        "{}",
        seen.body
    );
    assert_eq!(control().await, TaskControl::Run);

    let ours = [("sec-fetch-site", "same-origin"), ("origin", &server)];
    let done = visit.post_with(&pause, &[("csrf", &csrf)], &ours).await;
    assert_eq!(done.status, 303, "{}", done.body);
    assert_eq!(done.location(), format!("/tasks/{}", task.id));
    assert_eq!(control().await, TaskControl::Paused);
}

#[tokio::test]
async fn scopes_say_what_is_shown_and_done() {
    let database = Database::sqlite();
    let task = task(&database).await;
    let server = task.serve().await;
    let page = format!("/tasks/{}", task.id);
    let reader = token(&task.store, &[Scope::Read], HOUR_MS).await;
    let visit = Visit::logged_in(&server, &reader).await;
    let seen = visit.get(&page).await;
    assert_eq!(seen.status, 200);
    for hidden in ["/control/", "/audit"] {
        assert!(!seen.body.contains(hidden), "{hidden}");
    }
    let csrf = seen.csrf();
    for action in ["pause", "resume", "cancel"] {
        let path = format!("{page}/control/{action}");
        assert_eq!(visit.get(&path).await.status, 403);
        assert_eq!(visit.post(&path, &[("csrf", &csrf)]).await.status, 403);
    }
    for path in [format!("{page}/audit"), "/service/audit".to_owned()] {
        assert_eq!(visit.get(&path).await.status, 403);
    }
    let control = task.store.task(task.id).await.unwrap().unwrap().control;
    assert_eq!(control, TaskControl::Run);

    let auditor = token(&task.store, &[Scope::Audit], HOUR_MS).await;
    let visit = Visit::logged_in(&server, &auditor).await;
    assert_eq!(visit.get("/service/audit").await.status, 200);
    assert_eq!(visit.get(&format!("{page}/audit")).await.status, 200);
    for path in ["/", &page, "/events", &format!("{page}/events")] {
        assert_eq!(visit.get(path).await.status, 403, "{path}");
    }

    let everything = token(&task.store, &Scope::ALL, HOUR_MS).await;
    let visit = Visit::logged_in(&server, &everything).await;
    for path in [
        "/tasks/00",
        "/tasks/00112233445566778899aabbccddeeff",
        "/tasks/00112233445566778899aabbccddeeff/audit",
        &format!("{page}/control/explode"),
    ] {
        let seen = visit.get(path).await;
        assert_eq!(seen.status, 404, "{path}");
        assert!(seen.header("content-type").starts_with("text/html"));
    }
}

#[tokio::test]
async fn a_cancelled_task_says_why_its_round_failed() {
    let database = Database::sqlite();
    let task = task(&database).await;
    let server = task.serve().await;
    let everything = token(&task.store, &Scope::ALL, HOUR_MS).await;
    let visit = Visit::logged_in(&server, &everything).await;
    let page = format!("/tasks/{}", task.id);
    let open = async {
        while !visit
            .get(&page)
            .await
            .body
            .contains("AdvertiseKeys is open.")
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), open)
        .await
        .unwrap();
    let cancel = format!("{page}/control/cancel");
    let asked = visit.get(&cancel).await;
    assert!(
        asked.body.contains("The open round fails"),
        "{}",
        asked.body
    );
    let csrf = asked.csrf();
    assert_eq!(visit.post(&cancel, &[("csrf", &csrf)]).await.status, 303);

    let seen = visit.get(&page).await.body;
    let why = format!(
        "in AdvertiseKeys: the task was cancelled by token {}",
        everything.id()
    );
    for shown in [
        "cancelled</span>",
        "failed</span>",
        why.as_str(),
        "The task was cancelled.",
    ] {
        assert!(seen.contains(shown), "{shown}: {seen}");
    }
    assert!(!seen.contains("/control/"), "nothing is left to be done");
    let home = visit.get("/").await.body;
    assert!(home.contains("round 1: the task was cancelled"), "{home}");
    let pause = format!("{page}/control/pause");
    let late = visit.post(&pause, &[("csrf", &csrf)]).await;
    assert!(late.status == 409 && late.body.contains("cancelled, which is for ever"));
}

/// More tasks than one page lists.
#[tokio::test]
async fn tasks_are_listed_page_by_page() {
    let database = Database::sqlite();
    let first = task(&database).await;
    for _ in 0..50 {
        task(&database).await;
    }
    let server = first.serve().await;
    let reader = token(&first.store, &[Scope::Read], HOUR_MS).await;
    let visit = Visit::logged_in(&server, &reader).await;
    let home = visit.get("/").await.body;
    let links = |page: &str| page.matches("href=\"/tasks/").count();
    assert_eq!(links(&home), 50);
    let (_, before) = home.split_once("href=\"/?before=").expect("a next page");
    let before = before.split('"').next().unwrap();
    let rest = visit.get(&format!("/?before={before}")).await.body;
    assert_eq!(links(&rest), 1);
    assert!(rest.contains(&first.id.to_string()) && !home.contains(&first.id.to_string()));
    assert!(rest.contains("Latest tasks") && !rest.contains("Earlier tasks"));
}

#[tokio::test]
async fn every_answer_is_strict_and_shadows_nothing() {
    let database = Database::sqlite();
    let task = task(&database).await;
    let server = task.serve().await;
    let everything = token(&task.store, &Scope::ALL, HOUR_MS).await;
    let visit = Visit::logged_in(&server, &everything).await;
    let page = format!("/tasks/{}", task.id);
    let home = visit.get("/").await;
    let asset = |from: &str| {
        let start = home.body.find(from).unwrap();
        home.body[start..].split('"').next().unwrap().to_owned()
    };
    let assets = [
        asset("/page/style-"),
        asset("/page/live-"),
        asset("/page/icon-"),
    ];
    let pages = ["/", "/login", "/service/audit", &page, "/tasks/none"];
    for path in pages.into_iter().chain(assets.iter().map(String::as_str)) {
        let seen = visit.get(path).await;
        let policy = seen.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self';"),
            "{path}"
        );
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(seen.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(seen.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(seen.header("referrer-policy"), "same-origin", "{path}");
        let kept = seen.header("cache-control");
        if path.starts_with("/page/") {
            assert_eq!(
                (seen.status, kept),
                (200, "public, max-age=31536000, immutable")
            );
            assert!(seen.body.lines().count() < 400);
        } else {
            assert_eq!(kept, "no-store", "{path}");
            assert!(
                !seen.body.contains("style=\"") && !seen.body.contains("http://"),
                "{path}"
            );
            assert!(!seen.body.contains(everything.reveal().as_str()));
        }
    }
    let script = visit.get(&assets[1]).await;
    assert!(script.body.lines().count() < 60, "little JavaScript");

    // What was there before is there still, and does not speak of the page.
    let document = visit.get("/openapi.json").await;
    assert_eq!(document.header("content-type"), "application/json");
    assert!(!document.body.contains("/login"));
    assert_eq!(visit.get("/healthz").await.body, "ok\n");
    assert_eq!(
        visit.get("/admin/v1/tasks").await.status,
        401,
        "no cookie opens the API"
    );
    let nothing = visit.get("/nothing").await;
    assert_eq!(nothing.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn logins_and_refusals_are_on_record_without_secrets() {
    let database = Database::sqlite();
    let task = task(&database).await;
    let (server, stop, serving) = serve(&task).await;

    let everything = token(&task.store, &Scope::ALL, HOUR_MS).await;
    let guessed = Token::draw(TokenKind::Admin).unwrap();
    let visit = Visit::new(&server);
    assert_eq!(visit.log_in(&guessed.reveal()).await.status, 401);
    assert_eq!(visit.log_in(&everything.reveal()).await.status, 303);
    let cookie = visit.cookie("undertone").unwrap();
    let csrf = visit.get("/").await.csrf();
    let pause = format!("/tasks/{}/control/pause", task.id);
    assert_eq!(visit.post(&pause, &[("csrf", "00")]).await.status, 403);
    assert_eq!(visit.post(&pause, &[("csrf", &csrf)]).await.status, 303);
    assert_eq!(visit.post("/logout", &[("csrf", &csrf)]).await.status, 303);
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();

    let mut written = String::new();
    for chain in [Chain::Service, Chain::Task(task.id)] {
        for entry in task.store.audit_entries(chain, 0, 100).await.unwrap() {
            written += &entry.content;
            written.push('\n');
        }
    }
    let by = format!(
        "\"actor\":{{\"id\":\"{}\",\"kind\":\"token\"}}",
        everything.id()
    );
    for action in ["POST /login", "POST /logout"] {
        let done = format!(
            "{by},\"event\":{{\"action\":\"{action}\",\"kind\":\"admin\",\"outcome\":\"done\"}}"
        );
        assert!(written.contains(&done), "{done}\n{written}");
    }
    assert!(
        written.contains(&format!("{by},\"event\":{{\"kind\":\"task-paused\"}}")),
        "{written}"
    );
    for refused in ["unauthorized", "forbidden"] {
        let refused = format!("\"phase\":\"admin\",\"problem\":\"{refused}\"");
        assert!(written.contains(&refused), "{refused}\n{written}");
    }
    let secret = |token: &Token| token.reveal().rsplit('_').next().unwrap().to_owned();
    for secret in [secret(&everything), secret(&guessed), cookie, csrf] {
        assert!(!written.contains(&secret));
    }
}

/// Streams that nobody would read: more of them than there are connections to the database.
#[tokio::test(flavor = "multi_thread")]
async fn streams_hold_nothing_up() {
    let database = Database::sqlite();
    let task = task(&database).await;
    let (server, stop, serving) = serve(&task).await;
    let everything = token(&task.store, &Scope::ALL, HOUR_MS).await;
    let revoked = token(&task.store, &[Scope::Read], HOUR_MS).await;
    let path = format!("/tasks/{}/events", task.id);

    let visit = Visit::logged_in(&server, &everything).await;
    let mut streams = Vec::new();
    for _ in 0..40 {
        let stream = visit.begin(&path).await;
        assert_eq!(stream.status(), 200);
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        streams.push(stream);
    }
    let watched = tokio::time::timeout(Duration::from_secs(5), visit.get("/")).await;
    assert_eq!(watched.unwrap().status, 200);
    let first = streams[0].chunk().await.unwrap().unwrap();
    let first = String::from_utf8_lossy(&first).into_owned();
    assert!(
        first.contains("event: fragment") && first.contains("id=\"summary\""),
        "{first}"
    );

    // One ends with its session.
    let visit = Visit::logged_in(&server, &revoked).await;
    let mut stream = visit.begin(&path).await;
    assert!(stream.chunk().await.unwrap().is_some());
    let now = now_ms();
    assert!(
        task.store
            .revoke_token(revoked.id(), now, Actor::Database)
            .await
            .unwrap()
    );
    let ended = async { while stream.chunk().await.unwrap().is_some() {} };
    tokio::time::timeout(Duration::from_secs(15), ended)
        .await
        .expect("the stream ends with its session");

    // All others when the service stops, at once.
    stop.send(()).unwrap();
    let serving = tokio::time::timeout(Duration::from_secs(10), serving).await;
    serving
        .expect("streams do not hold the stop up")
        .unwrap()
        .unwrap();
    for mut stream in streams {
        while stream.chunk().await.unwrap().is_some() {}
    }
}
