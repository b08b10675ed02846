//! Multi-head scaled dot-product attention over right-padded sequences.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::kernel::{dot, exp, kernel, max, sum_by};
use super::{Matrices, matmul, tensor, values, with_values};

/// How a batch is cut into heads and where its padding starts.
#[derive(Clone)]
pub(crate) struct AttentionShape {
    /// The number of heads; it divides the hidden size.
    pub(crate) heads: usize,
    /// Real tokens of each example, `[batch]`; keys from there on get no attention.
    pub(crate) lengths: Arc<[usize]>,
}

/// Sizes of one call: tensors are `[batch, length, heads * width]`.
#[derive(Clone, Copy)]
struct Sizes {
    length: usize,
    heads: usize,
    width: usize,
}

impl Sizes {
    fn of(dims: &[usize], heads: usize) -> Result<Self> {
        match *dims {
            [_, length, hidden] if heads > 0 && hidden % heads == 0 => Ok(Self {
                length,
                heads,
                width: hidden / heads,
            }),
            _ => Err(candle_core::Error::Msg(format!("attention over shape {dims:?}")).bt()),
        }
    }

    fn hidden(self) -> usize {
        self.heads * self.width
    }

    /// Example `i` of a `[batch, length, hidden]` buffer as one `[length, width]` matrix a head.
    fn view(self, offset: usize, i: usize) -> Matrices {
        Matrices {
            offset: offset + i * self.length * self.hidden(),
            batch: self.heads,
            rows: self.length,
            cols: self.width,
            strides: [self.width, self.hidden(), 1],
        }
    }

    /// One `[length, length]` matrix a head.
    fn square(self) -> Matrices {
        Matrices::stacked(self.heads, self.length, self.length)
    }

    /// Writes `[heads, length, width]` into `out`, `[length, hidden]`.
    fn merge(self, heads: &[f32], out: &mut [f32]) {
        for (h, head) in heads.chunks_exact(self.length * self.width).enumerate() {
            let rows = out
                .chunks_exact_mut(self.hidden())
                .zip(head.chunks_exact(self.width));
            for (out, row) in rows {
                out[h * self.width..(h + 1) * self.width].copy_from_slice(row);
            }
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "head widths are far below 2^24")]
    fn scale(self) -> f32 {
        (self.width as f32).sqrt().recip()
    }
}

kernel! {
    /// Softmax over the first `valid` scores of each row, times `scale` before; the rest become
    /// zero.
    fn masked_softmax(scores: &'a mut [f32], length: usize, valid: usize, scale: f32) {
        for row in scores.chunks_exact_mut(length) {
            let (row, padding) = row.split_at_mut(valid);
            let top = max(row) * scale;
            for x in row.iter_mut() {
                *x = exp(x.mul_add(scale, -top));
            }
            let inv = sum_by(row, |x| x).recip();
            for x in row.iter_mut() {
                *x *= inv;
            }
            padding.fill(0.0);
        }
    }
}

kernel! {
    /// Turns the gradient of probabilities into that of the unscaled scores, in place.
    fn softmax_backward(
        probabilities: &'a [f32],
        grad: &'a mut [f32],
        length: usize,
        scale: f32,
    ) {
        for (p, g) in probabilities.chunks_exact(length).zip(grad.chunks_exact_mut(length)) {
            let mean = dot(p, g);
            for (g, p) in g.iter_mut().zip(p) {
                *g = scale * p * (*g - mean);
            }
        }
    }
}

struct Attention {
    shape: AttentionShape,
    /// Attention probabilities of each example, `[heads, length, length]`, for the backward pass.
    saved: Option<OnceLock<Vec<CpuStorage>>>,
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::of(q_layout.dims(), self.shape.heads)?;
        let mut context = vec![0.0; values(q, q_layout)?.len()];
        let mut saved = Vec::new();
        let examples = context.chunks_exact_mut(sizes.length * sizes.hidden());
        for (i, (context, valid)) in examples.zip(self.shape.lengths.iter()).enumerate() {
            let keys = sizes.view(k_layout.start_offset(), i);
            let mut scores = matmul(q, sizes.view(q_layout.start_offset(), i), k, keys.t())?;
            masked_softmax(&mut scores, sizes.length, *valid, sizes.scale());
            let probabilities = CpuStorage::F32(scores);
            let view = sizes.view(v_layout.start_offset(), i);
            sizes.merge(&matmul(&probabilities, sizes.square(), v, view)?, context);
            if self.saved.is_some() {
                saved.push(probabilities);
            }
        }
        if let Some(cell) = &self.saved {
            cell.get_or_init(|| saved);
        }
        Ok((CpuStorage::F32(context), q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let saved = self.saved.as_ref().and_then(OnceLock::get).ok_or_else(|| {
            candle_core::Error::Msg("backward before forward in attention".into()).bt()
        })?;
        let sizes = Sizes::of(q.dims(), self.shape.heads)?;
        let copy = |t: &Tensor| with_values(t, |x| Ok(CpuStorage::F32(x.to_vec())));
        let (qs, ks, vs, grads) = (copy(q)?, copy(k)?, copy(v)?, copy(grad)?);
        let mut out = [q, k, v].map(|t| t.track_op().then(|| vec![0.0; t.elem_count()]));
        let [out_q, out_k, out_v] = &mut out;
        for (i, p) in saved.iter().enumerate() {
            let view = sizes.view(0, i);
            let place = i * sizes.length * sizes.hidden()..(i + 1) * sizes.length * sizes.hidden();
            if let Some(out) = out_v {
                let heads = matmul(p, sizes.square().t(), &grads, view)?;
                sizes.merge(&heads, &mut out[place.clone()]);
            }
            if out_q.is_none() && out_k.is_none() {
                continue;
            }
            let mut scores = matmul(&grads, view, &vs, view.t())?;
            softmax_backward(
                p.as_slice::<f32>()?,
                &mut scores,
                sizes.length,
                sizes.scale(),
            );
            let scores = CpuStorage::F32(scores);
            if let Some(out) = out_q {
                let heads = matmul(&scores, sizes.square(), &ks, view)?;
                sizes.merge(&heads, &mut out[place.clone()]);
            }
            if let Some(out) = out_k {
                let heads = matmul(&scores, sizes.square().t(), &qs, view)?;
                sizes.merge(&heads, &mut out[place]);
            }
        }
        let [q, k, v] = out.map(|grad| grad.map(|g| tensor(g, q.shape())).transpose());
        Ok((q?, k?, v?))
    }
}

/// Attention of queries `q` over keys `k` and values `v`, each `[batch, length, hidden]`; gives
/// `[batch, length, hidden]`. Rows beyond an example's length hold values nobody should read.
pub(crate) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    shape: &AttentionShape,
) -> Result<Tensor> {
    let tracked = q.track_op() || k.track_op() || v.track_op();
    let op = Attention {
        shape: shape.clone(),
        saved: tracked.then(OnceLock::new),
    };
    q.contiguous()?
        .apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}
