//! Placeholder.
#![allow(
    dead_code,
    unused_imports,
    reason = "the sub-commands are wired up later"
)]
mod account;
mod report;
fn main() {}
