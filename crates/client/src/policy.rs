//! The local policy: what this client is ready to take part in, whatever the server proposes.
//!
//! Specification: chapter 4, "Roster and round parameters", section 4.6.

use undertone_privacy::{
    Budget, Epsilon, Event, Mechanism, Noise, NoiseMultiplier, PrivacyError, PrivacyUnit, promise,
};
use undertone_protocol::ProtocolError;
use undertone_protocol::params::{RoundParams, Trust};

use crate::costs::{Account, Ledgers};

/// What this client agrees to. It is checked before each round, before training and before
/// anything is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// The fewest honest clients, this one among them, that its update is summed with: survivors
    /// less those that the parameters take for corrupt, who know their own updates. The round's own
    /// rules ask for two in any case; this is a floor of this client's own.
    pub min_honest: usize,
    /// How many of the roster this client assumes to be corrupt: parameters made for fewer are
    /// declined.
    pub trust: Trust,
    /// The most ε at one δ that may be spent on the data set for each example, over all rounds of
    /// all tasks that share the state directory.
    pub budget: Budget,
    /// The same for this client as a whole, where its owner cares about that: mechanisms that
    /// promise nothing for a client are then declined.
    pub client_budget: Option<Budget>,
    /// The least noise multiplier of a private mechanism.
    pub min_noise_multiplier: NoiseMultiplier,
    /// Whether a mechanism without noise is accepted. The masks still hide this client's update
    /// within the sum, but the sum itself then reveals what it reveals.
    pub allow_no_noise: bool,
    /// The largest L2 norm of an update that a mechanism may ask for.
    pub max_update_clip: f64,
    /// The longest input vector d. It also bounds what is downloaded: 4 bytes a value.
    pub max_vector_length: usize,
    /// The most rounds of one task to take part in; `None` for no limit but the budget.
    pub max_rounds: Option<u32>,
}

impl Policy {
    /// A cautious policy within a budget: at least 4 honest survivors, a noise multiplier of 0.5 or more,
    /// no mechanism without noise, an update norm of at most 100, at most 2^26 values, and no
    /// limit on rounds.
    ///
    /// # Errors
    /// Never in practice: the constants are inside their ranges.
    pub fn new(budget: Budget) -> Result<Self, PrivacyError> {
        Ok(Self {
            min_honest: 4,
            trust: Trust::default(),
            budget,
            client_budget: None,
            min_noise_multiplier: NoiseMultiplier::new(0.5)?,
            allow_no_noise: false,
            max_update_clip: 100.0,
            max_vector_length: 1 << 26,
            max_rounds: None,
        })
    }

    /// Checks that the budgets mean something: ε above 0, and each δ below one over the number of
    /// examples, or of clients, where that is known.
    ///
    /// # Errors
    /// [`PrivacyError`] says what to choose.
    pub fn check_budgets(
        &self,
        examples: Option<u64>,
        clients: Option<u64>,
    ) -> Result<(), PrivacyError> {
        self.budget.check(PrivacyUnit::Example, examples)?;
        match self.client_budget {
            Some(budget) => budget.check(PrivacyUnit::Client, clients),
            None => Ok(()),
        }
    }

    /// Judges the round's parameters, before anything large is fetched.
    pub(crate) fn check_params(
        &self,
        params: &RoundParams,
        rounds_begun: u32,
    ) -> Result<(), DeclineReason> {
        if let Some(limit) = self.max_rounds
            && rounds_begun >= limit
        {
            return Err(DeclineReason::RoundLimit { limit });
        }
        let offered = usize::try_from(params.rule.honest_survivors()).unwrap_or(0);
        let floor = self.min_honest;
        if offered < floor {
            return Err(DeclineReason::HonestSurvivors { offered, floor });
        }
        let (offered, limit) = (params.vector_length(), self.max_vector_length);
        if offered > limit {
            return Err(DeclineReason::VectorLength { offered, limit });
        }
        Ok(())
    }

