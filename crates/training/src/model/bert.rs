//! The BERT configuration and the frozen weights read from safetensors.

use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};

use crate::config::BaseWeights;
use crate::error::{Result, TrainingError};
use crate::ops::{FeedForward, Linear, Matrix, Norm};

/// The fields of a Hugging Face `config.json` that the encoder needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BertConfig {
    /// Number of word pieces.
    pub vocab_size: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Number of encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads of a layer; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Width of the feed-forward block.
    pub intermediate_size: usize,
    /// The longest sequence with a position embedding.
    pub max_position_embeddings: usize,
    /// Number of token types; only type 0 is used.
    pub type_vocab_size: usize,
    /// Added to the variance in layer normalisation.
    pub layer_norm_eps: f64,
    /// The activation of the feed-forward block; only `gelu` (the exact form) is known.
    pub hidden_act: String,
}

impl BertConfig {
    fn validate(&self) -> Result<()> {
        let refuse = |message: &str| Err(TrainingError::Model(message.to_owned()));
        if self.hidden_act != "gelu" {
            return refuse("hidden_act must be `gelu`");
        }
        if self.num_attention_heads == 0
            || !self.hidden_size.is_multiple_of(self.num_attention_heads)
        {
            return refuse("num_attention_heads must divide hidden_size");
        }
        if self.num_hidden_layers == 0 || self.type_vocab_size == 0 || self.intermediate_size == 0 {
            return refuse("the encoder needs at least one layer, token type and inner unit");
        }
        Ok(())
    }
}

/// Frozen weights of one encoder layer.
pub(crate) struct Layer {
    pub(crate) query: Arc<Linear>,
    pub(crate) key: Arc<Linear>,
    pub(crate) value: Arc<Linear>,
    pub(crate) output: Arc<Linear>,
    pub(crate) attention_norm: Arc<Norm>,
    pub(crate) feed_forward: Arc<FeedForward>,
}

/// The frozen embedding tables: row-major, `hidden_size` wide.
pub(crate) struct Embeddings {
    pub(crate) words: Matrix,
    pub(crate) positions: Vec<f32>,
    pub(crate) token_type: Vec<f32>,
    pub(crate) norm: Norm,
}

impl Layer {
    /// The same layer with its matrices in blocks; normalisations stay as they are.
    fn quantized(&self, dtype: GgmlDType) -> candle_core::Result<Self> {
        let linear = |weights: &Arc<Linear>| weights.quantized(dtype).map(Arc::new);
        let block = &self.feed_forward;
        Ok(Self {
            query: linear(&self.query)?,
            key: linear(&self.key)?,
            value: linear(&self.value)?,
            output: linear(&self.output)?,
            attention_norm: Arc::clone(&self.attention_norm),
            feed_forward: Arc::new(FeedForward {
                up: linear(&block.up)?,
                down: linear(&block.down)?,
                norm: Arc::clone(&block.norm),
            }),
        })
    }

    fn bytes(&self) -> usize {
        let block = &self.feed_forward;
        let matrices = [
            &self.query,
            &self.key,
            &self.value,
            &self.output,
            &block.up,
            &block.down,
        ];
        let matrices = matrices.iter().map(|m| m.bytes()).sum::<usize>();
        matrices + self.attention_norm.bytes() + block.norm.bytes()
    }
}

/// All frozen weights.
pub(crate) struct Weights {
    pub(crate) config: BertConfig,
    pub(crate) embeddings: Embeddings,
    pub(crate) layers: Vec<Layer>,
}

impl Weights {
    /// Reads `config.json` and a safetensors file of `F32` tensors named as Hugging Face's
    /// `BertModel` names them.
    pub(crate) fn read(config: &[u8], model: &[u8]) -> Result<Self> {
        let config: BertConfig = serde_json::from_slice(config)
            .map_err(|e| TrainingError::Model(format!("config.json: {e}")))?;
        config.validate()?;
        let file = SafeTensors::deserialize(model)
            .map_err(|e| TrainingError::Model(format!("model.safetensors: {e}")))?;
        let source = Source {
            file: &file,
            eps: config.layer_norm_eps,
        };
        let hidden = config.hidden_size;
        let embeddings = Embeddings {
            words: Matrix::new(
                hidden,
                source.matrix(
                    "embeddings.word_embeddings.weight",
                    config.vocab_size,
                    hidden,
                )?,
            ),
            positions: source.matrix(
                "embeddings.position_embeddings.weight",
                config.max_position_embeddings,
                hidden,
            )?,
            token_type: source
                .matrix(
                    "embeddings.token_type_embeddings.weight",
                    config.type_vocab_size,
                    hidden,
                )?
                .drain(..hidden)
                .collect(),
            norm: source.norm("embeddings.LayerNorm", hidden)?,
        };
        let layers = (0..config.num_hidden_layers)
            .map(|i| source.layer(&config, &format!("encoder.layer.{i}")))
            .collect::<Result<_>>()?;
        Ok(Self {
            config,
            embeddings,
            layers,
        })
    }
}

