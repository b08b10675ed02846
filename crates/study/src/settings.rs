//! The training settings that the demo and the studies start from.

use undertone_privacy::{Delta, Epsilon, SamplingRate, noise_multiplier_for};
use undertone_training::{
    BaseWeights, FederatedConfig, LoraConfig, LoraVariant, PrivacyConfig, Projection,
    TrainingConfig,
};

use crate::error::StudyError;

/// Mail providers.
pub const CLIENTS: u16 = 12;

/// Thousandths of the mail that nobody trains on.
pub const HELD_OUT_PER_MILLE: usize = 150;

/// Which mail that is: not the splits on which settings are chosen ([`TUNING_SPLITS`]).
pub const SPLIT: u64 = 2;

/// Splits of the mail on which settings are chosen, and none is reported.
pub const TUNING_SPLITS: [u64; 2] = [0, 1];

/// Rounds of a training.
pub const ROUNDS: u32 = 8;

/// Steps that a client makes in a round.
pub const LOCAL_STEPS: u32 = 4;

/// The probability of each mail to be in a step.
pub const SAMPLING_RATE: f64 = 0.1;

/// Delta of every promise.
pub const DELTA: f64 = 1e-5;

/// The demo's settings without noise: LoRA of rank 4 on query and value of the last layer.
pub fn training() -> TrainingConfig {
    TrainingConfig {
        sequence_length: 64,
        labels: 2,
        head_bias: true,
        feature_scale: 4.0,
        base_weights: BaseWeights::F32,
        lora: Some(LoraConfig {
            layers: 1,
            projections: vec![Projection::Query, Projection::Value],
            rank: 4,
            alpha: 4.0,
            seed: 1,
            variant: LoraVariant::Ffa,
        }),
        privacy: None,
        sampling_rate: SAMPLING_RATE,
        local_steps: LOCAL_STEPS,
        learning_rate: 2.0,
        momentum: 0.5,
        federated: FederatedConfig::default(),
    }
}

/// `config` with DP-SGD of clip norm 1 whose noise keeps a client that takes part in `rounds`
/// rounds within `epsilon` at `delta`, for one of its examples (add-or-remove-one; RDP of the
/// Poisson-subsampled Gaussian).
///
/// # Errors
/// [`StudyError::Privacy`] if no noise multiplier keeps the target.
pub fn private(
    config: TrainingConfig,
    rounds: u32,
    epsilon: Epsilon,
    delta: Delta,
) -> Result<TrainingConfig, StudyError> {
    let steps = u64::from(rounds) * u64::from(config.local_steps);
    let rate = SamplingRate::new(config.sampling_rate)?;
    let noise_multiplier = noise_multiplier_for(epsilon, delta, rate, steps)?.get();
    let privacy = Some(PrivacyConfig::new(1.0, noise_multiplier));
    Ok(TrainingConfig { privacy, ..config })
}
