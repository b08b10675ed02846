//! Mask expansion: ChaCha20 key streams as vectors over `Z_2^b`.
//!
//! Specification: chapter 8, "Phase 3: MaskedInput", section 8.3; mask expansion is section 3.8.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use zeroize::Zeroizing;

use crate::codec::Label;
use crate::directory::Entry;
use crate::error::ProtocolError;
use crate::id::{DirectoryDigest, RoundId};
use crate::keys::{self, EphemeralKey, Secret32};
use crate::vector::{Lane, Sign};

/// The key stream is produced in blocks of this many bytes: it stays in the first-level cache, and
/// the cipher's vector units run at full width.
pub(crate) const BLOCK: usize = 8192;

/// Where a key stream ends, in bytes, less one block: 2^32 blocks of the cipher of 64 bytes each.
const STREAM: u64 = (1 << 38) - 8192;

/// Adds or subtracts the ChaCha20 key stream of `key` (zero nonce, counter from 0), read as
/// little-endian lanes; `lanes` are those of a vector from element `first` on.
///
/// # Errors
/// [`ProtocolError::WrongLength`] where the key stream ends before (at 256 GiB, beyond the longest
/// vector).
pub(crate) fn apply<L: Lane>(
    lanes: &mut [L],
    first: usize,
    key: &Secret32,
    sign: Sign,
) -> Result<(), ProtocolError> {
    let mut cipher = ChaCha20::new(key.expose().into(), &[0; 12].into());
    let bytes = |lanes: usize| u64::try_from(lanes.saturating_mul(L::BYTES)).unwrap_or(u64::MAX);
    let end = bytes(first.saturating_add(lanes.len()));
    if end > STREAM || cipher.try_seek(bytes(first)).is_err() {
        return Err(ProtocolError::WrongLength {
            what: "masked vector, against the key stream",
            expected: usize::try_from(STREAM).unwrap_or(usize::MAX),
            found: usize::try_from(end).unwrap_or(usize::MAX),
        });
    }
    let mut stream = Zeroizing::new([0_u8; BLOCK]);
    for lanes in lanes.chunks_mut(L::PER_BLOCK) {
        cipher.write_keystream(stream.as_mut_slice());
        for (lane, bytes) in lanes.iter_mut().zip(stream.chunks_exact(L::BYTES)) {
            *lane = lane.combine(L::from_le(bytes), sign);
        }
    }
    Ok(())
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
            x.mask(&Secret32::from([0; 32]), Sign::Plus);
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
            x.mask(&Secret32::from([5; 32]), Sign::Plus);
            assert!(x.elements().skip(20_000).any(|e| e != 0));
            x.mask(&Secret32::from([5; 32]), Sign::Minus);
            assert!(x.elements().all(|e| e == 0));
        }
    }
}
