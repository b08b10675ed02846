//! Elements at b bits each, one after the other.
//!
//! Specification: chapter 3, "Encodings and primitives", section 3.7.
//!
//! Eight elements of b bits are b bytes. For each width there is a version of its own, in which every
//! offset and shift is a constant; elements that fill bytes of their lane are copied.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::inline_always,
    reason = "indices are constants once inlined: eight elements within a window of fixed size"
)]

use super::Lane;

/// Elements of one group: the fewest that always end with a byte.
const GROUP: usize = 8;

/// Bytes that a group is read from or written to; those after its own are the next group's.
const WINDOW: usize = 72;

/// Calls a function of a width with the ring's, of those that the lane is for.
macro_rules! for_width {
    ($ring:expr, [$($width:literal)*] $last:literal, $run:ident $arguments:tt) => {
        match $ring.bits() {
            $($width => $crate::vector::packing::$run::<_, $width> $arguments,)*
            _ => $crate::vector::packing::$run::<_, $last> $arguments,
        }
    };
}
pub(super) use for_width;

/// Does something with each of 0 to 7 as a constant.
macro_rules! eight {
    ($I:ident => $step:expr) => {
        eight!(@ $I, $step, 0 1 2 3 4 5 6 7)
    };
    (@ $I:ident, $step:expr, $($i:literal)*) => {
        $({
            const $I: usize = $i;
            $step;
        })*
    };
}

/// Writes the packed lanes over `out`, which is exactly as long as they take; spare bits of the last
/// byte are zero.
pub(super) fn write_width<L: Lane, const BITS: usize>(lanes: &[L], mut out: &mut [u8]) {
    if BITS == 8 * L::BYTES {
        return L::write_le(lanes, out);
    }
    if BITS == 8 {
        for (byte, lane) in out.iter_mut().zip(lanes) {
            [*byte, ..] = lane.widen().to_le_bytes();
        }
        return;
    }
    let (groups, rest) = lanes.as_chunks::<GROUP>();
    let mut groups = groups.iter();
    while let (Some(window), false) = (out.first_chunk_mut(), groups.len() == 0) {
        if let Some(group) = groups.next() {
            pack::<L, BITS>(group, window);
        }
        out = out.split_at_mut(BITS).1;
    }
    let mut last = [L::default(); GROUP];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    for group in groups.chain([&last]) {
        let mut window = [0; WINDOW];
        pack::<L, BITS>(group, &mut window);
        let (bytes, after) = out.split_at_mut(BITS.min(out.len()));
        bytes
            .iter_mut()
            .zip(window)
            .for_each(|(to, from)| *to = from);
        out = after;
    }
}

/// Reads one packed element for each lane, and sets the lane to what `combine` makes of its old
/// value and the element. The caller has checked the length of `bytes` and the spare bits.
pub(super) fn read_width<L: Lane, const BITS: usize>(
    lanes: &mut [L],
    mut bytes: &[u8],
    combine: impl Fn(L, L) -> L + Copy,
) {
    if BITS == 8 * L::BYTES {
        return L::read_le(lanes, bytes, combine);
    }
    if BITS == 8 {
        for (lane, byte) in lanes.iter_mut().zip(bytes) {
            *lane = combine(*lane, L::narrow(u64::from(*byte)));
        }
        return;
    }
    let (groups, rest) = lanes.as_chunks_mut::<GROUP>();
    let mut groups = groups.iter_mut();
    while let (Some(window), false) = (bytes.first_chunk(), groups.len() == 0) {
        if let Some(group) = groups.next() {
            unpack::<L, BITS>(group, window, combine);
        }
        bytes = &bytes[BITS..];
    }
    let mut last = [L::default(); GROUP];
    last.iter_mut()
        .zip(&*rest)
        .for_each(|(to, from)| *to = *from);
    for group in groups.chain([&mut last]) {
        let mut window = [0; WINDOW];
        let (own, after) = bytes.split_at(BITS.min(bytes.len()));
        window
            .iter_mut()
            .zip(own)
            .for_each(|(to, from)| *to = *from);
        unpack::<L, BITS>(group, &window, combine);
        bytes = after;
    }
    rest.iter_mut().zip(last).for_each(|(to, from)| *to = from);
}

/// Eight elements over the first `BITS` bytes of the window, and zeros over at most seven more.
#[inline(always)]
fn pack<L: Lane, const BITS: usize>(group: &[L; GROUP], window: &mut [u8; WINDOW]) {
    let mut word = 0;
    eight!(I => pack_one::<L, BITS, I>(group[I], &mut word, window));
    if !BITS.is_multiple_of(8) {
        store(window, BITS / 8, word);
    }
}

