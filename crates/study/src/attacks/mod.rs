//! Attacks on the demo's model: what an update, or a model, tells about one mail.
//!
//! An attack proves that something leaks; that one fails proves nothing. So the figures here stand beside
//! the promise and not in its place: a lower bound from an attack may come near the promised ε and must
//! never pass it.

pub mod inversion;
pub mod membership;

use undertone_protocol::adapter::Adapter;
use undertone_training::dpsgd::{Bounds, clipped_gradient_sum};
use undertone_training::{Features, Model};

use crate::error::StudyError;

/// The largest L2 norm of one example's gradient in every attacked training.
const CLIP: f64 = 1.0;

/// The gradient of one example at `adapter`, clipped as DP-SGD clips it, `[d]`.
fn gradient(
    model: &Model,
    adapter: &Adapter,
    features: &Features,
    row: usize,
) -> Result<Vec<f64>, StudyError> {
    let bounds = Bounds::flat(CLIP)?;
    Ok(clipped_gradient_sum(model, adapter, features, &[row], &bounds)?.gradient)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The cosine of the angle between two vectors; 0 where one of them is 0.
fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { dot(a, b) / norms } else { 0.0 }
}
