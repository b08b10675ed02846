//! A privacy filter: it says of each release, before it is made, whether the budget still covers it,
//! also where mechanisms are chosen by looking at what earlier ones released.
//!
//! A service chooses the next round's mechanism, and whether there is one, after it has seen the
//! sums before it. The composition theorems for mechanisms that are fixed beforehand do not cover
//! that. This one does: if each release, given all before it, has Rényi divergence of order α at
//! most `ρ_i`, and the sum of the `ρ_i` is at most B *whatever was released*, then all releases
//! together have Rényi divergence of order α at most B (Feldman and Zrnic, "Individual Privacy
//! Accounting via a Rényi Filter", `NeurIPS` 2021, Theorem 3.1; Lécuyer, "Practical Privacy
//! Filters and Odometers with Rényi Differential Privacy", arXiv 2103.01379, for the same and for
//! stopping early). So a filter holds the sum at one order below what (ε, δ) allows there.
//!
//! **The order is fixed once, before anything of the data was released.** To take, after each
//! release, whichever of many orders then gives the smallest ε, as an accountant does, is no
//! filter: which order that is depends on the mechanisms chosen, and so on what was released. On
//! one course of events the sum stays below the bound of one order only, on another below that of
//! another, and the theorem's condition, one order whose sum is bounded on every course, holds for
//! none of them.
//!
//! The order is the one at which most rounds of the first mechanism fit. While all releases are of
//! that one mechanism, nothing is lost against the accountant: the same number of rounds fits.

use serde::{Deserialize, Serialize};

use crate::accountant::Event;
use crate::accountant::rdp::{default_orders, epsilon_at};
use crate::budget::Budget;
use crate::error::PrivacyError;
use crate::units::Epsilon;

/// A Rényi privacy filter at one fixed order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    budget: Budget,
    order: f64,
    spent: f64,
}

impl Filter {
    /// A filter that nothing has passed yet, for rounds of `first` to begin with: its order is the
    /// one at which most of them fit.
    ///
    /// # Errors
    /// `first` releases nothing: no order is better for it than another.
    pub fn for_rounds_of<E: Copy + Into<Event>>(
        budget: Budget,
        first: &E,
    ) -> Result<Self, PrivacyError> {
        let first: Event = (*first).into();
        let mut best: Option<(f64, f64)> = None;
        let mut cheapest: Option<(f64, f64)> = None;
        for order in default_orders() {
            let one = divergence(&first, order);
            if one <= 0.0 {
                return Err(PrivacyError::NothingReleased);
            }
            if !one.is_finite() {
                continue;
            }
            let rounds = allowance(budget, order) / one;
            if best.is_none_or(|(most, _)| rounds > most) {
                best = Some((rounds, order));
            }
            let epsilon = epsilon_at(order, one, budget.delta.get());
            if cheapest.is_none_or(|(least, _)| epsilon < least) {
                cheapest = Some((epsilon, order));
            }
        }
        // Where not even one round fits, the order at which it costs least: nothing will pass, and
        // what is said of it is as true as can be.
        let fits = best.filter(|(rounds, _)| *rounds >= 1.0);
        let (_, order) = fits.or(cheapest).unwrap_or((0.0, 2.0));
        Self::at_order(budget, order)
    }

    /// A filter of this order that nothing has passed yet.
    ///
    /// # Errors
    /// `order` is not a finite number above 1.
    pub fn at_order(budget: Budget, order: f64) -> Result<Self, PrivacyError> {
        if !(order.is_finite() && order > 1.0) {
            return Err(PrivacyError::Order(order));
        }
        Ok(Self {
            budget,
            order,
            spent: 0.0,
        })
    }

    /// The budget that it holds.
    pub const fn budget(&self) -> Budget {
        self.budget
    }

    /// Its order α, above 1.
    pub const fn order(&self) -> f64 {
        self.order
    }

    /// The largest Rényi divergence of its order, in nats, that keeps within the budget.
    pub fn allowance(&self) -> f64 {
        allowance(self.budget, self.order)
    }

    /// The Rényi divergence of its order, in nats, of all that passed; may be infinite where
    /// something was recorded that would not have passed.
    pub const fn spent(&self) -> f64 {
        self.spent
    }

