//! The frozen encoder: embeddings, layers, mean pooling.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};

use super::bert::{BertConfig, Layer, Weights};
use crate::config::{BaseWeights, Projection};
use crate::error::{Result, TrainingError};
use crate::ops::{
    AttentionShape, Linear, add_layer_norm, attention, feed_forward, linear, low_rank_add,
    low_rank_down,
};
use crate::workers::Workers;

/// A frozen pretrained encoder, shared by all models that are trained on it.
pub struct Encoder {
    weights: Weights,
    base: BaseWeights,
    digest: [u8; 32],
    workers: Workers,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("config", &self.weights.config)
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

/// The LoRA update of one projection: A, and B as `[batch or 1, hidden, rank]`.
pub(crate) struct Update<'a> {
    pub(crate) projection: Projection,
    pub(crate) a: DownProjection<'a>,
    pub(crate) b: &'a Tensor,
}

/// The matrix A of an update, with its constant factor `alpha / rank`.
pub(crate) enum DownProjection<'a> {
    /// Frozen; the factor is in its entries.
    Frozen(&'a Arc<Linear>),
    /// Trained, as `[batch or 1, rank, hidden]`, and the factor.
    Trained(&'a Tensor, f32),
}

impl DownProjection<'_> {
    fn apply(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            Self::Frozen(a) => linear(x, a),
            Self::Trained(a, scale) => low_rank_down(x, a, *scale),
        }
    }
}

impl Encoder {
    /// Loads `config.json` and `model.safetensors` from a folder.
    ///
    /// # Errors
    /// [`TrainingError::File`] or [`TrainingError::Model`].
    pub fn load(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read(&path).map_err(TrainingError::file(&path))
        };
        Self::from_bytes(&read("config.json")?, &read("model.safetensors")?)
    }

    /// Builds an encoder from the bytes of `config.json` and of a safetensors file of `F32`
    /// tensors under the names of Hugging Face's `BertModel`.
    ///
    /// # Errors
    /// [`TrainingError::Model`], [`TrainingError::Worker`].
    pub fn from_bytes(config: &[u8], model: &[u8]) -> Result<Self> {
        let weights = Weights::read(config, model)?;
        let digest = Sha256::new()
            .chain_update(
                u64::try_from(config.len())
                    .unwrap_or(u64::MAX)
                    .to_le_bytes(),
            )
            .chain_update(config)
            .chain_update(model)
            .finalize()
            .into();
        Ok(Self {
            weights,
            base: BaseWeights::F32,
            digest,
            workers: Workers::per_core()?,
        })
    }

    /// Loads a folder like [`Self::load`] and keeps the frozen weights as `base` says; the `f32`
    /// weights are dropped before this returns.
    ///
    /// # Errors
    /// As for [`Self::load`] and [`Self::with_base`].
    pub fn load_as(folder: &Path, base: BaseWeights) -> Result<Arc<Self>> {
        Arc::new(Self::load(folder)?).with_base(base)
    }

    /// This encoder with its frozen weights as `base` says: itself, or a copy with quantized
    /// matrices (all layers and the word embeddings).
    ///
    /// # Errors
    /// [`TrainingError::Config`] if the blocks do not divide the model's widths, or if this
    /// encoder is quantized already: what was rounded away does not come back.
    pub fn with_base(self: &Arc<Self>, base: BaseWeights) -> Result<Arc<Self>> {
        if base == self.base {
            return Ok(Arc::clone(self));
        }
        let Some(dtype) = base.dtype().filter(|_| self.base == BaseWeights::F32) else {
            return Err(TrainingError::Config(format!(
                "the encoder's weights are {}, the task wants {}; load the model as f32",
                self.base.name(),
                base.name()
            )));
        };
        let digest = Sha256::new()
            .chain_update(b"undertone base weights v1")
            .chain_update(base.name())
            .chain_update(self.digest)
            .finalize();
        Ok(Arc::new(Self {
            weights: self.weights.quantized(base, dtype)?,
            base,
            digest: digest.into(),
            workers: Workers::per_core()?,
        }))
    }

    /// How the frozen weights are kept.
    pub fn base(&self) -> BaseWeights {
        self.base
    }

    /// Bytes that the frozen weights take in memory.
    pub fn weight_bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// The configuration the weights were read with.
    pub fn config(&self) -> &BertConfig {
        &self.weights.config
    }

    /// SHA-256 over the configuration and the weights file, and over how the weights are kept if
    /// they are quantized.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    pub(crate) fn layers(&self) -> &[Layer] {
        &self.weights.layers
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.workers
    }

    /// Embeds token ids, padded with zero vectors to `length`: `[batch, length, hidden]`.
    pub(crate) fn embed(&self, ids: &[&[u32]], length: usize) -> Result<Tensor> {
        let hidden = self.weights.config.hidden_size;
        let table = &self.weights.embeddings;
        if length > self.weights.config.max_position_embeddings {
            return Err(TrainingError::Config(format!(
                "sequence_length {length} exceeds the model's {}",
                self.weights.config.max_position_embeddings
            )));
        }
        let mut out = vec![0.0; ids.len() * length * hidden];
        for (example, ids) in out.chunks_exact_mut(length * hidden).zip(ids) {
            let words = table.words.gather(ids)?.ok_or_else(|| {
                let id = ids.iter().max().copied().unwrap_or_default();
                TrainingError::Model(format!("token {id} has no embedding"))
            })?;
            let tokens = example.chunks_exact_mut(hidden);
            let tokens = tokens.zip(words.chunks_exact(hidden));
            for ((row, word), position) in tokens.zip(table.positions.chunks_exact(hidden)) {
                let summands = word.iter().zip(position).zip(&table.token_type);
                for (x, ((w, p), t)) in row.iter_mut().zip(summands) {
                    *x = w + p + t;
                }
                table.norm.forward(row);
            }
        }
        Ok(Tensor::from_vec(
            out,
            (ids.len(), length, hidden),
            &Device::Cpu,
        )?)
    }

    /// Applies layer `index` to `[batch, length, hidden]`; example `i` has `lengths[i]` tokens.
    pub(crate) fn layer(
        &self,
        index: usize,
        x: &Tensor,
        lengths: &Arc<[usize]>,
        updates: &[Update<'_>],
    ) -> Result<Tensor> {
        let layer = self
            .weights
            .layers
            .get(index)
            .ok_or_else(|| TrainingError::Model(format!("the model has no layer {index}")))?;
        let Layer {
            query,
            key,
            value,
            output,
            attention_norm,
            feed_forward: block,
        } = layer;
        let project = |x: &Tensor, weights: &Arc<Linear>, projection: Projection| {
            let y = linear(x, weights)?;
            match updates.iter().find(|u| u.projection == projection) {
                Some(update) => low_rank_add(&y, &update.a.apply(x)?, update.b),
                None => Ok(y),
            }
        };
        let shape = AttentionShape {
            heads: self.weights.config.num_attention_heads,
            lengths: Arc::clone(lengths),
        };
        let context = attention(
            &project(x, query, Projection::Query)?,
            &project(x, key, Projection::Key)?,
            &project(x, value, Projection::Value)?,
            &shape,
        )?;
        let mixed = add_layer_norm(
            &project(&context, output, Projection::Output)?,
            x,
            attention_norm,
        )?;
        Ok(feed_forward(&mixed, block)?)
    }
}

