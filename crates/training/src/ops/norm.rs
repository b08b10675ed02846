//! Residual addition followed by layer normalisation with frozen scale and shift.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::kernel::{dot, kernel, sum_by};
use super::{tensor, values, with_values};

/// Frozen layer normalisation (Ba et al. 2016): `gamma` and `beta` are `[width]`.
#[derive(Clone)]
pub(crate) struct Norm {
    pub(crate) gamma: Vec<f32>,
    pub(crate) beta: Vec<f32>,
    pub(crate) eps: f32,
}

impl Norm {
    /// Bytes that the weights take in memory.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.gamma.as_slice()) + size_of_val(self.beta.as_slice())
    }

    /// Normalises each row of `rows` in place.
    pub(crate) fn forward(&self, rows: &mut [f32]) {
        normalise(self, rows);
    }

    /// Turns `grad`, the gradient of the output, into that of the input `rows`, in place.
    pub(super) fn backward(&self, rows: &[f32], grad: &mut [f32]) {
        let mut centred = vec![0.0; self.gamma.len()];
        normalise_backward(self, rows, &mut centred, grad);
    }
}

kernel! {
    fn normalise(norm: &'a Norm, rows: &'a mut [f32]) {
        for row in rows.chunks_exact_mut(norm.gamma.len()) {
            let (mean, rstd) = moments(row, norm.eps);
            for ((x, g), b) in row.iter_mut().zip(&norm.gamma).zip(&norm.beta) {
                *x = ((*x - mean) * rstd).mul_add(*g, *b);
            }
        }
    }
}

kernel! {
    fn normalise_backward(
        norm: &'a Norm,
        rows: &'a [f32],
        centred: &'a mut [f32],
        grad: &'a mut [f32],
    ) {
        let width = norm.gamma.len();
        for (row, grad) in rows.chunks_exact(width).zip(grad.chunks_exact_mut(width)) {
            let (mean, rstd) = moments(row, norm.eps);
            let inputs = centred.iter_mut().zip(row).zip(grad.iter_mut().zip(&norm.gamma));
            for ((n, x), (g, gamma)) in inputs {
                *n = (x - mean) * rstd;
                *g *= gamma;
            }
            let inv = 1.0 / count(width);
            let mean_grad = sum_by(grad, |g| g) * inv;
            let mean_product = dot(grad, centred) * inv;
            for (g, n) in grad.iter_mut().zip(centred.iter()) {
                *g = rstd * (*g - mean_grad - n * mean_product);
            }
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "widths are far below 2^24")]
fn count(width: usize) -> f32 {
    width as f32
}

/// Mean and reciprocal standard deviation of a row.
#[allow(
    clippy::inline_always,
    reason = "compiled per instruction set at the call site"
)]
#[inline(always)]
fn moments(row: &[f32], eps: f32) -> (f32, f32) {
    let inv = 1.0 / count(row.len());
    let mean = sum_by(row, |x| x) * inv;
    let variance = sum_by(row, |x| (x - mean) * (x - mean)) * inv;
    (mean, (variance + eps).sqrt().recip())
}

struct AddLayerNorm(Arc<Norm>);

impl CustomOp2 for AddLayerNorm {
    fn name(&self) -> &'static str {
        "add-layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut sum = add(values(x, x_layout)?, values(y, y_layout)?);
        self.0.forward(&mut sum);
        Ok((CpuStorage::F32(sum), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let sum = with_values(x, |x| with_values(y, |y| Ok(add(x, y))))?;
        let mut grad = with_values(grad, |g| Ok(g.to_vec()))?;
        self.0.backward(&sum, &mut grad);
        let grad = tensor(grad, x.shape())?;
        Ok((
            x.track_op().then(|| grad.clone()),
            y.track_op().then_some(grad),
        ))
    }
}

/// The element-wise sum of two rows of values.
pub(super) fn add(x: &[f32], y: &[f32]) -> Vec<f32> {
    x.iter().zip(y).map(|(x, y)| x + y).collect()
}

/// `LayerNorm(x + y)` over the last dimension; `x` and `y` have one shape.
pub(crate) fn add_layer_norm(x: &Tensor, y: &Tensor, norm: &Arc<Norm>) -> Result<Tensor> {
    x.contiguous()?
        .apply_op2(&y.contiguous()?, AddLayerNorm(Arc::clone(norm)))
}
