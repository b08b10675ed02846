//! Times of training steps on this machine: what privacy costs, and what the frozen weights do.
//!
//! Tokens are random, and so are the weights unless a model is given: a step takes as long as with
//! real ones. Whatever is compared runs in turns in one process, so that both sides meet the
//! same state of the machine; a figure is the median of the ratios of neighbouring runs.

mod frozen;
mod report;
mod step;

use std::sync::Arc;
use std::time::Instant;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use serde::Serialize;

pub use frozen::{FrozenCost, frozen_weights};
pub use report::{BaseSize, Effort, Report, run};
pub use step::{StepCost, StepPlan, private_step, quantized_step};

use crate::error::{Result, TrainingError};
use crate::features::{Features, LabelledTokens};
use crate::fixture;
use crate::model::{BertConfig, Encoder, Model};

/// The sizes of MiniLM-L6 with a small vocabulary.
fn shape() -> BertConfig {
    BertConfig {
        hidden_size: 384,
        num_hidden_layers: 6,
        num_attention_heads: 12,
        intermediate_size: 1536,
        max_position_embeddings: 512,
        vocab_size: 1000,
        ..fixture::bert_config()
    }
}

/// An encoder of that size, for a machine where no model is.
///
/// # Errors
/// As for [`Encoder::from_bytes`].
pub fn encoder() -> Result<Arc<Encoder>> {
    let (config, weights) = fixture::files_of(&shape())?;
    Ok(Arc::new(Encoder::from_bytes(&config, &weights)?))
}

/// Random texts of full length, as features.
fn features(model: &Model, texts: usize) -> Result<Features> {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let length = model.config().sequence_length;
    let mut token = || 4 + rng.next_u32() % 900;
    let ids: Vec<Vec<u32>> = (0..texts)
        .map(|_| (0..length).map(|_| token()).collect())
        .collect();
    let labels: Vec<u32> = (0..texts).map(|_| token() % 2).collect();
    let tokens = LabelledTokens {
        ids: &ids,
        labels: &labels,
        length,
    };
    Features::compute(model.encoder(), tokens, model.depth(), |_, _| ())
}

/// Two ways to do one thing, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// By the clock on the wall.
    pub wall: Ratio,
    /// By the processor time of all threads of this process, which other programs on the machine
    /// hardly change; where the system tells it.
    pub processor: Option<Ratio>,
    /// Pairs of runs.
    pub pairs: usize,
}

/// Medians of two series, and quartiles of the ratios of their neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The median of the first.
    pub first_ms: f64,
    /// The median of the second.
    pub second_ms: f64,
    /// The median of the ratios first to second of neighbouring runs.
    pub ratio: f64,
    /// A quarter of these ratios is below.
    pub low: f64,
    /// A quarter is above.
    pub high: f64,
}

impl Ratio {
    fn of(mut first: Vec<f64>, mut second: Vec<f64>) -> Self {
        let mut ratios: Vec<f64> = first.iter().zip(&second).map(|(a, b)| a / b).collect();
        Self {
            first_ms: quantile(&mut first, 2),
            second_ms: quantile(&mut second, 2),
            ratio: quantile(&mut ratios, 2),
            low: quantile(&mut ratios, 1),
            high: quantile(&mut ratios, 3),
        }
    }
}

/// What one run took, in milliseconds.
struct Taken {
    wall: f64,
    processor: Option<f64>,
}

/// Runs both in turns, `pairs` times after one that does not count; the order within a pair
/// alternates.
fn compare(
    pairs: usize,
    mut first: impl FnMut() -> Result<()>,
    mut second: impl FnMut() -> Result<()>,
) -> Result<Comparison> {
    at_least_one(pairs, "pairs")?;
    let (mut a, mut b) = (Vec::new(), Vec::new());
    first()?;
    second()?;
    for pair in 0..pairs {
        if pair % 2 == 0 {
            a.push(time(&mut first)?);
            b.push(time(&mut second)?);
        } else {
            b.push(time(&mut second)?);
            a.push(time(&mut first)?);
        }
    }
    let wall = |taken: &[Taken]| taken.iter().map(|t| t.wall).collect();
    let processor = |taken: &[Taken]| taken.iter().map(|t| t.processor).collect::<Option<_>>();
    Ok(Comparison {
        wall: Ratio::of(wall(&a), wall(&b)),
        processor: processor(&a)
            .zip(processor(&b))
            .map(|(a, b)| Ratio::of(a, b)),
        pairs,
    })
}

