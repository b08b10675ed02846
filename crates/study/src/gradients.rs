//! Gradients of single examples.

use undertone_protocol::adapter::Adapter;
use undertone_training::dpsgd::{Bounds, for_each_clipped};
use undertone_training::{Features, Model};

use crate::error::StudyError;

/// The gradient of each example at `rows`, `[d]`, clipped to L2 norm `clip` as DP-SGD does it.
pub(crate) fn clipped(
    model: &Model,
    adapter: &Adapter,
    features: &Features,
    rows: &[usize],
    clip: f64,
) -> Result<Vec<Vec<f32>>, StudyError> {
    let mut gradients = Vec::with_capacity(rows.len());
    let bounds = Bounds::flat(clip)?;
    for_each_clipped(model, adapter, features, rows, &bounds, |batch| {
        gradients.extend(batch.rows().map(<[f32]>::to_vec));
        Ok::<_, StudyError>(())
    })?;
    Ok(gradients)
}
