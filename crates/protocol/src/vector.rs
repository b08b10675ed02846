//! Vectors over `Z_2^b` and their bit packing.
//!
//! Specification: chapter 3, "Encodings and primitives", section 3.7.

mod packing;

use std::fmt;
use std::ops::Range;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::ProtocolError;
use crate::mask::{self, Mask};
use packing::for_width;

/// The ring `Z_2^b` with 8 <= b <= 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    bits: u8,
}

impl Ring {
    /// The ring of `bits` bits.
    ///
    /// # Errors
    /// [`ProtocolError::Params`] outside 8 to 64.
    pub fn new(bits: u8) -> Result<Self, ProtocolError> {
        if (8..=64).contains(&bits) {
            Ok(Self { bits })
        } else {
            Err(ProtocolError::Params(format!(
                "b = {bits} bits; the ring has 8 to 64"
            )))
        }
    }

    /// The width b in bits.
    pub fn bits(self) -> u8 {
        self.bits
    }

    /// 2^b - 1.
    pub fn mask(self) -> u64 {
        u64::MAX >> 64_u8.saturating_sub(self.bits)
    }

    /// The bytes of `length` elements packed at b bits each.
    pub fn packed_length(self, length: usize) -> usize {
        length.saturating_mul(usize::from(self.bits)).div_ceil(8)
    }

    /// Checks the spare bits of the last byte of `length` packed elements.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] if one is set.
    pub(crate) fn check_spare_bits(self, length: usize, last: u8) -> Result<(), ProtocolError> {
        let used = length.saturating_mul(usize::from(self.bits)) % 8;
        if used == 0 || last >> used == 0 {
            return Ok(());
        }
        let detail = "spare bits of the last byte are set".to_owned();
        Err(ProtocolError::Malformed {
            what: "packed vector",
            detail,
        })
    }

    fn check_packed(self, length: usize, bytes: &[u8]) -> Result<(), ProtocolError> {
        let (expected, found) = (self.packed_length(length), bytes.len());
        if found != expected {
            return Err(wrong("packed vector in bytes", expected, found));
        }
        self.check_spare_bits(length, bytes.last().copied().unwrap_or(0))
    }

    /// The representative in [-2^(b-1), 2^(b-1)) of an element.
    pub fn centred(self, element: u64) -> i64 {
        let shift = 64_u8.saturating_sub(self.bits);
        (element << shift).cast_signed() >> shift
    }

    /// The element of an integer, reduced modulo 2^b.
    pub fn element(self, integer: i64) -> u64 {
        integer.cast_unsigned() & self.mask()
    }
}

/// Adds or subtracts a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Add.
    Plus,
    /// Subtract.
    Minus,
}

/// A lane: the smallest machine integer that holds b bits. Arithmetic wraps modulo the lane, and
/// since 2^b divides it, reducing modulo 2^b once, when packing, is enough.
pub(crate) trait Lane: Copy + Default + Send {
    /// The lane's bytes.
    const BYTES: usize;
    /// Writes the packed lanes over `out`, which is exactly as long as they take.
    fn pack(lanes: &[Self], ring: Ring, out: &mut [u8]);
    /// Reads one packed element for each lane, and sets the lane to what `combine` makes of its old
    /// value and the element. The caller has checked the length of `bytes`.
    fn unpack(
        lanes: &mut [Self],
        ring: Ring,
        bytes: &[u8],
        combine: impl Fn(Self, Self) -> Self + Copy,
    );
    /// Writes the lanes as little-endian words.
    fn write_le(lanes: &[Self], out: &mut [u8]);
    /// Sets each lane to what `combine` makes of it and a little-endian word.
    fn read_le(lanes: &mut [Self], words: &[u8], combine: impl Fn(Self, Self) -> Self);
    /// Adds, wrapping.
    fn plus(self, other: Self) -> Self;
    /// Subtracts, wrapping.
    fn minus(self, other: Self) -> Self;
    /// Widens.
    fn widen(self) -> u64;
    /// Keeps the low bits.
    fn narrow(value: u64) -> Self;
}