    /// Judges the mechanism, given what was spent already.
    pub(crate) fn check_mechanism(
        &self,
        mechanism: &Mechanism,
        ledgers: &Ledgers,
    ) -> Result<(), DeclineReason> {
        mechanism.validate().map_err(DeclineReason::Mechanism)?;
        let (offered, limit) = (mechanism.update_clip, self.max_update_clip);
        if offered > limit {
            return Err(DeclineReason::UpdateClip { offered, limit });
        }
        if mechanism.noise == Noise::None {
            return if self.allow_no_noise {
                Ok(())
            } else {
                Err(DeclineReason::NoNoise)
            };
        }
        for (unit, account) in ledgers.all() {
            let cost = promise::cost(mechanism, unit).map_err(DeclineReason::Mechanism)?;
            self.check_cost(unit, &cost, account)?;
        }
        Ok(())
    }

    /// Judges noise that clients add together: it must be counted for no more honest clients than
    /// the round guarantees, on a grid that does not cost more than it should, in a ring with room.
    /// Everything is computed again from the round's own parameters.
    pub(crate) fn check_joint_noise(
        mechanism: &Mechanism,
        params: &RoundParams,
    ) -> Result<(), DeclineReason> {
        if let Some((joint, _)) = mechanism.noise.joint() {
            let guaranteed = params.rule.honest_survivors();
            if joint.honest > guaranteed {
                let counted = joint.honest;
                return Err(DeclineReason::HonestNoise {
                    counted,
                    guaranteed,
                });
            }
        }
        let refused = DeclineReason::Mechanism;
        // One round's room: how many there will be is for the task to say, and a wrap breaks no
        // promise.
        let parameters = mechanism
            .parameters(params.rule.max_clients, 1)
            .map_err(refused)?;
        match parameters {
            Some(parameters) => parameters.check(params.bits).map_err(refused),
            None => Ok(()),
        }
    }

    fn check_cost(
        &self,
        unit: PrivacyUnit,
        cost: &Event,
        account: &Account,
    ) -> Result<(), DeclineReason> {
        // It would cost the ledger nothing, and nothing is learnt from no data.
        if cost.releases_nothing() {
            return Err(DeclineReason::EmptyMechanism);
        }
        let (offered, floor) = (cost.noise_multiplier(), self.min_noise_multiplier);
        // Not a number is no noise either.
        if offered.is_nan() || offered < floor.get() {
            return Err(DeclineReason::NoiseMultiplier { offered, floor });
        }
        let Account { ledger, unbounded } = account;
        // For an example, updates without noise were the owner's own wish; for a client they may
        // come from before there was a budget, and no budget covers what nothing bounds.
        let lost = unit == PrivacyUnit::Client && *unbounded > 0 && !self.allow_no_noise;
        if lost || ledger.would_exceed(cost) {
            let known = |epsilon: Result<Epsilon, PrivacyError>| epsilon.ok().filter(|_| !lost);
            return Err(DeclineReason::Budget {
                unit,
                spent: known(ledger.spent()),
                would_be: known(ledger.spent_after(cost)),
                budget: ledger.budget(),
            });
        }
        Ok(())
    }
}

