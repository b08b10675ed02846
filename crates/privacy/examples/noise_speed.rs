//! How fast integer noise is drawn, and how large its tables are: one line a variance.
//!
//! `cargo run --release -p undertone-privacy --example noise_speed`

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a program for people"
)]

use std::time::Instant;

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use undertone_privacy::distributed::{IntegerNoise, LocalVariance, Sampler};

fn main() {
    const COORDINATES: usize = 1 << 20;
    println!("sampler            deviation   tables KiB   build ms   million coordinates a second");
    for sampler in [Sampler::Skellam, Sampler::DiscreteGaussian] {
        for deviation in [2.0_f64, 30.0, 100.0, 1000.0, 6300.0, 32_000.0] {
            let started = Instant::now();
            let variance = LocalVariance::at_least(deviation * deviation).unwrap();
            let noise = IntegerNoise::new(sampler, variance).unwrap();
            let build = started.elapsed().as_secs_f64() * 1e3;
            let mut values = vec![0; COORDINATES];
            let mut rng = ChaCha20Rng::from_seed([1; 32]);
            let best = (0..3)
                .map(|_| {
                    let started = Instant::now();
                    noise.add_to(&mut values, &mut rng);
                    started.elapsed().as_secs_f64()
                })
                .fold(f64::INFINITY, f64::min);
            println!(
                "{:<18} {deviation:>9} {:>12} {build:>10.0} {:>30.2}",
                sampler.to_string(),
                noise.thresholds() * 16 / 1024,
                COORDINATES as f64 / best / 1e6
            );
        }
    }
}
