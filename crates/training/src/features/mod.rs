//! Activations of the frozen prefix, computed once and kept in half precision.
//!
//! The layers below the first trained one give the same output in every step, so they run once a
//! text. Values are rounded to IEEE binary16 (relative error 2^-11) and used in that form for
//! training and evaluation alike; a text costs `2 * length * hidden` bytes.

mod cache;

use std::sync::Arc;

use candle_core::{Device, Tensor};
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::error::{Result, TrainingError};
use crate::model::{Depth, Encoder, mean_pool};

/// Texts that go through the encoder together: enough rows for fast products, few enough that the
/// intermediate values stay in the second-level cache.
const BATCH: usize = 8;

/// Features of a set of texts, with their labels. Cloning and selecting share the values.
#[derive(Clone, Debug)]
pub struct Features {
    shared: Arc<Activations>,
    rows: Vec<usize>,
}

struct Activations {
    encoder: [u8; 32],
    depth: Depth,
    /// Padded tokens of a text; 1 for pooled features.
    length: usize,
    hidden: usize,
    values: Vec<f16>,
    tokens: Vec<usize>,
    labels: Vec<u32>,
}

impl std::fmt::Debug for Activations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values are derived from private texts and stay out of logs.
        f.debug_struct("Activations")
            .field("depth", &self.depth)
            .field("length", &self.length)
            .field("texts", &self.labels.len())
            .finish_non_exhaustive()
    }
}

/// Some texts, ready for the model.
pub(crate) struct Batch {
    /// `[batch, length, hidden]`, or `[batch, hidden]` when pooled.
    pub(crate) input: Tensor,
    pub(crate) lengths: Arc<[usize]>,
    pub(crate) labels: Vec<u32>,
}

/// Labelled texts as token ids.
#[derive(Clone, Copy, Debug)]
pub struct LabelledTokens<'a> {
    /// Token ids of each text, 1 to `length` of them.
    pub ids: &'a [Vec<u32>],
    /// The class of each text.
    pub labels: &'a [u32],
    /// The padded length: the task's `sequence_length`.
    pub length: usize,
}

impl LabelledTokens<'_> {
    fn check(&self) -> Result<()> {
        let fits = |ids: &Vec<u32>| !ids.is_empty() && ids.len() <= self.length;
        if self.ids.len() != self.labels.len() {
            Err(TrainingError::Features(
                "as many labels as texts are needed".to_owned(),
            ))
        } else if !self.ids.iter().all(fits) {
            let message = format!("each text needs 1 to {} tokens", self.length);
            Err(TrainingError::Features(message))
        } else {
            Ok(())
        }
    }
}

impl Features {
    /// Runs the frozen layers up to `depth` over texts; `progress` gets texts done and texts in
    /// all.
    ///
    /// # Errors
    /// [`TrainingError::Features`] if ids and labels do not match or a text is empty or too long.
    pub fn compute(
        encoder: &Encoder,
        tokens: LabelledTokens<'_>,
        depth: Depth,
        mut progress: impl FnMut(usize, usize) + Send,
    ) -> Result<Self> {
        tokens.check()?;
        let jobs: Vec<&[Vec<u32>]> = tokens.ids.chunks(BATCH).collect();
        let total = tokens.ids.len();
        let parts = encoder.workers().map(
            &jobs,
            |ids| {
                let rows: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
                let lengths: Arc<[usize]> = rows.iter().map(|r| r.len()).collect();
                let x = encoder.embed(&rows, tokens.length)?;
                half_values(&advance(encoder, &x, &lengths, Depth::Layer(0), depth)?)
            },
            |done| progress((done * BATCH).min(total), total),
        )?;
        Ok(Self::assemble(encoder, tokens, depth, parts.concat()))
    }

    /// Goes on from hidden states through the remaining frozen layers to pooled features.
    ///
    /// # Errors
    /// [`TrainingError::Features`] if these features come from another encoder.
    pub fn pooled(
        &self,
        encoder: &Encoder,
        mut progress: impl FnMut(usize, usize) + Send,
    ) -> Result<Self> {
        if self.shared.encoder != *encoder.digest() {
            return Err(TrainingError::Features(
                "they come from another encoder".to_owned(),
            ));
        }
        if self.shared.depth == Depth::Pooled {
            return Ok(self.clone());
        }
        let all: Vec<usize> = (0..self.len()).collect();
        let jobs: Vec<&[usize]> = all.chunks(BATCH).collect();
        let parts = encoder.workers().map(
            &jobs,
            |rows| {
                let batch = self.batch(rows)?;
                let from = self.shared.depth;
                half_values(&advance(
                    encoder,
                    &batch.input,
                    &batch.lengths,
                    from,
                    Depth::Pooled,
                )?)
            },
            |done| progress((done * BATCH).min(all.len()), all.len()),
        )?;
        let shared = Activations {
            encoder: self.shared.encoder,
            depth: Depth::Pooled,
            length: 1,
            hidden: self.shared.hidden,
            values: parts.concat(),
            tokens: self.rows.iter().map(|&r| self.shared.tokens[r]).collect(),
            labels: self.labels(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            rows: all,
        })
    }

    /// The texts at `rows`, in that order.
    ///
    /// # Errors
    /// [`TrainingError::Features`] if a row does not exist.
    pub fn select(&self, rows: &[usize]) -> Result<Self> {
        let pick = |&row: &usize| {
            self.rows.get(row).copied().ok_or_else(|| {
                TrainingError::Features(format!("no text {row} among {}", self.rows.len()))
            })
        };
        let rows = rows.iter().map(pick).collect::<Result<_>>()?;
        Ok(Self {
            shared: Arc::clone(&self.shared),
            rows,
        })
    }

