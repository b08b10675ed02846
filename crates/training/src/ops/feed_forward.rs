//! The frozen feed-forward block: `LayerNorm(x + W2 gelu(W1 x + b1) + b2)`.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::kernel::{gelu, gelu_derivative, kernel};
use super::linear::Linear;
use super::norm::Norm;
use super::{tensor, values, with_values};

/// Frozen weights of the block.
pub(crate) struct FeedForward {
    pub(crate) up: Arc<Linear>,
    pub(crate) down: Arc<Linear>,
    pub(crate) norm: Arc<Norm>,
}

/// What the backward pass needs: `[rows, intermediate]` before GELU, `[rows, hidden]` before the
/// normalisation.
struct Saved {
    before_gelu: Vec<f32>,
    before_norm: Vec<f32>,
}

kernel! {
    fn activate(x: &'a [f32], y: &'a mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = gelu(*x);
        }
    }
}

kernel! {
    fn activate_backward(x: &'a [f32], grad: &'a mut [f32]) {
        for (g, x) in grad.iter_mut().zip(x) {
            *g *= gelu_derivative(*x);
        }
    }
}

struct FrozenFeedForward {
    weights: Arc<FeedForward>,
    /// Filled by the forward pass of a tracked input, once.
    saved: Option<OnceLock<Saved>>,
}

impl CustomOp1 for FrozenFeedForward {
    fn name(&self) -> &'static str {
        "frozen-feed-forward"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let block = &self.weights;
        let input = values(x, layout)?;
        let rows = input.len() / block.up.input;
        let before_gelu = block.up.forward(x, layout.start_offset(), rows)?;
        let mut active = vec![0.0; before_gelu.len()];
        activate(&before_gelu, &mut active);
        let mut y = block.down.forward(&CpuStorage::F32(active), 0, rows)?;
        for (y, x) in y.iter_mut().zip(input) {
            *y += x;
        }
        if let Some(saved) = &self.saved {
            let before_norm = y.clone();
            saved.get_or_init(|| Saved {
                before_gelu,
                before_norm,
            });
        }
        block.norm.forward(&mut y);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let saved = self.saved.as_ref().and_then(OnceLock::get).ok_or_else(|| {
            candle_core::Error::Msg("backward before forward in the feed-forward block".into()).bt()
        })?;
        let block = &self.weights;
        let mut grad = with_values(grad, |g| Ok(g.to_vec()))?;
        let rows = grad.len() / block.up.input;
        block.norm.backward(&saved.before_norm, &mut grad);
        let grad = CpuStorage::F32(grad);
        let mut inner = block.down.backward(&grad, rows)?;
        activate_backward(&saved.before_gelu, &mut inner);
        let mut total = block.up.backward(&CpuStorage::F32(inner), rows)?;
        for (t, g) in total.iter_mut().zip(grad.as_slice::<f32>()?) {
            *t += g;
        }
        tensor(total, x.shape()).map(Some)
    }
}

/// The whole block over the last dimension of `x`; only `x` receives a gradient.
pub(crate) fn feed_forward(x: &Tensor, weights: &Arc<FeedForward>) -> Result<Tensor> {
    let saved = x.track_op().then(OnceLock::new);
    x.contiguous()?.apply_op1(FrozenFeedForward {
        weights: Arc::clone(weights),
        saved,
    })
}
