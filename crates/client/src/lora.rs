//! A ready-made [`Trainer`]: LoRA fine-tuning of a BERT encoder with DP-SGD in candle.

mod memory;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;
use undertone_privacy::mechanism::LocalDpSgd;
use undertone_privacy::{Mechanism, Noise, PrivacyError, PrivacyUnit, promise};
use undertone_protocol::adapter::Adapter;
use undertone_protocol::id::{RoundId, TaskId};
use undertone_training::{
    Control, Encoder, Features, LabelledTokens, LocalTrainer, Model, TextTokenizer, TrainingConfig,
    TrainingError,
};

use crate::coding::GradientSum;
use crate::trainer::{Trainer, Work};
use memory::Memory;

/// Why local training failed.
#[derive(Debug, thiserror::Error)]
pub enum LoraError {
    /// Training itself failed.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// The training settings are not what the mechanism says.
    #[error("the task's training settings disagree with its mechanism: {0}; training is refused")]
    Disagreement(&'static str),
    /// The features were made for other settings than the task's.
    #[error("the task's training settings are not those that the features were made for")]
    OtherSettings,
    /// The system's random generator failed.
    #[error("the system's random generator failed: {0}")]
    Randomness(#[from] getrandom::Error),
    /// SCAFFOLD remembers something from round to round, and nothing says where.
    #[error(
        "the task's algorithm keeps a control variate between rounds; give the trainer a folder \
         for it with `with_memory`"
    )]
    NoMemory,
    /// What is remembered cannot be read or written.
    #[error("cannot keep the control variate in {path}: {source}")]
    Memory {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A gradient cannot be encoded.
    #[error("a gradient cannot be encoded: {0}")]
    Encoding(#[from] PrivacyError),
    /// The computation was cut off.
    #[error("training was cut off: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

/// One client's texts, and the model that is fine-tuned on them.
#[derive(Debug)]
pub struct LoraData {
    /// The pretrained encoder.
    pub encoder: Arc<Encoder>,
    /// Its tokenizer.
    pub tokenizer: TextTokenizer,
    /// The texts.
    pub texts: Vec<String>,
    /// Their classes, `[texts]`.
    pub labels: Vec<u32>,
    /// Where activations of the frozen layers are kept between runs; they are as confidential as
    /// the texts.
    pub cache: Option<PathBuf>,
}

enum State {
    Texts(Box<LoraData>),
    Features(Arc<Model>, Features),
    Ready(Box<LocalTrainer<ChaCha20Rng>>),
}

type Progress = Arc<dyn Fn(u32, u32) + Send + Sync>;

/// Trains on one client's data; see [`LoraTrainer::from_texts`].
pub struct LoraTrainer {
    /// Taken out while a round trains on another thread; put back when it succeeds.
    state: Option<State>,
    progress: Progress,
    folder: Option<PathBuf>,
    memory: Option<Memory>,
}

impl fmt::Debug for LoraTrainer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoraTrainer(..)")
    }
}

impl LoraTrainer {
    /// Trains on texts; tokens and activations of the frozen layers are computed in the first
    /// round, when the task's settings are known.
    pub fn from_texts(data: LoraData) -> Self {
        Self {
            state: Some(State::Texts(Box::new(data))),
            progress: Arc::new(|_, _| ()),
            folder: None,
            memory: None,
        }
    }

    /// Trains on activations that were computed before, for a task whose settings are known.
    pub fn from_features(model: Arc<Model>, features: Features) -> Self {
        Self {
            state: Some(State::Features(model, features)),
            progress: Arc::new(|_, _| ()),
            folder: None,
            memory: None,
        }
    }

    /// Keeps in this folder what an algorithm remembers from round to round: SCAFFOLD's control
    /// variate, one file a task. It is as confidential as an unmasked update.
    #[must_use]
    pub fn with_memory(mut self, folder: PathBuf) -> Self {
        self.folder = Some(folder);
        self
    }

    fn memory(&mut self, task: TaskId) -> Result<Option<&mut Memory>, LoraError> {
        let loaded = self
            .memory
            .as_ref()
            .is_some_and(|memory| memory.task == task);
        if let (false, Some(folder)) = (loaded, &self.folder) {
            self.memory = Some(Memory::load(folder, task)?);
        }
        Ok(self.memory.as_mut().filter(|memory| memory.task == task))
    }

