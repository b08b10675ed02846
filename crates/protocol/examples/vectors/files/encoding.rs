//! From reals to ring elements and back.

use serde::{Deserialize, Serialize};
use undertone_protocol::encoding::FixedPoint;
use undertone_protocol::vector::{Ring, RingVector};

use super::json::{Big, elements};
use super::random::Coins;

/// One case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Case {
    /// An update and its encoding.
    Encode {
        /// b.
        bits: u8,
        /// C.
        update_clip: f64,
        /// Ring units for 1.0.
        scale: f64,
        /// The update; each value is a 32-bit float.
        update: Vec<f32>,
        /// One integer in [0, 2^53) for each coordinate: z is rounded up if coin / 2^53 is below
        /// the fraction.
        coins: Vec<Big>,
        /// x.
        elements: Vec<Big>,
    },
    /// A sum and the mean of the updates in it.
    Mean {
        /// b.
        bits: u8,
        /// Ring units for 1.0.
        scale: f64,
        /// |U3|.
        clients: u32,
        /// The sum.
        sum: Vec<Big>,
        /// The mean.
        mean: Vec<f64>,
    },
    /// Whether a sum of so many updates could wrap.
    Fits {
        /// b.
        bits: u8,
        /// C.
        update_clip: f64,
        /// Ring units for 1.0.
        scale: f64,
        /// Most clients.
        max_clients: u32,
        /// Whether the round is accepted.
        fits: bool,
    },
}

const HALF: u64 = 1 << 52;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        // Products that are whole: no coin decides anything.
        encode(
            16,
            8.0,
            4.0,
            &[1.0, -1.0, 0.25, -0.25, 0.0, 2.5],
            &[0, HALF, 0, HALF, 0, HALF],
        ),
        // Clipped from norm 5 to 2.5.
        encode(20, 2.5, 256.0, &[3.0, -4.0], &[0, 0]),
        encode(64, 1.0, 1_048_576.0, &[0.5, -0.5, 0.0], &[0, 0, 0]),
        // Fractions 1/2, 1/4 (of -2.75: floor -3), 3/4; coins on either side and on the edge.
        encode(
            16,
            64.0,
            1.0,
            &[2.5, 2.5, 2.5, -2.75, -2.75, 0.75, 0.75],
            &[
                HALF - 1,
                HALF,
                2 * HALF - 1,
                HALF / 2 - 1,
                HALF / 2,
                0,
                2 * HALF - 1,
            ],
        ),
        mean(16, 4.0, 3, &[12, 65_524, 32_768, 0]),
        mean(33, 1.0, 1, &[1 << 32, (1 << 32) - 1]),
        mean(64, 2.0, 2, &[1 << 63, u64::MAX - 3]),
        fits(16, 4.0, 1024.0, 7),
        fits(16, 4.0, 1024.0, 8),
        fits(24, 4.0, 65_536.0, 31),
        fits(24, 4.0, 65_536.0, 32),
        fits(32, 0.3, 10.0, 715_827_882),
        fits(32, 0.3, 10.0, 715_827_883),
    ]
}

fn encode(bits: u8, update_clip: f64, scale: f64, update: &[f32], coins: &[u64]) -> Case {
    let ring = Ring::new(bits).unwrap();
    let encoding = FixedPoint::new(ring, update_clip, scale, 1).unwrap();
    let vector = encoding.encode(update, &mut Coins(coins.to_vec())).unwrap();
    Case::Encode {
        bits,
        update_clip,
        scale,
        update: update.to_vec(),
        coins: elements(coins.iter().copied()),
        elements: elements(vector.elements()),
    }
}

fn mean(bits: u8, scale: f64, clients: u32, sum: &[u64]) -> Case {
    let ring = Ring::new(bits).unwrap();
    let encoding = FixedPoint::new(ring, 1.0, scale, clients).unwrap();
    let vector = RingVector::from_elements(ring, sum);
    Case::Mean {
        bits,
        scale,
        clients,
        sum: elements(sum.iter().copied()),
        mean: encoding.decode_mean(&vector, clients),
    }
}

fn fits(bits: u8, update_clip: f64, scale: f64, max_clients: u32) -> Case {
    let ring = Ring::new(bits).unwrap();
    Case::Fits {
        bits,
        update_clip,
        scale,
        max_clients,
        fits: FixedPoint::new(ring, update_clip, scale, max_clients).is_ok(),
    }
}
