//! Frozen weights in our own operation against candle's matmul: gradients kept, and time.

use std::sync::Arc;

use candle_core::backprop::GradStore;
use candle_core::{Device, Result as CandleResult, Tensor, Var};
use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;

use super::{Comparison, at_least_one, compare};
use crate::error::Result;
use crate::model::{Encoder, Layer};
use crate::ops::{
    AttentionShape, Linear, add_layer_norm, attention, linear, low_rank_add, low_rank_down,
};

/// Rank of the updates that are trained meanwhile.
const RANK: usize = 4;

/// What the frozen weights of all layers cost in a forward and a backward pass.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrozenCost {
    /// Layers, each with LoRA of rank 4 in query and value.
    pub layers: usize,
    /// Examples in the micro-batch, and tokens of each.
    pub batch: (usize, usize),
    /// Bytes of the gradients that are kept after the backward pass, with our operation.
    pub bytes: usize,
    /// The same with candle's matmul.
    pub candle_bytes: usize,
    /// The first is ours, the second candle's matmul. All other operations are the same.
    pub time: Comparison,
}

/// How the frozen linear maps are computed.
enum Frozen {
    Ours(Arc<Linear>),
    /// The transposed weight and the bias, as candle's own linear layers have them.
    Candle(Tensor, Tensor),
}

impl Frozen {
    fn candle(weights: &Linear) -> CandleResult<Self> {
        let (weight, bias) = weights.tensors()?;
        let bias = match bias {
            Some(bias) => bias,
            None => Tensor::zeros(weights.output, weight.dtype(), &Device::Cpu)?,
        };
        Ok(Self::Candle(weight.t()?, bias))
    }

    fn apply(&self, x: &Tensor) -> CandleResult<Tensor> {
        match self {
            Self::Ours(weights) => linear(x, weights),
            Self::Candle(weight, bias) => {
                let (batch, length, width) = x.dims3()?;
                let y = x.reshape((batch * length, width))?.matmul(weight)?;
                let y = y.reshape((batch, length, ()))?;
                y.broadcast_add(bias)
            }
        }
    }
}

/// The frozen linear maps of a layer: query, key, value, output, and the two of the feed-forward
/// block.
struct Maps<'a>(&'a Layer, [Frozen; 6]);

impl<'a> Maps<'a> {
    fn new(layer: &'a Layer, candle: bool) -> CandleResult<Self> {
        let frozen = |weights: &Arc<Linear>| {
            if candle {
                Frozen::candle(weights)
            } else {
                Ok(Frozen::Ours(Arc::clone(weights)))
            }
        };
        let block = &layer.feed_forward;
        let maps = [
            frozen(&layer.query)?,
            frozen(&layer.key)?,
            frozen(&layer.value)?,
            frozen(&layer.output)?,
            frozen(&block.up)?,
            frozen(&block.down)?,
        ];
        Ok(Self(layer, maps))
    }

    /// The layer with updates of query and value, `a` and `b` of each.
    fn forward(
        &self,
        x: &Tensor,
        shape: &AttentionShape,
        a: &Tensor,
        b: &[Var],
    ) -> CandleResult<Tensor> {
        let Self(layer, [query, key, value, output, up, down]) = self;
        let updated = |map: &Frozen, b: Option<&Var>| match b {
            Some(b) => low_rank_add(&map.apply(x)?, &low_rank_down(x, a, 1.0)?, b),
            None => map.apply(x),
        };
        let context = attention(
            &updated(query, b.first())?,
            &key.apply(x)?,
            &updated(value, b.get(1))?,
            shape,
        )?;
        let mixed = add_layer_norm(&output.apply(&context)?, x, &layer.attention_norm)?;
        let inner = down.apply(&up.apply(&mixed)?.gelu_erf()?)?;
        add_layer_norm(&inner, &mixed, &layer.feed_forward.norm)
    }
}

/// Input, matrices and variables that both sides share.
struct Setting {
    x: Tensor,
    shape: AttentionShape,
    a: Tensor,
    /// Of each layer, B of query and value, one copy an example.
    b: Vec<[Var; 2]>,
}

impl Setting {
    fn new(encoder: &Encoder, batch: usize, length: usize) -> CandleResult<Self> {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let config = encoder.config();
        let hidden = config.hidden_size;
        let mut values = |count: usize, scale: f32| -> Vec<f32> {
            #[allow(clippy::cast_precision_loss, reason = "24 bits")]
            let unit = |bits: u32| (bits >> 8) as f32 / (1 << 23) as f32 - 1.0;
            (0..count).map(|_| scale * unit(rng.next_u32())).collect()
        };
        let x = Tensor::from_vec(
            values(batch * length * hidden, 1.0),
            (batch, length, hidden),
            &Device::Cpu,
        )?;
        let a = Tensor::from_vec(values(RANK * hidden, 0.1), (1, RANK, hidden), &Device::Cpu)?;
        let mut variable = || {
            let start = values(batch * hidden * RANK, 0.1);
            Var::from_vec(start, (batch, hidden, RANK), &Device::Cpu)
        };
        let b = (0..config.num_hidden_layers)
            .map(|_| Ok([variable()?, variable()?]))
            .collect::<CandleResult<_>>()?;
        let shape = AttentionShape {
            heads: config.num_attention_heads,
            lengths: vec![length; batch].into(),
        };
        Ok(Self { x, shape, a, b })
    }

