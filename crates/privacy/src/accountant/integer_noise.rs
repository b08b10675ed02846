//! Rényi divergences of integer noise that many clients add together: Skellam and discrete Gaussian.
//!
//! Both are stated in grid units: a client's vector has integer coordinates, its squared L2 norm is
//! checked in integers, and the noise is an integer in every coordinate. Variances are those of
//! the honest clients together; nothing is assumed of the others.

use core::f64::consts::PI;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::accountant::poisson;
use crate::units::{SamplingRate, Variance};

/// So many identical steps that release an integer sum with Skellam noise in every coordinate.
///
/// Skellam noise, the difference of two Poisson variables, is closed under addition: the sum of
/// independent shares is Skellam noise of the summed variance, however many shares there are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skellam {
    /// q, the probability of each record (or client) to be in a step; 1 without sampling, or where
    /// the observer knows who was taken.
    pub sampling_rate: SamplingRate,
    /// Number of steps.
    pub steps: u64,
    /// Variance of the honest noise in each coordinate, in squared grid units.
    pub variance: Variance,
    /// The most that one record can change the sum: its squared L2 norm, in squared grid units.
    pub l2_squared: u64,
    /// The same in L1 norm, in grid units; [`l1_bound`] where nothing better is known.
    pub l1: u64,
    /// Number of coordinates.
    pub dimension: u64,
}

/// So many identical steps that release an integer sum with discrete Gaussian noise from each of
/// several clients in every coordinate.
///
/// A sum of discrete Gaussians is not one itself: what that costs is in the term τ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscreteGaussian {
    /// q, as in [`Skellam`].
    pub sampling_rate: SamplingRate,
    /// Number of steps.
    pub steps: u64,
    /// Sum of the honest shares' variance parameters σ² in each coordinate, in squared grid units.
    pub variance: Variance,
    /// Number of honest clients, each with the same share of the variance.
    pub clients: u32,
    /// Squared L2 norm that one record can change, as in [`Skellam`].
    pub l2_squared: u64,
    /// The same in L1 norm.
    pub l1: u64,
    /// Number of coordinates.
    pub dimension: u64,
}

/// So many terms of τ are summed one by one.
const SUMMED: u32 = 1000;

/// The largest L1 norm of an integer vector of `dimension` coordinates whose squared L2 norm is at
/// most `l2_squared`: min(sqrt(d) L2, L2²), as a non-zero integer is at most its own square.
pub fn l1_bound(l2_squared: u64, dimension: u64) -> u64 {
    let by_dimension = (u128::from(l2_squared) * u128::from(dimension)).isqrt();
    u64::try_from(by_dimension).map_or(l2_squared, |bound| bound.min(l2_squared))
}

/// Replacing one record by another: twice the sensitivity, and no amplification by sampling, for
/// which there is no general bound here.
fn replace_one(sampling_rate: &mut SamplingRate, (l2_squared, l1): (&mut u64, &mut u64)) {
    if sampling_rate.get() > 0.0 {
        *sampling_rate = SamplingRate::ONE;
    }
    *l2_squared = l2_squared.saturating_mul(4);
    *l1 = l1.saturating_mul(2);
}

#[expect(
    clippy::cast_precision_loss,
    reason = "beyond 2^53 grid units, 1e-16 relative"
)]
impl Skellam {
    /// The same under replacing one record by another.
    pub(super) fn replacing(mut self) -> Self {
        let sensitivity = (&mut self.l2_squared, &mut self.l1);
        replace_one(&mut self.sampling_rate, sensitivity);
        self
    }

    /// The divergence of one step at `order` > 1, in nats.
    pub(super) fn one_step(&self, order: f64) -> f64 {
        let q = self.sampling_rate.get();
        poisson::subsampled(q, order, |alpha| self.unsampled(alpha))
    }

