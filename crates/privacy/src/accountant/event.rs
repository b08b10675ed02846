//! What a round or a step releases, whatever the mechanism.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::accountant::integer_noise::{DiscreteGaussian, Skellam};
use crate::accountant::subsampled_gaussian::{self, SubsampledGaussian};
use crate::error::PrivacyError;
use crate::statement::Adjacency;

/// So many identical steps of one mechanism: what an accountant composes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Event {
    /// Gaussian noise on a Poisson sample: DP-SGD with continuous noise.
    Gaussian(SubsampledGaussian),
    /// Skellam noise on an integer sum.
    Skellam(Skellam),
    /// Discrete Gaussian noise of several clients on an integer sum.
    DiscreteGaussian(DiscreteGaussian),
}

impl Event {
    /// An upper bound of the Rényi divergence, at `order`, of *one* step under adding or removing
    /// one record, in nats: 0 or more, infinite where the noise is too small for a bound.
    ///
    /// For the integer mechanisms the bounds hold at integer orders; between them the cumulant
    /// generating function (α-1) D(α), which is convex, is bounded by its chord.
    ///
    /// # Errors
    /// `order` is not a finite number above 1.
    pub fn renyi_divergence(&self, order: f64) -> Result<f64, PrivacyError> {
        if order.is_finite() && order > 1.0 {
            Ok(self.one_step(Adjacency::AddOrRemoveOne, order))
        } else {
            Err(PrivacyError::Order(order))
        }
    }

    /// [`Self::renyi_divergence`] after its checks.
    pub(super) fn one_step(&self, adjacency: Adjacency, order: f64) -> f64 {
        match (self, adjacency) {
            (Self::Gaussian(gaussian), adjacency) => subsampled_gaussian::one_step_under(
                adjacency,
                gaussian.sampling_rate.get(),
                gaussian.noise_multiplier.get(),
                order,
            ),
            (Self::Skellam(skellam), Adjacency::AddOrRemoveOne) => skellam.one_step(order),
            (Self::Skellam(skellam), Adjacency::ReplaceOne) => skellam.replacing().one_step(order),
            (Self::DiscreteGaussian(gaussian), Adjacency::AddOrRemoveOne) => {
                gaussian.one_step(order)
            }
            (Self::DiscreteGaussian(gaussian), Adjacency::ReplaceOne) => {
                gaussian.replacing().one_step(order)
            }
        }
    }

    /// The Gaussian steps that it is, for accountants that take no others; `None` where they
    /// release nothing.
    ///
    /// # Errors
    /// [`PrivacyError::NoLossDistribution`] if the noise is not Gaussian.
    pub(super) fn gaussian_steps(&self) -> Result<Option<SubsampledGaussian>, PrivacyError> {
        let Self::Gaussian(gaussian) = self else {
            return Err(PrivacyError::NoLossDistribution);
        };
        Ok((!self.releases_nothing()).then_some(*gaussian))
    }

    /// Number of steps.
    pub const fn steps(&self) -> u64 {
        match self {
            Self::Gaussian(gaussian) => gaussian.steps,
            Self::Skellam(skellam) => skellam.steps,
            Self::DiscreteGaussian(gaussian) => gaussian.steps,
        }
    }

    /// The same mechanism, run `steps` times.
    #[must_use]
    pub const fn with_steps(mut self, steps: u64) -> Self {
        match &mut self {
            Self::Gaussian(gaussian) => gaussian.steps = steps,
            Self::Skellam(skellam) => skellam.steps = steps,
            Self::DiscreteGaussian(gaussian) => gaussian.steps = steps,
        }
        self
    }

    /// Whether it looks at no data: no step, or none that takes any record.
    pub fn releases_nothing(&self) -> bool {
        let rate = match self {
            Self::Gaussian(gaussian) => gaussian.sampling_rate,
            Self::Skellam(skellam) => skellam.sampling_rate,
            Self::DiscreteGaussian(gaussian) => gaussian.sampling_rate,
        };
        self.steps() == 0 || rate.get() <= 0.0
    }

    /// The standard deviation of the noise over the L2 sensitivity: what its owner's floor for the
    /// noise is compared with.
    pub fn noise_multiplier(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a ratio, to 1e-16")]
        let ratio = |variance: f64, l2_squared: u64| (variance / l2_squared as f64).sqrt();
        match self {
            Self::Gaussian(gaussian) => gaussian.noise_multiplier.get(),
            Self::Skellam(skellam) => ratio(skellam.variance.get(), skellam.l2_squared),
            Self::DiscreteGaussian(gaussian) => ratio(gaussian.variance.get(), gaussian.l2_squared),
        }
    }