    /// ε of all that passed, at the budget's δ.
    ///
    /// # Errors
    /// It is not finite.
    pub fn epsilon(&self) -> Result<Epsilon, PrivacyError> {
        self.epsilon_of(self.spent)
    }

    /// ε after `next` too, at the budget's δ.
    ///
    /// # Errors
    /// It is not finite.
    pub fn epsilon_after<E: Copy + Into<Event>>(&self, next: &E) -> Result<Epsilon, PrivacyError> {
        self.epsilon_of(self.spent + divergence(&(*next).into(), self.order))
    }

    /// Whether `next` still fits.
    pub fn admits<E: Copy + Into<Event>>(&self, next: &E) -> bool {
        self.covers(self.spent + divergence(&(*next).into(), self.order))
    }

    /// How many rounds of `next` still fit; `u64::MAX` where it releases nothing.
    pub fn rounds_left<E: Copy + Into<Event>>(&self, next: &E) -> u64 {
        let one = divergence(&(*next).into(), self.order);
        if one <= 0.0 {
            return u64::MAX;
        }
        let fits = |rounds: u64| self.covers(rounds_of(one, rounds) + self.spent);
        let estimate = ((self.allowance() - self.spent) / one).max(0.0);
        let mut rounds = floor(estimate);
        // The division is off by one at most.
        while rounds > 0 && !fits(rounds) {
            rounds -= 1;
        }
        while rounds < u64::MAX && rounds < floor(estimate + 2.0) && fits(rounds + 1) {
            rounds += 1;
        }
        rounds
    }

    /// Lets `next` pass if it fits; returns ε after it.
    ///
    /// # Errors
    /// It does not fit; nothing has changed then.
    pub fn pass<E: Copy + Into<Event>>(&mut self, next: &E) -> Result<Epsilon, PrivacyError> {
        let after = self.epsilon_after(next)?;
        if !self.admits(next) {
            return Err(PrivacyError::BudgetExceeded {
                would_be: after.get(),
                budget: self.budget.epsilon.get(),
            });
        }
        self.record_past(next);
        Ok(after)
    }

    /// Takes into account what was released already, whether it fits or not.
    pub fn record_past<E: Copy + Into<Event>>(&mut self, release: &E) {
        self.spent += divergence(&(*release).into(), self.order);
    }

    fn covers(&self, divergence: f64) -> bool {
        let epsilon = epsilon_at(self.order, divergence, self.budget.delta.get());
        epsilon <= self.budget.epsilon.get()
    }

    fn epsilon_of(&self, divergence: f64) -> Result<Epsilon, PrivacyError> {
        let delta = self.budget.delta.get();
        Epsilon::new(epsilon_at(self.order, divergence, delta))
            .map_err(|_| PrivacyError::NoFiniteEpsilon { delta })
    }
}

/// The Rényi divergence of all steps of an event at one order; infinite where the order is none.
pub(crate) fn divergence(event: &Event, order: f64) -> f64 {
    // An infinite step taken no time costs nothing.
    if event.steps() == 0 {
        return 0.0;
    }
    let one = event.renyi_divergence(order);
    rounds_of(one.unwrap_or(f64::INFINITY), event.steps())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "beyond 2^53 rounds, 1e-16 relative"
)]
pub(crate) fn rounds_of(one: f64, rounds: u64) -> f64 {
    one * rounds as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative; saturates"
)]
fn floor(value: f64) -> u64 {
    value.floor() as u64
}

