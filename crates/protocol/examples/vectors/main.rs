//! Writes the test vectors of the protocol specification: `vectors DIRECTORY`.
//!
//! They are a function of nothing but this program: a second run writes the same bytes.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    dead_code,
    reason = "a generator of test vectors is test code; only the test reads what is written"
)]

mod files;

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory: PathBuf = std::env::args_os()
        .nth(1)
        .ok_or("say into which directory: vectors DIRECTORY")?
        .into();
    for (name, text) in files::all() {
        std::fs::write(directory.join(name), text)?;
    }
    Ok(())
}
