//! How a budget is allocated over a task's rounds, before the first of them.
//!
//! A task's rounds all have one mechanism, so each of them costs the same: [`check_plan`] says
//! whether all that are planned fit, and what to choose where they do not. Where the noise may
//! differ from round to round, an [`Allocation`] splits what a [`Filter`] allows at its order by a
//! [`Schedule`]; it is decided at the start and looks at nothing. Whatever is decided later, a
//! stopping rule or a noise level that follows from what was released, asks a [`Filter`] each time.

use crate::accountant::{Event, RdpAccountant, SubsampledGaussian, noise_multiplier_for};
use crate::budget::Budget;
use crate::error::PrivacyError;
use crate::filter::{Filter, divergence};
use crate::units::{Epsilon, NoiseMultiplier, SamplingRate};

/// Checks that `rounds` equal rounds keep within the budget; returns what they cost.
///
/// # Errors
/// [`PrivacyError::Overrun`] names the rounds that fit and the noise at which all would;
/// [`PrivacyError::NothingReleased`] where a round looks at no data.
pub fn check_plan<E: Copy + Into<Event>>(
    budget: Budget,
    per_round: &E,
    rounds: u64,
) -> Result<Epsilon, PrivacyError> {
    let per_round: Event = (*per_round).into();
    let fits = Filter::for_rounds_of(budget, &per_round)?.rounds_left(&per_round);
    let all = per_round.with_steps(per_round.steps().saturating_mul(rounds));
    let mut accountant = RdpAccountant::new();
    accountant.compose(&all);
    let cost = accountant.epsilon(budget.delta);
    if rounds <= fits {
        return cost;
    }
    let least = match all {
        Event::Gaussian(all) => {
            let (q, steps) = (all.sampling_rate, all.steps);
            noise_multiplier_for(budget.epsilon, budget.delta, q, steps).ok()
        }
        _ => None,
    };
    Err(PrivacyError::Overrun {
        rounds,
        would_be: cost.ok().map(|epsilon| round_up(epsilon.get())),
        budget: budget.epsilon.get(),
        delta: budget.delta.get(),
        fits,
        least_noise: least.map(|least| round_up(least.get())),
    })
}

/// To four decimals, up: neither a cost nor a noise level may be shown smaller than it is.
fn round_up(value: f64) -> f64 {
    (value * 1e4).ceil() / 1e4
}

/// How shares of the allowance follow one another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Schedule {
    /// Every round has the same.
    Uniform,
    /// Each round has so many times what the one before has. Above 1, later rounds have less
    /// noise.
    Geometric(f64),
}

/// The allowance of a filter, split over rounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    order: f64,
    shares: Vec<f64>,
}

impl Allocation {
    /// Splits what `filter` still allows over so many rounds.
    ///
    /// # Errors
    /// [`PrivacyError::OutOfRange`] if there are no rounds or the schedule's factor is not above 0;
    /// [`PrivacyError::NothingAllowed`] if the filter has no room.
    pub fn new(filter: &Filter, rounds: u32, schedule: Schedule) -> Result<Self, PrivacyError> {
        if rounds == 0 {
            return Err(PrivacyError::OutOfRange {
                name: "the number of rounds",
                value: 0.0,
                range: "1 or more",
            });
        }
        let factor = match schedule {
            Schedule::Uniform => 1.0,
            Schedule::Geometric(factor) if factor.is_finite() && factor > 0.0 => factor,
            Schedule::Geometric(value) => {
                return Err(PrivacyError::OutOfRange {
                    name: "the factor from round to round",
                    value,
                    range: "a finite number above 0 (1.1, say)",
                });
            }
        };
        let room = filter.allowance() - filter.spent();
        // A hair below: the shares are summed in floating point.
        let room = room * (1.0 - 1e-12);
        if room <= 0.0 {
            return Err(PrivacyError::NothingAllowed);
        }
        // Weights around the largest, so that none overflows.
        let last = f64::from(rounds - 1);
        let exponent = |round: u32| f64::from(round) - if factor > 1.0 { last } else { 0.0 };
        let weights: Vec<f64> = (0..rounds).map(|r| factor.powf(exponent(r))).collect();
        let sum: f64 = weights.iter().sum();
        Ok(Self {
            order: filter.order(),
            shares: weights.iter().map(|weight| room * weight / sum).collect(),
        })
    }

    /// The Rényi order of the filter that it was made for.
    pub const fn order(&self) -> f64 {
        self.order
    }

