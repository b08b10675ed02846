//! The crate's one error type.

use thiserror::Error;

use crate::statement::PrivacyUnit;

/// What can be wrong with a privacy parameter, a calibration or a spend.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum PrivacyError {
    /// ε is negative, infinite or not a number.
    #[error("epsilon is {0}; it must be a finite number, 0 or more")]
    Epsilon(f64),
    /// δ is outside (0, 1).
    #[error("delta is {0}; it must lie strictly between 0 and 1 (1e-5, say)")]
    Delta(f64),
    /// The sampling rate is outside [0, 1].
    #[error("sampling rate is {0}; it must lie between 0 and 1")]
    SamplingRate(f64),
    /// The noise multiplier is not a positive finite number.
    #[error("noise multiplier is {0}; it must be a finite number above 0")]
    NoiseMultiplier(f64),
    /// The noise is so small that it promises nothing.
    #[error(
        "a noise multiplier of {0} is below the least that is drawn or accounted for, {least}: epsilon \
         would be in the thousands; choose 0.5 or more for a promise worth making",
        least = crate::units::NoiseMultiplier::LEAST
    )]
    TooLittleNoise(crate::units::NoiseMultiplier),
    /// A variance is not a positive finite number.
    #[error("variance is {0}; it must be a finite number above 0")]
    Variance(f64),
    /// A Rényi order is not above 1.
    #[error("Rényi order is {0}; it must be a finite number above 1")]
    Order(f64),
    /// A standard deviation is outside the range in which samples keep their precision.
    #[error("standard deviation is {0}; it must lie between 1e-30 and 1e30")]
    StandardDeviation(f64),
    /// No Rényi order gives a finite ε: far too little noise.
    #[error(
        "no Rényi order gives a finite epsilon at delta {delta}; \
         raise the noise multiplier or lower the number of steps"
    )]
    NoFiniteEpsilon {
        /// The δ asked for.
        delta: f64,
    },
    /// Integer noise has no privacy loss distribution that is computed here.
    #[error(
        "integer noise in many coordinates has no exact privacy loss distribution; \
         account it by Rényi divergences"
    )]
    NoLossDistribution,
    /// The privacy loss does not fit a grid of bearable size.
    #[error(
        "the privacy loss of these steps is too wide for a grid; account them by Rényi divergences, \
         or raise the noise multiplier"
    )]
    LossTooWide,
    /// δ is below what an accountant computes.
    #[error("delta is {delta}; this accountant computes no smaller one than {smallest}")]
    DeltaTooSmall {
        /// The δ asked for.
        delta: f64,
        /// The smallest that is computed.
        smallest: f64,
    },
    /// No noise multiplier in the searched range reaches the target ε.
    #[error(
        "no noise multiplier up to {largest} keeps epsilon within {target}; \
         raise the target epsilon, or lower the sampling rate or the number of steps"
    )]
    TargetOutOfReach {
        /// The ε asked for.
        target: f64,
        /// The largest noise multiplier tried.
        largest: f64,
    },
    /// Calibration was asked for ε 0.
    #[error(
        "epsilon 0 promises that nothing is learnt, which no finite noise reaches; \
         raise the target epsilon"
    )]
    TargetIsZero,
    /// Calibration was asked for a mechanism that looks at no data.
    #[error(
        "nothing is released with 0 steps or a sampling rate of 0: there is no noise to choose"
    )]
    NothingToCalibrate,
    /// A setting of a task's mechanism is out of range.
    #[error("the mechanism's {name} is {value}; it must be a finite number above 0")]
    Mechanism {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// A setting of adaptive clipping is out of range.
    #[error("adaptive clipping's {name} is {value}; choose {choose}")]
    AdaptiveClip {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        choose: String,
    },
    /// A spend would take the ledger over its budget.
    #[error("the next round would bring epsilon to {would_be}, over the budget of {budget}")]
    BudgetExceeded {
        /// ε after the refused spend.
        would_be: f64,
        /// The budget's ε.
        budget: f64,
    },
    /// A budget's ε is 0.
    #[error(
        "a budget of epsilon 0 allows no release at all; choose an epsilon above 0, or take no part"
    )]
    NothingAllowed,
    /// δ is one over the number of units or more.
    #[error(
        "delta {delta} is not below one over the number of {unit}s ({units}): a mechanism that \
         publishes one {unit} at random would keep it; choose {at_most:e} or less"
    )]
    DeltaTooLarge {
        /// The δ.
        delta: f64,
        /// What the promise is about.
        unit: PrivacyUnit,
        /// How many of them there are.
        units: u64,
        /// A tenth of one over their number.
        at_most: f64,
    },
    /// A filter was asked for a mechanism that looks at no data.
    #[error("0 steps or a sampling rate of 0 release nothing: there is nothing to account for")]
    NothingReleased,
    /// A plan of equal rounds costs more than its budget.
    #[error(
        "{rounds} rounds cost epsilon {}, and the budget is {budget} at delta {delta:e}: it covers \
         {fits} of them; choose {}{}a budget that covers them",
        bound(*would_be), rounds_to_choose(*fits), noise_to_choose(*least_noise)
    )]
    Overrun {
        /// The planned rounds.
        rounds: u64,
        /// What they would cost; `None` where no ε is finite.
        would_be: Option<f64>,
        /// The budget's ε.
        budget: f64,
        /// The budget's δ.
        delta: f64,
        /// How many rounds it covers.
        fits: u64,
        /// The least noise multiplier at which all rounds fit, where noise is set by one.
        least_noise: Option<f64>,
    },
    /// A mechanism makes no promise for a unit of privacy.
    #[error("the mechanism promises nothing for each {unit}: {reason}")]
    NoPromise {
        /// The unit.
        unit: PrivacyUnit,
        /// Why not.
        reason: &'static str,
    },
    /// A number of a mechanism is outside its range.
    #[error("{name} is {value}; it must be {range}")]
    OutOfRange {
        /// Which number.
        name: &'static str,
        /// What it was.
        value: f64,
        /// What it may be, in words.
        range: &'static str,
    },
    /// Settings of distributed noise do not work.
    #[error("{0}")]
    Distributed(String),
    /// The tables of a sampler fail their check.
    #[error("the sampler's tables are inconsistent ({0}); choose another variance")]
    Sampler(&'static str),
}

fn bound(epsilon: Option<f64>) -> String {
    epsilon.map_or_else(|| "without bound".to_owned(), |epsilon| epsilon.to_string())
}

fn rounds_to_choose(fits: u64) -> String {
    match fits {
        0 => String::new(),
        1 => "1 round, ".to_owned(),
        _ => format!("at most {fits} rounds, "),
    }
}

fn noise_to_choose(least: Option<f64>) -> String {
    least.map_or_else(
        || "more noise, or ".to_owned(),
        |least| format!("a noise multiplier of {least} or more, or "),
    )
}
