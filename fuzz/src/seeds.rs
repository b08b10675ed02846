//! Seed corpora. Nothing binary is kept in the repository: a target writes its seeds when it starts.
//! They come from an honest round, from the test vectors of the specification (every hexadecimal
//! string in them), and from the shapes of the inputs.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use serde_json::Value;

use crate::hostile::honest;
use crate::world::world;

/// One directory of seeds.
struct Corpus {
    directory: PathBuf,
    count: usize,
}

impl Corpus {
    fn add(&mut self, seed: &[u8]) -> io::Result<()> {
        self.count += 1;
        fs::write(self.directory.join(format!("seed-{:05}", self.count)), seed)
    }
}

/// Writes the seeds of one target to the directory that `UNDERTONE_FUZZ_SEEDS` names, if it is set.
/// The vectors are looked for in the directory that `UNDERTONE_FUZZ_VECTORS` names.
///
/// # Errors
/// If a file cannot be written or a vector is no JSON.
pub fn write(target: &str) -> io::Result<()> {
    let Some(directory) = env::var_os("UNDERTONE_FUZZ_SEEDS").map(PathBuf::from) else {
        return Ok(());
    };
    fs::create_dir_all(&directory)?;
    let corpus = &mut Corpus {
        directory,
        count: 0,
    };
    match target {
        "codec" => codec(corpus),
        "aggregator" => aggregator(corpus),
        "client" => client(corpus),
        "packing" => packing(corpus),
        "shamir" => shamir(corpus),
        "http_body" => http_body(corpus),
        _ => Err(io::Error::other("no such target")),
    }
}

/// Every message, every answer, parameters and roster of both shapes; then the vectors.
fn codec(corpus: &mut Corpus) -> io::Result<()> {
    for ring in [false, true] {
        let (world, honest) = (world(ring), honest(ring));
        corpus.add(world.params.encoding())?;
        corpus.add(&world.roster.encode().map_err(io::Error::other)?)?;
        for bytes in honest.messages.iter().chain(&honest.answers) {
            corpus.add(bytes)?;
        }
    }
    match env::var_os("UNDERTONE_FUZZ_VECTORS") {
        Some(directory) => codec_vectors(corpus, Path::new(&directory)),
        None => Ok(()),
    }
}

fn codec_vectors(corpus: &mut Corpus, directory: &Path) -> io::Result<()> {
    let Ok(files) = fs::read_dir(directory) else {
        return Ok(());
    };
    for file in files {
        let path = file?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let json: Value = serde_json::from_slice(&fs::read(&path)?)?;
            from_vectors(corpus, &json)?;
        }
    }
    Ok(())
}

fn from_vectors(corpus: &mut Corpus, json: &Value) -> io::Result<()> {
    match json {
        Value::String(text) => match hex::decode(text) {
            // Shorter ones are ids, keys and digests.
            Ok(bytes) if (33..=4096).contains(&bytes.len()) => corpus.add(&bytes),
            _ => Ok(()),
        },
        Value::Array(values) => values
            .iter()
            .try_for_each(|value| from_vectors(corpus, value)),
        Value::Object(fields) => fields
            .values()
            .try_for_each(|value| from_vectors(corpus, value)),
        _ => Ok(()),
    }
}

/// The four bytes by which `arbitrary` picks one of several variants.
fn variant(which: u64, of: u64) -> [u8; 4] {
    (((which << 32).div_ceil(of)) as u32).to_le_bytes()
}

/// One client deviates in one phase, in each way.
fn aggregator(corpus: &mut Corpus) -> io::Result<()> {
    for (setting, members) in [(0, 4), (1, 7)] {
        for place in (0..5).flat_map(|phase| [phase * members, phase * members + 3]) {
            for (deviation, at) in (0..9).flat_map(|v| [(v, 6_u16), (v, 45), (v, 180)]) {
                // Only the ways 3 to 5 take an edit.
                if at > 6 && !(3..6).contains(&deviation) {
                    continue;
                }
                let mut seed = vec![setting];
                seed.resize(1 + place, 0);
                seed.push(1);
                seed.extend(variant(deviation, 9));
                // One edit: a flipped bit.
                seed.push(1);
                seed.extend(variant(0, 6));
                seed.extend(at.to_le_bytes());
                seed.push(1);
                corpus.add(&seed)?;
            }
        }
    }
    Ok(())
}

/// One lie in one phase, in each way, to the first clients.
fn client(corpus: &mut Corpus) -> io::Result<()> {
    for setting in 0..6_u8 {
        for (draw, variants) in [(0, 9), (1, 1), (2, 7), (3, 1), (4, 6)] {
            for which in 0..variants {
                let mut seed = vec![setting];
                seed.resize(1 + draw, 0);
                seed.push(1);
                if variants > 1 {
                    seed.extend(variant(which, variants));
                }
                seed.extend([1, 2, 0, 1, 3, 0]);
                corpus.add(&seed)?;
            }
        }
    }
    Ok(())
}

fn packing(corpus: &mut Corpus) -> io::Result<()> {
    for width in 0..57_u8 {
        for length in [1_usize, 3, 8] {
            let mut seed = vec![width, length as u8];
            let used = length * usize::from(8 + width);
            seed.resize(2 + used.div_ceil(8), 0xff);
            if let Some(last) = seed.last_mut().filter(|_| used % 8 != 0) {
                *last >>= 8 - used % 8;
            }
            corpus.add(&seed)?;
        }
    }
    Ok(())
}

fn shamir(corpus: &mut Corpus) -> io::Result<()> {
    for (holders, threshold) in [(2_u16, 2_u16), (3, 2), (9, 5), (20, 20)] {
        for fault in 0..4 {
            let mut seed = vec![5; 32];
            seed.extend(1_u64.to_le_bytes());
            seed.extend(holders.to_le_bytes());
            seed.extend(threshold.to_le_bytes());
            seed.push(0);
            for slot in 0..threshold as u8 {
                seed.extend([1, slot]);
                seed.extend(variant(if slot == 0 { fault } else { 0 }, 4));
                seed.extend(vec![
                    7;
                    [0, 2, 1, 32]
                        [if slot == 0 { fault as usize } else { 0 }]
                ]);
            }
            corpus.add(&seed)?;
        }
    }
    Ok(())
}

/// Every message to a round in every phase, and every path.
fn http_body(corpus: &mut Corpus) -> io::Result<()> {
    for round in 0..5_u8 {
        for (phase, client) in (0..5).flat_map(|phase| [(phase, 0), (phase, 3)]) {
            let mut seed = vec![0];
            seed.extend(variant(0, 4));
            seed.extend([round, phase, client, 0]);
            seed.extend(variant(0, 3));
            seed.push(phase * 4 + client);
            corpus.add(&seed)?;
        }
        for route in 0..18 {
            let mut seed = vec![2];
            seed.extend(variant(1, 4));
            seed.extend([round, route, 1]);
            corpus.add(&seed)?;
        }
    }
    Ok(())
}