impl Weights {
    /// The same weights with the matrices of all layers and the word embeddings in blocks;
    /// positions, biases and normalisations stay as they are.
    pub(crate) fn quantized(&self, base: BaseWeights, dtype: GgmlDType) -> Result<Self> {
        let (block, config) = (dtype.block_size(), &self.config);
        for width in [config.hidden_size, config.intermediate_size] {
            if !width.is_multiple_of(block) {
                return Err(TrainingError::Config(format!(
                    "base_weights {} has blocks of {block}, which do not divide the model's width \
                     {width}; choose q8_0 or q4_0 (blocks of 32), or f32",
                    base.name()
                )));
            }
        }
        let table = &self.embeddings;
        Ok(Self {
            config: config.clone(),
            embeddings: Embeddings {
                words: table.words.quantized(dtype)?,
                positions: table.positions.clone(),
                token_type: table.token_type.clone(),
                norm: table.norm.clone(),
            },
            layers: self
                .layers
                .iter()
                .map(|layer| layer.quantized(dtype))
                .collect::<candle_core::Result<_>>()?,
        })
    }

    /// Bytes that all weights take in memory.
    pub(crate) fn bytes(&self) -> usize {
        let table = &self.embeddings;
        let rows =
            size_of_val(table.positions.as_slice()) + size_of_val(table.token_type.as_slice());
        let layers = self.layers.iter().map(Layer::bytes).sum::<usize>();
        table.words.bytes() + rows + table.norm.bytes() + layers
    }
}

/// Checked access to the tensors of a file.
struct Source<'a> {
    file: &'a SafeTensors<'a>,
    eps: f64,
}

impl Source<'_> {
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let view = self
            .file
            .tensor(name)
            .map_err(|e| TrainingError::Model(format!("tensor `{name}`: {e}")))?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            return Err(TrainingError::Model(format!(
                "tensor `{name}` is {:?} {:?}, expected F32 {shape:?}",
                view.dtype(),
                view.shape()
            )));
        }
        let (chunks, _) = view.data().as_chunks::<4>();
        Ok(chunks.iter().map(|c| f32::from_le_bytes(*c)).collect())
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Result<Vec<f32>> {
        self.values(name, &[rows, cols])
    }

    fn linear(&self, name: &str, input: usize, output: usize) -> Result<Arc<Linear>> {
        let weight = self.matrix(&format!("{name}.weight"), output, input)?;
        let bias = self.values(&format!("{name}.bias"), &[output])?;
        Ok(Arc::new(Linear::new(input, weight, bias)))
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm> {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a small constant of the model"
        )]
        let eps = self.eps as f32;
        Ok(Norm {
            gamma: self.values(&format!("{name}.weight"), &[width])?,
            beta: self.values(&format!("{name}.bias"), &[width])?,
            eps,
        })
    }

    fn layer(&self, config: &BertConfig, name: &str) -> Result<Layer> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let attention = format!("{name}.attention");
        Ok(Layer {
            query: self.linear(&format!("{attention}.self.query"), hidden, hidden)?,
            key: self.linear(&format!("{attention}.self.key"), hidden, hidden)?,
            value: self.linear(&format!("{attention}.self.value"), hidden, hidden)?,
            output: self.linear(&format!("{attention}.output.dense"), hidden, hidden)?,
            attention_norm: Arc::new(self.norm(&format!("{attention}.output.LayerNorm"), hidden)?),
            feed_forward: Arc::new(FeedForward {
                up: self.linear(&format!("{name}.intermediate.dense"), hidden, inner)?,
                down: self.linear(&format!("{name}.output.dense"), inner, hidden)?,
                norm: Arc::new(self.norm(&format!("{name}.output.LayerNorm"), hidden)?),
            }),
        })
    }
}
