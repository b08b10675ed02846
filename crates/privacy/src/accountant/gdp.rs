//! Gaussian differential privacy, for comparison.
//!
//! Sources: Dong, Roth, Su, "Gaussian Differential Privacy", 2022 (arXiv 1905.02383): steps compose
//! to one Gaussian mechanism with μ² the sum of the steps' μ². Bu, Dong, Long, Su, "Deep Learning with
//! Gaussian Differential Privacy", 2020 (arXiv 1911.11607): by a central limit theorem, T steps on
//! Poisson samples come to μ = q sqrt(T (e^(1/σ²) - 1)) as T grows and q sqrt(T) stays.
//!
//! Without sampling that is exact. With sampling it is an estimate, and as a rule one that is too
//! low: no bound says how far the limit is away. Nothing in a contract should rest on it.

use crate::accountant::event::Event;
use crate::accountant::gaussian;
use crate::error::PrivacyError;
use crate::statement::Adjacency;
use crate::units::{Delta, Epsilon};

/// Name of this accountant in statements.
pub const NAME: &str = "Gaussian differential privacy (Dong, Roth, Su 2022)";

/// What has been released so far, as one μ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GdpAccountant {
    adjacency: Adjacency,
    squared_mu: f64,
    exact: bool,
}

impl GdpAccountant {
    /// An accountant that has seen nothing yet.
    pub const fn new(adjacency: Adjacency) -> Self {
        Self {
            adjacency,
            squared_mu: 0.0,
            exact: true,
        }
    }

    /// Adds a mechanism's steps. Order does not matter.
    ///
    /// # Errors
    /// The noise is not Gaussian.
    pub fn compose<E: Copy + Into<Event>>(&mut self, event: &E) -> Result<(), PrivacyError> {
        let event: Event = (*event).into();
        let Some(steps) = event.gaussian_steps()? else {
            return Ok(());
        };
        let (q, sigma) = (steps.sampling_rate.get(), steps.noise_multiplier.get());
        let inverse = (sigma * sigma).recip();
        // The variance of (P/Q - 1) under N(0, σ²), to the leading order in q.
        let of_one = match (self.adjacency, q < 1.0) {
            (Adjacency::AddOrRemoveOne, true) => q * q * inverse.exp_m1(),
            (Adjacency::ReplaceOne, true) => 4.0 * q * q * inverse.sinh(),
            (Adjacency::AddOrRemoveOne, false) => inverse,
            (Adjacency::ReplaceOne, false) => 4.0 * inverse,
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "beyond 2^53 steps, 1e-16 relative"
        )]
        let count = steps.steps as f64;
        self.squared_mu += count * of_one;
        self.exact &= q >= 1.0;
        Ok(())
    }

    /// ε of the Gaussian mechanism that the steps come to.
    ///
    /// # Errors
    /// The noise is so small that ε has no `f64`.
    pub fn epsilon(&self, delta: Delta) -> Result<Epsilon, PrivacyError> {
        gaussian::epsilon_of_mu(self.squared_mu.sqrt(), delta)
    }

    /// μ.
    pub fn mu(&self) -> f64 {
        self.squared_mu.sqrt()
    }

    /// Whether [`Self::epsilon`] is exact: nothing was sampled. Otherwise it is an estimate.
    pub const fn is_exact(&self) -> bool {
        self.exact
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accountant::SubsampledGaussian;
    use crate::units::{NoiseMultiplier, SamplingRate};

    fn accountant(adjacency: Adjacency, steps: &[(f64, f64, u64)]) -> GdpAccountant {
        let mut accountant = GdpAccountant::new(adjacency);
        for &(q, sigma, steps) in steps {
            accountant
                .compose(&SubsampledGaussian {
                    sampling_rate: SamplingRate::new(q).unwrap(),
                    noise_multiplier: NoiseMultiplier::new(sigma).unwrap(),
                    steps,
                })
                .unwrap();
        }
        accountant
    }

    #[test]
    fn without_sampling_it_is_the_one_gaussian_mechanism() {
        let ours = accountant(Adjacency::AddOrRemoveOne, &[(1.0, 10.0, 64), (1.0, 5.0, 9)]);
        assert!(ours.is_exact() && (ours.mu() - 1.0).abs() < 1e-15);
        let ours = accountant(Adjacency::ReplaceOne, &[(1.0, 10.0, 25)]);
        assert!(ours.is_exact() && (ours.mu() - 1.0).abs() < 1e-15);
    }

    #[test]
    fn with_sampling_it_is_the_published_limit_and_says_so() {
        // Bu et al. 2020, section 4: MNIST, q = 256/60000, σ = 1.3, 15 epochs: μ = 0.23.
        let q = 256.0 / 60_000.0;
        let ours = accountant(Adjacency::AddOrRemoveOne, &[(q, 1.3, 15 * 234)]);
        assert!(!ours.is_exact());
        assert!((ours.mu() - 0.23).abs() < 0.005, "{}", ours.mu());
        let replace = accountant(Adjacency::ReplaceOne, &[(q, 1.3, 15 * 234)]);
        assert!(replace.mu() > ours.mu());
    }
}
