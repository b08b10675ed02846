//! What a round moves and computes: counted from the wire formats, not measured.
//!
//! Counted are the messages of the five phases. Not counted: the round parameters, the adapter and
//! the roster, which are fetched before a round; the published sum; the transport's own headers.
//! Those who drop out are taken to vanish after ShareKeys, when it costs most.
//!
//! Specification: chapter 13, "Choosing parameters", section 13.5.

use super::Shape;
use super::choose::Choice;
use crate::message::{MASKED_INPUT_HEADER, SEALED_LENGTH};

const SIGNATURE: u64 = 64;
const DIGEST: u64 = 32;
/// Roster index and two keys, signed.
const ADVERTISE_KEYS: u64 = 4 + 2 * 32 + SIGNATURE;
/// Roster index, directory, seed commitment, digest of the dealing, signed.
const SHARE_KEYS: u64 = 4 + 3 * DIGEST + SIGNATURE;
/// Two commitments.
const COMMITMENTS: u64 = 2 * DIGEST;
/// Roster index and three digests, signed.
const CONSISTENCY_CHECK: u64 = 4 + 3 * DIGEST + SIGNATURE;
/// Position, kind, share.
const REVELATION: u64 = 4 + 1 + 32;

/// What one party moves and computes in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Bytes that it sends.
    pub sent: u64,
    /// Bytes that it receives.
    pub received: u64,
    /// Masks of full length that it expands.
    pub expansions: u64,
}

/// What a round costs when as many drop out as the numbers are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// One client that stays to the end and is a witness. On the ring its positions in the
    /// directory's tree are random, so `received` is a mean.
    pub client: Load,
    /// The aggregator, on average.
    pub aggregator: Load,
}

impl Choice {
    /// The cost of a round over vectors of `length` elements of `bits` bits, with the fewest
    /// clients of the choice. Saturates.
    pub fn cost(&self, length: u32, bits: u8) -> Cost {
        let n = u64::from(self.case.clients);
        let survivors = u64::from(self.case.survivors());
        let dropped = n.saturating_sub(survivors);
        let complete = self.case.shape == Shape::Complete;
        // With fewer than the most clients of a complete graph everyone has n - 1 neighbours.
        let k = u64::from(self.neighbours).min(n.saturating_sub(1));
        let m = self.witnesses.map_or(0, |w| u64::from(w.count)).min(n);
        let signed = rounded(quotient(m.saturating_mul(survivors), n));

        let dealing = list(k.saturating_mul(dealt_share()))
            .saturating_add(1 + if complete { COMMITMENTS } else { 0 });
        let early = ADVERTISE_KEYS + SHARE_KEYS.saturating_add(dealing);
        let vector = u64::from(length)
            .saturating_mul(bits.into())
            .div_ceil(8)
            .saturating_add(wide(MASKED_INPUT_HEADER));
        // On the complete graph a client holds shares of its own secrets too.
        let dealers = if complete { n } else { k };
        let unmask = 4 + SIGNATURE + list(dealers.saturating_mul(REVELATION));
        let late = vector.saturating_add(unmask);
        let statement = if m > 0 { CONSISTENCY_CHECK } else { 0 };

        let directory = self.directory(n, k);
        let dealt = bitmap(n).saturating_add(list(k.saturating_mul(SHARE_KEYS + dealt_share())));
        let statements = if m > 0 {
            list(signed.saturating_mul(CONSISTENCY_CHECK))
        } else {
            0
        };
        let after = dealt.saturating_add(bitmap(n)).saturating_add(statements);

        let removed = quotient(k.saturating_mul(survivors), n.saturating_sub(1).max(1));
        Cost {
            client: Load {
                sent: early.saturating_add(late).saturating_add(statement),
                received: directory.saturating_add(after),
                expansions: k.saturating_add(1),
            },
            aggregator: Load {
                sent: n
                    .saturating_mul(directory)
                    .saturating_add(survivors.saturating_mul(after)),
                received: n
                    .saturating_mul(early)
                    .saturating_add(survivors.saturating_mul(late))
                    .saturating_add(signed.saturating_mul(statement)),
                expansions: survivors.saturating_add(rounded(float(dropped) * removed)),
            },
        }
    }

    /// The view of the directory that one client fetches.
    fn directory(&self, n: u64, k: u64) -> u64 {
        let (entries, nodes) = match self.case.shape {
            Shape::Complete => (n, 0),
            Shape::Ring => (
                k.saturating_add(1),
                rounded(proof_nodes(n, k.saturating_add(1))),
            ),
        };
        bitmap(self.case.roster.into())
            .saturating_add(list(entries.saturating_mul(ADVERTISE_KEYS)))
            .saturating_add(list(nodes.saturating_mul(DIGEST)))
    }
}

/// A sealed pair of shares and its commitments.
fn dealt_share() -> u64 {
    wide(SEALED_LENGTH).saturating_add(COMMITMENTS)
}

/// A list whose entries take this many bytes: its length goes before it in 1, 2 or 4 bytes
/// (RFC 9420, section 2.1.2).
const fn list(bytes: u64) -> u64 {
    let prefix = match bytes {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        _ => 4,
    };
    bytes.saturating_add(prefix)
}

/// The encoding of a bitmap: its size and its bytes.
const fn bitmap(size: u64) -> u64 {
    list(size.div_ceil(8)).saturating_add(4)
}

