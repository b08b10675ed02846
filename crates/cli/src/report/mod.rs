//! The demo's results: `result.json`, the HTML report and the tables on the terminal.
//!
//! One set of types serves all three. Accuracies, AUCs and rates are fractions of 1; times are
//! seconds. `accuracy` and `auc` are keyed by the names in [`MODELS`].

mod attendance;
mod context;
mod learning;
mod page;
mod plots;
mod terminal;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use thiserror::Error;
use undertone_plot::PlotError;

pub(crate) use terminal::terminal_table;

/// Names of the compared models, in the order of all tables, each with words for a reader.
///
/// The private head comes right after the main result: it is the baseline to beat.
pub(crate) const MODELS: [(&str, &str); 6] = [
    ("federated_private", "Federated, private"),
    ("head_only_private", "Private head only, without adapters"),
    ("federated", "Federated, without noise"),
    ("central", "All mail in one place, without noise"),
    ("alone_mean", "Each client alone, private (mean)"),
    ("untrained", "Untrained start"),
];

/// All that a demo run measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DemoResult {
    /// The rounds, in order.
    pub(crate) rounds: Vec<RoundResult>,
    /// ε of the whole training.
    pub(crate) epsilon: f64,
    /// δ of every ε here.
    pub(crate) delta: f64,
    /// Whose presence ε hides ("example").
    pub(crate) unit: String,
    /// Which data sets count as neighbours ("add-or-remove-one").
    pub(crate) adjacency: String,
    /// How ε was computed.
    pub(crate) accountant: String,
    /// Accuracy on the held-out mail, by model.
    pub(crate) accuracy: BTreeMap<String, f64>,
    /// Area under the ROC curve on the held-out mail, by model.
    pub(crate) auc: BTreeMap<String, f64>,
    /// Seconds for everything.
    pub(crate) seconds: f64,
    /// The clients, in roster order.
    pub(crate) clients: Vec<ClientSummary>,
    /// The settings of the run, as a JSON object.
    pub(crate) settings: serde_json::Value,
    /// Number of held-out mails.
    pub(crate) held_out_examples: usize,
    /// What a reader should know besides, one sentence or two each.
    pub(crate) notes: Vec<String>,
    /// A few coordinates of one round, from both sides of the masks.
    pub(crate) glimpse: Glimpse,
}

/// One round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RoundResult {
    /// Number of the round, from 1.
    pub(crate) round: u32,
    /// Clients whose update is in the sum, with those that vanished after their upload.
    pub(crate) survivors: usize,
    /// Clients that vanished.
    pub(crate) dropped: Vec<Dropped>,
    /// Whether the unmasked sum equals the plain sum of the survivors' inputs in every element.
    pub(crate) exact: bool,
    /// Seconds from start to sum.
    pub(crate) seconds: f64,
    /// Accuracy on the held-out mail after the round.
    pub(crate) accuracy: f64,
    /// AUC on the held-out mail after the round.
    pub(crate) auc: f64,
    /// ε spent up to and with this round.
    pub(crate) epsilon: f64,
    /// How the round ended, in the protocol's words.
    pub(crate) outcome: String,
    /// Seconds by phase.
    pub(crate) phase_seconds: BTreeMap<String, f64>,
}

/// A client that vanished from a round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Dropped {
    /// Its name.
    pub(crate) client: String,
    /// The phase in which it was missed, in the protocol's words (`ShareKeys` or `share_keys`).
    pub(crate) phase: String,
}

impl Dropped {
    /// Whether its update is in the sum all the same: it vanished only after its upload.
    fn is_in_sum(&self) -> bool {
        let letters = self.phase.chars().filter(char::is_ascii_alphabetic);
        let phase: String = letters.map(|c| c.to_ascii_lowercase()).collect();
        matches!(phase.as_str(), "consistencycheck" | "unmask")
    }
}

/// One client's share of the mail.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ClientSummary {
    /// Its name.
    pub(crate) name: String,
    /// Mails it trains on.
    pub(crate) examples: usize,
    /// Fraction of them that is spam.
    pub(crate) spam_rate: f64,
}

/// The same coordinates (some 200) of one round: inside a client, at the service, after the sum.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Glimpse {
    /// One client's update as it stands before masking.
    pub(crate) plain: Vec<f32>,
    /// The same client's upload, as fractions of the ring: in [0, 1).
    pub(crate) masked: Vec<f64>,
    /// The unmasked mean over the survivors.
    pub(crate) mean: Vec<f32>,
}

/// Why a report was not written.
#[derive(Debug, Error)]
pub(crate) enum ReportError {
    /// The file system refused.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Where to.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The result has no JSON form.
    #[error("cannot write the result as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A plot could not be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
}

/// Writes the self-contained HTML report to `path`; folders are made as needed.
///
/// # Errors
/// A plot could not be drawn, or the file not written.
pub(crate) fn write_html(result: &DemoResult, path: &Path) -> Result<(), ReportError> {
    write(path, page::render(result)?.as_bytes())
}

/// Writes `result` as JSON to `path`; folders are made as needed. A number that is not finite
/// becomes null.
///
/// # Errors
/// The file could not be written.
pub(crate) fn write_json(result: &DemoResult, path: &Path) -> Result<(), ReportError> {
    let mut json = serde_json::to_vec_pretty(result)?;
    json.push(b'\n');
    write(path, &json)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let failed = |source| ReportError::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(path, bytes).map_err(failed)
}

/// The compared models that were measured: name, words, accuracy and AUC. Known ones first, in
/// [`MODELS`]' order; then any others.
fn models(result: &DemoResult) -> Vec<(&str, &str, Option<f64>, Option<f64>)> {
    let known = MODELS.into_iter();
    let others = result
        .accuracy
        .keys()
        .chain(
            result
                .auc
                .keys()
                .filter(|name| !result.accuracy.contains_key(*name)),
        )
        .filter(|name| MODELS.iter().all(|(known, _)| known != name))
        .map(|name| (name.as_str(), name.as_str()));
    known
        .chain(others)
        .map(|(name, words)| {
            (
                name,
                words,
                result.accuracy.get(name).copied(),
                result.auc.get(name).copied(),
            )
        })
        .filter(|(_, _, accuracy, auc)| accuracy.is_some() || auc.is_some())
        .collect()
}

/// A fraction as a percentage with one decimal; a dash where there is no number.
fn percent(fraction: f64) -> String {
    if fraction.is_finite() {
        format!("{:.1}\u{a0}%", 100.0 * fraction)
    } else {
        "–".to_owned()
    }
}

/// A number with so many decimals; a dash where there is none.
fn decimal(value: f64, decimals: usize) -> String {
    if value.is_finite() {
        format!("{value:.decimals$}")
    } else {
        "–".to_owned()
    }
}

/// ε rounded up to two decimals, so that what is shown is never less than what was spent.
fn epsilon(value: f64) -> String {
    decimal((value * 100.0).ceil() / 100.0, 2)
}