/// The largest divergence of an order that `epsilon_at` turns into no more than the budget's ε:
/// its formula solved for the divergence, and its other branch, a total variation below δ.
pub(crate) fn allowance(budget: Budget, order: f64) -> f64 {
    let (epsilon, delta) = (budget.epsilon.get(), budget.delta.get());
    let formula = epsilon - (-1.0 / order).ln_1p() + (delta * order).ln() / (order - 1.0);
    let variation = -(-delta * delta).ln_1p();
    formula.max(variation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accountant::{RdpAccountant, SubsampledGaussian};
    use crate::units::{Delta, NoiseMultiplier, SamplingRate};

    fn budget(epsilon: f64, delta: f64) -> Budget {
        Budget {
            epsilon: Epsilon::new(epsilon).unwrap(),
            delta: Delta::new(delta).unwrap(),
        }
    }

    fn event(q: f64, sigma: f64, steps: u64) -> SubsampledGaussian {
        SubsampledGaussian {
            sampling_rate: SamplingRate::new(q).unwrap(),
            noise_multiplier: NoiseMultiplier::new(sigma).unwrap(),
            steps,
        }
    }

    /// While there is one mechanism, a filter lets as many rounds pass as an accountant would that
    /// takes the best order after each.
    #[test]
    fn nothing_is_lost_while_there_is_one_mechanism() {
        for (epsilon, q, sigma, steps) in
            [(6.0, 0.1, 1.1, 4), (3.0, 0.01, 1.0, 10), (8.0, 1.0, 9.0, 1)]
        {
            let budget = budget(epsilon, 1e-5);
            let round = event(q, sigma, steps);
            let filter = Filter::for_rounds_of(budget, &round).unwrap();
            let mut accountant = RdpAccountant::new();
            let mut rounds = 0;
            loop {
                accountant.compose(&round);
                if accountant.epsilon(budget.delta).unwrap() > budget.epsilon {
                    break;
                }
                rounds += 1;
            }
            assert!(rounds > 3, "the case says nothing: {rounds}");
            assert_eq!(filter.rounds_left(&round), rounds, "{epsilon} {q} {sigma}");
        }
    }

    #[test]
    fn rounds_left_is_how_many_pass() {
        let round = event(0.1, 1.1, 4);
        let mut filter = Filter::for_rounds_of(budget(6.0, 1e-5), &round).unwrap();
        let mut left = filter.rounds_left(&round);
        assert!(left > 2);
        while filter.pass(&round).is_ok() {
            left -= 1;
            assert_eq!(filter.rounds_left(&round), left);
        }
        assert_eq!(left, 0);
        assert!(filter.spent() <= filter.allowance());
        assert_eq!(filter.rounds_left(&event(0.1, 1.1, 0)), u64::MAX);
    }

    /// What the module's text says: which order lets most pass depends on the mechanism, so one
    /// that follows the choice of mechanisms bounds the sum at no order.
    #[test]
    fn which_order_is_best_depends_on_the_mechanism() {
        let budget = budget(2.0, 1e-5);
        let (broad, narrow) = (event(1.0, 30.0, 1), event(1e-3, 0.7, 1));
        let own = |first: &SubsampledGaussian| Filter::for_rounds_of(budget, first).unwrap();
        for (own, other) in [
            (own(&broad), (own(&narrow), &broad)),
            (own(&narrow), (own(&broad), &narrow)),
        ] {
            let (other, event) = other;
            assert!((own.order() - other.order()).abs() > 0.05);
            // So many pass at its own order that the sum is beyond the bound of the other.
            let all = rounds_of(
                divergence(&(*event).into(), other.order()),
                own.rounds_left(event),
            );
            assert!(all > other.allowance(), "{all}");
        }
    }

    #[test]
    fn a_filter_without_room_lets_nothing_pass() {
        let round = event(1.0, 0.5, 10);
        let mut filter = Filter::for_rounds_of(budget(0.1, 1e-5), &round).unwrap();
        assert_eq!(filter.rounds_left(&round), 0);
        assert!(matches!(
            filter.pass(&round),
            Err(PrivacyError::BudgetExceeded { .. })
        ));
        assert!(filter.spent() == 0.0);
        filter.record_past(&event(1.0, 1e-200, 1));
        assert!(filter.epsilon().is_err() && !filter.admits(&event(1e-4, 50.0, 1)));
        assert!(matches!(
            Filter::for_rounds_of(budget(1.0, 1e-5), &event(0.0, 1.0, 1)),
            Err(PrivacyError::NothingReleased)
        ));
        for order in [1.0, 0.5, f64::NAN, f64::INFINITY] {
            assert!(Filter::at_order(budget(1.0, 1e-5), order).is_err());
        }
    }
}
