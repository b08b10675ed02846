//! Studies on real mail: what the figures in `docs/` come from.
//!
//! A study trains on the demo's mail in this process, over several seeds, and returns a [`Report`]:
//! tables whose cells carry mean and spread, and plots. `undertone study NAME` runs one.
//!
//! | idea | module |
//! |---|---|
//! | the demo's mail: read, freed of near-duplicates, split, dealt out, run through frozen layers | [`mail`] |
//! | the training settings that the demo and the studies start from | [`settings`] |
//! | a generator for each party of a run, from its seed | [`seeds`] |
//! | tables: columns, cells, mean and spread | [`table`] |
//! | what a study returns, and its files | [`report`] |
//! | tables as text and Markdown | [`render`] |
//! | federated algorithms compared | [`algorithms`] |
//! | where noise is added compared: accuracy, and the error of a mean | [`mechanisms`], [`mean`] |
//! | fewer bits and fewer coordinates | [`compression`] |
//! | what an update tells to an attacker | [`attacks`] |
//! | gradients of single examples | `gradients` |
//! | sums on the ring, with the noise that keeps a target | `sums` |

pub mod algorithms;
pub mod attacks;
pub mod compression;
pub mod error;
mod gradients;
pub mod mail;
pub mod mean;
pub mod mechanisms;
pub mod render;
pub mod report;
pub mod seeds;
pub mod settings;
mod sums;
pub mod table;

use std::path::Path;
use std::sync::Arc;

pub use error::StudyError;
pub use report::{Origin, Report};

/// What is going on, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A step begins.
    Step(String),
    /// So much of the step is done.
    Part {
        /// Done.
        done: usize,
        /// In all.
        of: usize,
    },
}

/// Is told of progress.
pub type Watch = Arc<dyn Fn(Progress) + Send + Sync>;

/// What a study needs besides its own settings.
#[derive(Clone)]
pub struct Setting<'a> {
    /// The folder with the fetched model and mail.
    pub cache: &'a Path,
    /// How many seeds each figure is measured with, at least 1: 1, 2, ...
    pub seeds: u64,
    /// Is told of progress.
    pub watch: Watch,
}

impl std::fmt::Debug for Setting<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setting")
            .field("cache", &self.cache)
            .field("seeds", &self.seeds)
            .finish_non_exhaustive()
    }
}

impl Setting<'_> {
    /// Says that a step begins.
    pub fn begin(&self, what: impl Into<String>) {
        (self.watch)(Progress::Step(what.into()));
    }

    /// Says how far the step is.
    pub fn at(&self, done: usize, of: usize) {
        (self.watch)(Progress::Part { done, of });
    }
}

/// All studies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Study {
    /// Federated algorithms on the demo's mail.
    Algorithms,
    /// LoRA's variants in a federation.
    LoraVariants,
    /// How the settings of the algorithms were chosen.
    AlgorithmSettings,
    /// How the settings of LoRA's variants were chosen.
    LoraSettings,
    /// Central, distributed and local noise on the demo's mail.
    Mechanisms,
    /// The error of a mean under them.
    Mean,
    /// Compressed updates.
    Compression,
    /// Membership inference against a client's updates.
    Membership,
    /// Gradient inversion of one update.
    Inversion,
}

impl Study {
    /// All of them, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Algorithms,
        Self::LoraVariants,
        Self::AlgorithmSettings,
        Self::LoraSettings,
        Self::Mechanisms,
        Self::Mean,
        Self::Compression,
        Self::Membership,
        Self::Inversion,
    ];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Algorithms => "algorithms",
            Self::LoraVariants => "lora-variants",
            Self::AlgorithmSettings => "algorithm-settings",
            Self::LoraSettings => "lora-settings",
            Self::Mechanisms => "mechanisms",
            Self::Mean => "mean",
            Self::Compression => "compression",
            Self::Membership => "membership",
            Self::Inversion => "inversion",
        }
    }

    /// What it shows, in one line.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Algorithms => "federated algorithms on the demo's mail, private and not",
            Self::LoraVariants => "FFA-LoRA and plain LoRA in a federation, private and not",
            Self::AlgorithmSettings => "how the settings of `algorithms` were chosen",
            Self::LoraSettings => "how the settings of `lora-variants` were chosen",
            Self::Mechanisms => "central, distributed and local noise on the demo's mail",
            Self::Mean => "the error of a mean under central, distributed and local noise",
            Self::Compression => "fewer bits and fewer coordinates: bytes and accuracy",
            Self::Membership => "an attack: was this mail in the data? Proven and claimed epsilon",
            Self::Inversion => "an attack: which mail is this update made from?",
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`StudyError`]: the mail is missing, or training failed.
    pub fn run(self, setting: &Setting<'_>, origin: Origin) -> Result<Report, StudyError> {
        let start = std::time::Instant::now();
        let mut report = match self {
            Self::Algorithms => algorithms::run(setting)?,
            Self::LoraVariants => algorithms::variants(setting)?,
            Self::AlgorithmSettings => algorithms::tune(setting)?,
            Self::LoraSettings => algorithms::tune_variants(setting)?,
            Self::Mechanisms => mechanisms::run(setting)?,
            Self::Mean => mean::run(setting)?,
            Self::Compression => compression::run(setting)?,
            Self::Membership => attacks::membership::run(setting)?,
            Self::Inversion => attacks::inversion::run(setting)?,
        };
        self.name().clone_into(&mut report.name);
        report.origin = origin;
        report.seconds = start.elapsed().as_secs_f64();
        Ok(report)
    }
}

impl std::str::FromStr for Study {
    type Err = StudyError;

    fn from_str(text: &str) -> Result<Self, StudyError> {
        let found = Self::ALL.into_iter().find(|study| study.name() == text);
        found.ok_or_else(|| StudyError::Unknown(text.to_owned()))
    }
}
