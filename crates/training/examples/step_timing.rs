//! Milliseconds an example for the frozen prefix, a private step and evaluation.
//!
//! `cargo run --release -p undertone-training --example step_timing` after
//! `scripts/fetch-demo-data.sh`. Random token ids; 64 tokens a text.
#![allow(clippy::print_stdout, reason = "a measurement prints its figures")]
#![allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use undertone_training::dpsgd::{Bounds, clipped_gradient_sum};
use undertone_training::{
    Depth, Encoder, Features, LabelledTokens, LoraConfig, LoraVariant, Model, Projection,
    TrainingConfig, evaluate, fixture,
};

const LENGTH: usize = 64;
const TEXTS: usize = 160;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args()
        .nth(1)
        .unwrap_or_else(|| ".cache/undertone/model".to_owned());
    let encoder = Arc::new(Encoder::load(&PathBuf::from(folder))?);
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let ids: Vec<Vec<u32>> = (0..TEXTS)
        .map(|_| {
            (0..LENGTH)
                .map(|_| 1000 + rng.next_u32() % 20_000)
                .collect()
        })
        .collect();
    let labels: Vec<u32> = (0..TEXTS).map(|_| rng.next_u32() % 2).collect();
    let tokens = LabelledTokens {
        ids: &ids,
        labels: &labels,
        length: LENGTH,
    };
    let layers = encoder.config().num_hidden_layers;
    let time = |name: &str, work: &mut dyn FnMut() -> undertone_training::Result<()>| {
        let start = Instant::now();
        work()?;
        let each = start.elapsed().as_secs_f64() * 1e3 / TEXTS as f64;
        println!("{name:<44} {each:.2} ms an example");
        Ok::<(), Box<dyn Error>>(())
    };
    time("frozen forward, one layer", &mut || {
        Features::compute(&encoder, tokens, Depth::Layer(1), |_, _| ()).map(|_| ())
    })?;
    time("frozen forward, all layers", &mut || {
        Features::compute(&encoder, tokens, Depth::Layer(layers), |_, _| ()).map(|_| ())
    })?;
    for count in [1, 2] {
        let lora = LoraConfig {
            layers: count,
            projections: vec![Projection::Query, Projection::Value],
            rank: 4,
            alpha: 16.0,
            seed: 1,
            variant: LoraVariant::Ffa,
        };
        let config = TrainingConfig {
            sequence_length: LENGTH,
            lora: Some(lora),
            ..fixture::config()
        };
        let model = Model::new(Arc::clone(&encoder), config)?;
        let features = Features::compute(&encoder, tokens, model.depth(), |_, _| ())?;
        let adapter = model.initial_adapter();
        let rows: Vec<usize> = (0..TEXTS).collect();
        let bounds = Bounds::flat(1.0)?;
        time(&format!("gradients, LoRA in the last {count}"), &mut || {
            clipped_gradient_sum(&model, &adapter, &features, &rows, &bounds).map(|_| ())
        })?;
        time(
            &format!("evaluation, LoRA in the last {count}"),
            &mut || evaluate(&model, &adapter, &features).map(|_| ()),
        )?;
    }
    Ok(())
}
