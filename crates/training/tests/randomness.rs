//! No random number comes from candle: its CPU generator cannot be seeded by us, and its CUDA one
//! starts from a constant, so that every client would draw the same noise.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

use std::path::{Path, PathBuf};

/// Calls into a generator that is not passed in: candle's, candle-nn's initialisers, the `rand`
/// crate's own.
const FORBIDDEN: [&str; 14] = [
    "::rand(",
    "::randn(",
    "::rand_f64(",
    "::randn_f64(",
    ".rand_like(",
    ".randn_like(",
    "rand_uniform",
    "rand_normal",
    "set_seed(",
    "candle_nn",
    "thread_rng",
    "rand::rng",
    "rand::random",
    "from_os_rng",
];

fn offences(source: &str) -> Vec<String> {
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.filter(|line| FORBIDDEN.iter().any(|call| line.contains(call)))
        .map(str::to_owned)
        .collect()
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn no_generator_but_those_passed_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in ["src", "benches", "examples"] {
        sources(&root.join(folder), &mut files);
    }
    assert!(files.len() > 30, "the sources are there: {}", files.len());
    for file in files {
        let found = offences(&std::fs::read_to_string(&file).unwrap());
        assert!(found.is_empty(), "{}: {found:?}", file.display());
    }
}

#[test]
fn the_check_bites() {
    for bad in [
        "let noise = Tensor::randn(0f32, 1.0, (2, 3), &device)?;",
        "let noise = x.randn_like(0.0, 1.0)?;",
        "let w = Var::rand(0f32, 1.0, 4, &device)?;",
        "let w = candle_nn::init::DEFAULT_KAIMING_NORMAL;",
        "device.set_seed(1)?;",
        "let mut rng = rand::rng();",
    ] {
        assert_eq!(offences(bad), [bad]);
    }
    assert!(offences("    // Tensor::rand( is not used").is_empty());
    assert!(offences("let x = rng.next_u64();").is_empty());
}
