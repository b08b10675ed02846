//! The Merkle tree over a directory's entries, and proofs for several entries at once.
//!
//! The tree of RFC 6962, section 2.1, with labels of its own: levels of pairs, where an odd last
//! node moves up unchanged. A proof is the hashes of the subtrees that hold none of the proved
//! leaves, in the order of a walk from the root that goes left first.
//!
//! Specification: chapter 5, "Directory and masking graph", sections 5.2 and 5.3.

use std::collections::BTreeMap;

use crate::codec::{self, Label};
use crate::id::Digest;

/// A whole tree, level by level from the leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// The tree over at least one leaf.
    pub fn new(leaves: Vec<Digest>) -> Self {
        let mut levels = vec![leaves];
        while let Some(level) = levels.last().filter(|level| level.len() > 1) {
            let next = level
                .chunks(2)
                .map(|pair| match pair {
                    [left, right] => node(left, right),
                    [single, ..] => *single,
                    [] => Digest::from([0; 32]),
                })
                .collect();
            levels.push(next);
        }
        Self { levels }
    }

    /// The root; of no leaves, zeros.
    pub fn root(&self) -> Digest {
        let top = self.levels.last().and_then(|level| level.first());
        top.copied().unwrap_or(Digest::from([0; 32]))
    }

    /// The proof of these leaves.
    pub fn prove<V>(&self, leaves: &BTreeMap<usize, V>) -> Vec<Digest> {
        let mut nodes = Vec::new();
        self.collect(self.levels.len().saturating_sub(1), 0, leaves, &mut nodes);
        nodes
    }

    fn collect<V>(
        &self,
        level: usize,
        index: usize,
        leaves: &BTreeMap<usize, V>,
        nodes: &mut Vec<Digest>,
    ) {
        let hash = self.levels.get(level).and_then(|level| level.get(index));
        let Some(hash) = hash else { return };
        if !covers(level, index, leaves) {
            nodes.push(*hash);
        } else if let Some(below) = level.checked_sub(1) {
            let [left, right] = children(index);
            self.collect(below, left, leaves, nodes);
            self.collect(below, right, leaves, nodes);
        }
    }
}

/// The root of a tree of `size` leaves of which some are known, with the proof of these; `None`
/// if the proof is not exactly of these leaves.
pub fn root_of(size: usize, leaves: &BTreeMap<usize, Digest>, proof: &[Digest]) -> Option<Digest> {
    if leaves.is_empty()
        || leaves
            .last_key_value()
            .is_some_and(|(last, _)| *last >= size)
    {
        return None;
    }
    let mut proof = proof.iter();
    let root = rebuild(depth(size), 0, size, leaves, &mut proof)?;
    proof.next().is_none().then_some(root)
}

fn rebuild<'a>(
    level: usize,
    index: usize,
    size: usize,
    leaves: &BTreeMap<usize, Digest>,
    proof: &mut impl Iterator<Item = &'a Digest>,
) -> Option<Digest> {
    if !covers(level, index, leaves) {
        return proof.next().copied();
    }
    let Some(below) = level.checked_sub(1) else {
        return leaves.get(&index).copied();
    };
    let [left, right] = children(index);
    let left = rebuild(below, left, size, leaves, proof)?;
    if first_leaf(below, right) >= size {
        return Some(left);
    }
    Some(node(&left, &rebuild(below, right, size, leaves, proof)?))
}

/// The levels above the leaves: ceil(log2 `size`).
fn depth(size: usize) -> usize {
    let levels = size.next_power_of_two().trailing_zeros();
    usize::try_from(levels).unwrap_or(usize::MAX)
}

fn children(index: usize) -> [usize; 2] {
    let left = index.saturating_mul(2);
    [left, left.saturating_add(1)]
}

fn first_leaf(level: usize, index: usize) -> usize {
    u32::try_from(level)
        .ok()
        .and_then(|level| 1_usize.checked_shl(level))
        .map_or(usize::MAX, |width| width.saturating_mul(index))
}

/// Whether the subtree holds one of the leaves.
fn covers<V>(level: usize, index: usize, leaves: &BTreeMap<usize, V>) -> bool {
    let [first, end] = [index, index.saturating_add(1)].map(|i| first_leaf(level, i));
    leaves.range(first..end).next().is_some()
}

fn node(left: &Digest, right: &Digest) -> Digest {
    codec::hash(Label::DirectoryNode, &[left.as_bytes(), right.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaf(i: usize) -> Digest {
        Digest::from([u8::try_from(i % 251).unwrap(); 32])
    }

    /// The definition of RFC 6962: split at the largest power of two below the size.
    fn rfc6962(leaves: &[Digest]) -> Digest {
        if let [leaf] = leaves {
            return *leaf;
        }
        let (left, right) = leaves.split_at(leaves.len().div_ceil(2).next_power_of_two());
        node(&rfc6962(left), &rfc6962(right))
    }

    #[test]
    fn the_tree_is_that_of_the_rfc() {
        for size in 1..70 {
            let leaves: Vec<_> = (0..size).map(leaf).collect();
            assert_eq!(Tree::new(leaves.clone()).root(), rfc6962(&leaves), "{size}");
        }
    }

    proptest! {
        #[test]
        fn proofs_give_the_root_and_no_others_do(
            size in 1_usize..200,
            picks in proptest::collection::vec(any::<prop::sample::Index>(), 1..12),
            damage in any::<prop::sample::Index>(),
        ) {
            let tree = Tree::new((0..size).map(leaf).collect());
            let known: BTreeMap<usize, Digest> =
                picks.iter().map(|p| p.index(size)).map(|at| (at, leaf(at))).collect();
            let mut proof = tree.prove(&known);
            prop_assert_eq!(root_of(size, &known, &proof), Some(tree.root()));
            prop_assert_eq!(root_of(size, &BTreeMap::new(), &proof), None);
            let mut longer = proof.clone();
            longer.push(leaf(0));
            prop_assert_eq!(root_of(size, &known, &longer), None);
            if !proof.is_empty() {
                let at = damage.index(proof.len());
                proof[at] = Digest::from([255; 32]);
                prop_assert_ne!(root_of(size, &known, &proof), Some(tree.root()));
                proof.pop();
                prop_assert_eq!(root_of(size, &known, &proof), None);
            }
        }
    }
}