    /// Whether both are the same mechanism, the number of steps aside.
    pub fn is_same_mechanism(&self, other: &Self) -> bool {
        self.with_steps(1) == other.with_steps(1)
    }
}

impl From<SubsampledGaussian> for Event {
    fn from(gaussian: SubsampledGaussian) -> Self {
        Self::Gaussian(gaussian)
    }
}

impl From<Skellam> for Event {
    fn from(skellam: Skellam) -> Self {
        Self::Skellam(skellam)
    }
}

impl From<DiscreteGaussian> for Event {
    fn from(gaussian: DiscreteGaussian) -> Self {
        Self::DiscreteGaussian(gaussian)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gaussian(gaussian) => gaussian.fmt(f),
            Self::Skellam(skellam) => skellam.fmt(f),
            Self::DiscreteGaussian(gaussian) => gaussian.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::units::{NoiseMultiplier, SamplingRate, Variance};

    fn gaussian() -> SubsampledGaussian {
        SubsampledGaussian {
            sampling_rate: SamplingRate::new(0.1).unwrap(),
            noise_multiplier: NoiseMultiplier::new(1.5).unwrap(),
            steps: 3,
        }
    }

    fn skellam() -> Skellam {
        Skellam {
            sampling_rate: SamplingRate::new(1.0).unwrap(),
            steps: 2,
            variance: Variance::new(1e6).unwrap(),
            l2_squared: 10_000,
            l1: 9_000,
            dimension: 4096,
        }
    }

    fn discrete_gaussian() -> DiscreteGaussian {
        DiscreteGaussian {
            sampling_rate: SamplingRate::new(0.5).unwrap(),
            steps: 1,
            variance: Variance::new(1e6).unwrap(),
            clients: 10,
            l2_squared: 10_000,
            l1: 9_000,
            dimension: 4096,
        }
    }

    fn all() -> [Event; 3] {
        [
            gaussian().into(),
            skellam().into(),
            discrete_gaussian().into(),
        ]
    }

    #[test]
    fn json_is_tagged_and_strict() {
        let value = serde_json::to_value(Event::from(gaussian())).unwrap();
        let expected = json!({
            "kind": "gaussian", "sampling_rate": 0.1, "noise_multiplier": 1.5, "steps": 3
        });
        assert_eq!(value, expected);
        for event in all() {
            let value = serde_json::to_value(event).unwrap();
            assert_eq!(
                serde_json::from_value::<Event>(value.clone()).unwrap(),
                event
            );
            let mut more = value.clone();
            more["more"] = 1.into();
            assert!(serde_json::from_value::<Event>(more).is_err(), "{value}");
            for name in value.as_object().unwrap().keys() {
                let mut less = value.clone();
                less.as_object_mut().unwrap().remove(name);
                assert!(serde_json::from_value::<Event>(less).is_err(), "{name}");
            }
        }
    }

    #[test]
    fn steps_are_read_and_changed() {
        for event in all() {
            assert_eq!(event.with_steps(7).steps(), 7);
            assert!(event.is_same_mechanism(&event.with_steps(7)));
            assert_ne!(event, event.with_steps(7));
            assert!(
                event
                    .to_string()
                    .starts_with(&format!("{} step", event.steps()))
            );
        }
        assert!(!all()[0].is_same_mechanism(&all()[1]));
    }

    #[test]
    fn noise_is_compared_with_the_sensitivity() {
        let multipliers: Vec<f64> = all().iter().map(Event::noise_multiplier).collect();
        // sqrt(1e6 / 1e4) for the integer mechanisms.
        for (found, expected) in multipliers.iter().zip([1.5, 10.0, 10.0]) {
            assert!((found - expected).abs() < 1e-12, "{found}");
        }
        for event in all() {
            assert!(!event.releases_nothing());
            assert!(event.with_steps(0).releases_nothing());
        }
        let idle = SubsampledGaussian {
            sampling_rate: SamplingRate::new(0.0).unwrap(),
            ..gaussian()
        };
        assert!(Event::from(idle).releases_nothing());
    }

    #[test]
    fn the_order_is_checked() {
        for event in all() {
            assert!(event.renyi_divergence(1.0).is_err());
            assert!(event.renyi_divergence(f64::NAN).is_err());
            assert!(event.renyi_divergence(1.5).unwrap() > 0.0);
        }
    }
}
