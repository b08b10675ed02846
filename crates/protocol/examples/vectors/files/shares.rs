//! Shamir shares.

use serde::{Deserialize, Serialize};
use undertone_protocol::keys::Secret32;
use undertone_protocol::message::Share;
use undertone_protocol::shamir::combine;

use super::json::Hex;
use super::random::{secret, split};

/// One case: a shared secret.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// The secret.
    pub(crate) secret: Hex,
    /// t.
    pub(crate) threshold: usize,
    /// All shares, by slot. The first t - 1 were drawn, the others follow from them and the secret.
    pub(crate) shares: Vec<Hex>,
    /// What t of them recombine to.
    pub(crate) recombined: Vec<Recombined>,
}

/// What some shares recombine to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recombined {
    /// The shares, each with its slot.
    pub(crate) shares: Vec<SlotShare>,
    /// The value at 0 of the polynomial through them.
    pub(crate) value: Hex,
    /// Whether that is the secret.
    pub(crate) is_secret: bool,
}

/// One share.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlotShare {
    /// The holder's slot; x is one more.
    pub(crate) slot: u8,
    /// The share.
    pub(crate) share: Hex,
}

pub(crate) fn cases() -> Vec<Case> {
    let fixed = secret("shares, secret");
    let first = |count: u8| (0..count).collect::<Vec<_>>();
    vec![
        case("shares 2 of 2", fixed, 2, 2, &[&[0, 1], &[1, 0]]),
        case(
            "shares 3 of 5",
            fixed,
            5,
            3,
            &[&[0, 1, 2], &[2, 3, 4], &[4, 0, 3]],
        ),
        case(
            "shares 4 of 6",
            [0xff; 32],
            6,
            4,
            &[&[0, 1, 2, 3], &[5, 3, 2, 0]],
        ),
        // Of zero with t = 2 a share is x times the coefficient: a multiplication table.
        case("shares of zero", [0; 32], 16, 2, &[&[14, 15]]),
        case(
            "shares 9 of 255",
            fixed,
            255,
            9,
            &[&first(9), &[254, 0, 253, 127, 128, 1, 99, 17, 64]],
        ),
    ]
}

fn case(name: &str, secret: [u8; 32], holders: usize, threshold: usize, subsets: &[&[u8]]) -> Case {
    let shares = split(name, secret, holders, threshold);
    let picked = |slots: &[u8]| -> Vec<(u8, Share)> {
        let share = |slot: &u8| (*slot, shares[usize::from(*slot)].clone());
        slots.iter().map(share).collect()
    };
    let recombined = |shares: Vec<(u8, Share)>| {
        let referred: Vec<_> = shares.iter().map(|(slot, share)| (*slot, share)).collect();
        let value = *combine(&referred, shares.len()).unwrap().expose();
        let listed = shares.iter().map(|(slot, share)| SlotShare {
            slot: *slot,
            share: Hex::new(share.expose()),
        });
        Recombined {
            shares: listed.collect(),
            value: Hex::new(value),
            is_secret: value == *Secret32::from(secret).expose(),
        }
    };
    let mut all: Vec<_> = subsets
        .iter()
        .map(|slots| recombined(picked(slots)))
        .collect();
    if threshold > 2 {
        // One share too few; and one with a wrong bit.
        all.push(recombined(picked(&subsets[0][1..])));
        let mut wrong = picked(subsets[0]);
        let mut bytes = *wrong[1].1.expose();
        bytes[5] ^= 0x10;
        wrong[1].1 = Share::from(bytes);
        all.push(recombined(wrong));
    }
    Case {
        secret: Hex::new(secret),
        threshold,
        shares: shares
            .iter()
            .map(|share| Hex::new(share.expose()))
            .collect(),
        recombined: all,
    }
}
