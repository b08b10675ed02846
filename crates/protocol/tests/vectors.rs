//! The test vectors of the specification (`protocol-spec/vectors/`) against this crate: each output
//! is computed again from the inputs that the file lists. `make vectors` writes the files anew.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "this is test code"
)]

#[path = "vectors/codec.rs"]
mod codec;
#[path = "../examples/vectors/files/mod.rs"]
mod files;
#[path = "vectors/graph.rs"]
mod graph;
#[path = "vectors/keys.rs"]
mod keys;
#[path = "vectors/parameters.rs"]
mod parameters;
#[path = "vectors/replay.rs"]
mod replay;
#[path = "vectors/ring.rs"]
mod ring;

use std::collections::BTreeSet;
use std::path::PathBuf;

use files::json::File;
use serde::de::DeserializeOwned;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../protocol-spec/vectors")
}

/// The cases of a file, of which there is at least one.
fn read<C: DeserializeOwned>(name: &str) -> Vec<C> {
    let text = std::fs::read_to_string(directory().join(name)).unwrap();
    let file: File<C> = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(!file.cases.is_empty());
    file.cases
}

#[test]
fn the_files_are_what_the_generator_writes() {
    let files = files::all();
    let written: BTreeSet<_> = std::fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        // Of rotated encodings, which another crate makes and checks.
        .filter(|name| name != "distributed.json")
        .collect();
    let made: BTreeSet<_> = files.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(
        written, made,
        "run `make vectors` and commit what it writes"
    );
    for (name, text) in files {
        let found = std::fs::read_to_string(directory().join(name)).unwrap();
        // Not `assert_eq`, which would print both files.
        assert!(
            found == text,
            "protocol-spec/vectors/{name} is not what the generator writes: if that is meant, \
             run `make vectors`, look at the difference and commit it"
        );
    }
}
