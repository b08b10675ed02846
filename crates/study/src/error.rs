//! The crate's error.

use std::path::PathBuf;

use undertone_privacy::PrivacyError;
use undertone_training::TrainingError;

use crate::Study;

/// Why a study failed.
#[derive(Debug, thiserror::Error)]
pub enum StudyError {
    /// The model or the mail was not fetched.
    #[error(
        "the demo's model and mail are not in {0}; run `make demo`, or \
         scripts/fetch-demo-data.sh first"
    )]
    NoMail(PathBuf),
    /// There is no such study.
    #[error("there is no study {0:?}; choose one of {names}", names = names())]
    Unknown(String),
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// A file cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Training failed.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// A privacy setting is refused.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    /// A plot could not be drawn.
    #[error(transparent)]
    Plot(#[from] undertone_plot::PlotError),
    /// A value has no JSON form.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

fn names() -> String {
    Study::ALL.map(Study::name).join(", ")
}