/// The mean over each example's real tokens: `[batch, length, hidden]` to `[batch, hidden]`.
pub(crate) fn mean_pool(x: &Tensor, lengths: &[usize]) -> Result<Tensor> {
    let (batch, length, _) = x.dims3()?;
    let mut weights = vec![0.0_f32; batch * length];
    for (row, valid) in weights.chunks_exact_mut(length).zip(lengths) {
        #[allow(clippy::cast_precision_loss, reason = "lengths are far below 2^24")]
        row[..*valid].fill((*valid as f32).recip());
    }
    let weights = Tensor::from_vec(weights, (batch, 1, length), &Device::Cpu)?;
    Ok(weights.matmul(x)?.squeeze(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn sentence_vector(encoder: &Encoder, ids: &[u32], length: usize) -> Vec<f32> {
        let lengths: Arc<[usize]> = Arc::from([ids.len()]);
        let mut x = encoder.embed(&[ids], length).unwrap();
        for index in 0..encoder.config().num_hidden_layers {
            x = encoder.layer(index, &x, &lengths, &[]).unwrap();
        }
        mean_pool(&x, &lengths)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap()
    }

    fn assert_close(got: &[f32], expected: &[f32]) {
        for (i, (a, b)) in got.iter().zip(expected).enumerate() {
            assert!((a - b).abs() < 2e-5, "value {i}: {a} against {b}");
        }
    }

    /// Expected values: the same files through an independent BERT forward pass in numpy, `f64`.
    #[test]
    fn the_forward_pass_gives_the_known_answer() {
        let encoder = fixture::encoder().unwrap();
        let expected = [
            -0.512_417, 0.257_124, 1.030_008, -1.742_51, -1.298_018, 0.350_45, -0.455_731,
            0.959_554, 0.434_112, 0.353_798, -0.180_085, -0.016_444, 0.115_275, -0.078_434,
            -0.861_861, 1.439_747,
        ];
        let ids = [2, 4, 20, 43, 7, 33, 3];
        for length in [ids.len(), 12] {
            assert_close(&sentence_vector(&encoder, &ids, length), &expected);
        }
    }

    /// The same for the real model, on "The quick brown fox jumps over the lazy dog."
    #[test]
    #[ignore = "needs scripts/fetch-demo-data.sh"]
    fn the_real_model_gives_the_known_answer() {
        let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
        let cache = std::env::var("UNDERTONE_CACHE")
            .unwrap_or_else(|_| format!("{repository}/.cache/undertone"));
        let folder = Path::new(&cache).join("model");
        let encoder = Encoder::load(&folder).unwrap();
        let tokenizer = crate::TextTokenizer::load(&folder.join("tokenizer.json")).unwrap();
        let ids = tokenizer
            .encode(&["The quick brown fox jumps over the lazy dog."], 64)
            .unwrap();
        let expected_ids = [
            101, 1996, 4248, 2829, 4419, 14523, 2058, 1996, 13971, 3899, 1012, 102,
        ];
        assert_eq!(ids[0], expected_ids);
        let expected = [
            0.238_29, 0.319_653, 0.261_314, 0.420_612, 0.145_059, -0.204_099, -0.014_13,
            -0.325_124, -0.013_538, 0.119_72, 0.260_487, 0.302_41, -0.211_235, -0.144_366,
            0.041_728, -0.142_31,
        ];
        assert_close(&sentence_vector(&encoder, &ids[0], 16), &expected);
    }

    /// An encoder whose widths blocks of 32 divide, as f32 and quantized.
    fn wide(base: BaseWeights) -> Arc<Encoder> {
        let config = BertConfig {
            hidden_size: 64,
            intermediate_size: 96,
            ..fixture::bert_config()
        };
        let (config, weights) = fixture::files_of(&config).unwrap();
        let encoder = Arc::new(Encoder::from_bytes(&config, &weights).unwrap());
        encoder.with_base(base).unwrap()
    }

    #[test]
    fn quantized_weights_take_less_and_say_nearly_the_same() {
        let ids = [2, 4, 20, 43, 7, 33, 3];
        let full = wide(BaseWeights::F32);
        let expected = sentence_vector(&full, &ids, 12);
        let size = expected.iter().map(|x| x * x).sum::<f32>().sqrt();
        for (base, bytes, error) in [
            (BaseWeights::Q8_0, 0.35, 0.02),
            (BaseWeights::Q4_0, 0.25, 0.3),
        ] {
            let small = wide(base);
            #[allow(clippy::cast_precision_loss)]
            let share = small.weight_bytes() as f64 / full.weight_bytes() as f64;
            assert!(share < bytes, "{base:?} takes {share}");
            let got = sentence_vector(&small, &ids, 12);
            let off = got.iter().zip(&expected).map(|(a, b)| (a - b).powi(2));
            let off = off.sum::<f32>().sqrt() / size;
            assert!(off > 0.0 && off < error, "{base:?} is {off} off");
            assert_ne!(small.digest(), full.digest());
        }
    }

    #[test]
    fn a_base_that_cannot_be_had_is_refused_with_what_to_choose() {
        let narrow = fixture::encoder().unwrap().with_base(BaseWeights::Q8_0);
        let message = narrow.unwrap_err().to_string();
        assert!(
            message.contains("width 16") && message.contains("f32"),
            "{message}"
        );
        let message = wide(BaseWeights::F32)
            .with_base(BaseWeights::Q4K)
            .unwrap_err()
            .to_string();
        assert!(message.contains("q4_0"), "{message}");
        let again = wide(BaseWeights::Q8_0).with_base(BaseWeights::F32);
        assert!(again.unwrap_err().to_string().contains("load the model"));
        let same = wide(BaseWeights::Q8_0);
        assert!(Arc::ptr_eq(
            &same,
            &same.with_base(BaseWeights::Q8_0).unwrap()
        ));
    }

    #[test]
    fn an_unknown_token_is_an_error() {
        let encoder = fixture::encoder().unwrap();
        assert!(encoder.embed(&[&[43]], 4).is_ok(), "the last word");
        assert!(matches!(
            encoder.embed(&[&[9999]], 4),
            Err(TrainingError::Model(_))
        ));
        assert!(matches!(
            encoder.embed(&[&[1]], 4000),
            Err(TrainingError::Config(_))
        ));
    }
}