    /// Forward and backward through all layers.
    fn gradients(&self, layers: &[Maps<'_>]) -> CandleResult<GradStore> {
        let mut x = self.x.clone();
        for (layer, b) in layers.iter().zip(&self.b) {
            x = layer.forward(&x, &self.shape, &self.a, b)?;
        }
        x.sqr()?.sum_all()?.backward()
    }
}

/// Bytes of all gradients that a backward pass leaves.
fn kept(gradients: &GradStore) -> usize {
    let gradients = gradients.get_ids().filter_map(|id| gradients.get_id(*id));
    gradients
        .map(|g| g.elem_count() * g.dtype().size_in_bytes())
        .sum()
}

/// Measures one micro-batch of `batch` examples of `length` tokens on one thread, in `pairs` pairs
/// of runs.
///
/// # Errors
/// [`crate::TrainingError::Config`] if a number is 0.
pub fn frozen_weights(
    encoder: &Encoder,
    batch: usize,
    length: usize,
    pairs: usize,
) -> Result<FrozenCost> {
    at_least_one(batch, "batch")?;
    at_least_one(length, "length")?;
    let maps = |candle: bool| {
        let layers = encoder.layers().iter().map(|l| Maps::new(l, candle));
        layers.collect::<CandleResult<Vec<_>>>()
    };
    let (ours, candles) = (maps(false)?, maps(true)?);
    let setting = Setting::new(encoder, batch, length)?;
    // On a worker, like a micro-batch: the matrix library then uses one thread.
    let on_worker = |layers: &[Maps<'_>]| {
        let run = |(): &()| Ok(kept(&setting.gradients(layers)?));
        let bytes = encoder.workers().map(&[()], run, |_| ())?;
        Ok::<_, crate::TrainingError>(bytes.first().copied().unwrap_or(0))
    };
    let (bytes, candle_bytes) = (on_worker(&ours)?, on_worker(&candles)?);
    let time = compare(
        pairs,
        || on_worker(&ours).map(|_| ()),
        || on_worker(&candles).map(|_| ()),
    )?;
    Ok(FrozenCost {
        layers: encoder.config().num_hidden_layers,
        batch: (batch, length),
        bytes,
        candle_bytes,
        time,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    /// The gradients of the variables, layer after layer.
    fn of_variables(setting: &Setting, gradients: &GradStore) -> Vec<f32> {
        let variables = setting.b.iter().flatten();
        let gradient = |b: &Var| gradients.get(b).unwrap().flatten_all().unwrap();
        variables
            .flat_map(|b| gradient(b).to_vec1::<f32>().unwrap())
            .collect()
    }

    /// The gradients of the variables agree; candle keeps those of all frozen weights as well.
    #[test]
    fn no_gradient_of_a_frozen_weight_is_kept() {
        let encoder = fixture::encoder().unwrap();
        let (batch, length) = (3, 5);
        let setting = Setting::new(&encoder, batch, length).unwrap();
        let of = |candle| {
            let layers = encoder.layers().iter().map(|l| Maps::new(l, candle));
            let layers: Vec<_> = layers.collect::<CandleResult<_>>().unwrap();
            let gradients = setting.gradients(&layers).unwrap();
            (kept(&gradients), of_variables(&setting, &gradients))
        };
        let ((ours, a), (candles, b)) = (of(false), of(true));
        assert_eq!(a.len(), 2 * 2 * batch * 16 * RANK);
        let scale = b.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        assert!(scale > 1e-3);
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4 * scale;
        assert!(a.iter().zip(&b).all(close));
        assert_eq!(ours, size_of_val(a.as_slice()), "the variables' alone");
        // Keys, values and queries of the first layer see no variable below them; its output and
        // feed-forward block, and all of the second layer, do.
        let (hidden, inner) = (16, 32);
        let per_layer = hidden * hidden + hidden + 2 * hidden * inner + hidden + inner;
        let second = 3 * (hidden * hidden + hidden);
        let frozen = (2 * per_layer + second) * size_of::<f32>();
        assert!(
            candles >= ours + frozen,
            "{candles} against {ours} and {frozen}"
        );
    }
}
