//! Weights that stay hidden: a client sends `[w x, w]`, and the sum of both goes through the same
//! masks, so the server learns the sum of the weights and of nothing less.

use serde::{Deserialize, Serialize};

use crate::error::FederatedError;

/// How much a client's update counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Weighting {
    /// Everyone's the same.
    Uniform {},
    /// By the number of examples. The sum of the weights is in the sum of the round and has no
    /// noise, and neither has a client's own: what they say about numbers of examples no epsilon
    /// covers.
    Examples {
        /// The number of examples at which a client's weight is 1; more count as so many.
        cap: u64,
    },
    /// By the number of examples, divided by a number that is fixed beforehand: the sensitivity to
    /// one client is then bounded, as differential privacy for whole clients demands.
    ExamplesFixed {
        /// As above.
        cap: u64,
        /// The mean weight that is expected of a client, above 0 and at most 1: what every
        /// update's weight is divided by.
        mean_weight: f64,
    },
}

impl Default for Weighting {
    fn default() -> Self {
        Self::Uniform {}
    }
}

impl Weighting {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`FederatedError::Setting`].
    pub fn validate(&self) -> Result<(), FederatedError> {
        let refuse = |name, value, range| Err(FederatedError::Setting { name, value, range });
        match *self {
            Self::Examples { cap: 0 } | Self::ExamplesFixed { cap: 0, .. } => {
                refuse("weighting.cap", 0.0, "at least 1")
            }
            Self::ExamplesFixed { mean_weight, .. }
                if !(mean_weight > 0.0 && mean_weight <= 1.0) =>
            {
                let range = "above 0 and at most 1: the mean of min(examples, cap) / cap";
                refuse("weighting.mean_weight", mean_weight, range)
            }
            _ => Ok(()),
        }
    }

    /// Whether clients send their weight as a coordinate of its own.
    pub const fn sends_weight(&self) -> bool {
        matches!(self, Self::Examples { .. })
    }

    /// What a client with so many examples multiplies its update with. With
    /// [`Weighting::Examples`] this is the weight that it sends, above 0 and at most 1.
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn factor(&self, examples: u64) -> f64 {
        let part = |cap: u64| examples.min(cap) as f64 / cap.max(1) as f64;
        match *self {
            Self::Uniform {} => 1.0,
            Self::Examples { cap } => part(cap),
            Self::ExamplesFixed { cap, mean_weight } => part(cap) / mean_weight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "small dyadic numbers are exact")]
    fn factors_by_hand() {
        assert_eq!(Weighting::default().factor(7), 1.0);
        let examples = Weighting::Examples { cap: 8 };
        assert_eq!((examples.factor(2), examples.factor(9)), (0.25, 1.0));
        let fixed = Weighting::ExamplesFixed {
            cap: 8,
            mean_weight: 0.5,
        };
        assert_eq!((fixed.factor(2), fixed.factor(16)), (0.5, 2.0));
        assert!(examples.sends_weight() && !fixed.sends_weight());
    }

    #[test]
    fn meaningless_weights_are_refused() {
        for broken in [
            Weighting::Examples { cap: 0 },
            Weighting::ExamplesFixed {
                cap: 1,
                mean_weight: 0.0,
            },
            Weighting::ExamplesFixed {
                cap: 1,
                mean_weight: f64::NAN,
            },
        ] {
            let refused = broken.validate().unwrap_err().to_string();
            assert!(refused.contains("it must be"), "{refused}");
        }
        Weighting::default().validate().unwrap();
    }
}
