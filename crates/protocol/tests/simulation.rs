//! Whole rounds from one seed each: real clients, a real aggregator or a lying one, a network that
//! delays, loses, doubles and reorders, crashes and restarts, and corrupt clients.
//!
//! After every round: the sum is exact or the round failed for a reason that is there (`justice`);
//! no honest client revealed two shares of anyone, signed or answered twice, or unmasked too few;
//! and from all bytes that the aggregator and the corrupt clients saw, nothing can be computed but
//! whole sums over the honest survivors of an accepted view (`invariants`, `knowledge`).
//! `weakened` takes one check away at a time, to show that the invariants notice.
//!
//! A failing seed is replayed, with everything that happens, by
//! `UNDERTONE_SEED=12345 cargo test -p undertone-protocol --test simulation replay -- --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::print_stdout,
    reason = "this is test code"
)]

#[path = "simulation/answers.rs"]
mod answers;
#[path = "simulation/attacks.rs"]
mod attacks;
#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/dice.rs"]
mod dice;
#[path = "simulation/honest.rs"]
mod honest;
#[path = "simulation/invariants.rs"]
mod invariants;
#[path = "simulation/justice.rs"]
mod justice;
#[path = "simulation/knowledge.rs"]
mod knowledge;
#[path = "simulation/liar.rs"]
mod liar;
#[path = "simulation/mischief.rs"]
mod mischief;
#[path = "simulation/network.rs"]
mod network;
#[path = "simulation/plain.rs"]
mod plain;
#[path = "simulation/plan.rs"]
mod plan;
#[path = "simulation/service.rs"]
mod service;
#[path = "simulation/setup.rs"]
mod setup;
#[path = "simulation/tally.rs"]
mod tally;
#[path = "simulation/trace.rs"]
mod trace;
#[path = "simulation/weakened.rs"]
mod weakened;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use tally::{Tally, play};
use trace::Trace;

/// In one test; eight tests make ten thousand.
const ROUNDS: u64 = 1250;

fn command(seed: u64) -> String {
    format!(
        "UNDERTONE_SEED={seed} cargo test -p undertone-protocol --test simulation replay -- --nocapture"
    )
}

/// Plays one slice of the seeds.
#[expect(clippy::disallowed_methods, reason = "says how long it took")]
fn rounds(slice: u64) {
    let (start, mut tally) = (Instant::now(), Tally::default());
    for seed in slice * ROUNDS..(slice + 1) * ROUNDS {
        let played = catch_unwind(AssertUnwindSafe(|| play(seed, Trace::Silent, &mut tally)));
        let broken = played.unwrap_or_else(|_| vec!["a panic, see above".to_owned()]);
        assert!(broken.is_empty(), "{broken:#?}\n{}", command(seed));
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{ROUNDS} rounds in {seconds:.1} s\n{tally}");
    let missing = tally.missing();
    assert!(missing.is_empty(), "never happened: {missing:#?}");
}

macro_rules! slices {
    ($($name:ident = $slice:literal;)*) => {
        $(#[test]
        fn $name() {
            rounds($slice);
        })*
    };
}

slices! {
    ten_thousand_rounds_0 = 0;
    ten_thousand_rounds_1 = 1;
    ten_thousand_rounds_2 = 2;
    ten_thousand_rounds_3 = 3;
    ten_thousand_rounds_4 = 4;
    ten_thousand_rounds_5 = 5;
    ten_thousand_rounds_6 = 6;
    ten_thousand_rounds_7 = 7;
}

/// Plays one round again and prints what happens in it; without a seed, that of seed 0.
#[test]
#[expect(clippy::disallowed_methods, reason = "the seed comes from outside")]
fn replay() {
    let seed = std::env::var("UNDERTONE_SEED").map_or(0, |seed| seed.parse().unwrap());
    let broken = play(seed, Trace::Printed, &mut Tally::default());
    assert!(broken.is_empty(), "seed {seed}: {broken:#?}");
}
