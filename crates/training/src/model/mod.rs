//! The trainable model: a frozen encoder, LoRA updates in its last layers, and a head.

mod bert;
mod encoder;
mod head;
mod lora;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;
use undertone_protocol::adapter::Adapter;

pub use bert::BertConfig;
pub(crate) use bert::Layer;
pub use encoder::Encoder;
pub(crate) use encoder::mean_pool;
pub(crate) use head::cross_entropy;

use crate::algorithm::with_auxiliary;
use crate::config::TrainingConfig;
use crate::error::{Result, TrainingError};
use crate::features::Features;
use encoder::{DownProjection, Update};
use lora::{Factor, Site};

/// How far the frozen part of a model reaches: what its features are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Hidden states after this many layers.
    Layer(usize),
    /// Mean-pooled hidden states after all layers.
    Pooled,
}

/// A task's model: an encoder and the shape of what is trained on it.
pub struct Model {
    encoder: Arc<Encoder>,
    config: TrainingConfig,
    sites: Vec<Site>,
    /// The model's tensors at the start.
    initial: Adapter,
    /// The same with the federated algorithm's.
    first: Adapter,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("encoder", &self.encoder)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Joins an encoder and a configuration.
    ///
    /// # Errors
    /// [`TrainingError::Config`] if the configuration is invalid or does not fit the encoder.
    pub fn new(encoder: Arc<Encoder>, config: TrainingConfig) -> Result<Self> {
        config.validate()?;
        if encoder.base() != config.base_weights {
            return Err(TrainingError::Config(format!(
                "the task wants base_weights {}, the encoder has {}; get one with \
                 Encoder::with_base",
                config.base_weights.name(),
                encoder.base().name()
            )));
        }
        let bert = encoder.config();
        let (hidden, layers) = (bert.hidden_size, bert.num_hidden_layers);
        if config.sequence_length > bert.max_position_embeddings {
            return Err(TrainingError::Config(format!(
                "sequence_length {} exceeds the model's {}",
                config.sequence_length, bert.max_position_embeddings
            )));
        }
        let sites = match &config.lora {
            Some(lora) => lora::sites(lora, hidden, layers)?,
            None => Vec::new(),
        };
        let mut tensors = head::tensors(&config, hidden);
        for site in &sites {
            tensors.extend(site.tensors(hidden));
        }
        let initial = Adapter::new(tensors)?;
        let first = with_auxiliary(&initial, &config)?;
        Ok(Self {
            encoder,
            config,
            sites,
            initial,
            first,
        })
    }

    /// The frozen encoder.
    pub fn encoder(&self) -> &Arc<Encoder> {
        &self.encoder
    }

    /// The task's hyper-parameters.
    pub fn config(&self) -> &TrainingConfig {
        &self.config
    }

    /// The starting point: the head and every matrix B are zero, so the model says every class is as
    /// likely as any other and the encoder is the pretrained one. A trained matrix A starts as the
    /// task's seed gives it. What the federated algorithm adds is zero.
    pub fn initial_adapter(&self) -> Adapter {
        self.first.clone()
    }

    /// Where the trained part begins, and so what features this model needs.
    pub fn depth(&self) -> Depth {
        match self.sites.first() {
            Some(site) => Depth::Layer(site.layer),
            None => Depth::Pooled,
        }
    }

    /// Refuses an adapter with other tensors than this model trains.
    pub(crate) fn check(&self, adapter: &Adapter) -> Result<()> {
        let shape = |a: &Adapter| -> Vec<(String, Vec<usize>)> {
            a.tensors()
                .map(|(name, shape, _)| (name.clone(), shape.clone()))
                .collect()
        };
        let (found, expected) = (shape(adapter), shape(&self.initial));
        if found == expected {
            Ok(())
        } else {
            Err(TrainingError::AdapterMismatch(format!(
                "expected {expected:?}, got {found:?}"
            )))
        }
    }

    /// Refuses features that were made for another model.
    pub(crate) fn check_features(&self, features: &Features) -> Result<()> {
        features.check(&self.encoder, self.depth(), self.config.sequence_length)
    }

    /// Class scores `[batch, labels]` of a batch at this model's [`Depth`].
    ///
    /// Each trainable tensor comes with a leading dimension: the batch size (one copy an example)
    /// or 1 (one for all).
    pub(crate) fn logits(
        &self,
        input: &Tensor,
        lengths: &Arc<[usize]>,
        parameters: &BTreeMap<String, Tensor>,
    ) -> Result<Tensor> {
        let pooled = match self.depth() {
            Depth::Pooled => input.clone(),
            Depth::Layer(first) => {
                let mut x = input.clone();
                for index in first..self.encoder.config().num_hidden_layers {
                    let updates = self
                        .sites
                        .iter()
                        .filter(|site| site.layer == index)
                        .map(|site| {
                            let a = match &site.a {
                                Factor::Frozen(a) => DownProjection::Frozen(a),
                                Factor::Trained { name, scale, .. } => {
                                    DownProjection::Trained(head::get(parameters, name)?, *scale)
                                }
                            };
                            Ok(Update {
                                projection: site.projection,
                                a,
                                b: head::get(parameters, &site.b)?,
                            })
                        })
                        .collect::<Result<Vec<_>>>()?;
                    x = self.encoder.layer(index, &x, lengths, &updates)?;
                }
                mean_pool(&x, lengths)?
            }
        };
        head::logits(&self.config, &pooled, parameters)
    }
}
