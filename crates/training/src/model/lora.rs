//! Where LoRA updates sit, and their matrices A as the seed gives them.

use std::sync::Arc;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::config::{LoraConfig, LoraVariant, Projection};
use crate::error::{Result, TrainingError};
use crate::ops::Linear;

/// One projection that carries an update.
pub(crate) struct Site {
    /// The index of the encoder layer.
    pub(crate) layer: usize,
    pub(crate) projection: Projection,
    /// The trainable matrix B, `[hidden, rank]`, under this name.
    pub(crate) b: String,
    pub(crate) a: Factor,
    rank: usize,
}

/// The matrix A of a site, `[rank, hidden]`.
pub(crate) enum Factor {
    /// Never trained; its entries are multiplied by `alpha / rank`.
    Frozen(Arc<Linear>),
    /// Trained under this name.
    Trained {
        name: String,
        /// Where training starts.
        initial: Vec<f32>,
        /// `alpha / rank`.
        scale: f32,
    },
}

impl Site {
    /// The trainable tensors of this site at the start: name, shape and values.
    pub(crate) fn tensors(
        &self,
        hidden: usize,
    ) -> impl Iterator<Item = (String, (Vec<usize>, Vec<f32>))> {
        let zeros = vec![0.0; hidden * self.rank];
        let b = (self.b.clone(), (vec![hidden, self.rank], zeros));
        let a = match &self.a {
            Factor::Frozen(_) => None,
            Factor::Trained { name, initial, .. } => {
                Some((name.clone(), (vec![self.rank, hidden], initial.clone())))
            }
        };
        [Some(b), a].into_iter().flatten()
    }
}

/// The name of a trainable matrix of a projection: `lora_A` or `lora_B`.
fn name(layer: usize, projection: Projection, matrix: &str) -> String {
    let path = match projection {
        Projection::Query => "self.query",
        Projection::Key => "self.key",
        Projection::Value => "self.value",
        Projection::Output => "output.dense",
    };
    format!("encoder.layer.{layer}.attention.{path}.{matrix}.weight")
}

/// All updates of a configuration, in layer order.
pub(crate) fn sites(config: &LoraConfig, hidden: usize, layers: usize) -> Result<Vec<Site>> {
    let Some(first) = layers.checked_sub(config.layers) else {
        return Err(TrainingError::Config(format!(
            "lora.layers is {}, but the model has {layers} layers",
            config.layers
        )));
    };
    if config.rank > hidden {
        return Err(TrainingError::Config(format!(
            "lora.rank is {}, but the model is {hidden} wide",
            config.rank
        )));
    }
    let mut sites = Vec::new();
    for layer in first..layers {
        for &projection in &config.projections {
            let b = name(layer, projection, "lora_B");
            let scale = scale(config);
            let a = match config.variant {
                LoraVariant::Ffa => Factor::Frozen(Arc::new(Linear::new(
                    hidden,
                    random_a(config, &b, hidden, scale),
                    Vec::new(),
                ))),
                LoraVariant::Plain => Factor::Trained {
                    name: name(layer, projection, "lora_A"),
                    initial: random_a(config, &b, hidden, 1.0),
                    #[allow(clippy::cast_possible_truncation, reason = "a factor of f32 values")]
                    scale: scale as f32,
                },
            };
            sites.push(Site {
                layer,
                projection,
                b,
                a,
                rank: config.rank,
            });
        }
    }
    Ok(sites)
}

/// The constant factor of an update, `alpha / rank`.
#[allow(clippy::cast_precision_loss, reason = "ranks are far below 2^52")]
fn scale(config: &LoraConfig) -> f64 {
    config.alpha / config.rank as f64
}

