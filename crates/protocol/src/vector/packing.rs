//! Elements at b bits each, one after the other.
//!
//! Specification: chapter 3, "Encodings and primitives", section 3.7.

use super::{Lane, Ring};

/// Appends the packed lanes; spare bits of the last byte are zero.
pub(super) fn write<L: Lane>(lanes: &[L], ring: Ring, out: &mut Vec<u8>) {
    let (bits, mask) = (u32::from(ring.bits), ring.mask());
    let (mut buffer, mut filled) = (0_u128, 0_u32);
    for lane in lanes {
        buffer |= u128::from(lane.widen() & mask) << filled;
        filled = filled.saturating_add(bits);
        if filled >= 64 {
            out.extend_from_slice(&low_u64(buffer).to_le_bytes());
            buffer >>= 64;
            filled = filled.saturating_sub(64);
        }
    }
    let rest = usize::try_from(filled.div_ceil(8)).unwrap_or(8);
    out.extend(low_u64(buffer).to_le_bytes().into_iter().take(rest));
}

/// Reads one packed element for each lane, and sets the lane to what `combine` makes of its old
/// value and the element. The caller has checked the length of `bytes` and the spare bits.
#[inline]
pub(super) fn read<L: Lane>(
    lanes: &mut [L],
    ring: Ring,
    bytes: &[u8],
    combine: impl Fn(L, L) -> L,
) {
    let (bits, mask) = (u32::from(ring.bits), ring.mask());
    let (words, tail) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last.iter_mut().zip(tail).for_each(|(to, from)| *to = *from);
    let mut input = words.iter().chain(std::iter::once(&last));
    let (mut buffer, mut filled) = (0_u128, 0_u32);
    for lane in lanes {
        if filled < bits {
            let word = u64::from_le_bytes(input.next().copied().unwrap_or_default());
            buffer |= u128::from(word) << filled;
            filled = filled.saturating_add(64);
        }
        *lane = combine(*lane, L::narrow(low_u64(buffer) & mask));
        buffer >>= bits;
        filled = filled.saturating_sub(bits);
    }
}

#[inline]
#[allow(clippy::as_conversions, clippy::cast_possible_truncation)]
fn low_u64(value: u128) -> u64 {
    value as u64
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
