//! The hyper-parameters of a task: what every client must train with, and the digest covers.

use candle_core::quantized::GgmlDType;
use serde::{Deserialize, Serialize};
use undertone_privacy::{AdaptiveClip, NoiseMultiplier};

use crate::algorithm::FederatedConfig;
use crate::error::{Result, TrainingError};

/// An attention projection that can carry a LoRA update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// The query projection.
    Query,
    /// The key projection.
    Key,
    /// The value projection.
    Value,
    /// The projection of the attention output.
    Output,
}

/// Which of the two matrices of a LoRA update are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraVariant {
    /// FFA-LoRA (Sun et al. 2024): A stays as the seed gives it and B alone is trained, so the
    /// average of the clients' updates is the update of the averages.
    #[default]
    Ffa,
    /// LoRA as published (Hu et al. 2021): A starts as the seed gives it, B at zero, and both are
    /// trained. The product of the averaged matrices is not the average of the products.
    Plain,
}

/// LoRA (Hu et al. 2021): updates of low rank to frozen projections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// How many of the last encoder layers carry updates, at least 1.
    pub layers: usize,
    /// The projections that carry updates, without repetition.
    pub projections: Vec<Projection>,
    /// The rank r of each update, at least 1.
    pub rank: usize,
    /// The update is `alpha / rank * x A^T B^T`.
    pub alpha: f64,
    /// Seed of the matrices A (frozen, or their start), the same for all clients.
    pub seed: u64,
    /// What is trained: `ffa` (B alone, the default) or `plain` (A and B).
    #[serde(default, skip_serializing_if = "is_default")]
    pub variant: LoraVariant,
}

/// Which trainable tensors share a clip norm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipGroups {
    /// All of them (Abadi et al. 2016).
    #[default]
    Flat,
    /// Those of one encoder layer, and those of the head; of G groups each gets
    /// `clip_norm / sqrt(G)` (`McMahan` et al. 2018, section 3.1).
    PerLayer,
    /// Each tensor by itself, with equal shares likewise.
    PerTensor,
}

/// Whether a field has the value that it has when it is left out: it is then not written, so that
/// settings made before the field existed keep their bytes and their digest.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// DP-SGD (Abadi et al. 2016) for one client.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrivacyConfig {
    /// The largest L2 norm C of one example's gradient over all trainable values; above 0. It is
    /// the sensitivity of the sum whatever the groups are.
    pub clip_norm: f64,
    /// Standard deviation of the noise on the summed gradients, in units of `clip_norm`; above 0.
    pub noise_multiplier: f64,
    /// Whether the norm is clipped as a whole (`flat`, the default) or in parts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub groups: ClipGroups,
    /// Whether `clip_norm`, then only the first one, follows a quantile of the gradients' norms
    /// (Andrew et al. 2021). `noise_multiplier` stays what a step costs, the bits included.
    #[serde(default, skip_serializing_if = "is_default")]
    pub adaptive: Option<AdaptiveClip>,
}

impl PrivacyConfig {
    /// Flat clipping to `clip_norm`, with noise of `noise_multiplier * clip_norm`.
    pub const fn new(clip_norm: f64, noise_multiplier: f64) -> Self {
        Self {
            clip_norm,
            noise_multiplier,
            groups: ClipGroups::Flat,
            adaptive: None,
        }
    }

    /// The standard deviation of the noise on summed gradients in units of the clip norm: what is
    /// left of `noise_multiplier` when the bits of adaptive clipping are paid for.
    ///
    /// # Errors
    /// [`TrainingError::Privacy`] if a value is out of range.
    pub fn gradient_multiplier(&self) -> Result<f64> {
        let total = NoiseMultiplier::new(self.noise_multiplier)?;
        let multiplier = match &self.adaptive {
            Some(adaptive) => adaptive.update_multiplier(total)?,
            None => total,
        };
        Ok(multiplier.get())
    }
}

