//! Merkle trees, proofs and directory digests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::codec::{Label, encode, hash};
use undertone_protocol::directory::tree::Tree;
use undertone_protocol::id::{Digest, Position, RosterIndex};
use undertone_protocol::keys::{EphemeralKey, Secret32};
use undertone_protocol::message::AdvertiseKeys;

use super::json::Hex;
use super::random::secret;
use super::wire;
use super::wire::ToJson;

/// One case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Case {
    /// A tree and proofs in it.
    Tree {
        /// leaf(0), leaf(1), and so on.
        leaves: Vec<Hex>,
        /// tree(leaves).
        root: Hex,
        /// Proofs.
        proofs: Vec<Proof>,
    },
    /// A whole directory.
    Directory {
        /// The entries in order of roster index.
        entries: Vec<wire::AdvertiseKeys>,
        /// Their encodings.
        encodings: Vec<Hex>,
        /// The leaves.
        leaves: Vec<Hex>,
        /// The root of the tree.
        root: Hex,
        /// The members over the roster.
        members: wire::Bitmap,
        /// Their encoding.
        members_encoding: Hex,
        /// The directory digest.
        digest: Hex,
    },
}

/// The proof of some leaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proof {
    /// Positions of the given entries.
    pub(crate) positions: Vec<usize>,
    /// The nodes, in order.
    pub(crate) nodes: Vec<Hex>,
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        tree(1, &[&[0]]),
        tree(2, &[&[0], &[1], &[0, 1]]),
        tree(3, &[&[0], &[2], &[0, 2], &[0, 1, 2]]),
        tree(5, &[&[4], &[0, 4], &[1, 2], &[0, 1, 2, 3, 4]]),
        tree(6, &[&[5], &[3, 4]]),
        tree(7, &[&[6], &[0, 3, 6], &[2, 5]]),
        tree(8, &[&[0], &[7], &[0, 7], &[3, 4], &[1, 2, 6]]),
        tree(
            13,
            &[&[12], &[0, 12], &[3, 8, 9], &[7, 8], &[0, 4, 8, 10, 12]],
        ),
        tree(33, &[&[32], &[0, 31, 32], &[5, 6, 7, 15, 16]]),
    ];
    cases.push(directory(&[0, 1, 2, 3], 4));
    cases.push(directory(&[1, 2, 5, 8, 9], 10));
    cases.push(directory(&[0, 7, 8, 255, 256, 257, 300], 301));
    cases
}

fn tree(size: usize, proved: &[&[usize]]) -> Case {
    let leaf = |i| Digest::from(secret(&format!("directory, leaf {i}")));
    let leaves: Vec<_> = (0..size).map(leaf).collect();
    let tree = Tree::new(leaves.clone());
    let proof = |positions: &&[usize]| {
        let known: BTreeMap<_, _> = positions.iter().map(|at| (*at, *at)).collect();
        Proof {
            positions: positions.to_vec(),
            nodes: tree.prove(&known).to_json(),
        }
    };
    Case::Tree {
        root: tree.root().to_json(),
        proofs: proved.iter().map(proof).collect(),
        leaves: leaves.to_json(),
    }
}

fn directory(senders: &[u32], roster: usize) -> Case {
    let key = |name: String| {
        let seed = Secret32::from(secret(&name));
        EphemeralKey::from_seed(seed).public()
    };
    let entries: Vec<_> = senders
        .iter()
        .map(|sender| AdvertiseKeys {
            sender: RosterIndex(*sender),
            cipher_key: key(format!("directory, cipher key of {sender}")),
            mask_key: key(format!("directory, mask key of {sender}")),
        })
        .collect();
    let encodings: Vec<_> = entries
        .iter()
        .map(|e| encode("entry", e).unwrap())
        .collect();
    let leaf = |encoding: &Vec<u8>| hash(Label::DirectoryLeaf, &[encoding]);
    let leaves: Vec<_> = encodings.iter().map(leaf).collect();
    let root = Tree::new(leaves.clone()).root();
    let members = Bitmap::new(roster, senders.iter().copied().map(Position));
    let members_encoding = members.encode("members").unwrap();
    let digest = hash(Label::DirectoryRoot, &[&members_encoding, root.as_bytes()]);
    Case::Directory {
        entries: entries.to_json(),
        encodings: encodings.into_iter().map(Hex).collect(),
        leaves: leaves.to_json(),
        root: root.to_json(),
        members: members.to_json(),
        members_encoding: Hex(members_encoding),
        digest: digest.to_json(),
    }
}
