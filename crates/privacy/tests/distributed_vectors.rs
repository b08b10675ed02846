//! The specification's vectors of rotated encodings are what this crate computes.

#![allow(clippy::unwrap_used, reason = "this is test code")]

#[path = "../examples/distributed_vectors.rs"]
mod generator;

#[test]
fn the_file_is_what_the_generator_writes() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../protocol-spec/vectors/distributed.json"
    );
    let found = std::fs::read_to_string(path).unwrap();
    // Not `assert_eq`, which would print both files.
    assert!(
        found == generator::document(),
        "distributed.json is not what this version writes; run `make vectors`"
    );
}
