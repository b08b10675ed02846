//! The Rényi-DP accountant: composition over fixed orders, conversion to (ε, δ).
//!
//! Divergences and conversion are those of Google's dp-accounting, whose orders are among those here,
//! so that figures can be compared: ours are never above, as the fractional orders are integrated
//! exactly where dp-accounting sums up an upper bound. A tighter ε comes from the accountant of
//! privacy loss distributions; this one is an upper bound.

use crate::accountant::event::Event;
use crate::accountant::subsampled_gaussian::SubsampledGaussian;
use crate::error::PrivacyError;
use crate::statement::Adjacency;
use crate::units::{Delta, Epsilon, NoiseMultiplier, SamplingRate};

/// Name of this accountant in statements.
pub const NAME: &str = "Rényi differential privacy (Mironov, Talwar, Zhang 2019), converted by \
                        Canonne, Kamath, Steinke 2020, Proposition 12";

/// The orders, ascending: from 1.001, for losses in the hundreds, to 2^20, for the tiniest. Among
/// them are dp-accounting's: 1.1 to 10.9 in tenths, 11 to 63, and 128, 256, 512, 1024.
pub fn default_orders() -> Vec<f64> {
    let near_one = [1.001, 1.002, 1.004, 1.007];
    let hundredths = (1..10_u32).map(|hundredth| 1.0 + f64::from(hundredth) / 100.0);
    let tenths = (1..100_u32).map(|tenth| 1.0 + f64::from(tenth) / 10.0);
    let whole = (11..64_u32).map(f64::from);
    // Eight between a power of two and the next one, then two.
    let eighths =
        (6..10_u32).flat_map(|power| (8..16_u32).map(move |i| f64::from(i << (power - 3))));
    let halves =
        (10..20_u32).flat_map(|power| (2..4_u32).map(move |i| f64::from(i << (power - 1))));
    near_one
        .into_iter()
        .chain(hundredths)
        .chain(tenths)
        .chain(whole)
        .chain(eighths)
        .chain(halves)
        .chain([1_048_576.0])
        .collect()
}

/// What has been released so far, as one Rényi divergence for each order.
#[derive(Debug, Clone, PartialEq)]
pub struct RdpAccountant {
    adjacency: Adjacency,
    orders: Vec<f64>,
    divergences: Vec<f64>,
}

impl Default for RdpAccountant {
    fn default() -> Self {
        Self::new()
    }
}

impl RdpAccountant {
    /// An accountant over [`default_orders`] that has seen nothing yet, for adding or removing one
    /// record.
    pub fn new() -> Self {
        Self::under(Adjacency::AddOrRemoveOne)
    }

    /// The same for either adjacency.
    pub fn under(adjacency: Adjacency) -> Self {
        let orders = default_orders();
        let divergences = vec![0.0; orders.len()];
        Self {
            adjacency,
            orders,
            divergences,
        }
    }

    /// Adds `steps` steps of the Poisson-subsampled Gaussian mechanism. Order does not matter.
    pub fn compose_subsampled_gaussian(
        &mut self,
        sampling_rate: SamplingRate,
        noise_multiplier: NoiseMultiplier,
        steps: u64,
    ) {
        self.compose(&SubsampledGaussian {
            sampling_rate,
            noise_multiplier,
            steps,
        });
    }

    /// Adds a mechanism's steps. Order does not matter.
    pub fn compose<E: Copy + Into<Event>>(&mut self, event: &E) {
        let event: Event = (*event).into();
        if event.steps() == 0 {
            return;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "beyond 2^53 steps, 1e-16 relative"
        )]
        let steps = event.steps() as f64;
        for (&order, divergence) in self.orders.iter().zip(&mut self.divergences) {
            *divergence += steps * event.one_step(self.adjacency, order);
        }
    }

    /// All that was composed, so many times over.
    #[must_use]
    pub fn repeated(&self, times: u64) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "beyond 2^53 times, 1e-16 relative"
        )]
        let factor = times as f64;
        // An infinite divergence taken no time is none.
        let all = self.divergences.iter().filter(|_| times > 0);
        let mut divergences: Vec<f64> = all.map(|one| factor * one).collect();
        divergences.resize(self.orders.len(), 0.0);
        Self {
            divergences,
            ..self.clone()
        }
    }

    /// The least ε found such that all that was composed is (ε, `delta`)-differentially private.
    ///
    /// # Errors
    /// Every order's divergence is infinite: far too little noise.
    pub fn epsilon(&self, delta: Delta) -> Result<Epsilon, PrivacyError> {
        self.best(delta).map(|(epsilon, _)| epsilon)
    }

    /// The order at which [`Self::epsilon`] is reached: a check that the orders suffice. At the
    /// first or last of them, a wider range might give a smaller ε.
    ///
    /// # Errors
    /// As [`Self::epsilon`].
    pub fn optimal_order(&self, delta: Delta) -> Result<f64, PrivacyError> {
        self.best(delta).map(|(_, order)| order)
    }

    /// The orders, ascending, all above 1.
    pub fn orders(&self) -> &[f64] {
        &self.orders
    }

    /// The composed divergence at each of [`Self::orders`], in nats; may be infinite.
    pub fn divergences(&self) -> &[f64] {
        &self.divergences
    }

    fn best(&self, delta: Delta) -> Result<(Epsilon, f64), PrivacyError> {
        let (mut epsilon, mut order) = (f64::INFINITY, f64::NAN);
        for (&alpha, &divergence) in self.orders.iter().zip(&self.divergences) {
            let candidate = epsilon_at(alpha, divergence, delta.get());
            if candidate < epsilon {
                (epsilon, order) = (candidate, alpha);
            }
        }
        if order.is_nan() {
            return Err(PrivacyError::NoFiniteEpsilon { delta: delta.get() });
        }
        Ok((Epsilon::new(epsilon)?, order))
    }
}

