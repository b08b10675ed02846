//! The masking graph: who masks with whom, who holds whose shares, and who the witnesses are.
//!
//! A public function of the round and its directory, so that no one chooses neighbours (protocol
//! specification, "Directory and masking graph"). Either complete, or the permuted ring of
//! `SecAgg+` (Bell et al., CCS 2020, section 3): a pseudo-random permutation seats the clients on a
//! ring, and each masks with the k/2 next on either side (a Harary graph).
//!
//! Specification: chapter 5, "Directory and masking graph", sections 5.4 to 5.6.

use std::num::NonZeroU32;

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};

use crate::codec::{self, Label};
use crate::id::{DirectoryDigest, Position};
use crate::params::RoundParams;
use crate::threshold::Shape;

/// The masking graph over the positions of one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    size: u32,
    witnesses: u32,
    ring: Option<Ring>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ring {
    /// Neighbours on each side, k/2.
    side: u32,
    /// Which position sits at each place.
    seated: Vec<Position>,
    /// The place of each position.
    place: Vec<u32>,
}

impl Graph {
    /// The graph of a directory of `size` clients.
    pub fn new(params: &RoundParams, size: usize, directory: DirectoryDigest) -> Self {
        let ring = (params.shape() == Shape::Ring).then(|| {
            let round = params.id();
            let key = codec::hash(Label::Graph, &[round.as_bytes(), directory.as_bytes()]);
            let seated = permutation(key.as_bytes(), size);
            let mut place = vec![0; size];
            for (at, position) in (0..).zip(&seated) {
                if let Some(place) = place.get_mut(position.index()) {
                    *place = at;
                }
            }
            let side = u32::from(params.rule.neighbours) / 2;
            Ring {
                side,
                seated,
                place,
            }
        });
        Self {
            size: Position::from_index(size).0,
            witnesses: u32::from(params.rule.witnesses),
            ring,
        }
    }

    /// The neighbours A(u) of a position, in the order of the slots that they have as holders of
    /// its shares. Symmetric: v is in A(u) if u is in A(v).
    pub fn neighbours(&self, of: Position) -> Vec<Position> {
        let Some(ring) = &self.ring else {
            let all = (0..self.size).map(Position);
            return all.filter(|position| *position != of).collect();
        };
        let Some(place) = ring.place(of) else {
            return Vec::new();
        };
        let after = (1..=ring.side).map(|j| ring.seat(place.saturating_add(j)));
        let before =
            (1..=ring.side).map(|j| ring.seat(place.saturating_add(self.size).saturating_sub(j)));
        after.chain(before).flatten().collect()
    }

    /// How many holders the shares of one dealer have: its neighbours, and on the complete graph
    /// itself. On the ring a dealer is no holder of its own shares: the half-window rule counts
    /// the k/2 + e holders that are left at the edge of a cut, and would be one short.
    pub fn holder_count(&self) -> usize {
        match &self.ring {
            None => Position(self.size).index(),
            Some(ring) => Position(ring.side.saturating_mul(2)).index(),
        }
    }

    /// The slot of a holder among a dealer's holders: its place in [`Graph::neighbours`], and the
    /// last one for the dealer itself. It fixes the x of the holder's shares.
    pub fn slot(&self, dealer: Position, holder: Position) -> Option<u8> {
        let slot = match &self.ring {
            None if dealer.0.max(holder.0) >= self.size => None,
            None if holder == dealer => self.size.checked_sub(1),
            None if holder < dealer => Some(holder.0),
            None => holder.0.checked_sub(1),
            Some(ring) => ring.slot(ring.place(dealer)?, ring.place(holder)?, self.size),
        };
        slot.and_then(|slot| u8::try_from(slot).ok())
    }

    /// The witnesses: on the ring whoever sits at the first m places, else everyone.
    pub fn witnesses(&self) -> impl Iterator<Item = Position> + '_ {
        (0..self.size.min(self.witnesses)).map(|place| match &self.ring {
            None => Position(place),
            Some(ring) => ring.seat(place).unwrap_or(Position(place)),
        })
    }

    /// Whether a position is a witness.
    pub fn is_witness(&self, position: Position) -> bool {
        let place = match &self.ring {
            None => Some(position.0),
            Some(ring) => ring.place(position),
        };
        place.is_some_and(|place| place < self.size.min(self.witnesses))
    }
}

impl Ring {
    fn place(&self, of: Position) -> Option<u32> {
        self.place.get(of.index()).copied()
    }

    /// Who sits at a place, counted around the ring.
    fn seat(&self, place: u32) -> Option<Position> {
        let place = Position(place).index().checked_rem(self.seated.len())?;
        self.seated.get(place).copied()
    }

