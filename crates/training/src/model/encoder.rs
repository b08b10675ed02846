//! The frozen encoder: embeddings, layers, mean pooling.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use sha2::{Digest, Sha256};

use super::bert::{BertConfig, Layer, Weights};
use crate::config::Projection;
use crate::error::{Result, TrainingError};
use crate::ops::{
    AttentionShape, Linear, add_layer_norm, attention, feed_forward, linear, low_rank_add,
    low_rank_down,
};
use crate::workers::Workers;

/// A frozen pretrained encoder, shared by all models that are trained on it.
pub struct Encoder {
    weights: Weights,
    digest: [u8; 32],
    workers: Workers,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("config", &self.weights.config)
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
            digest,
            workers: Workers::per_core()?,
        })
    }

    /// The configuration the weights were read with.
    pub fn config(&self) -> &BertConfig {
        &self.weights.config
    }

    /// SHA-256 over the configuration and the weights file.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
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
            let tokens = example.chunks_exact_mut(hidden).zip(ids.iter());
            for ((row, id), position) in tokens.zip(table.positions.chunks_exact(hidden)) {
                let start = usize::try_from(*id)
                    .unwrap_or(usize::MAX)
                    .saturating_mul(hidden);
                let word = table
                    .words
                    .get(start..start.saturating_add(hidden))
                    .ok_or_else(|| TrainingError::Model(format!("token {id} has no embedding")))?;
                for (((x, w), p), t) in row
                    .iter_mut()
                    .zip(word)
                    .zip(position)
                    .zip(&table.token_type)
                {
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

    #[test]
    fn an_unknown_token_is_an_error() {
        let encoder = fixture::encoder().unwrap();
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
