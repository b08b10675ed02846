//! The `OpenAPI` document says what is routed, and nothing else; its page needs no other host.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::collections::BTreeSet;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use undertone_server::store::AnyStore;
use undertone_server::{App, Settings, document};
use undertone_tests::database::Database;
use undertone_tests::task::Task;

/// Paths of the page itself, which the document is not about.
const PAGES: [&str; 4] = ["/openapi.json", "/docs", "/docs/", "/docs/{*rest}"];

/// Whether a path is of the operators' page, which is for people.
fn is_page(path: &str) -> bool {
    path.starts_with("/tasks/")
        || path.starts_with("/page/")
        || ["/events", "/login", "/logout", "/service/audit"].contains(&path)
}

fn client() -> Client {
    // The HTTP library wants a TLS provider even for plain HTTP; a second install is refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new()
}

fn documented() -> Value {
    serde_json::to_value(document()).unwrap()
}

/// The paths that the router knows: its debug output lists them, and nothing else that is quoted
/// and starts with a slash. Two of them are the fallback.
async fn routed() -> BTreeSet<String> {
    let database = Database::sqlite();
    let store = AnyStore::connect(database.url()).await.unwrap();
    let router = format!("{:?}", App::new(store, Settings::default()).router());
    let quoted = router.split('"').skip(1).step_by(2);
    quoted
        .filter(|text| text.starts_with('/') && *text != "/" && !text.contains("axum_fallback"))
        .filter(|text| !is_page(text))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn each_route_is_documented_and_each_documented_one_is_routed() {
    let document = documented();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    let mut expected: BTreeSet<String> = paths.keys().cloned().collect();
    assert!(expected.len() > 20, "{expected:?}");
    expected.extend(PAGES.map(str::to_owned));
    assert_eq!(routed().await, expected);
}

/// Asked over HTTP, a path takes the methods of the document, and HEAD where it takes GET.
#[tokio::test]
async fn each_path_takes_the_documented_methods() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), 4, 1, [60_000; 5]).await;
    let server = task.serve().await;
    let client = client();
    for (path, item) in documented()["paths"].as_object().unwrap() {
        let filled = path
            .replace("{task}", &task.id.to_string())
            .replace("{round}", &"0".repeat(64))
            .replace("{phase}", "share-keys");
        let filled: Vec<_> = filled
            .split('/')
            .map(|part| if part.starts_with('{') { "0" } else { part })
            .collect();
        let url = format!("{server}{}", filled.join("/"));
        for method in [
            "get", "head", "put", "post", "delete", "patch", "options", "trace",
        ] {
            let known = item.get(if method == "head" { "get" } else { method });
            let name = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let answer = client.request(name, &url).send().await.unwrap();
            let status = answer.status();
            let refused = status == StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(refused, known.is_none(), "{method} {path}: {status}");
            if refused && method != "head" {
                let kind = &answer.headers()["content-type"];
                assert_eq!(kind, "application/problem+json", "{method} {path}");
            }
        }
    }
}

/// Every answer is described, every problem by its type; what needs a token says so.
#[test]
fn operations_are_complete() {
    let document = documented();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let at = format!("{method} {path}");
            assert!(
                operation["summary"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty()),
                "{at}"
            );
            let secured = operation.get("security").is_some();
            let responses = operation["responses"].as_object().unwrap();
            assert_eq!(secured, responses.contains_key("401"), "{at}");
            assert!(responses.contains_key("503"), "{at}");
            for name in path.split('/').filter_map(|part| part.strip_prefix('{')) {
                let name = name.trim_end_matches('}');
                let parameters = operation["parameters"].as_array().unwrap();
                assert!(
                    parameters
                        .iter()
                        .any(|p| p["name"] == name && p["in"] == "path"),
                    "{at}"
                );
            }
            for (status, response) in responses {
                if !status.starts_with('2') {
                    let schema = &response["content"]["application/problem+json"]["schema"];
                    let types = schema["properties"]["type"]["enum"].as_array().unwrap();
                    assert!(!types.is_empty(), "{at} {status}");
                }
            }
        }
    }
}

#[tokio::test]
async fn the_page_needs_no_other_host() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), 4, 1, [60_000; 5]).await;
    let server = task.serve().await;
    let client = client();
    let served: Value = serde_json::from_str(
        &client
            .get(format!("{server}/openapi.json"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
    )
    .unwrap();
    assert_eq!(served, documented());

    let page = client.get(format!("{server}/docs")).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(
        !policy.contains("http") && !policy.contains('*'),
        "{policy}"
    );
    let html = page.text().await.unwrap();
    assert!(!html.contains("//"), "{html}");
    let mut found = 0;
    for link in html
        .split(['"', '\''])
        .filter(|text| text.starts_with("./"))
    {
        let url = format!("{server}/docs/{}", link.trim_start_matches("./"));
        let answer = client.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{link}");
        found += 1;
    }
    assert!(found >= 4, "{html}");
    let missing = client
        .get(format!("{server}/docs/nothing"))
        .send()
        .await
        .unwrap();
    assert_eq!(missing.status(), 404);
    assert_eq!(
        missing.headers()["content-type"],
        "application/problem+json"
    );
}
