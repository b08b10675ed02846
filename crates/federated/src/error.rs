//! The crate's error.

/// Why a setting or a vector is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FederatedError {
    /// A setting is out of range.
    #[error("{name} is {value}; it must be {range}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        range: &'static str,
    },
    /// A tensor has a reserved name that stands for nothing, or does not fit the others.
    #[error("tensor `{name}`: {reason}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Vectors have unlike lengths.
    #[error("expected {expected} values, got {found}")]
    Length {
        /// How many are needed.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A value is not finite, or a decomposition of finite values did not converge.
    #[error("{0} is not finite")]
    NotFinite(&'static str),
}

/// Refuses vectors of unlike lengths.
pub(crate) const fn same_length(expected: usize, found: usize) -> Result<(), FederatedError> {
    if expected == found {
        Ok(())
    } else {
        Err(FederatedError::Length { expected, found })
    }
}
