//! Per-example gradients, clipped and summed.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use undertone_protocol::adapter::Adapter;

use crate::error::Result;
use crate::features::Features;
use crate::model::{Model, cross_entropy};

/// Examples in one backward pass; bounds memory whatever the sample's size.
const MICRO_BATCH: usize = 8;

/// The sum of clipped per-example gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct ClippedSum {
    /// The sum in the adapter's canonical order, `[d]`.
    pub gradient: Vec<f64>,
    /// The sum of the examples' losses. Private: it carries no noise.
    pub loss: f64,
    /// How many examples were clipped. Private as well.
    pub clipped: usize,
}

impl ClippedSum {
    fn zero(len: usize) -> Self {
        Self {
            gradient: vec![0.0; len],
            loss: 0.0,
            clipped: 0,
        }
    }

    /// Adds one example's gradient, scaled down to L2 norm `clip_norm` if it is longer.
    ///
    /// A gradient that is not finite counts as zero: it has no direction, and adding it would
    /// break the bound that the noise is calibrated to.
    fn add(&mut self, gradient: &[f32], clip_norm: Option<f64>) {
        let norm = gradient
            .iter()
            .map(|g| f64::from(*g).powi(2))
            .sum::<f64>()
            .sqrt();
        if !norm.is_finite() {
            self.clipped += 1;
            return;
        }
        let scale = match clip_norm {
            Some(bound) if norm > bound => {
                self.clipped += 1;
                bound / norm
            }
            _ => 1.0,
        };
        for (total, g) in self.gradient.iter_mut().zip(gradient) {
            *total += scale * f64::from(*g);
        }
    }

    fn merge(mut self, other: &Self) -> Self {
        for (total, g) in self.gradient.iter_mut().zip(&other.gradient) {
            *total += g;
        }
        self.loss += other.loss;
        self.clipped += other.clipped;
        self
    }
}

/// Sums the gradients of the cross-entropy at `adapter` over the examples at `rows`, each clipped
/// to L2 norm `clip_norm` over all trainable values together (`None`: no clipping).
///
/// The result depends on `rows` and their order, not on the number of worker threads.
///
/// # Errors
/// [`crate::TrainingError::AdapterMismatch`] or [`crate::TrainingError::Features`] if the parts do
/// not fit together.
pub fn clipped_gradient_sum(
    model: &Model,
    adapter: &Adapter,
    features: &Features,
    rows: &[usize],
    clip_norm: Option<f64>,
) -> Result<ClippedSum> {
    model.check(adapter)?;
    model.check_features(features)?;
    let jobs: Vec<&[usize]> = rows.chunks(MICRO_BATCH).collect();
    let parts = model.encoder().workers().map(
        &jobs,
        |rows| {
            let (gradients, loss) = per_example(model, adapter, features, rows)?;
            let mut sum = ClippedSum {
                loss,
                ..ClippedSum::zero(adapter.len())
            };
            for gradient in gradients.chunks_exact(adapter.len()) {
                sum.add(gradient, clip_norm);
            }
            Ok(sum)
        },
        |_| (),
    )?;
    Ok(parts
        .iter()
        .fold(ClippedSum::zero(adapter.len()), ClippedSum::merge))
}

/// The gradient of each example, row-major `[rows, d]` in canonical order, and the summed loss.
///
/// Every example has its own copy of each trainable tensor, so the gradient of the summed loss
/// with respect to the copies is the stack of the examples' gradients.
fn per_example(
    model: &Model,
    adapter: &Adapter,
    features: &Features,
    rows: &[usize],
) -> Result<(Vec<f32>, f64)> {
    let batch = features.batch(rows)?;
    let mut variables = Vec::new();
    let mut parameters = BTreeMap::new();
    for (name, shape, values) in adapter.tensors() {
        let copies: Vec<f32> = values.repeat(rows.len());
        let dims: Vec<usize> = std::iter::once(rows.len())
            .chain(shape.iter().copied())
            .collect();
        let variable = Var::from_vec(copies, dims, &Device::Cpu)?;
        parameters.insert(name.clone(), variable.as_tensor().clone());
        variables.push((variable, values.len()));
    }
    let logits = model.logits(&batch.input, &batch.lengths, &parameters)?;
    let losses = cross_entropy(&logits, &batch.labels)?;
    let gradients = losses.sum_all()?.backward()?;
    let mut out = vec![0.0; rows.len() * adapter.len()];
    let mut start = 0;
    for (variable, len) in &variables {
        if let Some(gradient) = gradients.get(variable.as_tensor()) {
            let values = gradient.flatten_all()?.to_vec1::<f32>()?;
            let examples = out
                .chunks_exact_mut(adapter.len())
                .zip(values.chunks_exact(*len));
            for (out, values) in examples {
                out[start..start + len].copy_from_slice(values);
            }
        }
        start += len;
    }
    let loss = losses.to_vec1::<f32>()?.into_iter().map(f64::from).sum();
    Ok((out, loss))
}

/// Parameters for inference: one copy for the whole batch.
pub(crate) fn shared_parameters(adapter: &Adapter) -> Result<BTreeMap<String, Tensor>> {
    adapter
        .tensors()
        .map(|(name, shape, values)| {
            let dims: Vec<usize> = std::iter::once(1).chain(shape.iter().copied()).collect();
            Ok((
                name.clone(),
                Tensor::from_slice(values, dims, &Device::Cpu)?,
            ))
        })
        .collect()
}
