//! All measurements of this module in one go, and a table of them.

use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;

use super::{
    Comparison, FrozenCost, StepCost, StepPlan, frozen_weights, private_step, quantized_step,
};
use crate::config::{BaseWeights, LoraVariant, Projection};
use crate::error::Result;
use crate::model::Encoder;

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Effort {
    /// Examples in a batch, at least 1.
    pub batch: usize,
    /// Tokens of each, at least 2.
    pub length: usize,
    /// Pairs of runs for each setting, at least 1.
    pub pairs: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            batch: 16,
            length: 64,
            pairs: 7,
        }
    }
}

/// Bytes of frozen weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct BaseSize {
    /// How they are kept.
    pub base: BaseWeights,
    /// Bytes of all of them in memory.
    pub bytes: usize,
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Batch, length and repetitions.
    pub effort: Effort,
    /// A private step against one without privacy, for several settings.
    pub steps: Vec<StepCost>,
    /// A private step on quantized weights against one on `f32` weights.
    pub quantized: Vec<StepCost>,
    /// The frozen weights of all layers, against candle's matmul.
    pub frozen: FrozenCost,
    /// Memory of the frozen weights.
    pub base: Vec<BaseSize>,
}

/// The demo's settings.
fn demo(effort: Effort) -> StepPlan {
    StepPlan {
        batch: effort.batch,
        length: effort.length,
        pairs: effort.pairs,
        ..StepPlan::default()
    }
}

/// The settings whose steps are measured: the demo's, and more to train.
fn plans(effort: Effort, layers: usize) -> Vec<StepPlan> {
    use Projection::{Key, Output, Query, Value};
    let demo = demo(effort);
    let deep = StepPlan {
        layers,
        ..demo.clone()
    };
    let wide = StepPlan {
        rank: 8,
        projections: vec![Query, Key, Value, Output],
        ..deep.clone()
    };
    let plain = |plan: &StepPlan| StepPlan {
        variant: LoraVariant::Plain,
        ..plan.clone()
    };
    vec![plain(&demo), plain(&wide), demo, deep, wide]
}

impl Report {
    /// The figures for people: medians, and the quartiles of the ratios in brackets.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let Effort {
            batch,
            length,
            pairs,
        } = self.effort;
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "batches of {batch} texts, {length} tokens each; {pairs} pairs of runs in turns\n"
        );
        heading(&mut out, "private step / step without privacy");
        for cost in &self.steps {
            row(&mut out, &cost.plan.describe(), cost.values, &cost.time);
        }
        let _ = writeln!(out);
        heading(&mut out, "private step, quantized / f32 base");
        for cost in &self.quantized {
            row(&mut out, &cost.plan.describe(), cost.values, &cost.time);
        }
        for size in &self.base {
            let _ = writeln!(out, "  {} base: {}", size.base.name(), mb(size.bytes));
        }
        let frozen = &self.frozen;
        let _ = writeln!(out);
        heading(&mut out, "frozen weights, ours / candle's matmul");
        let (texts, tokens) = frozen.batch;
        let what = format!("{} layers, {texts} texts of {tokens} tokens", frozen.layers);
        row(&mut out, &what, 0, &frozen.time);
        let _ = writeln!(
            out,
            "  gradients kept: {} against {}",
            mb(frozen.bytes),
            mb(frozen.candle_bytes)
        );
        out
    }
}

fn heading(out: &mut String, what: &str) {
    let _ = writeln!(
        out,
        "{what:<50} {:>7} {:>9} {:>9} {:>6} {:<13} {:>6} {:<13}",
        "values", "ms", "ms", "ratio", "(quartiles)", "cpu", "(quartiles)"
    );
}

fn row(out: &mut String, what: &str, values: usize, time: &Comparison) {
    let wall = &time.wall;
    let _ = write!(
        out,
        "{what:<50} {values:>7} {:>9.1} {:>9.1} {:>6.3} ({:.3}-{:.3})",
        wall.first_ms, wall.second_ms, wall.ratio, wall.low, wall.high
    );
    if let Some(cpu) = &time.processor {
        let _ = write!(out, " {:>6.3} ({:.3}-{:.3})", cpu.ratio, cpu.low, cpu.high);
    }
    let _ = writeln!(out);
}

/// Megabytes, 10^6 bytes.
#[allow(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn mb(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Measures everything on an encoder with `f32` weights; `progress` is told what comes next.
///
/// # Errors
/// [`crate::TrainingError::Config`] if a number of `effort` is 0, or too large for the encoder.
pub fn run(full: &Arc<Encoder>, effort: Effort, mut progress: impl FnMut(&str)) -> Result<Report> {
    let mut base = Vec::new();
    for kind in [BaseWeights::F32, BaseWeights::Q8_0, BaseWeights::Q4_0] {
        progress(&format!("weights as {}", kind.name()));
        base.push(BaseSize {
            base: kind,
            bytes: full.with_base(kind)?.weight_bytes(),
        });
    }
    let mut steps = Vec::new();
    for plan in plans(effort, full.config().num_hidden_layers) {
        progress(&format!("private and open steps: {}", plan.describe()));
        steps.push(private_step(full, &plan)?);
    }
    let mut quantized = Vec::new();
    for base in [BaseWeights::Q8_0, BaseWeights::Q4_0] {
        let plan = StepPlan {
            base,
            ..demo(effort)
        };
        progress(&format!("steps on {} and on f32 weights", base.name()));
        quantized.push(quantized_step(full, &plan)?);
    }
    progress("frozen weights against candle's matmul");
    let frozen = frozen_weights(full, effort.batch.min(8), effort.length, effort.pairs)?;
    Ok(Report {
        effort,
        steps,
        quantized,
        frozen,
        base,
    })
}

impl StepPlan {
    /// A line that tells settings apart.
    pub fn describe(&self) -> String {
        let names = self.projections.iter().map(|p| match p {
            Projection::Query => 'q',
            Projection::Key => 'k',
            Projection::Value => 'v',
            Projection::Output => 'o',
        });
        let trained = match self.variant {
            LoraVariant::Ffa => "B",
            LoraVariant::Plain => "A and B",
        };
        format!(
            "{trained} of rank {} in {} of {} layers, {} base",
            self.rank,
            names.collect::<String>(),
            self.layers,
            self.base.name()
        )
    }
}
