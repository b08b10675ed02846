//! The privacy budget of a task: what all its rounds together may cost.
//!
//! It holds against the aggregator, so each round counts in which an input was taken, whether it
//! finished or not: that a round failed is the service's own word, and whoever has its messages
//! may have the shares too. A round that ended before any input was taken costs nothing.
//!
//! All rounds of a task have one mechanism, so the budget is a number of rounds, the one that a
//! [`Filter`] of the mechanism lets pass. It is checked when the task is made, and again by the
//! transactions that open and end rounds.

use serde::{Deserialize, Serialize};
use undertone_privacy::{
    Budget, Delta, Epsilon, Filter, Mechanism, PrivacyError, PrivacyUnit, check_plan, promise,
};

/// What the rounds of a task may cost.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskBudget {
    /// The most ε over all rounds, for a client that is in every one of them.
    pub epsilon: Epsilon,
    /// The δ of that.
    pub delta: Delta,
    /// Whose presence is hidden.
    #[serde(default = "example")]
    pub unit: PrivacyUnit,
    /// What is done with a plan of more rounds than it covers.
    #[serde(default)]
    pub beyond: Beyond,
}

const fn example() -> PrivacyUnit {
    PrivacyUnit::Example
}

/// What is done with rounds that a budget does not cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Beyond {
    /// A task that plans them is not made.
    #[default]
    Refuse,
    /// The task is made, and stops before the first of them.
    Stop,
}

impl TaskBudget {
    /// The budget without its unit.
    pub const fn budget(&self) -> Budget {
        Budget {
            epsilon: self.epsilon,
            delta: self.delta,
        }
    }

    /// Checks that the budget means something for a roster of so many clients, and that it covers
    /// the planned rounds, or one at least where the rest may be left out.
    ///
    /// # Errors
    /// [`PrivacyError`] says what to choose.
    pub fn check(
        &self,
        mechanism: &Mechanism,
        rounds: u32,
        clients: u64,
    ) -> Result<(), PrivacyError> {
        // How many examples there are, clients know; how many clients, the service does.
        let units = (self.unit == PrivacyUnit::Client).then_some(clients);
        self.budget().check(self.unit, units)?;
        let cost = promise::cost(mechanism, self.unit)?;
        let planned = match self.beyond {
            Beyond::Refuse => rounds.into(),
            Beyond::Stop => 1,
        };
        check_plan(self.budget(), &cost, planned).map(drop)
    }

    /// How many rounds it covers, of those in which inputs are taken.
    ///
    /// # Errors
    /// The mechanism promises nothing for the unit.
    pub fn rounds(&self, mechanism: &Mechanism) -> Result<u64, PrivacyError> {
        let cost = promise::cost(mechanism, self.unit)?;
        Ok(Filter::for_rounds_of(self.budget(), &cost)?.rounds_left(&cost))
    }
}

#[cfg(test)]
mod tests {
    use undertone_privacy::{Noise, NoiseMultiplier, SamplingRate, SubsampledGaussian};

    use super::*;

    fn mechanism(steps: u64) -> Mechanism {
        Mechanism {
            update_clip: 1.0,
            scale: 1.0,
            rotation: None,
            noise: Noise::LocalDpSgd {
                clip_norm: 1.0,
                per_round: SubsampledGaussian {
                    sampling_rate: SamplingRate::new(0.1).unwrap(),
                    noise_multiplier: NoiseMultiplier::new(1.1).unwrap(),
                    steps,
                },
            },
        }
    }

    fn budget(epsilon: f64) -> TaskBudget {
        TaskBudget {
            epsilon: Epsilon::new(epsilon).unwrap(),
            delta: Delta::new(1e-5).unwrap(),
            unit: PrivacyUnit::Example,
            beyond: Beyond::Refuse,
        }
    }

    #[test]
    fn a_plan_beyond_the_budget_is_refused_or_cut() {
        let six = budget(6.0);
        let covered = six.rounds(&mechanism(4)).unwrap();
        assert!(covered > 5, "{covered}");
        let covered = u32::try_from(covered).unwrap();
        six.check(&mechanism(4), covered, 12).unwrap();
        let error = six.check(&mechanism(4), covered + 1, 12).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains(&format!("choose at most {covered} rounds")),
            "{said}"
        );
        let stops = TaskBudget {
            beyond: Beyond::Stop,
            ..six
        };
        stops.check(&mechanism(4), covered + 1, 12).unwrap();
        // Not even one.
        let tiny = TaskBudget {
            epsilon: Epsilon::new(0.01).unwrap(),
            ..stops
        };
        let error = tiny.check(&mechanism(4), 1, 12).unwrap_err();
        assert!(
            matches!(error, PrivacyError::Overrun { fits: 0, .. }),
            "{error}"
        );
    }

    #[test]
    fn budgets_that_mean_nothing_are_refused() {
        let check = |budget: TaskBudget, mechanism| budget.check(&mechanism, 1, 12);
        assert_eq!(
            check(budget(0.0), mechanism(4)),
            Err(PrivacyError::NothingAllowed)
        );
        assert_eq!(
            check(budget(6.0), mechanism(0)),
            Err(PrivacyError::NothingReleased)
        );
        let client = TaskBudget {
            unit: PrivacyUnit::Client,
            ..budget(6.0)
        };
        assert!(matches!(
            check(client, mechanism(4)),
            Err(PrivacyError::NoPromise { .. })
        ));
        // One over the roster, and a promise that would hold for whoever publishes one client.
        let loose = TaskBudget {
            delta: Delta::new(0.1).unwrap(),
            ..client
        };
        let error = check(loose, mechanism(4)).unwrap_err();
        assert!(
            error.to_string().contains("number of clients (12)"),
            "{error}"
        );
        let bare = Mechanism {
            noise: Noise::None,
            ..mechanism(4)
        };
        assert!(matches!(
            check(budget(6.0), bare),
            Err(PrivacyError::NoPromise { .. })
        ));
    }

    #[test]
    fn the_unit_is_an_example_and_the_plan_is_refused_unless_said_otherwise() {
        let read = |json: &str| serde_json::from_str::<TaskBudget>(json);
        assert_eq!(
            read(r#"{"epsilon":6.0,"delta":1e-5}"#).unwrap(),
            budget(6.0)
        );
        let stops = read(r#"{"epsilon":6.0,"delta":1e-5,"unit":"client","beyond":"stop"}"#);
        let stops = stops.unwrap();
        assert_eq!(
            (stops.unit, stops.beyond),
            (PrivacyUnit::Client, Beyond::Stop)
        );
        for bad in [
            r#"{"epsilon":6.0}"#,
            r#"{"epsilon":-1,"delta":1e-5}"#,
            r#"{"epsilon":6.0,"delta":0}"#,
            r#"{"epsilon":6.0,"delta":1e-5,"units":"client"}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
