//! A frozen affine map.

use std::sync::Arc;

use candle_core::quantized::GgmlDType;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::kernel::kernel;
use super::{Matrices, Matrix, matmul, tensor, with_values};

/// Frozen weights of `y = x W^T + b`: `weight` is `[output, input]` as in `PyTorch`.
///
/// Candle's own matmul would compute and keep the gradient of W, and its product with quantized
/// weights records no backward pass at all; this one has a gradient for `x` alone, in either form.
pub(crate) struct Linear {
    pub(crate) input: usize,
    pub(crate) output: usize,
    weight: Matrix,
    bias: Vec<f32>,
}

impl Linear {
    /// `weight` row-major `[output, input]`, `bias` `[output]` or empty.
    pub(crate) fn new(input: usize, weight: Vec<f32>, bias: Vec<f32>) -> Self {
        let weight = Matrix::new(input, weight);
        Self {
            input,
            output: weight.rows(),
            weight,
            bias,
        }
    }

    /// The same map with W rounded to blocks of `dtype`, whose size must divide `input`.
    pub(crate) fn quantized(&self, dtype: GgmlDType) -> Result<Self> {
        Ok(Self {
            weight: self.weight.quantized(dtype)?,
            bias: self.bias.clone(),
            ..*self
        })
    }

    /// Bytes that the weights take in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.weight.bytes() + size_of_val(self.bias.as_slice())
    }

    /// W and b as tensors: `[output, input]` and `[output]`, or nothing without b.
    pub(crate) fn tensors(&self) -> Result<(Tensor, Option<Tensor>)> {
        let weight = self.weight.with(|w| Ok(w.as_slice::<f32>()?.to_vec()))?;
        let bias = (!self.bias.is_empty())
            .then(|| tensor(self.bias.clone(), self.output))
            .transpose()?;
        Ok((tensor(weight, (self.output, self.input))?, bias))
    }

    /// `x` is row-major `[rows, input]`, starting at `offset`; gives `[rows, output]`.
    pub(super) fn forward(&self, x: &CpuStorage, offset: usize, rows: usize) -> Result<Vec<f32>> {
        let x_view = Matrices {
            offset,
            ..Matrices::one(rows, self.input)
        };
        let w_view = Matrices::one(self.output, self.input).t();
        let mut y = self.weight.with(|w| matmul(x, x_view, w, w_view))?;
        if !self.bias.is_empty() {
            add_bias(&mut y, &self.bias);
        }
        Ok(y)
    }

    /// The gradient with respect to `x`: `grad` is `[rows, output]`, the result `[rows, input]`.
    pub(super) fn backward(&self, grad: &CpuStorage, rows: usize) -> Result<Vec<f32>> {
        let view = Matrices::one(rows, self.output);
        let w_view = Matrices::one(self.output, self.input);
        self.weight.with(|w| matmul(grad, view, w, w_view))
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