/// How the frozen weights of the encoder are kept: clients must agree, since what is trained
/// depends on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BaseWeights {
    /// As they are in the file, 4 bytes each.
    #[default]
    #[serde(rename = "f32")]
    F32,
    /// Blocks of 32 with one scale: 8.5 bits a weight.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// Blocks of 32 with one scale: 4.5 bits a weight.
    #[serde(rename = "q4_0")]
    Q4_0,
    /// Blocks of 256 with eight scales and minima: 4.5 bits a weight.
    #[serde(rename = "q4_k")]
    Q4K,
}

impl BaseWeights {
    /// Candle's name; nothing for `f32`.
    pub(crate) fn dtype(self) -> Option<GgmlDType> {
        match self {
            Self::F32 => None,
            Self::Q8_0 => Some(GgmlDType::Q8_0),
            Self::Q4_0 => Some(GgmlDType::Q4_0),
            Self::Q4K => Some(GgmlDType::Q4K),
        }
    }

    /// The name as in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4K => "q4_k",
        }
    }
}

/// All hyper-parameters of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Tokens kept of each text, special tokens included; at least 2.
    pub sequence_length: usize,
    /// The number of classes, at least 2.
    pub labels: usize,
    /// Whether the classification head has a bias.
    pub head_bias: bool,
    /// The head sees the mean-pooled sentence vector scaled to this L2 norm; above 0.
    pub feature_scale: f64,
    /// How the encoder's frozen weights are kept (`f32`, the default, or quantized).
    #[serde(default, skip_serializing_if = "is_default")]
    pub base_weights: BaseWeights,
    /// LoRA adapters; `None` trains the head alone.
    pub lora: Option<LoraConfig>,
    /// DP-SGD; `None` trains without clipping and noise.
    pub privacy: Option<PrivacyConfig>,
    /// The probability q with which each example joins a step, in (0, 1].
    pub sampling_rate: f64,
    /// Steps of SGD a client makes in a round, at least 1.
    pub local_steps: u32,
    /// The step size, above 0.
    pub learning_rate: f64,
    /// Momentum of SGD within a round, in [0, 1).
    pub momentum: f64,
    /// The federated algorithm; averaging equal updates if it is left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub federated: FederatedConfig,
}

/// What an accountant needs to know about one client's training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrivacySchedule {
    /// Poisson sampling rate q of each step.
    pub sampling_rate: f64,
    /// Noise standard deviation over clipping norm.
    pub noise_multiplier: f64,
    /// Steps taken in all.
    pub steps: u64,
}