    /// Calls `progress` with steps done and steps in all, from the training thread.
    #[must_use]
    pub fn with_progress(mut self, progress: impl Fn(u32, u32) + Send + Sync + 'static) -> Self {
        self.progress = Arc::new(progress);
        self
    }
}

impl Trainer for LoraTrainer {
    type Error = LoraError;

    async fn train(&mut self, work: Work<'_>) -> Result<Vec<f32>, LoraError> {
        let config = TrainingConfig::from_json_bytes(work.training)?;
        agrees(&config, work.mechanism).map_err(LoraError::Disagreement)?;
        let control = if config.federated.has_control() {
            let memory = self.memory(work.task)?.ok_or(LoraError::NoMemory)?;
            memory.control.clone()
        } else {
            Control::default()
        };
        let (adapter, progress) = (work.adapter.clone(), self.progress.clone());
        // Empty only after an earlier round failed; there is then nothing to train on.
        let state = self.state.take().ok_or(LoraError::OtherSettings)?;
        let job = tokio::task::spawn_blocking(move || {
            let mut trainer = ready(state, config)?;
            *trainer.control_mut() = control;
            let update = trainer.train(&adapter, |done, all| progress(done, all))?;
            Ok::<_, LoraError>((trainer, update.delta))
        });
        let (trainer, delta) = job.await??;
        if let Some(memory) = &mut self.memory
            && trainer.control().is_unsettled()
        {
            // Durable before the update leaves: what reaches the sum is never forgotten.
            memory.control = trainer.control().clone();
            memory.round = Some(work.id);
            memory.save()?;
        }
        self.state = Some(State::Ready(trainer));
        Ok(delta)
    }

    fn unsettled(&mut self, task: TaskId) -> Result<Option<RoundId>, LoraError> {
        Ok(self.memory(task)?.and_then(|memory| memory.round))
    }

    fn settle(&mut self, counted: bool) -> Result<(), LoraError> {
        let Some(memory) = &mut self.memory else {
            return Ok(());
        };
        memory.control.settle(counted);
        memory.round = None;
        memory.save()
    }

    async fn gradients(
        &mut self,
        work: Work<'_>,
        mut sum: GradientSum,
    ) -> Result<Option<GradientSum>, LoraError> {
        let config = TrainingConfig::from_json_bytes(work.training)?;
        agrees(&config, work.mechanism).map_err(LoraError::Disagreement)?;
        let (adapter, progress) = (work.adapter.clone(), self.progress.clone());
        let state = self.state.take().ok_or(LoraError::OtherSettings)?;
        let job = tokio::task::spawn_blocking(move || {
            let mut trainer = ready(state, config)?;
            trainer.contributions(&adapter, |contribution| {
                Ok::<_, LoraError>(sum.add(contribution)?)
            })?;
            progress(1, 1);
            Ok::<_, LoraError>((trainer, sum))
        });
        let (trainer, sum) = job.await??;
        self.state = Some(State::Ready(trainer));
        Ok(Some(sum))
    }
}

fn ready(
    state: State,
    config: TrainingConfig,
) -> Result<Box<LocalTrainer<ChaCha20Rng>>, LoraError> {
    let (model, features) = match state {
        State::Ready(trainer) if *trainer.model().config() == config => return Ok(trainer),
        State::Features(model, features) if *model.config() == config => (model, features),
        State::Ready(_) | State::Features(..) => return Err(LoraError::OtherSettings),
        State::Texts(data) => features(&data, config)?,
    };
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)?;
    Ok(Box::new(LocalTrainer::new(
        model,
        features,
        ChaCha20Rng::from_seed(*seed),
    )?))
}

fn features(data: &LoraData, config: TrainingConfig) -> Result<(Arc<Model>, Features), LoraError> {
    let length = config.sequence_length;
    let ids = data.tokenizer.encode(&data.texts, length)?;
    let tokens = LabelledTokens {
        ids: &ids,
        labels: &data.labels,
        length,
    };
    let encoder = data.encoder.with_base(config.base_weights)?;
    let model = Arc::new(Model::new(Arc::clone(&encoder), config)?);
    let depth = model.depth();
    let features = match &data.cache {
        Some(folder) => Features::load_or_compute(folder, &encoder, tokens, depth, |_, _| ())?,
        None => Features::compute(&encoder, tokens, depth, |_, _| ())?,
    };
    Ok((model, features))
}