/// Puts element I above what is in the word already, and stores the word where it is full.
#[inline(always)]
fn pack_one<L: Lane, const BITS: usize, const I: usize>(
    lane: L,
    word: &mut u64,
    window: &mut [u8; WINDOW],
) {
    let (element, shift) = (lane.widen() & (u64::MAX >> (64 - BITS)), I * BITS % 64);
    *word |= element << shift;
    if shift + BITS >= 64 {
        store(window, I * BITS / 64, *word);
        *word = if shift + BITS > 64 {
            element >> (64 - shift)
        } else {
            0
        };
    }
}

#[inline(always)]
fn store(window: &mut [u8; WINDOW], word: usize, value: u64) {
    if let Some(bytes) = window[8 * word..].first_chunk_mut() {
        *bytes = value.to_le_bytes();
    }
}

/// Eight elements from the first `BITS` bytes of the window.
#[inline(always)]
fn unpack<L: Lane, const BITS: usize>(
    group: &mut [L; GROUP],
    window: &[u8; WINDOW],
    combine: impl Fn(L, L) -> L,
) {
    eight!(I => group[I] = combine(group[I], unpack_one::<L, BITS, I>(window)));
}

#[inline(always)]
fn unpack_one<L: Lane, const BITS: usize, const I: usize>(window: &[u8; WINDOW]) -> L {
    let (byte, shift) = (I * BITS / 8, I * BITS % 8);
    let word = window[byte..].first_chunk().copied();
    let mut element = u64::from_le_bytes(word.unwrap_or_default()) >> shift;
    if shift + BITS > 64 {
        element |= u64::from(window[byte + 8]) << (64 - shift);
    }
    L::narrow(element & (u64::MAX >> (64 - BITS)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::error::ProtocolError;
    use crate::vector::{Ring, RingVector};

    proptest! {
        #[test]
        fn adding_packed_is_adding_unpacked(
            bits in 8_u8..=64,
            elements in proptest::collection::vec(any::<(u64, u64)>(), 0..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let ring = Ring::new(bits).unwrap();
            let (a, b): (Vec<u64>, Vec<u64>) = elements.iter().copied().unzip();
            let mut expected = RingVector::from_elements(ring, &a);
            expected.add(&RingVector::from_elements(ring, &b)).unwrap();
            let mut sum = RingVector::from_elements(ring, &a);
            let cut = cut.index(b.len() + 1);
            for range in [0..cut, cut..b.len()] {
                let part = RingVector::from_elements(ring, &b[range.clone()]);
                sum.add_packed(range, &part.pack()).unwrap();
            }
            prop_assert_eq!(sum, expected);
        }
    }

    #[test]
    fn a_range_or_length_that_does_not_fit_changes_nothing() {
        let ring = Ring::new(12).unwrap();
        let before = RingVector::from_elements(ring, &[1, 2, 3]);
        let mut sum = before.clone();
        let bytes = [0x01, 0x20, 0x00];
        for (range, bytes) in [(2..4, &bytes[..]), (1..3, &bytes[..2]), (0..3, &bytes[..])] {
            let error = sum.add_packed(range, bytes).unwrap_err();
            assert!(
                matches!(error, ProtocolError::WrongLength { .. }),
                "{error}"
            );
        }
        let error = sum.add_packed(0..1, &[0x01, 0x10]).unwrap_err();
        assert!(matches!(error, ProtocolError::Malformed { .. }), "{error}");
        assert_eq!(sum, before);
        sum.add_packed(1..3, &bytes).unwrap();
        assert_eq!(sum, RingVector::from_elements(ring, &[1, 3, 5]));
    }

    /// Spec.
    #[test]
    fn known_packing() {
        let ring = Ring::new(12).unwrap();
        let x = RingVector::from_elements(ring, &[0xabc, 0x123, 0xfff]);
        assert_eq!(x.pack(), [0xbc, 0x3a, 0x12, 0xff, 0x0f]);
        assert!(matches!(
            RingVector::unpack(ring, 3, &[0xbc, 0x3a, 0x12, 0xff, 0x1f]),
            Err(ProtocolError::Malformed { .. })
        ));
        assert!(matches!(
            RingVector::unpack(ring, 3, &[0xbc, 0x3a, 0x12, 0xff]),
            Err(ProtocolError::WrongLength {
                expected: 5,
                found: 4,
                ..
            })
        ));
    }
}