/// Why a round is declined. Nothing was sent in it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclineReason {
    /// The sum of too few honest clients could be unmasked.
    #[error(
        "the round may end with a sum over {offered} honest clients; this client's policy asks \
         for {floor}"
    )]
    HonestSurvivors {
        /// What the parameters say.
        offered: usize,
        /// What the policy asks for.
        floor: usize,
    },
    /// Noise is counted that nobody may have added.
    #[error(
        "the mechanism counts the noise of {counted} honest clients, and the round guarantees \
         {guaranteed} of them in its sum"
    )]
    HonestNoise {
        /// Whose noise the mechanism counts.
        counted: u32,
        /// Survivors less those that the parameters take for corrupt.
        guaranteed: u32,
    },
    /// The input vector is too long.
    #[error("the round's vectors have {offered} values; this client's policy allows {limit}")]
    VectorLength {
        /// What the parameters say.
        offered: usize,
        /// What the policy allows.
        limit: usize,
    },
    /// The adapter has another number of values than the round's vectors.
    #[error("the adapter has {adapter} values, the round's vectors have {vector}")]
    AdapterLength {
        /// How many values the adapter has.
        adapter: usize,
        /// How many the parameters say.
        vector: usize,
    },
    /// The adapter is not one.
    #[error("the round's adapter cannot be used: {0}")]
    Adapter(String),
    /// The update clip is above the policy's limit.
    #[error("the mechanism's update clip is {offered}; this client's policy allows {limit}")]
    UpdateClip {
        /// What the mechanism says.
        offered: f64,
        /// What the policy allows.
        limit: f64,
    },
    /// The mechanism adds no noise.
    #[error("the mechanism adds no noise, and this client's policy does not allow that")]
    NoNoise,
    /// The mechanism claims to look at no data.
    #[error("the mechanism says 0 steps or a sampling rate of 0: it claims to look at no data")]
    EmptyMechanism,
    /// Too little noise.
    #[error("the noise multiplier is {offered}; this client's policy asks for {floor}")]
    NoiseMultiplier {
        /// What the mechanism says: the noise's standard deviation over the L2 sensitivity.
        offered: f64,
        /// What the policy asks for.
        floor: NoiseMultiplier,
    },
    /// The round would take the ledger over its budget.
    #[error(
        "the privacy budget for each {unit} is used up: epsilon {} is spent and would become {}, \
         the budget is {} at delta {}",
        figure(*spent), figure(*would_be), budget.epsilon, budget.delta
    )]
    Budget {
        /// Which budget.
        unit: PrivacyUnit,
        /// ε spent so far; `None` where none is finite.
        spent: Option<Epsilon>,
        /// ε after the round; `None` where none is finite.
        would_be: Option<Epsilon>,
        /// The budget.
        budget: Budget,
    },
    /// This client has taken part in as many rounds as it wanted to.
    #[error("this client's policy allows {limit} rounds of this task, and it has begun as many")]
    RoundLimit {
        /// The policy's limit.
        limit: u32,
    },
    /// A number of the mechanism is out of range.
    #[error("the mechanism is refused: {0}")]
    Mechanism(PrivacyError),
    /// The mechanism is not the JSON that it should be.
    #[error("the mechanism cannot be read: {0}")]
    MechanismFormat(String),
    /// The parameters break a rule of the protocol, or a sum could overflow.
    #[error("{0}")]
    Protocol(#[from] ProtocolError),
    /// The journal says that this client has begun this round: its secrets are gone.
    #[error("this client began this round before it was restarted; its secrets are gone")]
    BegunBefore,
    /// The journal ended in a torn line, so that this round may be one begun before.
    #[error("the journal lost its last line in a crash; this round may be one begun before it")]
    TornJournal,
    /// The round no longer takes new clients.
    #[error("the round is past its AdvertiseKeys phase")]
    UnderWay,
}

impl DeclineReason {
    /// Whether every later round of this task will be declined for the same reason.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Budget { .. } | Self::RoundLimit { .. })
    }
}

fn figure(epsilon: Option<Epsilon>) -> String {
    epsilon.map_or_else(|| "without bound".to_owned(), |e| e.to_string())
}

#[cfg(test)]
mod tests {
    use undertone_privacy::{Delta, Ledger, SamplingRate, SubsampledGaussian};
    use undertone_protocol::id::{
        MechanismDigest, ModelDigest, RosterDigest, RoundNumber, TaskId, TrainingDigest,
    };
    use undertone_protocol::params::{ParamsFields, PhaseDeadlines, SUITE, VERSION};
    use undertone_protocol::threshold::Rule;

    use undertone_privacy::distributed::{JointNoise, Layout, Sampler};

    use super::*;

    fn policy(epsilon: f64) -> Policy {
        Policy::new(Budget {
            epsilon: Epsilon::new(epsilon).unwrap(),
            delta: Delta::new(1e-5).unwrap(),
        })
        .unwrap()
    }

    fn ledgers(policy: &Policy) -> Ledgers {
        let account = |budget| Account {
            ledger: Ledger::new(budget),
            unbounded: 0,
        };
        Ledgers {
            example: account(policy.budget),
            client: policy.client_budget.map(account),
        }
    }

    fn params(min_survivors: u32, length: u32) -> RoundParams {
        RoundParams::new(ParamsFields {
            version: VERSION,
            suite: SUITE,
            task: TaskId::from([1; 16]),
            round: RoundNumber(1),
            nonce: [2; 32],
            length,
            bits: 32,
            rule: Rule {
                min_clients: min_survivors,
                min_survivors,
                ..Rule::complete(10, 3)
            },
            roster: RosterDigest::from([3; 32]),
            model: ModelDigest::from([4; 32]),
            training: TrainingDigest::from([5; 32]),
            mechanism: MechanismDigest::from([6; 32]),
            deadlines: PhaseDeadlines {
                advertise_keys: 1,
                share_keys: 1,
                masked_input: 1,
                consistency_check: 1,
                unmask: 1,
            },
        })
        .unwrap()
    }

