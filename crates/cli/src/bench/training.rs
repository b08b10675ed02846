//! `undertone bench training`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use undertone_training::Encoder;
use undertone_training::measure::{self, Effort};

use crate::error::CliError;
use crate::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  What privacy costs a step, without any download:
    undertone bench training --json

  With the demo's model:
    undertone bench training --model .cache/undertone/model

A private step runs in turns with a step of plain SGD on the same batch; the figure is the median of
the ratios of neighbouring runs. The same for quantized against f32 weights, and for our operation
against candle's matmul. Other programs on the machine move times, but ratios of processor time
hardly.";

/// Measure what privacy and frozen weights cost a training step
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TrainingArgs {
    /// Folder with config.json and model.safetensors; random weights of MiniLM-L6's size if left out
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Texts in a batch
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch: usize,
    /// Tokens of a text
    #[arg(long, value_name = "N", default_value_t = 64)]
    length: usize,
    /// Pairs of runs of each setting
    #[arg(long, value_name = "N", default_value_t = 7)]
    pairs: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    args: &TrainingArgs,
    progress: &Progress,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let encoder = match &args.model {
        Some(folder) => Arc::new(Encoder::load(folder)?),
        None => measure::encoder()?,
    };
    let effort = Effort {
        batch: args.batch,
        length: args.length,
        pairs: args.pairs,
    };
    let report = measure::run(&encoder, effort, |step| progress.say(step))?;
    progress.clear();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        write!(out, "{}", report.table())?;
    }
    Ok(())
}
