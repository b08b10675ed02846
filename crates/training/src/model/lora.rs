//! Where LoRA updates sit, and their frozen matrices A.

use std::sync::Arc;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::config::{LoraConfig, Projection};
use crate::error::{Result, TrainingError};
use crate::ops::Linear;

/// One projection that carries an update.
pub(crate) struct Site {
    /// The index of the encoder layer.
    pub(crate) layer: usize,
    pub(crate) projection: Projection,
    /// The trainable matrix B, `[hidden, rank]`, under this name.
    pub(crate) name: String,
    /// The frozen matrix A, `[rank, hidden]`, times `alpha / rank`.
    pub(crate) a: Arc<Linear>,
}

/// The name of the trainable matrix B of a projection.
fn name(layer: usize, projection: Projection) -> String {
    let path = match projection {
        Projection::Query => "self.query",
        Projection::Key => "self.key",
        Projection::Value => "self.value",
        Projection::Output => "output.dense",
    };
    format!("encoder.layer.{layer}.attention.{path}.lora_B.weight")
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
            let name = name(layer, projection);
            let a = frozen_a(config, &name, hidden);
            sites.push(Site {
                layer,
                projection,
                name,
                a,
            });
        }
    }
    Ok(sites)
}

/// A's entries: uniform with variance `1 / hidden`, so `x A^T` has the scale of one entry of `x`.
///
/// Uniform numbers come from ChaCha20 by exact arithmetic alone, so every machine draws the same
/// matrix; a normal distribution would go through a libm that may differ.
fn frozen_a(config: &LoraConfig, name: &str, hidden: usize) -> Arc<Linear> {
    let seed = Sha256::new()
        .chain_update(b"undertone lora A v1")
        .chain_update(config.seed.to_le_bytes())
        .chain_update(name.as_bytes())
        .finalize();
    let mut rng = ChaCha20Rng::from_seed(seed.into());
    #[allow(
        clippy::cast_precision_loss,
        reason = "ranks and widths are far below 2^24"
    )]
    let (rank, width) = (config.rank as f64, hidden as f64);
    let scale = config.alpha / rank * (3.0 / width).sqrt();
    let uniform = |rng: &mut ChaCha20Rng| {
        // 24 bits, centred: one of 2^24 equally likely values in (-1, 1).
        let unit = (f64::from(rng.next_u32() >> 8) + 0.5) / f64::from(1_u32 << 23) - 1.0;
        #[allow(clippy::cast_possible_truncation, reason = "weights are f32")]
        let value = (unit * scale) as f32;
        value
    };
    let values = (0..config.rank * hidden)
        .map(|_| uniform(&mut rng))
        .collect();
    Arc::new(Linear::new(hidden, values, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn values(site: &Site, hidden: usize) -> Vec<f32> {
        let mut eye = vec![0.0_f32; hidden * hidden];
        (0..hidden).for_each(|i| eye[i * hidden + i] = 1.0);
        let eye = candle_core::Tensor::from_vec(eye, (hidden, hidden), &candle_core::Device::Cpu);
        crate::ops::linear(&eye.unwrap(), &site.a)
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

    #[test]
    fn too_many_layers_are_refused() {
        let config = LoraConfig {
            layers: 3,
            ..fixture::config().lora.unwrap()
        };
        assert!(sites(&config, 16, 2).is_err());
    }
}