/// The mean number of node hashes that prove `chosen` random leaves of a tree of `n`.
///
/// A node is sent if no chosen leaf is below it and one is below its parent. The chance for none
/// below a node of s leaves is C(n - s, chosen) / C(n, chosen).
fn proof_nodes(n: u64, chosen: u64) -> f64 {
    let none = |leaves: u64| -> f64 {
        (0..chosen)
            .map(|i| {
                let free = n.saturating_sub(leaves).saturating_sub(i);
                quotient(free, n.saturating_sub(i).max(1))
            })
            .product()
    };
    let pair = |left: u64, right: u64| {
        let both = none(left.saturating_add(right));
        none(left) + none(right) - 2.0 * both
    };
    let mut nodes = 0.0;
    let mut size = 1_u64;
    while size < n {
        // Whole subtrees in pairs, then at most one pair with the incomplete subtree at the end;
        // an odd last node moves up as it is.
        let whole = n / size;
        nodes += float(whole / 2) * pair(size, size);
        let rest = n.saturating_sub(whole.saturating_mul(size));
        if !whole.is_multiple_of(2) && rest > 0 {
            nodes += pair(size, rest);
        }
        size = size.saturating_mul(2);
    }
    nodes
}

fn wide(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "1e-16 relative"
)]
const fn float(value: u64) -> f64 {
    value as f64
}

fn quotient(part: u64, whole: u64) -> f64 {
    float(part) / float(whole)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative; saturates"
)]
fn rounded(value: f64) -> u64 {
    libm::round(value) as u64
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]
mod tests {
    use super::*;
    use crate::threshold::{Aggregator, Request, choose};

    /// Nodes that prove the leaves of `chosen` (a bit set) by a walk from the root.
    fn walk(first: u32, leaves: u32, chosen: u32) -> u32 {
        let below = chosen >> first & (((1_u64 << leaves) - 1) as u32);
        if below == 0 {
            return 1;
        }
        if leaves == 1 {
            return 0;
        }
        let left = leaves.next_power_of_two() / 2;
        walk(first, left, chosen) + walk(first + left, leaves - left, chosen)
    }

    #[test]
    fn proofs_are_counted_exactly_on_average() {
        for n in 1..=13_u32 {
            let mut totals = vec![(0_u32, 0_u32); n as usize + 1];
            for chosen in 1..1_u32 << n {
                let total = &mut totals[chosen.count_ones() as usize];
                total.0 += walk(0, n, chosen);
                total.1 += 1;
            }
            for (chosen, (nodes, sets)) in totals.into_iter().enumerate().skip(1) {
                let mean = f64::from(nodes) / f64::from(sets);
                let found = proof_nodes(n.into(), chosen as u64);
                assert!(
                    (found - mean).abs() < 1e-9,
                    "{chosen} of {n}: {found}, {mean}"
                );
            }
        }
    }

    /// Every number by hand from the wire formats.
    #[test]
    fn a_complete_round_of_ten() {
        let choice = choose(&Request::new(10, 0.3, 0.2)).unwrap();
        assert_eq!((choice.neighbours, choice.case.dropped), (9, 2));
        let cost = choice.cost(1000, 20);
        let early = 132 + (4 + 96 + 64) + (2 + 9 * 144) + 1 + 64;
        let late = 132 + 2500 + (4 + 2 + 10 * 37 + 64);
        assert_eq!(cost.client.sent, early + late + 164);
        let directory = (4 + 1 + 2) + (2 + 10 * 132) + 1;
        let after = 7 + (2 + 9 * 308) + 7 + (2 + 8 * 164);
        assert_eq!(cost.client.received, directory + after);
        assert_eq!(cost.client.expansions, 10);
        assert_eq!(cost.aggregator.received, 10 * early + 8 * (late + 164));
        assert_eq!(cost.aggregator.sent, 10 * directory + 8 * after);
        assert_eq!(cost.aggregator.expansions, 8 + 2 * 8);
    }

    #[test]
    fn a_ring_costs_the_clients_no_more_when_it_grows() {
        let loads: Vec<Cost> = [10_000, 1_000_000]
            .iter()
            .map(|n| {
                let request = Request {
                    aggregator: Aggregator::SemiHonest,
                    ..Request::new(*n, 0.1, 0.1)
                };
                choose(&request).unwrap().cost(100_000, 16)
            })
            .collect();
        let [small, large] = [loads[0].client, loads[1].client];
        assert!(large.sent < small.sent + 4000, "{small:?}, {large:?}");
        assert_eq!(small.expansions, 55);
        // Three bitmaps of one bit a client are most of what grows.
        assert!(large.received - small.received < 3 * 990_000 / 8 + 60_000);
        // Each of 1000 that drop out leaves 54 neighbours, a tenth of whom dropped out too.
        let removed = loads[0].aggregator.expansions - 9000;
        assert_eq!(
            removed,
            (1000.0 * 54.0 * 9000.0 / 9999.0_f64).round() as u64
        );
    }

    #[test]
    fn never_overflows() {
        let choice = choose(&Request::new(u32::MAX, 0.01, 0.01)).unwrap();
        let cost = choice.cost(u32::MAX, 64);
        assert_eq!(cost.aggregator.received, u64::MAX);
    }
}
