//! All that happens in a round is one trace, whichever replica it happens on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use undertone_protocol::aggregator::PhaseName;
use undertone_server::telemetry::{self, OtelSettings};
use undertone_tests::client::{Inputs, spawn};
use undertone_tests::collector::Collector;
use undertone_tests::database::Database;
use undertone_tests::task::{Task, sum_of};

const CLIENTS: usize = 6;

fn text(span: &Span, key: &str) -> String {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.clone()?.value);
    match value {
        Some(Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    }
}

/// Two replicas, half the clients at each; the other half of the service is Postgres.
#[tokio::test(flavor = "multi_thread")]
async fn a_round_on_two_replicas_is_one_trace() {
    let collector = Collector::start().await;
    let settings = OtelSettings {
        endpoint: Some(collector.url().into()),
        ..OtelSettings::default()
    };
    let (spans, guard) = telemetry::spans(&settings).unwrap();
    tracing_subscriber::registry().with(spans).init();

    let database = Database::postgres().await;
    let clients = u16::try_from(CLIENTS).unwrap();
    let task = Task::create(database.url(), clients, 1, [60_000; 5]).await;
    let replicas = [task.serve().await, task.serve().await];
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let running: Vec<_> = (0..CLIENTS)
        .map(|index| {
            spawn(
                &task,
                index,
                &replicas[index % 2],
                state.path(),
                &inputs,
                None,
            )
        })
        .collect();
    for client in running {
        client.await.unwrap().unwrap();
    }
    let round = task.rounds().await.remove(0);
    let (sum, survivors) = sum_of(&round);
    assert_eq!(sum, inputs.sum(1, &survivors));
    tokio::task::spawn_blocking(move || drop(guard))
        .await
        .unwrap();

    let spans = collector.spans();
    let id = round.id.as_bytes();
    let (trace, root) = (id[..16].to_vec(), id[16..24].to_vec());
    let of_round = |span: &&Span| {
        let route = text(span, "route");
        span.name == "round"
            || route.starts_with("/v1/rounds/")
            || ["batch", "unmask chunk"].contains(&span.name.as_str())
            || PhaseName::ALL.iter().any(|phase| phase.text() == span.name)
    };
    let mut counts = BTreeMap::<String, usize>::new();
    for span in spans.iter().filter(of_round) {
        assert_eq!(span.trace_id, trace, "{}", span.name);
        *counts.entry(span.name.clone()).or_default() += 1;
    }
    let own = spans.iter().filter(|span| span.trace_id == trace).count();
    assert_eq!(own, counts.values().sum::<usize>());
    // The round, and each of its phases, by whichever replica closed it.
    assert_eq!(counts["round"], 1);
    let mut phases = BTreeMap::new();
    for phase in PhaseName::ALL {
        assert_eq!(counts[phase.text()], 1, "{phase}");
        let span = spans.iter().find(|span| span.name == phase.text()).unwrap();
        assert_eq!(span.parent_span_id, root);
        assert!(span.start_time_unix_nano < span.end_time_unix_nano);
        phases.insert(phase.text(), span.span_id.clone());
    }
    let whole = spans.iter().find(|span| span.name == "round").unwrap();
    assert_eq!(whole.span_id, root);
    assert!(whole.parent_span_id.is_empty());
    assert_eq!(text(whole, "undertone.round"), round.id.to_string());
    // Every message is below its phase, batches below MaskedInput.
    let puts: Vec<_> = spans
        .iter()
        .filter(|span| text(span, "method") == "PUT")
        .collect();
    assert!(puts.len() >= 4 * CLIENTS, "{}", puts.len());
    assert!(
        puts.iter()
            .all(|put| phases.values().any(|id| *id == put.parent_span_id))
    );
    let batch = spans.iter().find(|span| span.name == "batch").unwrap();
    assert_eq!(batch.parent_span_id, phases["masked-input"]);
    let chunk = spans.iter().find(|span| span.name == "unmask chunk");
    assert_eq!(chunk.unwrap().parent_span_id, phases["unmask"]);
    // What is not of the round is not in its trace, and sending spans makes none.
    assert!(
        spans
            .iter()
            .any(|span| text(span, "route").starts_with("/v1/tasks/"))
    );
    assert!(spans.iter().all(|span| span.name != "POST /v1/traces"));
}
