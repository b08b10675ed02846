//! The linear classification head and its loss.

use std::collections::BTreeMap;

use candle_core::{D, Device, Tensor};

use crate::config::TrainingConfig;
use crate::error::{Result, TrainingError};

const WEIGHT: &str = "classifier.weight";
const BIAS: &str = "classifier.bias";
/// Added to a squared norm before dividing by its root.
const NORM_EPS: f64 = 1e-12;

/// The head's trainable tensors at zero: shape and values by name.
pub(super) fn tensors(
    config: &TrainingConfig,
    hidden: usize,
) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let labels = config.labels;
    let weight = (vec![labels, hidden], vec![0.0; labels * hidden]);
    let mut tensors = BTreeMap::from([(WEIGHT.to_owned(), weight)]);
    if config.head_bias {
        tensors.insert(BIAS.to_owned(), (vec![labels], vec![0.0; labels]));
    }
    tensors
}

/// A trainable tensor by name.
pub(super) fn get<'a>(parameters: &'a BTreeMap<String, Tensor>, name: &str) -> Result<&'a Tensor> {
    parameters
        .get(name)
        .ok_or_else(|| TrainingError::AdapterMismatch(format!("tensor `{name}` is missing")))
}

/// Scores `[batch, labels]` of pooled vectors `[batch, hidden]`, each first scaled to the
/// configured norm: example gradients then have comparable size before they are clipped.
pub(super) fn logits(
    config: &TrainingConfig,
    pooled: &Tensor,
    parameters: &BTreeMap<String, Tensor>,
) -> Result<Tensor> {
    let norm = (pooled.sqr()?.sum_keepdim(D::Minus1)? + NORM_EPS)?.sqrt()?;
    let features = (pooled.broadcast_div(&norm)? * config.feature_scale)?;
    let weight = get(parameters, WEIGHT)?;
    let batch = pooled.dim(0)?;
    let (_, labels, hidden) = weight.dims3()?;
    let weight = weight.broadcast_as((batch, labels, hidden))?;
    let scores = features
        .unsqueeze(1)?
        .broadcast_mul(&weight)?
        .sum(D::Minus1)?;
    if config.head_bias {
        Ok(scores.broadcast_add(get(parameters, BIAS)?)?)
    } else {
        Ok(scores)
    }
}

/// The cross-entropy of each example, `[batch]`: examples stay uncoupled, unlike in a mean.
pub(crate) fn cross_entropy(logits: &Tensor, labels: &[u32]) -> Result<Tensor> {
    let index = Tensor::from_slice(labels, (labels.len(), 1), &Device::Cpu)?;
    let chosen = logits.gather(&index, 1)?.squeeze(1)?;
    Ok((logits.log_sum_exp(D::Minus1)? - chosen)?)
}
