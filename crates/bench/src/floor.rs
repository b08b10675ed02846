//! How fast this machine does what cannot be left out: key stream, hashing, moving bytes.
//!
//! Each is measured on one core, with nothing around it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// How long each measurement goes on.
const TIME: Duration = Duration::from_millis(400);

/// Larger than caches.
const LARGE: usize = 128 << 20;

/// As masks are expanded: a block that stays in the first-level cache.
const BLOCK: usize = 8192;

/// Rates in GB (10^9 bytes) a second of one core.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Floor {
    /// ChaCha20 key stream.
    pub chacha20_gb_per_second: f64,
    /// SHA-256.
    pub sha256_gb_per_second: f64,
    /// Memory bandwidth of a copy: bytes read and bytes written.
    pub memory_gb_per_second: f64,
}

/// Measures.
pub fn measure() -> Floor {
    let mut block = [0_u8; BLOCK];
    let mut cipher = ChaCha20::new(&[7; 32].into(), &[0; 12].into());
    let chacha20 = rate(BLOCK, || {
        // The counter would run out after 256 GB: further than this goes.
        cipher.write_keystream(&mut block);
        black_box(&block);
    });
    let mut hash = Sha256::new();
    let sha256 = rate(BLOCK, || hash.update(black_box(&block)));
    black_box(hash.finalize());
    let (from, mut to) = (vec![1_u8; LARGE], vec![0_u8; LARGE]);
    let memory = rate(LARGE.saturating_mul(2), || {
        to.copy_from_slice(black_box(&from));
        black_box(&to);
    });
    Floor {
        chacha20_gb_per_second: chacha20,
        sha256_gb_per_second: sha256,
        memory_gb_per_second: memory,
    }
}

/// The key stream that all cores make together, in GB (10^9 bytes) a second by the clock.
pub(crate) fn key_stream_on_all_cores() -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..cores)
            .map(|_| {
                scope.spawn(|| {
                    let mut block = [0_u8; BLOCK];
                    let mut cipher = ChaCha20::new(&[7; 32].into(), &[0; 12].into());
                    rate(BLOCK, || {
                        cipher.write_keystream(&mut block);
                        black_box(&block);
                    })
                })
            })
            .collect();
        all.into_iter().filter_map(|core| core.join().ok()).sum()
    })
}

/// Does the work again and again; each time is so many bytes.
fn rate(bytes: usize, mut work: impl FnMut()) -> f64 {
    work();
    let (started, mut done) = (Instant::now(), 0_u64);
    while started.elapsed() < TIME {
        work();
        done = done.saturating_add(1);
    }
    let bytes = crate::report::real(bytes) * crate::report::real64(done);
    bytes / started.elapsed().as_secs_f64() / 1e9
}

impl Floor {
    /// Seconds of one core that this much takes at the least.
    pub fn seconds(&self, key_stream: f64, hashed: f64, moved: f64) -> f64 {
        key_stream / (self.chacha20_gb_per_second * 1e9)
            + hashed / (self.sha256_gb_per_second * 1e9)
            + moved / (self.memory_gb_per_second * 1e9)
    }
}
