//! Sections to read the others by: the clients' mail, what epsilon means, the settings.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::learning::bar;
use super::{DemoResult, epsilon};

/// Each client's share of the mail.
pub(super) fn clients(result: &DemoResult) -> Markup {
    html! {
        section {
            h2 { "The clients' mail" }
            p { "The shares differ on purpose, as real ones do." }
            table.bars {
                thead {
                    tr { th scope="col" { "Client" } th.n scope="col" { "Mails" } th scope="col" { "Spam" } }
                }
                tbody {
                    @for client in &result.clients {
                        tr {
                            th scope="row" { (client.name) }
                            td.n { (client.examples) }
                            td { (bar(client.spam_rate)) }
                        }
                    }
                }
            }
        }
    }
}

/// What ε covers, what it does not, and the run's own notes.
pub(super) fn notes(result: &DemoResult) -> Markup {
    html! {
        section.notes {
            h2 { "What the numbers mean" }
            h3 { "Epsilon covers" }
            ul {
                li {
                    "Epsilon " (epsilon(result.epsilon)) " at delta " (format!("{:e}", result.delta))
                    " holds for each " (result.unit) ", under " (result.adjacency) " adjacency, for "
                    "all rounds together. Accounted by " (result.accountant) "."
                }
                li {
                    "Each client draws its own batches at random and adds its own noise. The figure "
                    "rests on no other client and not on the service."
                }
                li { "It bounds what the sums and the final adapter can tell about one " (result.unit) ", to anyone." }
            }
            h3 { "It does not cover" }
            ul {
                li {
                    "A whole client, or many mails that say the same: what holds for one "
                    (result.unit) " grows weaker with their number."
                }
                li { "Who takes part, when, and how many mails they hold: the service knows the roster." }
                li {
                    "The held-out mail, on which everything here is measured, and any choice of "
                    "settings made by looking at such figures."
                }
                li { "The comparison models without noise. They exist in this demo only." }
                li {
                    "The gap between real numbers and floating point: the noise is sampled with care, "
                    "but the proof is about real numbers."
                }
            }
            h3 { "About this run" }
            ul {
                li {
                    "“Exact” is checked by the demo, which runs clients and service and may see both "
                    "sides. A service by itself cannot check it, for it has only the sum."
                }
                @for note in &result.notes { li { (note) } }
            }
        }
    }
}

/// The run's settings, nested keys joined by dots.
pub(super) fn settings(result: &DemoResult) -> Markup {
    let mut rows = BTreeSet::new();
    flatten("", &result.settings, &mut rows);
    html! {
        section {
            h2 { "Settings" }
            details {
                summary { (rows.len()) " settings of this run" }
                table {
                    thead { tr { th scope="col" { "Setting" } th scope="col" { "Value" } } }
                    tbody {
                        @for (key, value) in &rows {
                            tr { th scope="row" { code { (key) } } td { (value) } }
                        }
                    }
                }
            }
        }
    }
}

fn flatten(prefix: &str, value: &serde_json::Value, rows: &mut BTreeSet<(String, String)>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                let key = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(&key, value, rows);
            }
        }
        serde_json::Value::String(text) => {
            rows.insert((prefix.to_owned(), text.clone()));
        }
        other => {
            rows.insert((prefix.to_owned(), other.to_string()));
        }
    }
}
