//! Bit packing.

use serde::{Deserialize, Serialize};
use undertone_protocol::keys::Secret32;
use undertone_protocol::vector::{Ring, RingVector, Sign};

use super::json::{Big, Hex, elements};
use super::random::secret;

/// One case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Case {
    /// A vector and its packed form.
    Packed {
        /// b.
        bits: u8,
        /// The vector.
        elements: Vec<Big>,
        /// Its packed form.
        packed: Hex,
    },
    /// Bytes that are no packed vector.
    Refused {
        /// b.
        bits: u8,
        /// d.
        length: usize,
        /// The bytes.
        packed: Hex,
        /// Why.
        reason: String,
    },
}

pub(crate) fn cases() -> Vec<Case> {
    let packed = |bits: u8, values: &[u64]| {
        let vector = RingVector::from_elements(Ring::new(bits).unwrap(), values);
        Case::Packed {
            bits,
            elements: elements(vector.elements()),
            packed: Hex(vector.pack()),
        }
    };
    let mut cases = vec![
        packed(12, &[0xabc, 0x123, 0xfff]),
        packed(8, &[]),
        packed(8, &[1, 2, 255]),
        packed(64, &[u64::MAX, 1, 1 << 63]),
        packed(9, &[1, 0, 256, 511, 3, 0, 0, 0, 511]),
    ];
    for (bits, length) in [
        (9, 1),
        (13, 7),
        (16, 3),
        (17, 1),
        (17, 8),
        (20, 5),
        (24, 3),
        (31, 9),
        (32, 2),
        (33, 8),
        (47, 5),
        (63, 9),
        (64, 2),
    ] {
        let mut vector = RingVector::zeros(Ring::new(bits).unwrap(), length);
        vector.mask(&[(Secret32::from(secret("packing, elements")), Sign::Plus)]);
        cases.push(packed(bits, &vector.elements().collect::<Vec<_>>()));
    }
    cases.extend(
        [
            (12, 3, "bc3a12ff1f", "a spare bit is set"),
            (12, 3, "bc3a12ff8f", "the highest spare bit is set"),
            (12, 3, "bc3a12ff", "too short"),
            (12, 3, "bc3a12ff0f00", "too long"),
            (9, 1, "ff02", "a spare bit is set"),
            (8, 0, "00", "too long"),
            (64, 1, "00000000000000", "too short"),
        ]
        .map(|(bits, length, packed, reason)| Case::Refused {
            bits,
            length,
            packed: Hex(hex::decode(packed).unwrap()),
            reason: reason.to_owned(),
        }),
    );
    cases
}
