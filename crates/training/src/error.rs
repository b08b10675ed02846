//! The one error type of this crate.

use std::path::PathBuf;

/// Why training, loading or parsing failed.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// A hyper-parameter is out of range or two of them contradict each other.
    #[error("bad training configuration: {0}")]
    Config(String),
    /// A file could not be read or written.
    #[error("cannot access {path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A model file is not what the encoder expects.
    #[error("the model is not usable: {0}")]
    Model(String),
    /// The tokenizer could not be loaded or failed on a text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The global adapter does not have the tensors this configuration trains.
    #[error("the global adapter does not fit this training configuration: {0}")]
    AdapterMismatch(String),
    /// The features were computed for another model, depth or sequence length.
    #[error("the features do not fit the model: {0}")]
    Features(String),
    /// There is nothing to train or evaluate on.
    #[error("the data set is empty: {0}")]
    NoData(String),
    /// Tensor arithmetic failed.
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The adapter format refused a value.
    #[error(transparent)]
    Adapter(#[from] undertone_protocol::adapter::AdapterError),
    /// The noise generator refused a parameter.
    #[error(transparent)]
    Privacy(#[from] undertone_privacy::PrivacyError),
    /// A federated algorithm refused a setting or a vector.
    #[error(transparent)]
    Federated(#[from] undertone_federated::FederatedError),
    /// A worker thread could not be started or panicked.
    #[error("worker thread: {0}")]
    Worker(String),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, TrainingError>;

impl TrainingError {
    /// A [`TrainingError::File`] for `path`, for use with `map_err`.
    pub(crate) fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