    /// The number of texts.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The class of each text.
    pub fn labels(&self) -> Vec<u32> {
        self.rows
            .iter()
            .map(|&row| self.shared.labels[row])
            .collect()
    }

    /// How far the frozen part of the model went.
    pub fn depth(&self) -> Depth {
        self.shared.depth
    }

    /// Whether these features were made for such a model.
    pub(crate) fn check(&self, encoder: &Encoder, depth: Depth, length: usize) -> Result<()> {
        let same_length = depth == Depth::Pooled || self.shared.length == length;
        if self.shared.encoder == *encoder.digest() && self.shared.depth == depth && same_length {
            return Ok(());
        }
        Err(TrainingError::Features(format!(
            "they are {:?} at {} tokens of some encoder, the model needs {depth:?} at {length}",
            self.shared.depth, self.shared.length
        )))
    }

    /// The texts at `rows`, back in `f32`. Rows must exist.
    pub(crate) fn batch(&self, rows: &[usize]) -> Result<Batch> {
        let Activations {
            depth,
            length,
            hidden,
            ..
        } = *self.shared;
        let width = length * hidden;
        let mut input = vec![0.0; rows.len() * width];
        let mut lengths = Vec::with_capacity(rows.len());
        let mut labels = Vec::with_capacity(rows.len());
        for (out, &row) in input.chunks_exact_mut(width).zip(rows) {
            let row = self.rows[row];
            self.shared.values[row * width..(row + 1) * width].convert_to_f32_slice(out);
            lengths.push(self.shared.tokens[row]);
            labels.push(self.shared.labels[row]);
        }
        let input = match depth {
            Depth::Pooled => Tensor::from_vec(input, (rows.len(), hidden), &Device::Cpu)?,
            Depth::Layer(_) => Tensor::from_vec(input, (rows.len(), length, hidden), &Device::Cpu)?,
        };
        Ok(Batch {
            input,
            lengths: lengths.into(),
            labels,
        })
    }

    fn assemble(
        encoder: &Encoder,
        tokens: LabelledTokens<'_>,
        depth: Depth,
        values: Vec<f16>,
    ) -> Self {
        let shared = Activations {
            encoder: *encoder.digest(),
            depth,
            length: if depth == Depth::Pooled {
                1
            } else {
                tokens.length
            },
            hidden: encoder.config().hidden_size,
            values,
            tokens: tokens.ids.iter().map(Vec::len).collect(),
            labels: tokens.labels.to_vec(),
        };
        Self {
            shared: Arc::new(shared),
            rows: (0..tokens.ids.len()).collect(),
        }
    }
}

/// Values of one text.
fn width(encoder: &Encoder, length: usize, depth: Depth) -> usize {
    let hidden = encoder.config().hidden_size;
    if depth == Depth::Pooled {
        hidden
    } else {
        length * hidden
    }
}

/// Applies the frozen layers between two depths.
fn advance(
    encoder: &Encoder,
    x: &Tensor,
    lengths: &Arc<[usize]>,
    from: Depth,
    to: Depth,
) -> Result<Tensor> {
    let layers = encoder.config().num_hidden_layers;
    let index = |depth| match depth {
        Depth::Layer(layer) => layer,
        Depth::Pooled => layers,
    };
    let mut x = x.clone();
    for layer in index(from)..index(to) {
        x = encoder.layer(layer, &x, lengths, &[])?;
    }
    if to == Depth::Pooled {
        mean_pool(&x, lengths)
    } else {
        Ok(x)
    }
}

fn half_values(x: &Tensor) -> Result<Vec<f16>> {
    let values = x.flatten_all()?.to_vec1::<f32>()?;
    let mut out = vec![f16::ZERO; values.len()];
    out.convert_from_f32_slice(&values);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn pooled_features_follow_from_hidden_ones() {
        let encoder = fixture::encoder().unwrap();
        let (ids, labels) = fixture::examples(11, 3).unwrap();
        let tokens = LabelledTokens {
            ids: &ids,
            labels: &labels,
            length: fixture::LENGTH,
        };
        let hidden = Features::compute(&encoder, tokens, Depth::Layer(1), |_, _| ()).unwrap();
        let direct = Features::compute(&encoder, tokens, Depth::Pooled, |_, _| ()).unwrap();
        let through = hidden.pooled(&encoder, |_, _| ()).unwrap();
        assert_eq!(through.labels(), labels);
        for (a, b) in direct.shared.values.iter().zip(&through.shared.values) {
            assert!((a.to_f32() - b.to_f32()).abs() < 5e-3, "{a} {b}");
        }
    }

    #[test]
    fn padding_does_not_change_a_text() {
        let encoder = fixture::encoder().unwrap();
        let (ids, labels) = fixture::examples(5, 4).unwrap();
        let at = |length| {
            let tokens = LabelledTokens {
                ids: &ids,
                labels: &labels,
                length,
            };
            let f = Features::compute(&encoder, tokens, Depth::Pooled, |_, _| ()).unwrap();
            f.shared.values.clone()
        };
        let (a, b) = (at(fixture::LENGTH), at(fixture::LENGTH + 7));
        for (a, b) in a.iter().zip(&b) {
            assert!((a.to_f32() - b.to_f32()).abs() < 1e-3, "{a} {b}");
        }
    }
}