    /// Agarwal, Kairouz, Liu, "The Skellam Mechanism for Differentially Private Federated
    /// Learning", 2021 (arXiv 2110.04995), Theorem 3.5 for a coordinate with shift Δ and an
    /// integer order α,
    ///
    /// > D(α) ≤ αΔ² / 2μ + min( ((2α-1) Δ² + 6Δ) / 4μ², 3Δ / 2μ ),
    ///
    /// μ being the variance; summed over coordinates (Corollary 3.6).
    fn unsampled(&self, alpha: f64) -> f64 {
        let mu = self.variance.get();
        let l2_squared = self.l2_squared as f64;
        let l1 = self.l1.min(l1_bound(self.l2_squared, self.dimension)) as f64;
        let first = ((2.0 * alpha - 1.0) * l2_squared + 6.0 * l1) / (4.0 * mu * mu);
        let second = 3.0 * l1 / (2.0 * mu);
        alpha * l2_squared / (2.0 * mu) + first.min(second)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "beyond 2^53 grid units, 1e-16 relative"
)]
impl DiscreteGaussian {
    /// The same under replacing one record by another.
    pub(super) fn replacing(mut self) -> Self {
        let sensitivity = (&mut self.l2_squared, &mut self.l1);
        replace_one(&mut self.sampling_rate, sensitivity);
        self
    }

    /// The divergence of one step at `order` > 1, in nats. Infinite where a share's standard
    /// deviation is below 1/2: the source has no bound there.
    pub(super) fn one_step(&self, order: f64) -> f64 {
        let q = self.sampling_rate.get();
        poisson::subsampled(q, order, |alpha| self.unsampled(alpha))
    }

    /// Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism for Federated Learning
    /// with Secure Aggregation", ICML 2021 (arXiv 2102.06387), Proposition 14, the least of three
    /// bounds.
    fn unsampled(&self, alpha: f64) -> f64 {
        let tau = self.tau();
        if !tau.is_finite() {
            return f64::INFINITY;
        }
        let sigma = self.variance.get().sqrt();
        let dimension = self.dimension as f64;
        let l2 = (self.l2_squared as f64).sqrt() / sigma;
        let l1 = self.l1.min(l1_bound(self.l2_squared, self.dimension)) as f64 / sigma;
        let additive = alpha / 2.0 * l2 * l2 + tau * dimension;
        let expanded = alpha / 2.0 * (l2 * l2 + 2.0 * l1 * tau + tau * tau * dimension);
        let squared = alpha / 2.0 * (l2 + tau * dimension.sqrt()).powi(2);
        additive.min(expanded).min(squared)
    }

    /// τ = 10 Σ\_{k=1..n-1} exp(-2π²σ² k/(k+1)), σ² being one client's share of the variance: how
    /// far, at most, the sum of n discrete Gaussians is from one discrete Gaussian.
    fn tau(&self) -> f64 {
        let share = self.variance.get() / f64::from(self.clients);
        // False for no client at all, too.
        if !(share >= 0.25 && share.is_finite()) {
            return f64::INFINITY;
        }
        // The terms decrease, so that the last one summed bounds every later one.
        let term = |k: u32| {
            let k = f64::from(k);
            (-2.0 * PI * PI * share * k / (k + 1.0)).exp()
        };
        let terms = self.clients - 1;
        let summed: f64 = (1..=terms.min(SUMMED)).map(term).sum();
        10.0 * (summed + f64::from(terms.saturating_sub(SUMMED)) * term(SUMMED))
    }
}

impl fmt::Display for Skellam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sampling_rate,
            steps,
            variance,
            l2_squared,
            dimension,
            ..
        } = self;
        let plural = if *steps == 1 { "" } else { "s" };
        write!(
            f,
            "{steps} step{plural} of the Skellam mechanism with sampling rate {sampling_rate}, \
             variance {variance} in each of {dimension} integer coordinates and squared L2 \
             sensitivity {l2_squared}"
        )
    }
}

impl fmt::Display for DiscreteGaussian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sampling_rate,
            steps,
            variance,
            clients,
            l2_squared,
            dimension,
            ..
        } = self;
        let (plural, shares) = (
            if *steps == 1 { "" } else { "s" },
            if *clients == 1 { "" } else { "s" },
        );
        write!(
            f,
            "{steps} step{plural} of the distributed discrete Gaussian mechanism with sampling \
             rate {sampling_rate}, variance {variance} from {clients} client{shares} in each of \
             {dimension} integer coordinates and squared L2 sensitivity {l2_squared}"
        )
    }
}

#[cfg(test)]
mod tests;
