//! Differentiable building blocks of the encoder, on the CPU.
//!
//! The frozen parts of a layer are candle custom operations with a backward pass of their own.
//! Candle's own matmul would also compute the gradient of every frozen weight, and each of its
//! element-wise operations allocates and adds into a zeroed gradient; both cost more here than
//! the arithmetic that is needed. Every operation is tested against finite differences and
//! against the same formula made of candle's primitive operations.

mod attention;
mod feed_forward;
pub(crate) mod kernel;
mod linear;
mod low_rank;
mod low_rank_down;
mod matrix;
mod norm;
#[cfg(test)]
mod tests;

pub(crate) use attention::{AttentionShape, attention};
pub(crate) use feed_forward::{FeedForward, feed_forward};
pub(crate) use linear::{Linear, linear};
pub(crate) use low_rank::low_rank_add;
pub(crate) use low_rank_down::low_rank_down;
pub(crate) use matrix::Matrix;
pub(crate) use norm::{Norm, add_layer_norm};

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, Device, Layout, Result, Shape, Storage, Tensor};

/// The values of a contiguous `f32` tensor on the CPU.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => storage
            .as_slice::<f32>()?
            .get(start..end)
            .ok_or_else(|| candle_core::Error::Msg("layout exceeds its storage".into()).bt()),
        None => Err(candle_core::Error::RequiresContiguous {
            op: "undertone custom op",
        }
        .bt()),
    }
}

/// Calls `f` with the values of a CPU tensor, made contiguous if need be.
pub(crate) fn with_values<T>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<T>) -> Result<T> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => f(values(cpu, layout)?),
        _ => Err(candle_core::Error::Msg("training runs on CPU tensors".into()).bt()),
    }
}

/// A tensor of computed values.
fn tensor<S: Into<Shape>>(values: Vec<f32>, shape: S) -> Result<Tensor> {
    Tensor::from_vec(values, shape.into(), &Device::Cpu)
}

/// A batch of matrices inside a buffer: `batch` matrices `[rows, cols]`, with strides in values.
#[derive(Clone, Copy)]
struct Matrices {
    offset: usize,
    batch: usize,
    rows: usize,
    cols: usize,
    strides: [usize; 3],
}

impl Matrices {
    /// One row-major matrix `[rows, cols]` at the start of its buffer.
    fn one(rows: usize, cols: usize) -> Self {
        Self::stacked(1, rows, cols)
    }

    /// `batch` row-major matrices `[rows, cols]`, one after the other.
    fn stacked(batch: usize, rows: usize, cols: usize) -> Self {
        Self {
            offset: 0,
            batch,
            rows,
            cols,
            strides: [rows * cols, cols, 1],
        }
    }

    /// The transpose of each matrix.
    fn t(self) -> Self {
        let [batch, row, col] = self.strides;
        Self {
            rows: self.cols,
            cols: self.rows,
            strides: [batch, col, row],
            ..self
        }
    }

    fn layout(&self) -> Layout {
        Layout::new(
            Shape::from((self.batch, self.rows, self.cols)),
            self.strides.to_vec(),
            self.offset,
        )
    }
}

/// Batched matrix product `[batch, m, k] x [batch, k, n]`, row-major `[batch, m, n]`.
fn matmul(a: &CpuStorage, a_view: Matrices, b: &CpuStorage, b_view: Matrices) -> Result<Vec<f32>> {
    let bmnk = (a_view.batch, a_view.rows, b_view.cols, a_view.cols);
    match a.matmul(b, bmnk, &a_view.layout(), &b_view.layout())? {
        CpuStorage::F32(product) => Ok(product),
        _ => Err(candle_core::Error::Msg("matmul changed the number type".into()).bt()),
    }
}