    /// The divergence, in nats, that each round may have at that order.
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    /// The least noise multiplier, to a part in a million, with which `steps` steps at
    /// `sampling_rate` keep within the share of a round, counted from 0.
    ///
    /// # Errors
    /// [`PrivacyError::OutOfRange`] if there is no such round, [`PrivacyError::TargetOutOfReach`]
    /// if no multiplier up to 1e6 is enough.
    pub fn noise_multiplier(
        &self,
        round: u32,
        sampling_rate: SamplingRate,
        steps: u64,
    ) -> Result<NoiseMultiplier, PrivacyError> {
        let at = usize::try_from(round).unwrap_or(usize::MAX);
        let share = *self.shares.get(at).ok_or(PrivacyError::OutOfRange {
            name: "the round",
            value: f64::from(round),
            range: "below the number of rounds of the allocation",
        })?;
        let fits = |sigma: f64| -> Result<bool, PrivacyError> {
            let event = SubsampledGaussian {
                sampling_rate,
                noise_multiplier: NoiseMultiplier::new(sigma)?,
                steps,
            };
            Ok(divergence(&event.into(), self.order) <= share)
        };
        let (mut low, mut high) = (1e-2_f64, 1e6_f64);
        if !fits(high)? {
            return Err(PrivacyError::TargetOutOfReach {
                target: share,
                largest: high,
            });
        }
        while high / low > 1.0 + 1e-6 {
            let middle = (low * high).sqrt();
            if fits(middle)? {
                high = middle;
            } else {
                low = middle;
            }
        }
        NoiseMultiplier::new(high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Delta;

    fn budget(epsilon: f64) -> Budget {
        Budget {
            epsilon: Epsilon::new(epsilon).unwrap(),
            delta: Delta::new(1e-5).unwrap(),
        }
    }

    fn round(sigma: f64) -> SubsampledGaussian {
        SubsampledGaussian {
            sampling_rate: SamplingRate::new(0.1).unwrap(),
            noise_multiplier: NoiseMultiplier::new(sigma).unwrap(),
            steps: 4,
        }
    }

    #[test]
    fn a_plan_fits_or_is_told_what_would() {
        let cost = check_plan(budget(6.0), &round(1.1), 10).unwrap();
        assert!(cost.get() <= 6.0 && cost.get() > 1.0);
        let Err(PrivacyError::Overrun {
            fits, least_noise, ..
        }) = check_plan(budget(cost.get()), &round(1.1), 11)
        else {
            panic!("an overrun passes");
        };
        assert_eq!(fits, 10);
        // What it says to choose does fit.
        check_plan(budget(cost.get()), &round(least_noise.unwrap()), 11).unwrap();
        let error = check_plan(budget(cost.get()), &round(1.1), 11).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("choose at most 10 rounds, a noise multiplier of "),
            "{said}"
        );
        assert!(said.contains("or more, or a budget"), "{said}");
    }

    #[test]
    fn shares_fill_the_allowance_and_follow_the_schedule() {
        let filter = Filter::for_rounds_of(budget(5.0), &round(1.1)).unwrap();
        for schedule in [
            Schedule::Uniform,
            Schedule::Geometric(1.25),
            Schedule::Geometric(0.8),
        ] {
            let allocation = Allocation::new(&filter, 12, schedule).unwrap();
            let sum: f64 = allocation.shares().iter().sum();
            assert!(sum <= filter.allowance() && sum > 0.999_999 * filter.allowance());
            let factor = match schedule {
                Schedule::Uniform => 1.0,
                Schedule::Geometric(factor) => factor,
            };
            for pair in allocation.shares().windows(2) {
                assert!((pair[1] / pair[0] - factor).abs() < 1e-9);
            }
        }
        // A thousand doublings neither overflow nor leave anything out.
        let steep = Allocation::new(&filter, 2000, Schedule::Geometric(2.0)).unwrap();
        assert!(steep.shares().iter().all(|share| share.is_finite()));
    }

    /// All rounds of an allocation pass the filter that it was made for.
    #[test]
    fn an_allocation_spends_the_budget_and_no_more() {
        let mut filter = Filter::for_rounds_of(budget(5.0), &round(1.1)).unwrap();
        let allocation = Allocation::new(&filter, 6, Schedule::Geometric(1.3)).unwrap();
        let rate = SamplingRate::new(0.1).unwrap();
        let mut last = f64::INFINITY;
        for number in 0..6 {
            let sigma = allocation.noise_multiplier(number, rate, 4).unwrap();
            assert!(sigma.get() < last, "later rounds have less noise");
            last = sigma.get();
            filter.pass(&round(sigma.get())).unwrap();
        }
        assert!(filter.epsilon().unwrap().get() > 4.99);
        assert!(allocation.noise_multiplier(6, rate, 4).is_err());
    }

    #[test]
    fn meaningless_allocations_are_refused() {
        let filter = Filter::for_rounds_of(budget(5.0), &round(1.1)).unwrap();
        assert!(Allocation::new(&filter, 0, Schedule::Uniform).is_err());
        for factor in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Allocation::new(&filter, 3, Schedule::Geometric(factor)).is_err());
        }
        let mut full = filter;
        full.record_past(&round(0.5));
        full.record_past(&round(0.5));
        assert_eq!(
            Allocation::new(&full, 3, Schedule::Uniform),
            Err(PrivacyError::NothingAllowed)
        );
    }
}