macro_rules! lane {
    ($lane:ty, $widths:tt $full:literal) => {
        impl Lane for $lane {
            const BYTES: usize = size_of::<$lane>();

            fn pack(lanes: &[Self], ring: Ring, out: &mut [u8]) {
                for_width!(ring, $widths $full, write_width (lanes, out));
            }

            fn unpack(
                lanes: &mut [Self],
                ring: Ring,
                bytes: &[u8],
                combine: impl Fn(Self, Self) -> Self + Copy,
            ) {
                for_width!(ring, $widths $full, read_width (lanes, bytes, combine));
            }

            fn write_le(lanes: &[Self], out: &mut [u8]) {
                let (words, _) = out.as_chunks_mut();
                for (word, lane) in words.iter_mut().zip(lanes) {
                    *word = lane.to_le_bytes();
                }
            }

            // Always inlined: into functions that are compiled for wider vector units than the rest.
            #[inline(always)]
            fn read_le(lanes: &mut [Self], words: &[u8], combine: impl Fn(Self, Self) -> Self) {
                let (words, _) = words.as_chunks();
                for (lane, word) in lanes.iter_mut().zip(words) {
                    *lane = combine(*lane, Self::from_le_bytes(*word));
                }
            }

            #[inline]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            #[inline]
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }

            #[inline]
            fn widen(self) -> u64 {
                u64::from(self)
            }

            #[inline]
            #[allow(clippy::as_conversions, clippy::cast_possible_truncation)]
            fn narrow(value: u64) -> Self {
                value as Self
            }
        }
    };
}
lane!(u16, [8 9 10 11 12 13 14 15] 16);
lane!(u32, [17 18 19 20 21 22 23 24 25 26 27 28 29 30 31] 32);
lane!(u64, [33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63] 64);

#[derive(Clone)]
enum Lanes {
    Narrow(Vec<u16>),
    Middle(Vec<u32>),
    Wide(Vec<u64>),
}

/// Runs one expression for whichever lane the vector has.
macro_rules! for_lanes {
    ($lanes:expr, $name:ident => $body:expr) => {
        match $lanes {
            Lanes::Narrow($name) => $body,
            Lanes::Middle($name) => $body,
            Lanes::Wide($name) => $body,
        }
    };
}

/// A vector over `Z_2^b`. Masked vectors, plain inputs and sums are all of this type; it does not
/// print its elements.
#[derive(Clone)]
pub struct RingVector {
    ring: Ring,
    lanes: Lanes,
}

impl Drop for RingVector {
    /// A vector may be a plain input.
    fn drop(&mut self) {
        for_lanes!(&mut self.lanes, lanes => lanes.zeroize());
    }
}

impl ZeroizeOnDrop for RingVector {}

impl fmt::Debug for RingVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "RingVector(Z_2^{}, {} elements)",
            self.ring.bits,
            self.len()
        )
    }
}

impl PartialEq for RingVector {
    fn eq(&self, other: &Self) -> bool {
        self.ring == other.ring && self.len() == other.len() && self.elements().eq(other.elements())
    }
}

impl Eq for RingVector {}

impl RingVector {
    /// The zero vector of `length` elements.
    pub fn zeros(ring: Ring, length: usize) -> Self {
        let lanes = match ring.bits {
            ..=16 => Lanes::Narrow(vec![0; length]),
            17..=32 => Lanes::Middle(vec![0; length]),
            _ => Lanes::Wide(vec![0; length]),
        };
        Self { ring, lanes }
    }

    /// The vector of these elements, each reduced modulo 2^b.
    pub fn from_elements(ring: Ring, elements: &[u64]) -> Self {
        fn fill<L: Lane>(lanes: &mut [L], elements: &[u64]) {
            for (lane, element) in lanes.iter_mut().zip(elements) {
                *lane = L::narrow(*element);
            }
        }
        let mut vector = Self::zeros(ring, elements.len());
        for_lanes!(&mut vector.lanes, lanes => fill(lanes, elements));
        vector
    }

    /// The ring.
    pub fn ring(&self) -> Ring {
        self.ring
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        for_lanes!(&self.lanes, lanes => lanes.len())
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, each in [0, 2^b).
    pub fn elements(&self) -> Box<dyn Iterator<Item = u64> + '_> {
        let mask = self.ring.mask();
        for_lanes!(&self.lanes, lanes => Box::new(lanes.iter().map(move |l| l.widen() & mask)))
    }

    /// Adds another vector, element by element.
    ///
    /// # Errors
    /// [`ProtocolError::WrongLength`] if lengths or rings differ.
    pub fn add(&mut self, other: &Self) -> Result<(), ProtocolError> {
        fn sum<L: Lane>(into: &mut [L], from: &[L]) {
            for (a, b) in into.iter_mut().zip(from) {
                *a = a.plus(*b);
            }
        }
        if self.len() != other.len() {
            return Err(wrong("vector length", self.len(), other.len()));
        }
        match (&mut self.lanes, &other.lanes) {
            (Lanes::Narrow(a), Lanes::Narrow(b)) if self.ring == other.ring => sum(a, b),
            (Lanes::Middle(a), Lanes::Middle(b)) if self.ring == other.ring => sum(a, b),
            (Lanes::Wide(a), Lanes::Wide(b)) if self.ring == other.ring => sum(a, b),
            _ => {
                let bits = |ring: Ring| usize::from(ring.bits);
                return Err(wrong("ring width b", bits(self.ring), bits(other.ring)));
            }
        }
        Ok(())
    }

