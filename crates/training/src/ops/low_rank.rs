//! The LoRA update with one matrix B per example: `y_i = base_i + u_i B_i^T`.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::kernel::{axpy, dot, kernel};
use super::{tensor, values, with_values};

kernel! {
    /// `y += u C` for each token: `columns` C is `[rank, output]`, `u` `[length, rank]`.
    pub(super) fn add_columns(columns: &'a [f32], u: &'a [f32], rank: usize, y: &'a mut [f32]) {
        let output = columns.len() / rank;
        for (y, u) in y.chunks_exact_mut(output).zip(u.chunks_exact(rank)) {
            for (u, column) in u.iter().zip(columns.chunks_exact(output)) {
                axpy(*u, column, y);
            }
        }
    }
}

kernel! {
    /// `out = g C^T` for each token: `columns` C is `[rank, output]`, `grad` `[length, output]`.
    pub(super) fn project(columns: &'a [f32], grad: &'a [f32], output: usize, out: &'a mut [f32]) {
        let rank = columns.len() / output;
        for (g, out) in grad.chunks_exact(output).zip(out.chunks_exact_mut(rank)) {
            for (out, column) in out.iter_mut().zip(columns.chunks_exact(output)) {
                *out = dot(g, column);
            }
        }
    }
}

kernel! {
    /// `columns += u^T g`, summed over the tokens: `u` is `[length, rank]`.
    pub(super) fn accumulate(u: &'a [f32], grad: &'a [f32], output: usize, columns: &'a mut [f32]) {
        let rank = columns.len() / output;
        for (u, g) in u.chunks_exact(rank).zip(grad.chunks_exact(output)) {
            for (u, column) in u.iter().zip(columns.chunks_exact_mut(output)) {
                axpy(*u, g, column);
            }
        }
    }
}

struct LowRankAdd;

/// Sizes: `base` `[batch, length, output]`, `u` `[batch, length, rank]`, B
/// `[batch or 1, output, rank]`.
#[derive(Clone, Copy)]
struct Sizes {
    length: usize,
    rank: usize,
    output: usize,
    shared: bool,
}

impl Sizes {
    fn of(u: &[usize], b: &[usize]) -> Result<Self> {
        match (u, b) {
            (&[batch, length, rank], &[copies, output, r])
                if r == rank && (copies == batch || copies == 1) =>
            {
                Ok(Self {
                    length,
                    rank,
                    output,
                    shared: copies == 1,
                })
            }
            _ => Err(candle_core::Error::Msg(format!("LoRA shapes {u:?} and {b:?}")).bt()),
        }
    }

    /// The matrix B of example `i` as its `rank` columns, each contiguous `[output]`.
    fn columns(&self, b: &[f32], i: usize) -> Vec<f32> {
        let size = self.output * self.rank;
        let start = if self.shared { 0 } else { i * size };
        let mut columns = vec![0.0; size];
        for (o, row) in b[start..start + size].chunks_exact(self.rank).enumerate() {
            for (r, x) in row.iter().enumerate() {
                columns[r * self.output + o] = *x;
            }
        }
        columns
    }
}

impl CustomOp3 for LowRankAdd {
    fn name(&self) -> &'static str {
        "low-rank-add"
    }

    fn cpu_fwd(
        &self,
        base: &CpuStorage,
        base_layout: &Layout,
        u: &CpuStorage,
        u_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::of(u_layout.dims(), b_layout.dims())?;
        let (u, b) = (values(u, u_layout)?, values(b, b_layout)?);
        let mut y = values(base, base_layout)?.to_vec();
        let examples = y.chunks_exact_mut(sizes.length * sizes.output);
        for (i, (y, u)) in examples
            .zip(u.chunks_exact(sizes.length * sizes.rank))
            .enumerate()
        {
            let columns = sizes.columns(b, i);
            add_columns(&columns, u, sizes.rank, y);
        }
        Ok((CpuStorage::F32(y), base_layout.shape().clone()))
    }

    fn bwd(
        &self,
        base: &Tensor,
        u: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sizes = Sizes::of(u.dims(), b.dims())?;
        let grad_u = if u.track_op() {
            let g = with_values(b, |b| {
                with_values(grad, |g| Ok(input_gradient(sizes, b, g)))
            })?;
            Some(tensor(g, u.shape())?)
        } else {
            None
        };
        let grad_b = if b.track_op() {
            let g = with_values(u, |u| {
                with_values(grad, |g| Ok(matrix_gradient(sizes, u, g)))
            })?;
            Some(tensor(g, b.shape())?)
        } else {
            None
        };
        Ok((base.track_op().then(|| grad.clone()), grad_u, grad_b))
    }
}

/// `g_i B_i`: `[batch, length, rank]`.
fn input_gradient(sizes: Sizes, b: &[f32], grad: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; grad.len() / sizes.output * sizes.rank];
    for (i, grad) in grad.chunks_exact(sizes.length * sizes.output).enumerate() {
        let columns = sizes.columns(b, i);
        let size = sizes.length * sizes.rank;
        project(
            &columns,
            grad,
            sizes.output,
            &mut out[i * size..(i + 1) * size],
        );
    }
    out
}

/// `g_i^T u_i` for each example, or summed over the batch when B is shared.
fn matrix_gradient(sizes: Sizes, u: &[f32], grad: &[f32]) -> Vec<f32> {
    let Sizes {
        length,
        rank,
        output,
        shared,
    } = sizes;
    let copies = if shared { 1 } else { u.len() / (length * rank) };
    let mut out = vec![0.0; copies * output * rank];
    let mut columns = vec![0.0; rank * output];
    let examples = u
        .chunks_exact(length * rank)
        .zip(grad.chunks_exact(length * output));
    for (i, (u, grad)) in examples.enumerate() {
        columns.fill(0.0);
        accumulate(u, grad, output, &mut columns);
        let start = if shared { 0 } else { i * output * rank };
        for (r, column) in columns.chunks_exact(output).enumerate() {
            for (o, x) in column.iter().enumerate() {
                out[start + o * rank + r] += x;
            }
        }
    }
    out
}

/// `base + u B^T`: `base` `[batch, length, output]`, `u` `[batch, length, rank]`, `b`
/// `[batch, output, rank]` (one matrix an example) or `[1, output, rank]` (one for all).
pub(crate) fn low_rank_add(base: &Tensor, u: &Tensor, b: &Tensor) -> Result<Tensor> {
    base.contiguous()?
        .apply_op3(&u.contiguous()?, &b.contiguous()?, LowRankAdd)
}
