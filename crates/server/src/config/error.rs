//! Settings that cannot be used: which, where they come from, and what to do.

use std::path::PathBuf;

use super::Origin;

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the settings in {}: {source}; name another file with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{}, line {line}: {reason}; settings are written as TOML", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// There is no such setting.
    #[error("{origin} sets `{name}`, which is no setting; {known}")]
    Unknown {
        /// What was set.
        name: String,
        /// Where.
        origin: Origin,
        /// Which there are.
        known: String,
    },
    /// A setting has a value that it cannot have.
    #[error("{origin} sets {name} to a value that it cannot have: {reason}")]
    Refused {
        /// The setting.
        name: String,
        /// Where it is set.
        origin: Origin,
        /// What is wrong, or what would be right.
        reason: String,
    },
    /// A setting is missing, or the default does not fit the other settings.
    #[error("{name} is not right as it is: {reason}")]
    Missing {
        /// The setting.
        name: String,
        /// What is wrong, or what would be right.
        reason: String,
    },
}
