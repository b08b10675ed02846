//! Per-example gradients, clipped: summed, or handed out one by one.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};
use undertone_protocol::adapter::Adapter;

use super::clip::{Bounds, Verdict, add_scaled, copy_scaled, square_norm};
use crate::error::{Result, TrainingError};
use crate::features::{Batch, Features};
use crate::model::{Model, cross_entropy};
use crate::ops::with_values;

/// Examples in one backward pass; bounds memory whatever the sample's size.
const MICRO_BATCH: usize = 8;

/// The sum of clipped per-example gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct ClippedSum {
    /// The sum in the adapter's canonical order, `[d]`.
    pub gradient: Vec<f64>,
    /// What else is known of the examples.
    pub totals: Totals,
}

/// Sums over the examples of a batch. Private: they carry no noise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// The sum of the examples' losses.
    pub loss: f64,
    /// How many examples were clipped, or counted as zero because their gradient is not finite.
    pub clipped: usize,
}

/// The clipped gradients of some examples, each by itself. Private, like what they come from.
#[derive(Debug)]
pub struct ClippedBatch<'a> {
    /// Row-major `[rows, dimension]` in the adapter's canonical order. Each row, taken as exact
    /// numbers, is within the bounds.
    pub gradients: &'a [f32],
    /// Values of one example.
    pub dimension: usize,
    /// Whether each example was within the bounds before clipping, `[rows]`.
    pub within: &'a [bool],
}

impl ClippedBatch<'_> {
    /// The examples' gradients, `[dimension]` each.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.gradients.chunks_exact(self.dimension.max(1))
    }
}

impl ClippedSum {
    fn zero(len: usize) -> Self {
        Self {
            gradient: vec![0.0; len],
            totals: Totals::default(),
        }
    }

    fn merge(mut self, other: &Self) -> Self {
        for (total, g) in self.gradient.iter_mut().zip(&other.gradient) {
            *total += g;
        }
        self.totals.add(other.totals);
        self
    }
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.clipped += other.clipped;
    }
}

/// What per-example gradients are taken of.
#[derive(Clone, Copy)]
struct Place<'a> {
    model: &'a Model,
    adapter: &'a Adapter,
    features: &'a Features,
    bounds: &'a Bounds,
}

impl<'a> Place<'a> {
    /// Refuses parts that do not fit together.
    fn new(
        model: &'a Model,
        adapter: &'a Adapter,
        features: &'a Features,
        bounds: &'a Bounds,
    ) -> Result<Self> {
        model.check(adapter)?;
        model.check_features(features)?;
        bounds.check(adapter)?;
        Ok(Self {
            model,
            adapter,
            features,
            bounds,
        })
    }
}

/// Sums the gradients of the cross-entropy at `adapter` over the examples at `rows`, each clipped
/// to `bounds`. An example whose gradient is not finite counts as zero.
///
/// The result depends on `rows` and their order, not on the number of worker threads.
///
/// # Errors
/// [`TrainingError::AdapterMismatch`] or [`TrainingError::Features`] if the parts do not fit
/// together.
pub fn clipped_gradient_sum(
    model: &Model,
    adapter: &Adapter,
    features: &Features,
    rows: &[usize],
    bounds: &Bounds,
) -> Result<ClippedSum> {
    let place = Place::new(model, adapter, features, bounds)?;
    let jobs: Vec<&[usize]> = rows.chunks(MICRO_BATCH).collect();
    let sum = |rows: &&[usize]| {
        if bounds.sensitivity().is_none()
            && let Some(sum) = unclipped_sum(place, rows)?
        {
            return Ok(sum);
        }
        let examples = PerExample::compute(place, rows)?;
        let mut gradient = vec![0.0; adapter.len()];
        examples.visit(|_, place, scale, values| {
            // Zero times what is not finite would not be zero.
            if scale > 0.0 {
                add_scaled(scale, values, &mut gradient[place..place + values.len()]);
            }
        })?;
        Ok(ClippedSum {
            gradient,
            totals: examples.totals(),
        })
    };
    let parts = model.encoder().workers().map(&jobs, sum, |_| ())?;
    Ok(parts
        .iter()
        .fold(ClippedSum::zero(adapter.len()), ClippedSum::merge))
}