fn time(work: &mut impl FnMut() -> Result<()>) -> Result<Taken> {
    let (start, processor) = (Instant::now(), processor_ms());
    work()?;
    Ok(Taken {
        wall: start.elapsed().as_secs_f64() * 1e3,
        processor: processor_ms()
            .zip(processor)
            .map(|(after, before)| after - before),
    })
}

/// Processor time of all threads of this process, ended ones included.
#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "other systems do not tell")]
fn processor_ms() -> Option<f64> {
    use rustix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::ProcessCPUTime);
    #[allow(
        clippy::cast_precision_loss,
        reason = "seconds and nanoseconds are below 2^52"
    )]
    let ms = now.tv_sec as f64 * 1e3 + now.tv_nsec as f64 / 1e6;
    Some(ms)
}

#[cfg(not(unix))]
fn processor_ms() -> Option<f64> {
    None
}

/// A quartile: 1, 2 (the median) or 3.
fn quantile(values: &mut [f64], quarter: usize) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    let at = last * quarter;
    let (low, rest) = (at / 4, at % 4);
    let value = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    #[allow(clippy::cast_precision_loss, reason = "below 4")]
    let weight = rest as f64 / 4.0;
    value(low) + weight * (value((low + 1).min(last)) - value(low))
}

/// What an impossible plan is answered with.
fn at_least_one(value: usize, name: &str) -> Result<()> {
    if value > 0 {
        return Ok(());
    }
    Err(TrainingError::Config(format!("{name} must be at least 1")))
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "small dyadic numbers are exact")]
mod tests {
    use super::*;

    #[test]
    fn quartiles_interpolate() {
        let mut values = [4.0, 1.0, 3.0, 2.0, 5.0];
        assert_eq!([1, 2, 3].map(|q| quantile(&mut values, q)), [2.0, 3.0, 4.0]);
        let mut two = [1.0, 2.0];
        assert_eq!([1, 2, 3].map(|q| quantile(&mut two, q)), [1.25, 1.5, 1.75]);
        assert_eq!(quantile(&mut [7.0], 2), 7.0);
    }

    #[test]
    fn the_ratio_is_that_of_neighbours() {
        // The machine is four times slower from the second pair on: the ratio stays 1.5.
        let ratio = Ratio::of(vec![1.5, 6.0, 6.0], vec![1.0, 4.0, 4.0]);
        assert_eq!((ratio.ratio, ratio.low, ratio.high), (1.5, 1.5, 1.5));
        assert_eq!((ratio.first_ms, ratio.second_ms), (6.0, 4.0));
    }

    #[test]
    #[cfg(unix)]
    fn processor_time_counts_threads_that_have_ended() {
        let before = processor_ms().unwrap();
        let busy = || {
            let start = Instant::now();
            while start.elapsed().as_millis() < 30 {}
        };
        std::thread::spawn(busy).join().unwrap();
        assert!(processor_ms().unwrap() > before);
    }

    #[test]
    fn both_sides_run_equally_often() {
        let (mut first, mut second) = (0, 0);
        let count = |n: &mut u32| {
            *n += 1;
            Ok(())
        };
        let cost = compare(5, || count(&mut first), || count(&mut second)).unwrap();
        assert_eq!((first, second, cost.pairs), (6, 6, 5));
        assert!(cost.wall.low <= cost.wall.ratio && cost.wall.ratio <= cost.wall.high);
        assert!(compare(0, || Ok(()), || Ok(())).is_err());
    }
}
