//! What privacy costs a training step, and what frozen weights cost:
//! `cargo bench -p undertone-training --bench step`. `undertone bench training` prints the same.
#![allow(clippy::print_stdout, reason = "a measurement prints its figures")]

use undertone_training::measure::{self, Effort};

fn main() -> undertone_training::Result<()> {
    let report = measure::run(&measure::encoder()?, Effort::default(), |step| {
        println!("{step} ...");
    })?;
    print!("{}", report.table());
    Ok(())
}