/// Whether the settings run exactly the mechanism that the ledger is charged for.
fn agrees(config: &TrainingConfig, mechanism: &Mechanism) -> Result<(), &'static str> {
    if config.federated.weighting.sends_weight()
        && promise::cost(mechanism, PrivacyUnit::Client).is_ok()
    {
        return Err(
            "a weight in the sum has no bounded sensitivity to a client; choose examples-fixed",
        );
    }
    bit_is_paid_for(config, mechanism)?;
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
    if let Noise::DistributedDpSgd { sampling_rate, .. } = &mechanism.noise {
        if !same(sampling_rate.get(), config.sampling_rate) {
            return Err("the sampling rates differ");
        }
        if config.local_steps != 1 {
            return Err("one step a round is summed; set local_steps to 1");
        }
    }
    match (mechanism.noise.local(), &config.privacy) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err("the mechanism has no noise of a client's own"),
        (Some(_), None) => Err("the settings train without noise"),
        (
            Some(LocalDpSgd {
                clip_norm,
                per_round,
            }),
            Some(privacy),
        ) => {
            if !same(clip_norm, privacy.clip_norm) {
                Err("the clip norms differ")
            } else if !same(per_round.noise_multiplier.get(), privacy.noise_multiplier) {
                Err("the noise multipliers differ")
            } else if !same(per_round.sampling_rate.get(), config.sampling_rate) {
                Err("the sampling rates differ")
            } else if per_round.steps != u64::from(config.local_steps) {
                Err("the numbers of steps differ")
            } else {
                Ok(())
            }
        }
    }
}

/// Whether the mechanism bounds, and covers with noise, the bit of an adaptive clip norm.
fn bit_is_paid_for(config: &TrainingConfig, mechanism: &Mechanism) -> Result<(), &'static str> {
    let Some(clip) = &config.federated.clip else {
        return Ok(());
    };
    if promise::cost(mechanism, PrivacyUnit::Client).is_err() {
        return Err(
            "an adaptive clip norm gives away a bit of each client, which only a mechanism that \
             protects whole clients pays for; leave federated.clip out",
        );
    }
    if (mechanism.update_clip / clip.joint_norm() - 1.0).abs() > 1e-6 {
        return Err("with an adaptive clip norm update_clip is sqrt(1 + bit_weight^2 / 4)");
    }
    Ok(())
}

/// The mechanism of a task whose clients train by these settings: what [`LoraTrainer`] demands.
///
/// # Errors
/// [`undertone_privacy::PrivacyError`] if a number is out of range.
pub fn mechanism_of(
    config: &TrainingConfig,
    update_clip: f64,
    scale: f64,
) -> Result<Mechanism, undertone_privacy::PrivacyError> {
    use undertone_privacy::{NoiseMultiplier, SamplingRate, SubsampledGaussian};
    let noise = match &config.privacy {
        None => Noise::None,
        Some(privacy) => Noise::LocalDpSgd {
            clip_norm: privacy.clip_norm,
            per_round: SubsampledGaussian {
                sampling_rate: SamplingRate::new(config.sampling_rate)?,
                noise_multiplier: NoiseMultiplier::new(privacy.noise_multiplier)?,
                steps: u64::from(config.local_steps),
            },
        },
    };
    let mechanism = Mechanism {
        update_clip,
        scale,
        rotation: None,
        noise,
    };
    mechanism.validate()?;
    Ok(mechanism)
}

