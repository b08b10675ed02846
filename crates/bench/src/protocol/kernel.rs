//! Masks, and what they cannot be faster than.

use std::hint::black_box;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use serde::Serialize;
use undertone_protocol::keys::Secret32;
use undertone_protocol::vector::{Ring, RingVector, Sign};

use super::clock::thread_seconds;
use super::lane_bytes;
use crate::report::real;

/// Turns of floor and work; medians of their ratios are what is reported.
const TURNS: usize = 9;

/// Key stream bytes of a turn, about: a tenth of a second; without optimisations, whose figures mean
/// nothing, a hundredth of that many.
const BYTES: usize = if cfg!(debug_assertions) {
    4_000_000
} else {
    400_000_000
};

/// Masks that are folded at a time, at most: more change nothing.
const MASKS: usize = 32;

/// As masks are expanded: a block that stays in the first-level cache.
const BLOCK: usize = 8192;

/// Of one core, in nanoseconds for an element.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Kernel {
    /// A client's masks: for each element and neighbour.
    pub mask_ns_per_element_neighbour: f64,
    /// Raw key stream of an element's bytes in memory.
    pub keystream_ns_per_element: f64,
    /// Adding one vector to another in memory.
    pub memory_add_ns_per_element: f64,
    /// Masks over key stream: the median of runs in turns.
    pub mask_over_floor: f64,
    /// Packing an element.
    pub pack_ns_per_element: f64,
    /// Adding a packed element to a sum.
    pub add_packed_ns_per_element: f64,
}

impl Kernel {
    /// Measures on this thread, over vectors of this ring and length and so many masks.
    pub(super) fn measure(ring: Ring, length: usize, masks: usize) -> Self {
        let lane = lane_bytes(ring.bits());
        let mask = |i: u8| {
            let plus = i.is_multiple_of(2);
            let sign = if plus { Sign::Plus } else { Sign::Minus };
            (Secret32::from([i; 32]), sign)
        };
        let masks: Vec<_> = (0..u8::MAX).take(masks.min(MASKS)).map(mask).collect();
        let mut vector = RingVector::zeros(ring, length);
        let other = vector.clone();
        let packed = vector.pack();
        let elements = length.max(1).saturating_mul(masks.len());
        let repeats = (BYTES / lane / elements).max(1);
        let mut stream = ChaCha20::new(&[7; 32].into(), &[0; 12].into());
        let mut block = [0_u8; BLOCK];
        let blocks = elements
            .saturating_mul(lane)
            .saturating_mul(repeats)
            .div_ceil(BLOCK);
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            let floor = per(blocks * BLOCK / lane, || {
                for _ in 0..blocks {
                    stream.write_keystream(black_box(&mut block));
                }
            });
            let work = per(elements * repeats, || {
                for _ in 0..repeats {
                    black_box(&mut vector).mask(&masks);
                }
            });
            turns.push((work / floor, floor, work));
            // A key stream ends at 256 GiB.
            stream = ChaCha20::new(&[7; 32].into(), &[0; 12].into());
        }
        let repeats = (BYTES / lane / length.max(1)).max(1);
        let each = |work: &mut dyn FnMut()| {
            per(length.max(1) * repeats, || {
                (0..repeats).for_each(|_| work());
            })
        };
        let add = each(&mut || drop(black_box(&mut vector).add(black_box(&other))));
        let pack = each(&mut || drop(black_box(vector.pack())));
        let add_packed = each(&mut || {
            drop(black_box(&mut vector).add_packed(0..length, black_box(&packed)));
        });
        Self {
            mask_ns_per_element_neighbour: median(turns.iter().map(|turn| turn.2)),
            keystream_ns_per_element: median(turns.iter().map(|turn| turn.1)),
            memory_add_ns_per_element: add,
            mask_over_floor: median(turns.iter().map(|turn| turn.0)),
            pack_ns_per_element: pack,
            add_packed_ns_per_element: add_packed,
        }
    }
}

/// Nanoseconds of this thread for each of so many elements.
fn per(elements: usize, work: impl FnOnce()) -> f64 {
    let started = thread_seconds();
    work();
    (thread_seconds() - started) * 1e9 / real(elements)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
