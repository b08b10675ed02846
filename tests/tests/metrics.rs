//! What `/metrics` shows is what the table of metrics says, no more and no less.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::float_cmp,
    reason = "this is test code"
)]

use std::collections::{BTreeMap, BTreeSet};

use undertone_server::Settings;
use undertone_server::telemetry::MetricsSettings;
use undertone_server::telemetry::table::{self, METRICS};
use undertone_tests::client::{Inputs, spawn};
use undertone_tests::database::Database;
use undertone_tests::task::Task;

const CLIENTS: u16 = 5;

/// A line of the text format: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').unwrap();
    // No value has a comma or an equals sign in it; a test of bounded labels would see if one had.
    let labels = labels.split(',').filter(|label| !label.is_empty());
    let labels = labels.map(|label| {
        let (name, value) = label.split_once('=').unwrap();
        (name.to_owned(), value.trim_matches('"').to_owned())
    });
    (name.to_owned(), labels.collect(), value.parse().unwrap())
}

async fn get(url: String) -> reqwest::Result<reqwest::Response> {
    // The HTTP library wants a TLS provider even for plain HTTP; a second install is refused.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::get(url).await
}

async fn metrics(server: &str) -> String {
    let answer = get(format!("{server}/metrics")).await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    answer.text().await.unwrap()
}

/// The metric that a sample belongs to: histograms have three names each.
fn metric_of(name: &str) -> &'static table::Metric {
    table::find(name)
        .or_else(|| {
            let (base, part) = name.rsplit_once('_')?;
            let part = ["bucket", "sum", "count"].contains(&part);
            table::find(base).filter(|m| part && m.kind.text() == "histogram")
        })
        .unwrap_or_else(|| panic!("{name} is shown and not in the table"))
}

fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let found = samples.iter().filter(|(other, with, _)| {
        other == name
            && labels
                .iter()
                .all(|(key, value)| with.get(*key).is_some_and(|v| v == value))
    });
    found.map(|(_, _, value)| value).sum()
}

/// One test in all, as a process has one set of metrics.
#[tokio::test]
async fn metrics_are_as_described() {
    after_a_round_the_metrics_are_those_of_the_table().await;
    metrics_are_not_public_unless_it_is_said().await;
}

async fn after_a_round_the_metrics_are_those_of_the_table() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), CLIENTS, 1, [60_000; 5]).await;
    let metrics_settings = MetricsSettings {
        public: true,
        listen: None,
    };
    let settings = Settings {
        metrics: metrics_settings,
        ..Settings::default()
    };
    let server = task.serve_with(settings).await;
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let running: Vec<_> = (0..CLIENTS.into())
        .map(|index| spawn(&task, index, &server, state.path(), &inputs, None))
        .collect();
    for client in running {
        client.await.unwrap().unwrap();
    }
    let nowhere = get(format!("{server}/v1/nowhere")).await.unwrap();
    assert_eq!(nowhere.status(), 404);

    let text = metrics(&server).await;
    let mut shown = BTreeSet::new();
    let mut samples = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let metric = table::find(name).unwrap_or_else(|| panic!("{name} is not in the table"));
            assert_eq!(metric.kind.text(), kind, "{name}");
            shown.insert(name.to_owned());
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert_eq!(metric_of(name).help, help, "{name}");
        } else {
            samples.push(sample(line));
        }
    }
    for (name, labels, _) in &samples {
        let metric = metric_of(name);
        let names = labels.keys().filter(|label| *label != "le").cloned();
        let expected = metric.labels.iter().map(|label| label.name.to_owned());
        assert_eq!(names.collect::<BTreeSet<_>>(), expected.collect(), "{name}");
        for label in metric.labels {
            if let Some(values) = label.values {
                let value = labels[label.name].as_str();
                assert!(values().contains(&value), "{name} {value}");
            }
        }
    }
    let all: BTreeSet<_> = METRICS
        .iter()
        .map(|metric| metric.name.to_owned())
        .collect();
    assert_eq!(shown, all);

    // One round of five clients, and what it takes.
    let clients = f64::from(CLIENTS);
    let of = |name: &str, labels: &[(&str, &str)]| value(&samples, name, labels);
    assert_eq!(
        of("undertone_rounds_ended_total", &[("outcome", "finished")]),
        1.0
    );
    assert_eq!(
        of("undertone_rounds_ended_total", &[("outcome", "failed")]),
        0.0
    );
    assert_eq!(of("undertone_round_survivors_sum", &[]), clients);
    for phase in ["advertise-keys", "share-keys", "masked-input", "unmask"] {
        let label = [("phase", phase), ("receipt", "accepted")];
        assert_eq!(of("undertone_messages_total", &label), clients, "{phase}");
        assert_eq!(
            of("undertone_phase_duration_seconds_count", &label[..1]),
            1.0
        );
        assert_eq!(of("undertone_dropouts_total", &label[..1]), 0.0);
        assert!(of("undertone_phase_duration_seconds_sum", &label[..1]) < 60.0);
    }
    assert_eq!(
        of("undertone_problems_total", &[("kind", "not-found")]),
        1.0
    );
    let unmatched = [("route", "unmatched"), ("status", "404")];
    assert_eq!(of("undertone_http_requests_total", &unmatched), 1.0);
    assert_eq!(of("undertone_store_up", &[]), 1.0);
    assert!(of("undertone_store_commit_seconds_count", &[]) > 4.0 * clients);
    assert!(of("process_resident_memory_bytes", &[]) > 1e6);
    assert!(of("process_open_fds", &[]) > 3.0);
}

/// By default the clients' port does not show them.
async fn metrics_are_not_public_unless_it_is_said() {
    let database = Database::sqlite();
    let task = Task::create(database.url(), CLIENTS, 1, [60_000; 5]).await;
    let server = task.serve().await;
    let answer = get(format!("{server}/metrics")).await.unwrap();
    assert_eq!(answer.status(), 404);

    let free = undertone_server::app::listen(([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let listen = free.local_addr().unwrap();
    drop(free);
    let metrics_settings = MetricsSettings {
        public: false,
        listen: Some(listen),
    };
    let settings = Settings {
        metrics: metrics_settings,
        ..Settings::default()
    };
    let server = task.serve_with(settings).await;
    let alive = get(format!("{server}/healthz")).await.unwrap();
    assert_eq!(alive.status(), 200);
    let answer = get(format!("{server}/metrics")).await.unwrap();
    assert_eq!(answer.status(), 404);
    let shown = metrics(&format!("http://{listen}")).await;
    assert!(shown.contains("undertone_build_info{"), "{shown}");
    let other = get(format!("http://{listen}/healthz")).await.unwrap();
    assert_eq!(other.status(), 404);
}