/// The sum over a micro-batch where nothing is clipped: one variable a tensor serves all examples.
/// `None` if it is not finite; which example is to blame then shows in their own gradients.
fn unclipped_sum(place: Place<'_>, rows: &[usize]) -> Result<Option<ClippedSum>> {
    let batch = place.features.batch(rows)?;
    let (variables, losses) = forward(place, &batch, 1)?;
    let gradients = losses.sum_all()?.backward()?;
    let mut gradient = vec![0.0; place.adapter.len()];
    let mut start = 0;
    for (variable, len) in &variables {
        if let Some(values) = gradients.get(variable.as_tensor()) {
            with_values(values, |values| {
                add_scaled(1.0, values, &mut gradient[start..start + len]);
                Ok(())
            })?;
        }
        start += len;
    }
    let totals = Totals {
        loss: sum_of(&losses)?,
        clipped: 0,
    };
    let finite = gradient.iter().sum::<f64>().is_finite();
    Ok(finite.then_some(ClippedSum { gradient, totals }))
}

/// A variable a tensor, with the number of values of one copy, and the losses `[rows]`.
type Forward = (Vec<(Var, usize)>, Tensor);

/// The forward pass with so many copies of each trainable tensor: one, or one an example.
fn forward(place: Place<'_>, batch: &Batch, copies: usize) -> Result<Forward> {
    let mut variables = Vec::new();
    let mut parameters = BTreeMap::new();
    for (name, shape, values) in place.adapter.tensors() {
        let dims: Vec<usize> = std::iter::once(copies)
            .chain(shape.iter().copied())
            .collect();
        let variable = Var::from_vec(values.repeat(copies), dims, &Device::Cpu)?;
        parameters.insert(name.clone(), variable.as_tensor().clone());
        variables.push((variable, values.len()));
    }
    let logits = place
        .model
        .logits(&batch.input, &batch.lengths, &parameters)?;
    Ok((variables, cross_entropy(&logits, &batch.labels)?))
}

fn sum_of(losses: &Tensor) -> Result<f64> {
    Ok(losses.to_vec1::<f32>()?.into_iter().map(f64::from).sum())
}