/// A's entries times `factor`: uniform with variance `1 / hidden`, so `x A^T` has the scale of one
/// entry of `x`. `site` is the name of the site's matrix B, whatever is trained.
///
/// Uniform numbers come from ChaCha20 by exact arithmetic alone, so every machine draws the same
/// matrix; a normal distribution would go through a libm that may differ.
fn random_a(config: &LoraConfig, site: &str, hidden: usize, factor: f64) -> Vec<f32> {
    let seed = Sha256::new()
        .chain_update(b"undertone lora A v1")
        .chain_update(config.seed.to_le_bytes())
        .chain_update(site.as_bytes())
        .finalize();
    let mut rng = ChaCha20Rng::from_seed(seed.into());
    #[allow(clippy::cast_precision_loss, reason = "widths are far below 2^52")]
    let scale = factor * (3.0 / hidden as f64).sqrt();
    let uniform = |rng: &mut ChaCha20Rng| {
        // 24 bits, centred: one of 2^24 equally likely values in (-1, 1).
        let unit = (f64::from(rng.next_u32() >> 8) + 0.5) / f64::from(1_u32 << 23) - 1.0;
        #[allow(clippy::cast_possible_truncation, reason = "weights are f32")]
        let value = (unit * scale) as f32;
        value
    };
    (0..config.rank * hidden)
        .map(|_| uniform(&mut rng))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn values(site: &Site, hidden: usize) -> Vec<f32> {
        let mut eye = vec![0.0_f32; hidden * hidden];
        (0..hidden).for_each(|i| eye[i * hidden + i] = 1.0);
        let eye = candle_core::Tensor::from_vec(eye, (hidden, hidden), &candle_core::Device::Cpu);
        let Factor::Frozen(a) = &site.a else {
            panic!("A is trained");
        };
        crate::ops::linear(&eye.unwrap(), a)
            .and_then(|t| t.flatten_all())
            .and_then(|t| t.to_vec1())
            .unwrap()
    }

    #[test]
    fn a_is_fixed_by_the_seed_and_differs_between_sites() {
        let config = fixture::config().lora.unwrap();
        let first = sites(&config, 64, 2).unwrap();
        let again = sites(&config, 64, 2).unwrap();
        let other = sites(
            &LoraConfig {
                seed: 99,
                ..config.clone()
            },
            64,
            2,
        )
        .unwrap();
        assert_eq!(values(&first[0], 64), values(&again[0], 64));
        assert_ne!(values(&first[0], 64), values(&first[1], 64));
        assert_ne!(values(&first[0], 64), values(&other[0], 64));
    }

    #[test]
    fn a_has_the_documented_variance() {
        let config = LoraConfig {
            rank: 8,
            alpha: 8.0,
            ..fixture::config().lora.unwrap()
        };
        let a = values(&sites(&config, 384, 2).unwrap()[0], 384);
        #[allow(clippy::cast_precision_loss)]
        let variance = a.iter().map(|x| f64::from(x * x)).sum::<f64>() / a.len() as f64;
        // 3072 draws: the relative standard error of a uniform's variance is 0.9/sqrt(3072).
        assert!((variance * 384.0 - 1.0).abs() < 0.08, "{variance}");
    }

    /// Trained or frozen, A starts from the same numbers; `alpha / rank` is inside the frozen one.
    #[test]
    fn both_variants_start_from_the_same_matrices() {
        let ffa = fixture::config().lora.unwrap();
        let plain = LoraConfig {
            variant: LoraVariant::Plain,
            ..ffa.clone()
        };
        let (frozen, trained) = (sites(&ffa, 64, 2).unwrap(), sites(&plain, 64, 2).unwrap());
        assert_eq!(frozen.len(), trained.len());
        for (frozen, trained) in frozen.iter().zip(&trained) {
            let tensors: Vec<_> = trained.tensors(64).collect();
            assert_eq!(tensors.len(), 2, "A and B");
            let (name, (shape, initial)) = &tensors[1];
            assert_eq!(*name, tensors[0].0.replace("lora_B", "lora_A"));
            assert_eq!(shape, &[2, 64]);
            assert!(tensors[0].1.1.iter().all(|b| *b == 0.0));
            // alpha / rank = 2. `values` is transposed: it is the image of the identity.
            let frozen = values(frozen, 64);
            for (i, a) in initial.iter().enumerate() {
                let (row, column) = (i / 64, i % 64);
                assert!((frozen[column * 2 + row] - 2.0 * a).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn too_many_layers_are_refused() {
        let config = LoraConfig {
            layers: 3,
            ..fixture::config().lora.unwrap()
        };
        assert!(sites(&config, 16, 2).is_err());
    }
}