/// The adapter that a task of these settings starts from: the pretrained encoder unchanged, a head
/// of zeros.
///
/// # Errors
/// [`TrainingError`] if the settings do not fit the encoder.
pub fn first_adapter(
    encoder: &Arc<Encoder>,
    config: &TrainingConfig,
) -> Result<Adapter, TrainingError> {
    let encoder = encoder.with_base(config.base_weights)?;
    Ok(Model::new(encoder, config.clone())?.initial_adapter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use undertone_privacy::distributed::{JointNoise, Layout, Sampler};
    use undertone_privacy::{NoiseMultiplier, SamplingRate};
    use undertone_protocol::id::RoundNumber;
    use undertone_training::fixture;

    /// Without noise for whole clients nobody pays for the bit.
    #[test]
    fn an_adaptive_clip_norm_that_is_not_paid_for_is_refused() {
        let mut config = private_config();
        let clip = undertone_training::ClientClip {
            initial: 1.0,
            target_quantile: 0.5,
            learning_rate: 0.2,
            bit_weight: 0.5,
        };
        let mechanism = mechanism_of(&config, clip.joint_norm(), 1024.0).unwrap();
        assert_eq!(bit_is_paid_for(&config, &mechanism), Ok(()));
        config.federated.clip = Some(clip);
        let refused = bit_is_paid_for(&config, &mechanism).unwrap_err();
        assert!(refused.contains("leave federated.clip out"), "{refused}");
    }

    fn private_config() -> TrainingConfig {
        let mut config = fixture::config();
        config.privacy = Some(undertone_training::PrivacyConfig::new(1.0, 1.0));
        config
    }

    /// Spec.
    #[test]
    fn every_disagreement_is_refused() {
        let config = private_config();
        let mechanism = mechanism_of(&config, 1.0, 1024.0).unwrap();
        assert_eq!(agrees(&config, &mechanism), Ok(()));
        let changes: [fn(&mut TrainingConfig); 5] = [
            |c| c.privacy = None,
            |c| c.local_steps += 1,
            |c| c.sampling_rate /= 2.0,
            |c| c.privacy.as_mut().unwrap().clip_norm *= 2.0,
            |c| c.privacy.as_mut().unwrap().noise_multiplier /= 2.0,
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut other = config.clone();
            change(&mut other);
            assert!(agrees(&other, &mechanism).is_err(), "case {i}");
        }
    }

    /// Spec.
    #[test]
    fn settings_of_distributed_mechanisms_are_compared_too() {
        let joint = JointNoise {
            sampler: Sampler::Skellam,
            noise_multiplier: NoiseMultiplier::new(1.0).unwrap(),
            honest: 3,
        };
        let open = fixture::config().without_privacy();
        let mut one_step = open.clone();
        one_step.local_steps = 1;
        let mechanism = |noise| Mechanism {
            update_clip: 1.0,
            scale: 1024.0,
            rotation: Some(Layout::all(64)),
            noise,
        };
        let by_examples = mechanism(Noise::DistributedDpSgd {
            joint,
            sampling_rate: SamplingRate::new(open.sampling_rate).unwrap(),
            contributions: 9,
            divisor: 4.0,
        });
        assert_eq!(agrees(&one_step, &by_examples), Ok(()));
        let mut two_steps = one_step.clone();
        two_steps.local_steps = 2;
        let mut other_rate = one_step.clone();
        other_rate.sampling_rate /= 2.0;
        for wrong in [two_steps, other_rate, private_config()] {
            assert!(agrees(&wrong, &by_examples).is_err());
        }
        let private = private_config();
        let local = mechanism_of(&private, 1.0, 1024.0).unwrap().noise.local();
        let by_clients = |local| {
            let divisor = 3.0;
            mechanism(Noise::DistributedDpFedAvg {
                joint,
                divisor,
                local,
            })
        };
        assert_eq!(agrees(&open, &by_clients(None)), Ok(()));
        assert_eq!(agrees(&private, &by_clients(local)), Ok(()));
        assert!(agrees(&private, &by_clients(None)).is_err());
        assert!(agrees(&open, &by_clients(local)).is_err());
    }

    #[tokio::test]
    async fn it_trains_round_after_round_and_keeps_to_its_settings() {
        let config = private_config();
        let mechanism = mechanism_of(&config, 1.0, 1024.0).unwrap();
        let (texts, labels) = fixture::texts(24, 1);
        let encoder = fixture::encoder().unwrap();
        let adapter = first_adapter(&encoder, &config).unwrap();
        let mut trainer = LoraTrainer::from_texts(LoraData {
            encoder,
            tokenizer: fixture::tokenizer().unwrap(),
            texts,
            labels,
            cache: None,
        });
        let training = config.to_json_bytes().unwrap();
        for round in 1..=2 {
            let round = RoundNumber(round);
            let work = Work {
                task: TaskId::from([1; 16]),
                id: RoundId::from([2; 32]),
                round,
                adapter: &adapter,
                training: &training,
                mechanism: &mechanism,
            };
            let update = trainer.train(work).await.unwrap();
            assert_eq!(update.len(), adapter.len());
            assert!(update.iter().any(|v| *v != 0.0));
        }
        let mut other = config.clone();
        other.learning_rate *= 2.0;
        let training = other.to_json_bytes().unwrap();
        let round = RoundNumber(3);
        let work = Work {
            task: TaskId::from([1; 16]),
            id: RoundId::from([2; 32]),
            round,
            adapter: &adapter,
            training: &training,
            mechanism: &mechanism,
        };
        assert!(matches!(
            trainer.train(work).await,
            Err(LoraError::OtherSettings)
        ));
    }
}