/// Hands out the clipped gradient of each example at `rows` by itself, micro-batch by
/// micro-batch, for mechanisms that encode each example before the sum.
///
/// `sink` is called on this thread, in the order of `rows`, and never for an empty batch; memory
/// is bounded by one micro-batch a worker. An error of the sink ends the computation.
///
/// # Errors
/// As for [`clipped_gradient_sum`], and whatever `sink` returns.
pub fn for_each_clipped<E: From<TrainingError>>(
    model: &Model,
    adapter: &Adapter,
    features: &Features,
    rows: &[usize],
    bounds: &Bounds,
    mut sink: impl FnMut(&ClippedBatch<'_>) -> std::result::Result<(), E>,
) -> std::result::Result<Totals, E> {
    let place = Place::new(model, adapter, features, bounds)?;
    let dimension = adapter.len();
    let rows_of = |rows: &&[usize]| {
        let examples = PerExample::compute(place, rows)?;
        let mut gradients = vec![0.0; rows.len() * dimension];
        examples.visit(|row, place, scale, values| {
            let start = row * dimension + place;
            copy_scaled(scale, values, &mut gradients[start..start + values.len()]);
        })?;
        Ok((gradients, examples.within(), examples.totals()))
    };
    let workers = model.encoder().workers();
    let jobs: Vec<&[usize]> = rows.chunks(MICRO_BATCH).collect();
    let mut totals = Totals::default();
    for wave in jobs.chunks(workers.count()) {
        for (gradients, within, part) in workers.map(wave, rows_of, |_| ())? {
            sink(&ClippedBatch {
                gradients: &gradients,
                dimension,
                within: &within,
            })?;
            totals.add(part);
        }
    }
    Ok(totals)
}

/// The gradients of a micro-batch, and what is to be cut off of them.
struct PerExample {
    /// Of each tensor, the gradients of all examples `[rows, len]` and its first value's place in
    /// the canonical order; no gradient where the loss does not depend on it.
    tensors: Vec<(Option<Tensor>, usize, usize)>,
    /// The factor on each tensor of each example, `[rows, tensors]`.
    scales: Vec<f64>,
    verdicts: Vec<Verdict>,
    loss: f64,
}

impl PerExample {
    /// Forward and backward over the examples at `rows`.
    ///
    /// Every example has its own copy of each trainable tensor, so the gradient of the summed loss
    /// with respect to the copies is the stack of the examples' gradients.
    fn compute(place: Place<'_>, rows: &[usize]) -> Result<Self> {
        let batch = place.features.batch(rows)?;
        let (variables, losses) = forward(place, &batch, rows.len())?;
        let mut gradients = losses.sum_all()?.backward()?;
        let mut start = 0;
        let tensors = variables
            .iter()
            .map(|(variable, len)| {
                start += len;
                (gradients.remove(variable.as_tensor()), start - len, *len)
            })
            .collect();
        let loss = sum_of(&losses)?;
        Self {
            tensors,
            scales: Vec::new(),
            verdicts: Vec::new(),
            loss,
        }
        .judged(place.bounds, rows.len())
    }

    fn judged(mut self, bounds: &Bounds, rows: usize) -> Result<Self> {
        let count = self.tensors.len();
        let mut squares = vec![0.0; rows * count];
        for (t, (gradient, _, len)) in self.tensors.iter().enumerate() {
            if let Some(gradient) = gradient {
                with_values(gradient, |values| {
                    for (row, values) in values.chunks_exact(*len).enumerate() {
                        squares[row * count + t] = square_norm(values);
                    }
                    Ok(())
                })?;
            }
        }
        self.scales = vec![0.0; rows * count];
        self.verdicts = squares
            .chunks_exact(count)
            .zip(self.scales.chunks_exact_mut(count))
            .map(|(squares, scales)| bounds.judge(squares, scales))
            .collect();
        Ok(self)
    }

    /// Calls `f` for each tensor of each example: its row, the tensor's place in the canonical
    /// order, the factor, and the gradient.
    fn visit(&self, mut f: impl FnMut(usize, usize, f64, &[f32])) -> Result<()> {
        for (t, (gradient, start, len)) in self.tensors.iter().enumerate() {
            if let Some(gradient) = gradient {
                with_values(gradient, |values| {
                    for (row, values) in values.chunks_exact(*len).enumerate() {
                        let scale = self.scales[row * self.tensors.len() + t];
                        f(row, *start, scale, values);
                    }
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    fn within(&self) -> Vec<bool> {
        let within = |v: &Verdict| *v == Verdict::Within;
        self.verdicts.iter().map(within).collect()
    }

    fn totals(&self) -> Totals {
        Totals {
            loss: self.loss,
            clipped: self.within().iter().filter(|within| !**within).count(),
        }
    }
}

/// Parameters for inference: one copy for the whole batch.
pub(crate) fn shared_parameters(adapter: &Adapter) -> Result<BTreeMap<String, Tensor>> {
    adapter
        .tensors()
        .map(|(name, shape, values)| {
            let dims: Vec<usize> = std::iter::once(1).chain(shape.iter().copied()).collect();
            Ok((
                name.clone(),
                Tensor::from_slice(values, dims, &Device::Cpu)?,
            ))
        })
        .collect()
}