/// ε at δ from a divergence at one order: Canonne, Kamath, Steinke 2020 (arXiv 2004.00010),
/// Proposition 12; also Balle et al. 2020 (arXiv 2001.05990), equation 20. 0 where the total
/// variation alone stays below δ (Bretagnolle-Huber: TV ≤ sqrt(1 - e^-KL), and KL ≤ divergence).
pub(crate) fn epsilon_at(alpha: f64, divergence: f64, delta: f64) -> f64 {
    if delta * delta + (-divergence).exp_m1() > 0.0 {
        return 0.0;
    }
    let epsilon = divergence + (-1.0 / alpha).ln_1p() - (delta * alpha).ln() / (alpha - 1.0);
    epsilon.max(0.0)
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the tested values are exact")]
mod tests {
    use super::*;

    #[test]
    fn the_orders_ascend_and_hold_those_of_dp_accounting() {
        let orders = default_orders();
        assert!(orders.is_sorted_by(|a, b| a < b) && orders[0] > 1.0);
        let theirs = (1..100_u32)
            .map(|tenths| 1.0 + f64::from(tenths) / 10.0)
            .chain((11..64_u32).map(f64::from))
            .chain([128.0, 256.0, 512.0, 1024.0]);
        for order in theirs {
            assert!(orders.contains(&order), "{order}");
        }
    }

    #[test]
    fn nothing_composed_costs_nothing() {
        let accountant = RdpAccountant::new();
        assert_eq!(
            accountant.epsilon(Delta::new(1e-9).unwrap()).unwrap().get(),
            0.0
        );
    }

    #[test]
    fn composition_adds_steps_whatever_the_order() {
        let q = SamplingRate::new(0.05).unwrap();
        let (a, b) = (
            NoiseMultiplier::new(1.0).unwrap(),
            NoiseMultiplier::new(2.0).unwrap(),
        );
        let delta = Delta::new(1e-5).unwrap();
        let mut one = RdpAccountant::new();
        one.compose_subsampled_gaussian(q, a, 30);
        one.compose_subsampled_gaussian(q, b, 7);
        let mut other = RdpAccountant::new();
        for _ in 0..7 {
            other.compose_subsampled_gaussian(q, b, 1);
        }
        other.compose_subsampled_gaussian(q, a, 20);
        other.compose_subsampled_gaussian(q, a, 10);
        let (x, y) = (
            one.epsilon(delta).unwrap().get(),
            other.epsilon(delta).unwrap().get(),
        );
        assert!((x - y).abs() < 1e-12, "{x} {y}");
    }

    #[test]
    fn repeating_is_composing_again() {
        let rate = SamplingRate::new(0.05).unwrap();
        let mut once = RdpAccountant::new();
        once.compose_subsampled_gaussian(rate, NoiseMultiplier::new(1.0).unwrap(), 3);
        let mut thrice = RdpAccountant::new();
        thrice.compose_subsampled_gaussian(rate, NoiseMultiplier::new(1.0).unwrap(), 9);
        let delta = Delta::new(1e-5).unwrap();
        let of = |all: &RdpAccountant| all.epsilon(delta).unwrap().get();
        assert!((of(&once.repeated(3)) - of(&thrice)).abs() < 1e-12);
        once.compose_subsampled_gaussian(rate, NoiseMultiplier::new(1e-200).unwrap(), 1);
        assert_eq!(of(&once.repeated(0)), 0.0);
    }

    #[test]
    fn far_too_little_noise_is_an_error() {
        let mut accountant = RdpAccountant::new();
        accountant.compose_subsampled_gaussian(
            SamplingRate::new(1.0).unwrap(),
            NoiseMultiplier::new(1e-200).unwrap(),
            1,
        );
        assert_eq!(
            accountant.epsilon(Delta::new(1e-5).unwrap()),
            Err(PrivacyError::NoFiniteEpsilon { delta: 1e-5 })
        );
    }

    #[test]
    fn conversion_of_one_divergence_by_hand() {
        // α = 2, ρ = 1, δ = 1e-5: 1 + ln(1/2) - ln(2e-5).
        let expected = 1.0 - 2.0_f64.ln() - 2e-5_f64.ln();
        assert!((epsilon_at(2.0, 1.0, 1e-5) - expected).abs() < 1e-12);
        // ρ below -ln(1 - δ²): the total variation is below δ by itself.
        assert_eq!(epsilon_at(2.0, 0.009, 0.1), 0.0);
    }
}