impl TrainingConfig {
    /// Checks every range that is documented on the fields.
    ///
    /// # Errors
    /// [`TrainingError::Config`] names the first field that is out of range;
    /// [`TrainingError::Privacy`] if the noise does not pay for the bits of adaptive clipping.
    pub fn validate(&self) -> Result<()> {
        self.federated.validate(self.momentum)?;
        let above_zero = |x: f64| x.is_finite() && x > 0.0;
        let mut checks = vec![
            (
                self.sequence_length >= 2,
                "sequence_length must be at least 2",
            ),
            (self.labels >= 2, "labels must be at least 2"),
            (
                above_zero(self.feature_scale),
                "feature_scale must be above 0",
            ),
            (
                self.sampling_rate > 0.0 && self.sampling_rate <= 1.0,
                "sampling_rate must be above 0 and at most 1",
            ),
            (self.local_steps >= 1, "local_steps must be at least 1"),
            (
                above_zero(self.learning_rate),
                "learning_rate must be above 0",
            ),
            (
                (0.0..1.0).contains(&self.momentum),
                "momentum must be at least 0 and below 1",
            ),
        ];
        if let Some(lora) = &self.lora {
            let mut seen = lora.projections.clone();
            seen.sort_unstable();
            seen.dedup();
            checks.extend([
                (lora.layers >= 1, "lora.layers must be at least 1"),
                (
                    lora.rank >= 1,
                    "lora.rank must be at least 1; without updates leave lora out",
                ),
                (above_zero(lora.alpha), "lora.alpha must be above 0"),
                (
                    !seen.is_empty() && seen.len() == lora.projections.len(),
                    "lora.projections must name at least one projection, none twice",
                ),
            ]);
        }
        if let Some(privacy) = &self.privacy {
            checks.extend([
                (
                    above_zero(privacy.clip_norm),
                    "privacy.clip_norm must be above 0; choose about the median norm of an example's \
                     gradient",
                ),
                (
                    NoiseMultiplier::new(privacy.noise_multiplier)
                        .and_then(NoiseMultiplier::enough)
                        .is_ok(),
                    "privacy.noise_multiplier must be 0.01 or more; choose one with `undertone \
                     calibrate`, or leave privacy out",
                ),
            ]);
        }
        if let Some(privacy) = &self.privacy
            && privacy.adaptive.is_some()
        {
            checks.push((
                privacy.groups == ClipGroups::Flat,
                "privacy.adaptive follows the norm of the whole gradient; choose groups = flat, or \
                 leave adaptive out",
            ));
        }
        match checks.into_iter().find(|(ok, _)| !ok) {
            Some((_, message)) => Err(TrainingError::Config(message.to_owned())),
            // Whether the noise pays for the bits.
            None => self
                .privacy
                .map_or(Ok(()), |privacy| privacy.gradient_multiplier().map(|_| ())),
        }
    }

