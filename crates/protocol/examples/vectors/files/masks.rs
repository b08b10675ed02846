//! Mask expansion.

use serde::{Deserialize, Serialize};
use undertone_protocol::keys::Secret32;
use undertone_protocol::vector::{Ring, RingVector, Sign};

use super::json::{Big, Hex};
use super::random::secret;

/// One case: a mask and some of its elements.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// The mask's key.
    pub(crate) key: Hex,
    /// b.
    pub(crate) bits: u8,
    /// Bytes of a lane.
    pub(crate) lane_bytes: usize,
    /// Elements.
    pub(crate) elements: Vec<Element>,
}

/// One element of a mask.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Element {
    /// i.
    pub(crate) index: usize,
    /// Element i of PRG(key).
    pub(crate) value: Big,
}

pub(crate) fn cases() -> Vec<Case> {
    let widths = [(8, 2), (16, 2), (17, 4), (20, 4), (32, 4), (33, 8), (64, 8)];
    let keys = [[0; 32], secret("masks, key")];
    keys.iter()
        .flat_map(|key| widths.map(|(bits, lane_bytes)| case(key, bits, lane_bytes)))
        .collect()
}

fn case(key: &[u8; 32], bits: u8, lane_bytes: usize) -> Case {
    // The ends of the first ChaCha20 block (64 bytes), of an inner one, and of a run of 8192 bytes.
    let ends = [64, 640, 8192].map(|bytes| bytes / lane_bytes);
    let picked = (0..4).chain(ends.into_iter().flat_map(|end| end - 1..=end));
    let mut mask = RingVector::zeros(Ring::new(bits).unwrap(), 8192);
    mask.mask(&[(Secret32::from(*key), Sign::Plus)]);
    let values: Vec<u64> = mask.elements().collect();
    Case {
        key: Hex::new(key),
        bits,
        lane_bytes,
        elements: picked
            .map(|index| Element {
                index,
                value: Big(values[index]),
            })
            .collect(),
    }
}