    fn slot(&self, dealer: u32, holder: u32, size: u32) -> Option<u32> {
        let around =
            |from: u32, to: u32| to.wrapping_add(size).wrapping_sub(from).checked_rem(size);
        match (around(dealer, holder)?, around(holder, dealer)?) {
            (0, _) => None,
            (after, _) if after <= self.side => after.checked_sub(1),
            (_, before) if before <= self.side => self.side.checked_add(before)?.checked_sub(1),
            _ => None,
        }
    }
}

/// The Fisher-Yates shuffle of 0 to `size` - 1 by the ChaCha20 key stream (zero nonce), read as
/// little-endian words; words that would favour some numbers are drawn again.
fn permutation(key: &[u8; 32], size: usize) -> Vec<Position> {
    let mut cipher = ChaCha20::new(key.into(), &[0; 12].into());
    let mut word = || {
        let mut bytes = [0; 4];
        cipher.apply_keystream(&mut bytes);
        u32::from_le_bytes(bytes)
    };
    let mut seated: Vec<Position> = (0..size).map(Position::from_index).collect();
    for last in (1..size).rev() {
        let Some(count) = NonZeroU32::new(Position::from_index(last).0.saturating_add(1)) else {
            continue;
        };
        // Words from the largest multiple of `count` on are drawn again.
        let left_over = (u32::MAX % count).wrapping_add(1) % count;
        let drawn = loop {
            let drawn = word();
            if drawn <= u32::MAX.saturating_sub(left_over) {
                break drawn % count;
            }
        };
        seated.swap(last, Position(drawn).index());
    }
    seated
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::tests::fields;
    use crate::threshold::Rule;
    use std::collections::BTreeSet;

    fn graph(size: u32, neighbours: u16, directory: u8) -> Graph {
        let mut fields = fields(10);
        fields.rule = if size == u32::from(neighbours) + 1 {
            Rule::complete(size, 0)
        } else {
            Rule {
                min_clients: size,
                max_clients: size,
                neighbours,
                threshold: neighbours / 2 + 1,
                witnesses: 5,
                witness_threshold: 3,
                corrupt: 0,
                min_survivors: size,
            }
        };
        let params = RoundParams::new(fields).unwrap();
        Graph::new(
            &params,
            size as usize,
            DirectoryDigest::from([directory; 32]),
        )
    }

    #[test]
    fn neighbours_are_symmetric_and_slots_are_theirs() {
        for (size, neighbours) in [(10, 9), (255, 254), (6, 4), (23, 6), (400, 254)] {
            let graph = graph(size, neighbours, 1);
            for u in (0..size).map(Position) {
                let around = graph.neighbours(u);
                let different: BTreeSet<_> = around.iter().collect();
                assert_eq!(different.len(), usize::from(neighbours));
                assert!(!around.contains(&u));
                for (slot, v) in (0..).zip(&around) {
                    assert_eq!(graph.slot(u, *v), Some(slot), "{size}: {u} {v}");
                    assert!(graph.neighbours(*v).contains(&u));
                }
                let others = (0..size + 2)
                    .map(Position)
                    .filter(|v| !different.contains(v));
                for v in others {
                    let own = v == u && size == u32::from(neighbours) + 1;
                    let expected = own.then(|| u8::try_from(neighbours).unwrap());
                    assert_eq!(graph.slot(u, v), expected, "{size}: {u} {v}");
                }
            }
        }
    }

    #[test]
    fn the_permutation_follows_the_directory_and_is_uniform() {
        assert_ne!(graph(100, 8, 1), graph(100, 8, 2));
        // Who sits at place 0 of 5, over 5,000 permutations: 1,000 each, standard deviation 28.
        let mut counts = [0_u32; 5];
        for i in 0..5000_u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&i.to_le_bytes());
            counts[permutation(&key, 5)[0].index()] += 1;
        }
        assert!(counts.iter().all(|c| c.abs_diff(1000) < 150), "{counts:?}");
    }

    #[test]
    fn witnesses_sit_first() {
        let graph = graph(50, 8, 3);
        let witnesses: Vec<_> = graph.witnesses().collect();
        assert_eq!(witnesses.len(), 5);
        // They are next to each other on the ring, so the first is a neighbour of the fifth.
        assert_eq!(graph.slot(witnesses[0], witnesses[1]), Some(0));
        assert_eq!(graph.slot(witnesses[0], witnesses[4]), Some(3));
        let all = (0..50).map(Position);
        assert!(
            all.clone()
                .all(|p| graph.is_witness(p) == witnesses.contains(&p))
        );
    }
}