    /// The canonical JSON bytes: the training digest of the round parameters is their SHA-256.
    ///
    /// # Errors
    /// [`TrainingError::Config`] if a value has no JSON form.
    pub fn to_json_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| TrainingError::Config(e.to_string()))
    }

    /// Reads and validates JSON; unknown fields are refused.
    ///
    /// # Errors
    /// [`TrainingError::Config`].
    pub fn from_json_bytes(bytes: &[u8]) -> Result<Self> {
        let config: Self =
            serde_json::from_slice(bytes).map_err(|e| TrainingError::Config(e.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    /// The DP-SGD steps of a client that takes part in `rounds` rounds; `None` without privacy.
    pub fn privacy_schedule(&self, rounds: u32) -> Option<PrivacySchedule> {
        self.privacy.map(|privacy| PrivacySchedule {
            sampling_rate: self.sampling_rate,
            noise_multiplier: privacy.noise_multiplier,
            steps: u64::from(rounds) * u64::from(self.local_steps),
        })
    }

    /// The same task without clipping and noise.
    #[must_use]
    pub fn without_privacy(&self) -> Self {
        Self {
            privacy: None,
            ..self.clone()
        }
    }

    /// The same task with a head alone.
    #[must_use]
    pub fn head_only(&self) -> Self {
        Self {
            lora: None,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn json_round_trips_and_unknown_fields_are_refused() {
        let config = fixture::config();
        let bytes = config.to_json_bytes().unwrap();
        assert_eq!(TrainingConfig::from_json_bytes(&bytes).unwrap(), config);
        let text = String::from_utf8(bytes)
            .unwrap()
            .replacen('{', "{\"colour\":1,", 1);
        assert!(TrainingConfig::from_json_bytes(text.as_bytes()).is_err());
    }

    /// A noise multiplier that was calibrated has all its digits, and a client that reads another one
    /// than the task was made with trains by settings of its own.
    #[test]
    fn every_digit_survives() {
        let mut config = fixture::config();
        let mut noise_multiplier = 0.9;
        for _ in 0..2000 {
            noise_multiplier *= 1.000_123_456_789;
            config.privacy = Some(PrivacyConfig::new(1.0, noise_multiplier));
            let bytes = config.to_json_bytes().unwrap();
            assert_eq!(TrainingConfig::from_json_bytes(&bytes).unwrap(), config);
        }
    }

    fn adaptive(bit_noise: f64) -> AdaptiveClip {
        AdaptiveClip {
            target_quantile: 0.5,
            learning_rate: 0.2,
            bit_noise,
        }
    }

    /// The bits are paid out of the stated multiplier: 1/0.25 - 1/100 = 3.99.
    #[test]
    fn adaptive_clipping_leaves_less_for_the_gradients() {
        let mut config = fixture::config();
        let privacy = config.privacy.as_mut().unwrap();
        assert!((privacy.gradient_multiplier().unwrap() - 0.5).abs() < 1e-15);
        privacy.adaptive = Some(adaptive(5.0));
        let got = privacy.gradient_multiplier().unwrap();
        assert!((got - 3.99_f64.sqrt().recip()).abs() < 1e-12, "{got}");
        config.validate().unwrap();
        assert!((config.privacy_schedule(1).unwrap().noise_multiplier - 0.5).abs() < 1e-15);
    }

    /// Settings from before a field existed have a digest that clients already know.
    #[test]
    fn fields_at_their_defaults_are_not_written() {
        let plain = fixture::config().to_json_bytes().unwrap();
        let text = String::from_utf8(plain).unwrap();
        for field in ["variant", "groups", "base_weights", "adaptive"] {
            assert!(!text.contains(field), "{text}");
        }
        let mut config = fixture::config();
        config.base_weights = BaseWeights::Q8_0;
        config.lora.as_mut().unwrap().variant = LoraVariant::Plain;
        config.privacy.as_mut().unwrap().groups = ClipGroups::PerLayer;
        let bytes = config.to_json_bytes().unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains(r#""variant":"plain""#), "{text}");
        assert!(text.contains(r#""groups":"per_layer""#), "{text}");
        assert!(text.contains(r#""base_weights":"q8_0""#), "{text}");
        assert_eq!(TrainingConfig::from_json_bytes(&bytes).unwrap(), config);
    }

    #[test]
    fn base_weights_are_written_as_they_are_named() {
        use BaseWeights::{F32, Q4_0, Q4K, Q8_0};
        for base in [F32, Q8_0, Q4_0, Q4K] {
            assert_eq!(serde_json::to_value(base).unwrap(), base.name());
        }
    }

    #[test]
    fn each_range_is_checked() {
        let broken: [fn(&mut TrainingConfig); 11] = [
            // Adaptive clipping whose bit costs all there is, and one that does not know its norm.
            |c| c.privacy.as_mut().unwrap().adaptive = Some(adaptive(0.1)),
            |c| {
                let privacy = c.privacy.as_mut().unwrap();
                privacy.adaptive = Some(adaptive(5.0));
                privacy.groups = ClipGroups::PerLayer;
            },
            |c| c.sequence_length = 1,
            |c| c.labels = 1,
            |c| c.sampling_rate = 0.0,
            |c| c.sampling_rate = 1.5,
            |c| c.local_steps = 0,
            |c| c.learning_rate = f64::NAN,
            |c| c.momentum = 1.0,
            |c| {
                c.privacy = Some(PrivacyConfig::new(0.0, 1.0));
            },
            |c| {
                if let Some(lora) = &mut c.lora {
                    lora.projections = vec![Projection::Query, Projection::Query];
                }
            },
        ];
        for (i, change) in broken.iter().enumerate() {
            let mut config = fixture::config();
            change(&mut config);
            assert!(config.validate().is_err(), "case {i}");
        }
        fixture::config().validate().unwrap();
    }

    #[test]
    fn the_schedule_counts_all_steps() {
        let mut config = fixture::config();
        config.privacy = Some(PrivacyConfig::new(1.0, 0.8));
        config.local_steps = 5;
        let schedule = config.privacy_schedule(8).unwrap();
        assert_eq!(schedule.steps, 40);
        assert!(config.without_privacy().privacy_schedule(8).is_none());
    }
}
