//! Writes `distributed.json` of the specification's test vectors: `distributed_vectors FOLDER`.
//!
//! A function of nothing but this program: a second run writes the same bytes.

#![allow(
    clippy::unwrap_used,
    clippy::format_collect,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a generator of test vectors is test code"
)]

use std::convert::Infallible;
use std::path::PathBuf;

use rand_core::{TryCryptoRng, TryRng};
use serde_json::{Value, json};
use undertone_privacy::NoiseMultiplier;
use undertone_privacy::distributed::rounding::norm_bound;
use undertone_privacy::distributed::{Encoder, JointNoise, Layout, Parameters, Sampler, Setup};

/// Hands out listed words of 64 bits, little-endian, and then zeros.
struct Words(std::vec::IntoIter<u64>);

impl TryRng for Words {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next().unwrap_or(0) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next().unwrap_or(0))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for bytes in bytes.chunks_mut(8) {
            let word = self.0.next().unwrap_or(0).to_le_bytes();
            bytes.copy_from_slice(&word[..bytes.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Words {}

/// A seed that is easily written down.
fn seed(first: u8) -> [u8; 32] {
    core::array::from_fn(|i| first.wrapping_add(i as u8))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The layout alone, and what a vector along each of the first axes becomes: signs and order.
fn rotation(dimension: u32, kept: Option<u32>, first: u8) -> Value {
    let layout = Layout { dimension, kept };
    let encoder = Encoder::new(layout, &seed(first), 1.0, 1.0).unwrap();
    let ones = vec![1_i64; layout.length() as usize];
    let back: Vec<f64> = encoder.decode(&ones, 1.0).into_iter().take(8).collect();
    json!({
        "kind": "rotation", "seed": hex(&seed(first)), "dimension": dimension, "kept": kept,
        "block": layout.block(), "padded": layout.padded(), "ones_decoded": back
    })
}

/// Coins that round up and down in turn: multiples of a quarter of 2^64.
fn coins(count: u32) -> Vec<u64> {
    (0..count)
        .map(|i| u64::from(i % 4) << 62 | u64::from(i))
        .collect()
}

fn encode(update: &[f32], kept: Option<u32>, clip: f64, scale: f64, first: u8) -> Value {
    let dimension = update.len() as u32;
    let layout = Layout { dimension, kept };
    let encoder = Encoder::new(layout, &seed(first), clip, scale).unwrap();
    let coins = coins(layout.length());
    let mut words = Words(coins.clone().into_iter());
    let integers = encoder.encode(update, &mut words).unwrap();
    let text: Vec<String> = coins.iter().map(u64::to_string).collect();
    json!({
        "kind": "encode", "seed": hex(&seed(first)), "dimension": dimension, "kept": kept,
        "update_clip": clip, "scale": scale, "update": update, "coins": text,
        "integers": *integers, "bound": norm_bound(clip * scale, layout.length())
    })
}

fn decode(sum: &[i64], dimension: u32, kept: Option<u32>, divisor: f64, first: u8) -> Value {
    let layout = Layout { dimension, kept };
    let encoder = Encoder::new(layout, &seed(first), 1.0, 4.0).unwrap();
    json!({
        "kind": "decode", "seed": hex(&seed(first)), "dimension": dimension, "kept": kept,
        "scale": 4.0, "divisor": divisor, "sum": sum, "mean": encoder.decode(sum, divisor)
    })
}

fn derived(dimension: u32, clip: f64, scale: f64, multiplier: f64, honest: u32) -> Value {
    let setup = Setup {
        clients: honest,
        layout: Layout::all(dimension),
        clip,
        rounds: 1,
        contributions: 1,
        noise: Some(JointNoise {
            sampler: Sampler::Skellam,
            noise_multiplier: NoiseMultiplier::new(multiplier).unwrap(),
            honest,
        }),
    };
    let parameters = Parameters::new(setup, scale).unwrap();
    let variance = parameters.local_variance().unwrap().get() * 65536.0;
    json!({
        "kind": "derived", "dimension": dimension, "update_clip": clip, "scale": scale,
        "noise_multiplier": multiplier, "honest": honest,
        "bound": parameters.l2_squared(), "variance_65536ths": variance
    })
}

/// The document.
pub(crate) fn document() -> String {
    let update = [0.5_f32, -1.25, 2.0, 0.0, 0.75];
    let long: Vec<f32> = (0..100_u16)
        .map(|i| f32::from(i % 7) / 8.0 - 0.25)
        .collect();
    let cases = vec![
        rotation(1, None, 1),
        rotation(5, None, 2),
        rotation(4096, None, 3),
        rotation(4097, None, 4),
        rotation(9000, None, 5),
        rotation(70_000, None, 6),
        rotation(100, Some(10), 7),
        encode(&update, None, 4.0, 16.0, 8),
        // Clipped: its norm is 2.5.
        encode(&update, None, 1.0, 1000.0, 9),
        encode(&update, Some(3), 4.0, 16.0, 10),
        encode(&long, None, 8.0, 3.0, 11),
        decode(&[4, -8, 0, 12, 1, 1, -3, 7], 5, None, 1.0, 12),
        decode(&[4, -8, 0], 5, Some(3), 2.5, 13),
        derived(1 << 20, 1.0, 4693.0, 10.0, 48),
        derived(5, 1.0, 64.0, 3.0, 7),
        derived(1538, 0.5, 4096.0, 1.5, 5),
    ];
    let cases: Vec<String> = cases.iter().map(|case| format!("    {case}")).collect();
    format!(
        "{{\n  \"description\": \"Rotated vectors, with seeds and coins given.\",\n  \
         \"spec\": \"12.4, 12.5, 12.7\",\n  \"cases\": [\n{}\n  ]\n}}\n",
        cases.join(",\n")
    )
}

#[allow(dead_code, reason = "the test that includes this file writes nothing")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder: PathBuf = std::env::args_os()
        .nth(1)
        .ok_or("say into which folder: distributed_vectors FOLDER")?
        .into();
    std::fs::write(folder.join("distributed.json"), document())?;
    Ok(())
}