    fn private(sigma: f64, q: f64, steps: u64) -> Mechanism {
        Mechanism {
            update_clip: 2.0,
            scale: 65536.0,
            rotation: None,
            noise: Noise::LocalDpSgd {
                clip_norm: 1.0,
                per_round: SubsampledGaussian {
                    sampling_rate: SamplingRate::new(q).unwrap(),
                    noise_multiplier: NoiseMultiplier::new(sigma).unwrap(),
                    steps,
                },
            },
        }
    }

    #[test]
    fn parameters_are_judged() {
        let mut policy = policy(8.0);
        assert_eq!(policy.check_params(&params(7, 10), 0), Ok(()));
        policy.min_honest = 5;
        assert_eq!(
            policy.check_params(&params(7, 10), 0),
            Err(DeclineReason::HonestSurvivors {
                offered: 4,
                floor: 5
            })
        );
        assert_eq!(policy.check_params(&params(8, 10), 0), Ok(()));
        policy.max_vector_length = 9;
        assert_eq!(
            policy.check_params(&params(8, 10), 0),
            Err(DeclineReason::VectorLength {
                offered: 10,
                limit: 9
            })
        );
        policy.max_rounds = Some(3);
        assert_eq!(policy.check_params(&params(8, 9), 2), Ok(()));
        let spent = policy.check_params(&params(8, 9), 3).unwrap_err();
        assert_eq!(spent, DeclineReason::RoundLimit { limit: 3 });
        assert!(spent.is_final());
    }

    #[test]
    fn mechanisms_are_judged() {
        let policy = policy(8.0);
        let ledgers = ledgers(&policy);
        let judge = |mechanism: &Mechanism| policy.check_mechanism(mechanism, &ledgers);
        assert_eq!(judge(&private(1.0, 0.1, 4)), Ok(()));
        assert!(matches!(
            judge(&private(0.49, 0.1, 4)),
            Err(DeclineReason::NoiseMultiplier { .. })
        ));
        assert_eq!(judge(&private(0.5, 0.01, 1)), Ok(()));
        for empty in [private(1.0, 0.1, 0), private(1.0, 0.0, 4)] {
            assert_eq!(judge(&empty), Err(DeclineReason::EmptyMechanism));
        }
        let mut wide = private(1.0, 0.1, 4);
        wide.update_clip = 100.1;
        assert!(matches!(
            judge(&wide),
            Err(DeclineReason::UpdateClip { .. })
        ));
        wide.update_clip = f64::NAN;
        assert!(matches!(judge(&wide), Err(DeclineReason::Mechanism(_))));
    }

    /// Noise of so many honest clients, for vectors of 64 coordinates.
    fn joint(honest: u32, noise_multiplier: f64, scale: f64) -> Mechanism {
        Mechanism {
            update_clip: 1.0,
            scale,
            rotation: Some(Layout::all(64)),
            noise: Noise::DistributedDpFedAvg {
                joint: JointNoise {
                    sampler: Sampler::Skellam,
                    noise_multiplier: NoiseMultiplier::new(noise_multiplier).unwrap(),
                    honest,
                },
                divisor: 8.0,
                local: None,
            },
        }
    }

