//! Who imports whom: ARCHITECTURE.md's table, held against `cargo metadata`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "this is test code"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// From the ground up: a crate imports only crates before it.
const LAYERS: [&str; 11] = [
    "undertone-protocol",
    "undertone-plot",
    "undertone-privacy",
    "undertone-federated",
    "undertone-training",
    "undertone-server",
    "undertone-client",
    "undertone-bench",
    "undertone-study",
    "undertone",
    "undertone-tests",
];

/// What a crate must not depend on at all, directly or through others.
const NEVER: [(&str, &[&str]); 7] = [
    (
        "undertone-protocol",
        &["tokio", "axum", "sqlx", "reqwest", "candle-core"],
    ),
    (
        "undertone-privacy",
        &["tokio", "axum", "sqlx", "reqwest", "candle-core"],
    ),
    (
        "undertone-federated",
        &["tokio", "axum", "sqlx", "reqwest", "candle-core"],
    ),
    ("undertone-training", &["tokio", "axum", "sqlx", "reqwest"]),
    // It has an HTTP client for one thing: to send traces to a collector.
    ("undertone-server", &["candle-core"]),
    ("undertone-client", &["sqlx"]),
    ("undertone-study", &["tokio", "axum", "sqlx", "reqwest"]),
];

struct Graph {
    normal: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Normal (not dev or build) dependencies by package name, over all resolved packages.
    fn load() -> Self {
        let output = Command::new(env!("CARGO"))
            .args([
                "metadata",
                "--format-version",
                "1",
                "--locked",
                "--all-features",
            ])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let names: BTreeMap<&str, &str> = metadata["packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| (p["id"].as_str().unwrap(), p["name"].as_str().unwrap()))
            .collect();
        let mut normal: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in metadata["resolve"]["nodes"].as_array().unwrap() {
            let from = names[node["id"].as_str().unwrap()].to_owned();
            for dependency in node["deps"].as_array().unwrap() {
                let kinds = dependency["dep_kinds"].as_array().unwrap();
                if kinds.iter().any(|kind| kind["kind"].is_null()) {
                    let to = names[dependency["pkg"].as_str().unwrap()].to_owned();
                    normal.entry(from.clone()).or_default().insert(to);
                }
            }
        }
        Self { normal }
    }

    fn reachable(&self, from: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut open = vec![from.to_owned()];
        while let Some(package) = open.pop() {
            for next in self.normal.get(&package).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen
    }
}

#[test]
fn a_crate_imports_only_crates_below_it() {
    let graph = Graph::load();
    for (layer, name) in LAYERS.iter().enumerate() {
        for import in graph.normal.get(*name).into_iter().flatten() {
            if let Some(other) = LAYERS.iter().position(|l| l == import) {
                assert!(other < layer, "{name} must not import {import}");
            }
        }
    }
}

#[test]
fn no_crate_reaches_what_it_must_never_touch() {
    let graph = Graph::load();
    for (name, never) in NEVER {
        let reachable = graph.reachable(name);
        // The training feature of the client is the one door to candle; the server has none.
        for banned in never {
            assert!(!reachable.contains(*banned), "{name} reaches {banned}");
        }
    }
}

#[test]
fn every_workspace_crate_has_a_layer() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates");
    let folders = std::fs::read_dir(root).unwrap().count();
    assert_eq!(
        folders + 1,
        LAYERS.len(),
        "a crate is missing from ARCHITECTURE.md's table"
    );
}
