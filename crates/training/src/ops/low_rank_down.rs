//! The first half of a LoRA update with a trained matrix A per example: `u_i = s x_i A_i^T`.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::low_rank::{accumulate, add_columns, project};
use super::{tensor, values, with_values};

/// With the constant factor s.
struct LowRankDown(f32);

/// Sizes: `x` `[batch, length, input]`, A `[batch or 1, rank, input]`.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    length: usize,
    input: usize,
    rank: usize,
    shared: bool,
}

impl Sizes {
    fn of(x: &[usize], a: &[usize]) -> Result<Self> {
        match (x, a) {
            (&[batch, length, input], &[copies, rank, width])
                if width == input && rank > 0 && (copies == batch || copies == 1) =>
            {
                Ok(Self {
                    batch,
                    length,
                    input,
                    rank,
                    shared: copies == 1,
                })
            }
            _ => Err(candle_core::Error::Msg(format!("LoRA shapes {x:?} and {a:?}")).bt()),
        }
    }

    /// The matrix A of example `i`, `[rank, input]`.
    fn matrix(self, a: &[f32], i: usize) -> &[f32] {
        let size = self.rank * self.input;
        let start = if self.shared { 0 } else { i * size };
        &a[start..start + size]
    }
}

impl CustomOp2 for LowRankDown {
    fn name(&self) -> &'static str {
        "low-rank-down"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::of(x_layout.dims(), a_layout.dims())?;
        let (x, a) = (values(x, x_layout)?, values(a, a_layout)?);
        let mut u = vec![0.0; sizes.batch * sizes.length * sizes.rank];
        let examples = x
            .chunks_exact(sizes.length * sizes.input)
            .zip(u.chunks_exact_mut(sizes.length * sizes.rank));
        for (i, (x, u)) in examples.enumerate() {
            project(sizes.matrix(a, i), x, sizes.input, u);
        }
        scale(&mut u, self.0);
        let shape = Shape::from((sizes.batch, sizes.length, sizes.rank));
        Ok((CpuStorage::F32(u), shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let sizes = Sizes::of(x.dims(), a.dims())?;
        let mut grad = with_values(grad, |g| Ok(g.to_vec()))?;
        scale(&mut grad, self.0);
        let grad_x = if x.track_op() {
            let g = with_values(a, |a| Ok(input_gradient(sizes, a, &grad)))?;
            Some(tensor(g, x.shape())?)
        } else {
            None
        };
        let grad_a = if a.track_op() {
            let g = with_values(x, |x| Ok(matrix_gradient(sizes, x, &grad)))?;
            Some(tensor(g, a.shape())?)
        } else {
            None
        };
        Ok((grad_x, grad_a))
    }
}

fn scale(values: &mut [f32], factor: f32) {
    for value in values {
        *value *= factor;
    }
}

/// `g_i A_i`: `[batch, length, input]`.
fn input_gradient(sizes: Sizes, a: &[f32], grad: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; sizes.batch * sizes.length * sizes.input];
    let examples = out
        .chunks_exact_mut(sizes.length * sizes.input)
        .zip(grad.chunks_exact(sizes.length * sizes.rank));
    for (i, (out, grad)) in examples.enumerate() {
        add_columns(sizes.matrix(a, i), grad, sizes.rank, out);
    }
    out
}

/// `g_i^T x_i` for each example, or summed over the batch when A is shared.
fn matrix_gradient(sizes: Sizes, x: &[f32], grad: &[f32]) -> Vec<f32> {
    let size = sizes.rank * sizes.input;
    let copies = if sizes.shared { 1 } else { sizes.batch };
    let mut out = vec![0.0; copies * size];
    let examples = x
        .chunks_exact(sizes.length * sizes.input)
        .zip(grad.chunks_exact(sizes.length * sizes.rank));
    for (i, (x, grad)) in examples.enumerate() {
        let start = if sizes.shared { 0 } else { i * size };
        accumulate(grad, x, sizes.input, &mut out[start..start + size]);
    }
    out
}

/// `scale * x A^T`: `x` `[batch, length, input]`, `a` `[batch, rank, input]` (one matrix an
/// example) or `[1, rank, input]` (one for all); gives `[batch, length, rank]`.
pub(crate) fn low_rank_down(x: &Tensor, a: &Tensor, scale: f32) -> Result<Tensor> {
    x.contiguous()?
        .apply_op2(&a.contiguous()?, LowRankDown(scale))
}
