//! Directory and masking graph.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::codec::{self, Label, hash};
use undertone_protocol::directory::tree::{Tree, root_of};
use undertone_protocol::graph::Graph;
use undertone_protocol::id::{Digest, DirectoryDigest, Position};
use undertone_protocol::message::AdvertiseKeys;
use undertone_protocol::params::RoundParams;
use undertone_protocol::threshold::Shape;

use crate::files::graph::indices;
use crate::files::json::Hex;
use crate::files::wire::ToJson;
use crate::files::{directory, graph};
use crate::read;

fn digests(list: &[Hex]) -> Vec<Digest> {
    list.iter()
        .map(|digest| Digest::from(digest.array()))
        .collect()
}

/// Spec.
#[test]
fn trees_proofs_and_directories_have_their_digests() {
    for case in read::<directory::Case>("directory.json") {
        match case {
            directory::Case::Tree {
                leaves,
                root,
                proofs,
            } => {
                let leaves = digests(&leaves);
                assert_eq!(Tree::new(leaves.clone()).root().to_json(), root);
                for directory::Proof { positions, nodes } in proofs {
                    let known: BTreeMap<_, _> =
                        positions.iter().map(|at| (*at, leaves[*at])).collect();
                    let nodes = digests(&nodes);
                    let found = root_of(leaves.len(), &known, &nodes).unwrap();
                    assert_eq!(found.to_json(), root);
                    // A node too few, a node too many.
                    if let Some((_, fewer)) = nodes.split_last() {
                        assert_eq!(root_of(leaves.len(), &known, fewer), None);
                    }
                    let more = [nodes.as_slice(), &leaves[..1]].concat();
                    assert_eq!(root_of(leaves.len(), &known, &more), None);
                }
            }
            directory::Case::Directory {
                entries,
                encodings,
                leaves,
                root,
                members,
                members_encoding,
                digest,
            } => {
                for ((entry, encoding), leaf) in entries.iter().zip(&encodings).zip(&leaves) {
                    let read: AdvertiseKeys = codec::decode("entry", &encoding.0).unwrap();
                    assert_eq!(read.to_json(), *entry);
                    assert_eq!(hash(Label::DirectoryLeaf, &[&encoding.0]).to_json(), *leaf);
                }
                assert_eq!(Tree::new(digests(&leaves)).root().to_json(), root);
                let set = Bitmap::decode("members", &members_encoding.0, members.size).unwrap();
                assert_eq!(set.to_json(), members);
                let senders: Vec<_> = entries.iter().map(|entry| entry.sender).collect();
                assert_eq!(members.members, senders);
                let found = hash(Label::DirectoryRoot, &[&members_encoding.0, &root.0]);
                assert_eq!(found.to_json(), digest);
            }
        }
    }
}

fn make(params: &Hex, clients: usize, directory: DirectoryDigest) -> (RoundParams, Graph) {
    let params = RoundParams::decode(&params.0).unwrap();
    let graph = Graph::new(&params, clients, directory);
    (params, graph)
}

fn positions(clients: usize) -> impl Iterator<Item = Position> {
    (0..clients).map(Position::from_index)
}

/// Sections 5.4, 5.5 and 5.6.
#[test]
fn graphs_follow_from_round_and_directory() {
    use graph::Case;
    for case in read::<Case>("graph.json") {
        match &case {
            Case::Ring { .. } => ring(&case),
            Case::Complete {
                params,
                clients,
                slots,
                witnesses,
            } => {
                let (params, graph) = make(params, *clients, DirectoryDigest::from([0; 32]));
                assert_eq!(params.shape(), Shape::Complete);
                for (u, expected) in positions(*clients).zip(slots) {
                    assert_eq!(graph.holder_count(), expected.len());
                    let (itself, others) = expected.split_last().unwrap();
                    assert_eq!(indices(graph.neighbours(u)), others);
                    assert_eq!(*itself, u.0);
                    for (slot, holder) in (0..).zip(expected) {
                        assert_eq!(graph.slot(u, Position(*holder)), Some(slot));
                    }
                }
                assert_eq!(indices(graph.witnesses()), *witnesses);
            }
            Case::Permutation {
                params,
                round_id,
                directory,
                clients,
                key,
                order_start,
                order_sha256,
                ..
            } => {
                let directory = DirectoryDigest::from(directory.array());
                let (params, graph) = make(params, *clients, directory);
                check_key(&params, round_id, directory, key);
                // Everyone is a witness, so the witnesses are the order.
                let order = indices(graph.witnesses());
                assert_eq!(order.len(), *clients);
                assert_eq!(order[..8], *order_start);
                let bytes: Vec<u8> = order.iter().flat_map(|p| p.to_be_bytes()).collect();
                assert_eq!(Hex::new(Sha256::digest(&bytes)), *order_sha256);
            }
        }
    }
}

fn check_key(params: &RoundParams, round_id: &Hex, directory: DirectoryDigest, key: &Hex) {
    assert_eq!(Hex::new(params.id().as_bytes()), *round_id);
    let found = hash(Label::Graph, &[&round_id.0, directory.as_bytes()]);
    assert_eq!(found.to_json(), *key);
}

fn ring(case: &graph::Case) {
    let graph::Case::Ring {
        params,
        round_id,
        directory,
        clients,
        neighbours,
        key,
        order,
        slots,
        witnesses,
    } = case
    else {
        return;
    };
    let directory = DirectoryDigest::from(directory.array());
    let (params, graph) = make(params, *clients, directory);
    assert_eq!(params.shape(), Shape::Ring);
    check_key(&params, round_id, directory, key);
    assert_eq!(graph.holder_count(), usize::from(*neighbours));
    assert_eq!(indices(graph.witnesses()), *witnesses);
    assert_eq!(*witnesses, order[..witnesses.len()]);
    for (u, expected) in positions(*clients).zip(slots) {
        assert_eq!(indices(graph.neighbours(u)), *expected);
        for (slot, holder) in (0..).zip(expected) {
            assert_eq!(graph.slot(u, Position(*holder)), Some(slot));
        }
        assert_eq!(graph.slot(u, u), None);
    }
    // Around the ring: the next place is slot 0, the one before is slot k/2.
    for (at, u) in order.iter().enumerate() {
        let of = &slots[*u as usize];
        assert_eq!(of[0], order[(at + 1) % clients]);
        assert_eq!(
            of[usize::from(neighbours / 2)],
            order[(at + clients - 1) % clients]
        );
    }
}
