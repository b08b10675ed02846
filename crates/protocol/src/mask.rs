//! Mask expansion: ChaCha20 key streams as vectors over `Z_2^b`.
//!
//! Specification: chapter 8, "Phase 3: MaskedInput", section 8.3; mask expansion is section 3.8.

use std::ops::Range;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use pulp::{Arch, Simd, WithSimd};
use zeroize::Zeroizing;

use crate::codec::Label;
use crate::directory::Entry;
use crate::error::ProtocolError;
use crate::id::{DirectoryDigest, RoundId};
use crate::keys::{self, EphemeralKey, Secret32};
use crate::vector::{Lane, Sign};

/// Key streams are produced and used up in blocks of this many bytes: the block and the lanes that it
/// is added to stay in the first-level cache, and the cipher's vector units run at full width.
const BLOCK: usize = 8192;

/// So many masks are folded into a block of lanes before the next block is looked at: lanes travel
/// through memory once for all of them, and the ciphers' states stay in the second-level cache.
const PER_PASS: usize = 128;

/// Lanes of a part that one thread masks at a time: enough that what it takes to set up the key streams
/// does not count, and so few that threads end at about the same time.
#[cfg(feature = "rayon")]
const LEAST_PART: usize = 1 << 13;
#[cfg(feature = "rayon")]
const MOST_PART: usize = 1 << 16;

/// Where a key stream ends, in bytes, less one block: 2^32 blocks of the cipher of 64 bytes each.
const STREAM: u64 = (1 << 38) - 8192;

/// A mask by the key that expands to it, and whether it is added or subtracted.
pub type Mask = (Secret32, Sign);

/// Adds or subtracts ChaCha20 key streams (zero nonce, counter from 0), read as little-endian lanes;
/// `lanes` are those of a vector from element `first` on.
///
/// # Errors
/// [`ProtocolError::WrongLength`] where the key streams end before (at 256 GiB, beyond the longest
/// vector).
pub(crate) fn apply<L: Lane>(
    lanes: &mut [L],
    first: usize,
    masks: &[Mask],
) -> Result<(), ProtocolError> {
    let range = first..first.saturating_add(lanes.len());
    let arch = Arch::new();
    let mut block = Zeroizing::new([0_u8; BLOCK]);
    for masks in masks.chunks(PER_PASS) {
        let mut streams = masks
            .iter()
            .map(|(key, sign)| Ok((stream::<L>(key, &range)?, *sign)))
            .collect::<Result<Vec<_>, ProtocolError>>()?;
        for lanes in lanes.chunks_mut(BLOCK.checked_div(L::BYTES).unwrap_or(1)) {
            let used = lanes.len().saturating_mul(L::BYTES).min(BLOCK);
            let (block, _) = block.split_at_mut(used);
            for (stream, sign) in &mut streams {
                stream.write_keystream(block);
                let (words, sign) = (&*block, *sign);
                arch.dispatch(Fold { lanes, words, sign });
            }
        }
    }
    Ok(())
}

/// As [`apply`] from element 0 on, in parts on all threads of the pool that the caller is in.
#[cfg(feature = "rayon")]
pub(crate) fn apply_in_parts<L: Lane>(
    lanes: &mut [L],
    masks: &[Mask],
) -> Result<(), ProtocolError> {
    use rayon::prelude::*;

    let share = lanes.len().div_ceil(rayon::current_num_threads().max(1));
    let length = share.clamp(LEAST_PART, MOST_PART);
    lanes
        .par_chunks_mut(length)
        .enumerate()
        .try_for_each(|(number, part)| apply(part, number.saturating_mul(length), masks))
}

/// The key stream from the first lane of the range on.
fn stream<L: Lane>(key: &Secret32, range: &Range<usize>) -> Result<ChaCha20, ProtocolError> {
    let bytes = |lanes: usize| u64::try_from(lanes.saturating_mul(L::BYTES)).unwrap_or(u64::MAX);
    let mut cipher = ChaCha20::new(key.expose().into(), &[0; 12].into());
    if bytes(range.end) > STREAM || cipher.try_seek(bytes(range.start)).is_err() {
        return Err(ProtocolError::WrongLength {
            what: "masked vector, against the key stream",
            expected: usize::try_from(STREAM).unwrap_or(usize::MAX),
            found: usize::try_from(bytes(range.end)).unwrap_or(usize::MAX),
        });
    }
    Ok(cipher)
}

/// A block of key stream that is added to lanes, or subtracted: compiled once for each width of vector
/// units, of which the widest that the processor has is taken.
struct Fold<'a, L> {
    lanes: &'a mut [L],
    words: &'a [u8],
    sign: Sign,
}

impl<L: Lane> WithSimd for Fold<'_, L> {
    type Output = ();

    #[allow(clippy::inline_always, reason = "or it is not compiled for S")]
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match self.sign {
            Sign::Plus => L::read_le(self.lanes, self.words, L::plus),
            Sign::Minus => L::read_le(self.lanes, self.words, L::minus),
        }
    }
}

/// The key of a self mask, from its seed.
pub fn self_mask_key(seed: &Secret32, round: RoundId) -> Secret32 {
    keys::derive(seed.expose(), Label::SelfMask, round, &[])
}

/// The key of the mask between the owner of `own` and `peer`; both sides derive the same.
///
/// # Errors
/// [`ProtocolError::BadKey`] if the peer's mask key has low order.
pub fn pairwise_mask_key(
    own: (&Entry, &EphemeralKey),
    peer: &Entry,
    round: RoundId,
    directory: DirectoryDigest,
) -> Result<Secret32, ProtocolError> {
    let (entry, key) = own;
    let (low, high) = (entry.sender.min(peer.sender), entry.sender.max(peer.sender));
    let context: [&[u8]; 3] = [
        directory.as_bytes(),
        &low.0.to_be_bytes(),
        &high.0.to_be_bytes(),
    ];
    key.agree(
        (peer.sender, peer.mask_key),
        Label::PairwiseMask,
        round,
        &context,
    )
}

#[cfg(test)]
mod tests {
    use crate::keys::Secret32;
    use crate::vector::{Ring, RingVector, Sign};

    /// RFC 8439, appendix A.1, test vector 1: zero key, zero nonce, counter 0.
    const STREAM: &str = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7";

    #[test]
    fn the_first_lanes_are_the_rfc_key_stream() {
        let stream = hex::decode(STREAM).unwrap();
        for (bits, lane) in [(16_u8, 2_usize), (20, 4), (32, 4), (64, 8)] {
            let ring = Ring::new(bits).unwrap();
            let mut x = RingVector::zeros(ring, stream.len() / lane);
            x.mask(&[(Secret32::from([0; 32]), Sign::Plus)]);
            for (element, bytes) in x.elements().zip(stream.chunks(lane)) {
                let mut wide = [0; 8];
                wide[..lane].copy_from_slice(bytes);
                assert_eq!(element, u64::from_le_bytes(wide) & ring.mask());
            }
        }
    }

    #[test]
    fn plus_and_minus_cancel_across_blocks() {
        for bits in [8, 16, 17, 33, 64] {
            let mut x = RingVector::zeros(Ring::new(bits).unwrap(), 20_001);
            x.mask(&[(Secret32::from([5; 32]), Sign::Plus)]);
            assert!(x.elements().skip(20_000).any(|e| e != 0));
            x.mask(&[(Secret32::from([5; 32]), Sign::Minus)]);
            assert!(x.elements().all(|e| e == 0));
        }
    }
}
