//! The local policy: what this client is ready to take part in, whatever the server proposes.

use undertone_privacy::{Budget, Epsilon, Ledger, Mechanism, Noise, NoiseMultiplier, PrivacyError};
use undertone_protocol::ProtocolError;
use undertone_protocol::params::RoundParams;

/// What this client agrees to. It is checked before each round, before training and before
/// anything is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    /// The fewest clients whose sum may be unmasked. The round's own threshold rule is checked in
    /// any case; this is a floor of this client's own.
    pub min_survivors: usize,
    /// The most ε at one δ that may be spent on the data set, over all rounds of all tasks that
    /// share the state directory.
    pub budget: Budget,
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
    /// A cautious policy within a budget: at least 5 survivors, a noise multiplier of 0.5 or more,
    /// no mechanism without noise, an update norm of at most 100, at most 2^26 values, and no
    /// limit on rounds.
    ///
    /// # Errors
    /// Never in practice: the constants are inside their ranges.
    pub fn new(budget: Budget) -> Result<Self, PrivacyError> {
        Ok(Self {
            min_survivors: 5,
            budget,
            min_noise_multiplier: NoiseMultiplier::new(0.5)?,
            allow_no_noise: false,
            max_update_clip: 100.0,
            max_vector_length: 1 << 26,
            max_rounds: None,
        })
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
        let (offered, floor) = (params.min_survivors(), self.min_survivors);
        if offered < floor {
            return Err(DeclineReason::MinSurvivors { offered, floor });
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
        ledger: &Ledger,
    ) -> Result<(), DeclineReason> {
        mechanism.validate().map_err(DeclineReason::Mechanism)?;
        let (offered, limit) = (mechanism.update_clip, self.max_update_clip);
        if offered > limit {
            return Err(DeclineReason::UpdateClip { offered, limit });
        }
        let per_round = match &mechanism.noise {
            Noise::None if self.allow_no_noise => return Ok(()),
            Noise::None => return Err(DeclineReason::NoNoise),
            Noise::LocalDpSgd { per_round, .. } => per_round,
        };
        // It would cost the ledger nothing, and nothing is learnt from no data.
        if per_round.steps == 0 || per_round.sampling_rate.get() <= 0.0 {
            return Err(DeclineReason::EmptyMechanism);
        }
        let (offered, floor) = (per_round.noise_multiplier, self.min_noise_multiplier);
        if offered < floor {
            return Err(DeclineReason::NoiseMultiplier { offered, floor });
        }
        if ledger.would_exceed(per_round) {
            return Err(DeclineReason::Budget {
                spent: ledger.spent().ok(),
                would_be: ledger.spent_after(per_round).ok(),
                budget: self.budget,
            });
        }
        Ok(())
    }
}

/// Why a round is declined. Nothing was sent in it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DeclineReason {
    /// The sum of too few clients could be unmasked.
    #[error("the round may end with {offered} survivors; this client's policy asks for {floor}")]
    MinSurvivors {
        /// What the parameters say.
        offered: usize,
        /// What the policy asks for.
        floor: usize,
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
        /// What the mechanism says.
        offered: NoiseMultiplier,
        /// What the policy asks for.
        floor: NoiseMultiplier,
    },
    /// The round would take the ledger over its budget.
    #[error(
        "the privacy budget is used up: epsilon {} is spent and would become {}, the budget is \
         {} at delta {}",
        figure(*spent), figure(*would_be), budget.epsilon, budget.delta
    )]
    Budget {
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