    /// Ten clients, seven of which survive, three of those corrupt: the noise of four counts.
    ///
    /// Spec.
    #[test]
    fn joint_noise_is_judged_by_the_rounds_own_numbers() {
        let round = params(7, 64);
        let judge = |mechanism: &Mechanism| Policy::check_joint_noise(mechanism, &round);
        assert_eq!(judge(&joint(4, 1.0, 4096.0)), Ok(()));
        let refused = judge(&joint(5, 1.0, 4096.0)).unwrap_err();
        let expected = DeclineReason::HonestNoise {
            counted: 5,
            guaranteed: 4,
        };
        assert_eq!(refused, expected);
        // A grid as coarse as the vector itself.
        let refused = judge(&joint(4, 4.0, 8.0)).unwrap_err().to_string();
        assert!(refused.contains("rounding lengthens"), "{refused}");
        // In the 32 bits of this round, ten times the clip norm of ten clients has room.
        assert_eq!(judge(&joint(4, 10.0, 4096.0)), Ok(()));
        let narrow = RoundParams::new(ParamsFields {
            bits: 16,
            ..(*round).clone()
        });
        let refused = Policy::check_joint_noise(&joint(4, 10.0, 4096.0), &narrow.unwrap());
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("may wrap in 16 bits"), "{refused}");
    }

    /// For an example the client's update moves by twice the clip norm.
    #[test]
    fn the_floor_for_noise_holds_for_sums_too() {
        let policy = policy(1000.0);
        let ledgers = ledgers(&policy);
        let judge = |m: f64| policy.check_mechanism(&joint(4, m, 4096.0), &ledgers);
        assert_eq!(judge(1.1), Ok(()));
        assert!(matches!(
            judge(0.9),
            Err(DeclineReason::NoiseMultiplier { .. })
        ));
    }

    #[test]
    fn no_noise_only_by_consent() {
        let mut policy = policy(8.0);
        let ledger = ledgers(&policy);
        let exact = Mechanism {
            noise: Noise::None,
            ..private(1.0, 0.1, 4)
        };
        let refused = policy.check_mechanism(&exact, &ledger);
        assert_eq!(refused, Err(DeclineReason::NoNoise));
        policy.allow_no_noise = true;
        assert_eq!(policy.check_mechanism(&exact, &ledger), Ok(()));
    }

    /// Spec.
    #[test]
    fn the_budget_holds_over_rounds() {
        let policy = policy(2.0);
        let mechanism = private(1.0, 0.02, 10);
        let mut ledgers = ledgers(&policy);
        let mut rounds = 0;
        let refused = loop {
            match policy.check_mechanism(&mechanism, &ledgers) {
                Ok(()) => {
                    let cost = mechanism.per_round().unwrap();
                    ledgers.example.ledger.record_past(cost);
                }
                Err(reason) => break reason,
            }
            rounds += 1;
        };
        let ledger = &ledgers.example.ledger;
        assert!(rounds > 1, "only {rounds} rounds fit");
        assert!(ledger.spent().unwrap() <= policy.budget.epsilon);
        assert!(
            ledger.spent_after(mechanism.per_round().unwrap()).unwrap() > policy.budget.epsilon
        );
        assert!(refused.is_final() && matches!(refused, DeclineReason::Budget { .. }));
        assert!(
            refused
                .to_string()
                .contains("the budget is 2 at delta 1e-5"),
            "{refused}"
        );
    }

    /// Spec.
    #[test]
    fn a_budget_for_the_client_asks_for_a_promise_to_it() {
        let mut policy = policy(8.0);
        policy.client_budget = Some(policy.budget);
        let refused = policy.check_mechanism(&private(1.0, 0.1, 4), &ledgers(&policy));
        let Err(DeclineReason::Mechanism(PrivacyError::NoPromise { unit, .. })) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(unit, PrivacyUnit::Client);
    }

    #[test]
    fn what_nothing_bounds_is_over_a_budget_for_the_client() {
        let policy = policy(8.0);
        let cost = Event::from(*private(2.0, 0.1, 1).per_round().unwrap());
        let account = |unbounded| Account {
            ledger: Ledger::new(policy.budget),
            unbounded,
        };
        let judge = |unit, unbounded| policy.check_cost(unit, &cost, &account(unbounded));
        assert_eq!(judge(PrivacyUnit::Client, 0), Ok(()));
        assert_eq!(judge(PrivacyUnit::Example, 1), Ok(()));
        let Err(reason) = judge(PrivacyUnit::Client, 1) else {
            panic!("it passes");
        };
        let said = reason.to_string();
        assert!(
            said.contains("for each client") && said.contains("without bound"),
            "{said}"
        );
    }

    #[test]
    fn meaningless_budgets_are_refused() {
        let mut policy = policy(8.0);
        assert_eq!(policy.check_budgets(Some(1000), Some(12)), Ok(()));
        let delta = policy.check_budgets(Some(100_000), None).unwrap_err();
        assert!(delta.to_string().contains("choose 1e-6 or less"), "{delta}");
        policy.client_budget = Some(Budget {
            delta: Delta::new(0.1).unwrap(),
            ..policy.budget
        });
        assert_eq!(policy.check_budgets(None, None), Ok(()));
        assert!(policy.check_budgets(None, Some(12)).is_err());
        policy.budget.epsilon = Epsilon::new(0.0).unwrap();
        assert_eq!(
            policy.check_budgets(None, None),
            Err(PrivacyError::NothingAllowed)
        );
    }
}
