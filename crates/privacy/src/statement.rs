//! A privacy guarantee with everything that makes it meaningful.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::accountant::{RdpAccountant, SubsampledGaussian, rdp};
use crate::error::PrivacyError;
use crate::units::{Delta, Epsilon};

/// Whose presence the guarantee hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrivacyUnit {
    /// One training example (one mail, one record).
    Example,
    /// One client, with all its examples.
    Client,
}

impl fmt::Display for PrivacyUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Example => "example",
            Self::Client => "client",
        })
    }
}

impl PrivacyUnit {
    /// Both, in the order of all tables.
    pub const ALL: [Self; 2] = [Self::Example, Self::Client];
}

/// Against whom a guarantee holds: what they see of the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// The service and the clients that work with it: they know who is in which round, see every
    /// message, and learn the sums.
    Aggregator,
    /// Those who see only the models that rounds lead to.
    ModelOnly,
}

impl View {
    /// Both, in the order of all tables.
    pub const ALL: [Self; 2] = [Self::Aggregator, Self::ModelOnly];
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aggregator => "the aggregator",
            Self::ModelOnly => "those who see only the models",
        })
    }
}

/// Which data sets count as neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Adjacency {
    /// One data set has one unit more than the other. (Replacing one unit is two such moves.)
    AddOrRemoveOne,
    /// One data set has another unit in the place of one. The number of units is then public.
    ReplaceOne,
}

impl fmt::Display for Adjacency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddOrRemoveOne => "add-or-remove-one",
            Self::ReplaceOne => "replace-one",
        })
    }
}

/// One guarantee, complete: an ε without δ, unit, adjacency and mechanism says nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrivacyStatement {
    /// ε.
    pub epsilon: Epsilon,
    /// δ.
    pub delta: Delta,
    /// Which data sets count as neighbours.
    pub adjacency: Adjacency,
    /// Whose presence is hidden.
    pub unit: PrivacyUnit,
    /// Against whom; none where the statement is about what is released, whoever sees that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<View>,
    /// How ε was computed.
    pub accountant: String,
    /// What was released, in words.
    pub mechanism: String,
}

impl PrivacyStatement {
    /// The statement for one mechanism, by the RDP accountant, for whoever sees its output.
    ///
    /// # Errors
    /// The noise is far too small for a finite ε.
    pub fn from_rdp(
        mechanism: &SubsampledGaussian,
        delta: Delta,
        unit: PrivacyUnit,
    ) -> Result<Self, PrivacyError> {
        let mut accountant = RdpAccountant::new();
        accountant.compose(mechanism);
        Ok(Self {
            epsilon: accountant.epsilon(delta)?,
            delta,
            adjacency: Adjacency::AddOrRemoveOne,
            unit,
            view: None,
            accountant: rdp::NAME.to_owned(),
            mechanism: mechanism.to_string(),
        })
    }
}

impl fmt::Display for PrivacyStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            epsilon,
            delta,
            adjacency,
            unit,
            view,
            accountant,
            mechanism,
        } = self;
        write!(
            f,
            "({epsilon}, {delta})-differentially private for each {unit}"
        )?;
        if let Some(view) = view {
            write!(f, ", against {view}")?;
        }
        write!(
            f,
            ", {adjacency} adjacency: {mechanism}; accounted by {accountant}."
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{NoiseMultiplier, SamplingRate};

    fn statement() -> PrivacyStatement {
        let mechanism = SubsampledGaussian {
            sampling_rate: SamplingRate::new(1.0).unwrap(),
            noise_multiplier: NoiseMultiplier::new(10.0).unwrap(),
            steps: 100,
        };
        PrivacyStatement::from_rdp(&mechanism, Delta::new(1e-6).unwrap(), PrivacyUnit::Example)
            .unwrap()
    }

    #[test]
    fn the_sentence_says_it_all() {
        assert_eq!(
            statement().to_string(),
            "(5.2216, 1e-6)-differentially private for each example, add-or-remove-one adjacency: \
             100 steps of the Poisson-subsampled Gaussian mechanism with sampling rate 1 and noise \
             multiplier 10; accounted by Rényi differential privacy (Mironov, Talwar, Zhang 2019), \
             converted by Canonne, Kamath, Steinke 2020, Proposition 12."
        );
    }

    #[test]
    fn whom_it_holds_against_is_said() {
        let against = PrivacyStatement {
            view: Some(View::ModelOnly),
            ..statement()
        };
        let said = against.to_string();
        assert!(
            said.contains("for each example, against those who see only the models, add-or-"),
            "{said}"
        );
    }

    #[test]
    fn it_survives_json() {
        let json = serde_json::to_value(statement()).unwrap();
        assert_eq!(json["adjacency"], "add_or_remove_one");
        assert_eq!(json["unit"], "example");
        assert_eq!(
            serde_json::from_value::<PrivacyStatement>(json).unwrap(),
            statement()
        );
    }
}
