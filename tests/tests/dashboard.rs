//! The dashboard and the alerts ask for metrics that there are, by labels that they have.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::collections::BTreeSet;

use serde_json::Value;
use undertone_server::telemetry::table::{self, METRICS, Metric};

/// The metrics of the service that an expression names, each with what follows its name.
fn metrics(expression: &str) -> Vec<(&'static Metric, &str)> {
    let mut found = Vec::new();
    let mut rest = expression;
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    while let Some(start) = rest.find(word) {
        rest = &rest[start..];
        let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        rest = after;
        if name.starts_with("undertone_") || name.starts_with("process_") {
            found.push((metric_of(name), after));
        }
    }
    found
}

fn metric_of(name: &str) -> &'static Metric {
    let base = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|part| name.strip_suffix(part));
    let of_histogram = base
        .and_then(table::find)
        .filter(|m| m.kind.text() == "histogram");
    let found = of_histogram.or_else(|| {
        // A histogram has no series of its plain name.
        table::find(name).filter(|m| m.kind.text() != "histogram")
    });
    found.unwrap_or_else(|| panic!("there is no metric {name}"))
}

/// The labels of the table, and those that Prometheus adds.
fn has_label(metric: &Metric, label: &str) -> bool {
    ["job", "instance", "le"].contains(&label) || metric.labels.iter().any(|l| l.name == label)
}

fn check(expression: &str) -> BTreeSet<&'static str> {
    let metrics = metrics(expression);
    assert!(!metrics.is_empty(), "{expression}");
    for (metric, after) in &metrics {
        let selector = after
            .strip_prefix('{')
            .and_then(|rest| rest.split_once('}'));
        for matcher in selector.map_or("", |(inside, _)| inside).split("\",") {
            let Some((label, value)) = matcher.split_once('=') else {
                continue;
            };
            assert!(
                has_label(metric, label),
                "{} has no label {label}",
                metric.name
            );
            let value = value.trim_matches('"');
            let known = metric
                .labels
                .iter()
                .find(|l| l.name == label)
                .and_then(|l| l.values);
            if let Some(values) = known {
                assert!(
                    values().contains(&value),
                    "{label} of {} is never {value}",
                    metric.name
                );
            }
        }
    }
    // `sum by (a, b) (...)`: the labels that are kept.
    for group in expression.split("by (").skip(1) {
        for label in group.split(')').next().unwrap().split(',').map(str::trim) {
            assert!(
                metrics.iter().any(|(m, _)| has_label(m, label)),
                "{label}: {expression}"
            );
        }
    }
    metrics.into_iter().map(|(metric, _)| metric.name).collect()
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let text = include_str!("../../deploy/grafana/undertone.json");
    let dashboard: Value = serde_json::from_str(text).unwrap();
    let mut shown = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let targets = panel["targets"].as_array().map_or(&[][..], Vec::as_slice);
        assert!(
            panel["type"] == "row" || !targets.is_empty(),
            "{}",
            panel["title"]
        );
        for target in targets {
            shown.extend(check(target["expr"].as_str().unwrap()));
        }
    }
    let all: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(shown, all);
}

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let text = include_str!("../../deploy/prometheus/alerts.yml");
    let mut alerts = 0;
    for rule in text.split("- alert: ").skip(1) {
        let (_, rest) = rule.split_once("expr: ").unwrap();
        let lines = rest.lines().map(str::trim);
        // A folded expression ends where the next field begins.
        let field = |line: &&str| {
            !["for:", "labels:", "annotations:"]
                .iter()
                .any(|f| line.starts_with(f))
        };
        let expression: Vec<_> = lines
            .take_while(field)
            .filter(|line| *line != ">-")
            .collect();
        check(&expression.join(" "));
        alerts += 1;
    }
    assert!(alerts >= 10, "{alerts}");
}