    /// Adds or subtracts masks. The vector travels through memory once for many of them. With the
    /// feature `rayon`, long vectors are masked on all threads of the pool that the caller is in.
    pub fn mask(&mut self, masks: &[Mask]) {
        // A vector that the memory holds is shorter than a key stream.
        #[cfg(feature = "rayon")]
        let masked = for_lanes!(&mut self.lanes, lanes => mask::apply_in_parts(lanes, masks));
        #[cfg(not(feature = "rayon"))]
        let masked = self.mask_from(0, masks);
        debug_assert!(masked.is_ok(), "{masked:?}");
    }

    /// Adds or subtracts a part of masks: this vector holds the elements of a longer one from `first`
    /// on.
    ///
    /// # Errors
    /// [`ProtocolError::WrongLength`] where the masks end before: at 256 GiB.
    pub fn mask_from(&mut self, first: usize, masks: &[Mask]) -> Result<(), ProtocolError> {
        for_lanes!(&mut self.lanes, lanes => mask::apply(lanes, first, masks))
    }

    /// Packs at b bits an element: element i fills bits i b to (i + 1) b - 1, counted from the
    /// least significant bit of the first byte; spare bits of the last byte are zero.
    pub fn pack(&self) -> Vec<u8> {
        self.pack_after(0)
    }

    /// The same, after so many zero bytes, in the place of which the caller puts something else.
    pub(crate) fn pack_after(&self, room: usize) -> Vec<u8> {
        let mut out = vec![0; self.ring.packed_length(self.len()).saturating_add(room)];
        let packed = out.get_mut(room..).unwrap_or_default();
        for_lanes!(&self.lanes, lanes => Lane::pack(lanes, self.ring, packed));
        out
    }

    /// Unpacks `length` elements.
    ///
    /// # Errors
    /// [`ProtocolError::WrongLength`] unless `bytes` is exactly as long as they take, and
    /// [`ProtocolError::Malformed`] if spare bits are set.
    pub fn unpack(ring: Ring, length: usize, bytes: &[u8]) -> Result<Self, ProtocolError> {
        ring.check_packed(length, bytes)?;
        let mut vector = Self::zeros(ring, length);
        for_lanes!(&mut vector.lanes, lanes => Lane::unpack(lanes, ring, bytes, |_, new| new));
        Ok(vector)
    }

    /// Adds packed elements to those in `range`, without unpacking them to a vector first: as
    /// [`RingVector::add`] of what [`RingVector::unpack`] would give.
    ///
    /// # Errors
    /// [`ProtocolError::WrongLength`] if the range is not within the vector or `bytes` is not
    /// exactly as long as its elements take, and [`ProtocolError::Malformed`] if spare bits are
    /// set. The vector is unchanged then.
    pub fn add_packed(&mut self, range: Range<usize>, bytes: &[u8]) -> Result<(), ProtocolError> {
        let (ring, length, end) = (self.ring, self.len(), range.end);
        ring.check_packed(range.len(), bytes)?;
        for_lanes!(&mut self.lanes, lanes => {
            let lanes = lanes
                .get_mut(range)
                .ok_or_else(|| wrong("range of elements", length, end))?;
            Lane::unpack(lanes, ring, bytes, Lane::plus);
        });
        Ok(())
    }
}

fn wrong(what: &'static str, expected: usize, found: usize) -> ProtocolError {
    ProtocolError::WrongLength {
        what,
        expected,
        found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pack_round_trips_and_adds(bits in 8_u8..=64, a in proptest::collection::vec(any::<u64>(), 0..70)) {
            let ring = Ring::new(bits).unwrap();
            let x = RingVector::from_elements(ring, &a);
            let packed = x.pack();
            prop_assert_eq!(packed.len(), ring.packed_length(a.len()));
            prop_assert_eq!(&RingVector::unpack(ring, a.len(), &packed).unwrap(), &x);
            let mut twice = x.clone();
            twice.add(&x).unwrap();
            for (t, v) in twice.elements().zip(&a) {
                prop_assert_eq!(t, v.wrapping_mul(2) & ring.mask());
            }
        }

        #[test]
        fn centred_inverts_element(bits in 8_u8..=64, value in any::<i64>()) {
            let ring = Ring::new(bits).unwrap();
            let value = value >> (64 - bits);
            prop_assert_eq!(ring.centred(ring.element(value)), value);
        }
    }
}
