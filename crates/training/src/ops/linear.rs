//! A frozen affine map.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::kernel::kernel;
use super::{Matrices, matmul, tensor, with_values};

/// Frozen weights of `y = x W^T + b`: `weight` is `[output, input]` as in `PyTorch`.
pub(crate) struct Linear {
    pub(crate) input: usize,
    pub(crate) output: usize,
    weight: CpuStorage,
    bias: Vec<f32>,
}

impl Linear {
    /// `weight` row-major `[output, input]`, `bias` `[output]` or empty.
    pub(crate) fn new(input: usize, weight: Vec<f32>, bias: Vec<f32>) -> Self {
        let output = weight.len() / input.max(1);
        Self {
            input,
            output,
            weight: CpuStorage::F32(weight),
            bias,
        }
    }

    /// `x` is row-major `[rows, input]`, starting at `offset`; gives `[rows, output]`.
    pub(super) fn forward(&self, x: &CpuStorage, offset: usize, rows: usize) -> Result<Vec<f32>> {
        let x_view = Matrices {
            offset,
            ..Matrices::one(rows, self.input)
        };
        let mut y = matmul(
            x,
            x_view,
            &self.weight,
            Matrices::one(self.output, self.input).t(),
        )?;
        if !self.bias.is_empty() {
            add_bias(&mut y, &self.bias);
        }
        Ok(y)
    }

    /// The gradient with respect to `x`: `grad` is `[rows, output]`, the result `[rows, input]`.
    pub(super) fn backward(&self, grad: &CpuStorage, rows: usize) -> Result<Vec<f32>> {
        let view = Matrices::one(rows, self.output);
        matmul(
            grad,
            view,
            &self.weight,
            Matrices::one(self.output, self.input),
        )
    }
}

kernel! {
    fn add_bias(rows: &'a mut [f32], bias: &'a [f32]) {
        for row in rows.chunks_exact_mut(bias.len()) {
            for (y, b) in row.iter_mut().zip(bias) {
                *y += b;
            }
        }
    }
}

struct FrozenLinear(Arc<Linear>);

impl CustomOp1 for FrozenLinear {
    fn name(&self) -> &'static str {
        "frozen-linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (start, end) = layout.contiguous_offsets().ok_or_else(|| {
            candle_core::Error::RequiresContiguous {
                op: "frozen-linear",
            }
            .bt()
        })?;
        let y = self.0.forward(x, start, (end - start) / self.0.input)?;
        let mut dims = layout.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = self.0.output;
        }
        Ok((CpuStorage::F32(y), Shape::from(dims)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let rows = grad.elem_count() / self.0.output;
        // One copy of the gradient; small beside the product it feeds.
        let grad = with_values(grad, |g| Ok(CpuStorage::F32(g.to_vec())))?;
        tensor(self.0.backward(&grad, rows)?, x.shape()).map(Some)
    }
}

/// `x W^T + b` over the last dimension; only `x` receives a gradient.
pub(crate) fn linear(x: &Tensor, weights: &Arc<Linear>) -> Result<Tensor> {
    x.contiguous()?.apply_op1(FrozenLinear(Arc::clone(weights)))
}
