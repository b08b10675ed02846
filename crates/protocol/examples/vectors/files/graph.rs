//! The masking graph.

use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use undertone_protocol::codec::{Label, hash};
use undertone_protocol::graph::Graph;
use undertone_protocol::id::{DirectoryDigest, Position, RosterDigest};
use undertone_protocol::params::RoundParams;
use undertone_protocol::threshold::Rule;

use super::json::Hex;
use super::parameters::fields;
use super::random::secret;

/// One case.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Case {
    /// A ring.
    Ring {
        /// The encoded round parameters.
        params: Hex,
        /// Their id.
        round_id: Hex,
        /// The directory digest.
        directory: Hex,
        /// n.
        clients: usize,
        /// k.
        neighbours: u16,
        /// The key of the permutation.
        key: Hex,
        /// Which position sits at each place.
        order: Vec<u32>,
        /// Of each position its A(u), in slot order.
        slots: Vec<Vec<u32>>,
        /// The positions of the m witnesses.
        witnesses: Vec<u32>,
    },
    /// A complete graph.
    Complete {
        /// The encoded round parameters.
        params: Hex,
        /// n.
        clients: usize,
        /// Of each position all its holders in slot order: A(u), then itself.
        slots: Vec<Vec<u32>>,
        /// The positions of the witnesses.
        witnesses: Vec<u32>,
    },
    /// A permutation in which some words of the key stream are drawn again.
    Permutation {
        /// The encoded round parameters.
        params: Hex,
        /// Their id.
        round_id: Hex,
        /// The directory digest.
        directory: Hex,
        /// n.
        clients: usize,
        /// The key of the permutation.
        key: Hex,
        /// How many words are drawn again.
        redrawn: u32,
        /// The positions at places 0 to 7.
        order_start: Vec<u32>,
        /// SHA-256 of all positions in order of places, each as u32be.
        order_sha256: Hex,
    },
}

/// The directory digest of a case.
fn digest(name: &str) -> DirectoryDigest {
    DirectoryDigest::from(secret(&format!("{name}, directory")))
}

/// A ring of exactly `clients` that is made for no corrupt client.
fn params(name: &str, clients: u32, neighbours: u16, witnesses: u16) -> RoundParams {
    let (threshold, witness_threshold) = (neighbours / 2 + 1, witnesses / 2 + 1);
    let rule = Rule {
        min_clients: clients,
        max_clients: clients,
        neighbours,
        threshold,
        witnesses,
        witness_threshold,
        corrupt: 0,
        min_survivors: u32::from(threshold.max(witness_threshold)).max(2),
    };
    let roster = RosterDigest::from(secret("graph, roster"));
    RoundParams::new(fields(name, rule, roster)).unwrap()
}

fn key(params: &RoundParams, directory: DirectoryDigest) -> [u8; 32] {
    let round = params.id();
    let parts: [&[u8]; 2] = [round.as_bytes(), directory.as_bytes()];
    *hash(Label::Graph, &parts).as_bytes()
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<_> = [
        (4, 2, 1),
        (6, 4, 3),
        (9, 4, 9),
        (12, 6, 5),
        (23, 8, 10),
        (40, 38, 7),
    ]
    .map(|(clients, neighbours, witnesses)| ring(clients, neighbours, witnesses))
    .into();
    cases.extend([(2, 1, 2), (5, 4, 5), (6, 9, 10)].map(|(n, k, most)| complete(n, k, most)));
    cases.push(redrawn());
    cases
}

fn ring(clients: u32, neighbours: u16, witnesses: u16) -> Case {
    let name = format!("ring {clients} {neighbours}");
    let directory = digest(&name);
    let params = params(&name, clients, neighbours, witnesses);
    let size = clients as usize;
    let graph = Graph::new(&params, size, directory);
    let key = key(&params, directory);
    Case::Ring {
        params: Hex::new(params.encoding()),
        round_id: Hex::new(params.id().as_bytes()),
        directory: Hex::new(directory.as_bytes()),
        clients: size,
        neighbours,
        key: Hex::new(key),
        order: shuffle(&key, clients).0,
        slots: (0..clients)
            .map(|u| indices(graph.neighbours(Position(u))))
            .collect(),
        witnesses: indices(graph.witnesses()),
    }
}

fn complete(clients: u32, neighbours: u16, most: u32) -> Case {
    let rule = Rule {
        min_clients: clients,
        neighbours,
        ..Rule::complete(most, 0)
    };
    let roster = RosterDigest::from(secret("graph, roster"));
    let name = format!("complete {clients}");
    let params = RoundParams::new(fields(&name, rule, roster)).unwrap();
    let size = clients as usize;
    let graph = Graph::new(&params, size, digest(&name));
    let holders = |u| {
        let itself = std::iter::once(Position(u));
        indices(graph.neighbours(Position(u)).into_iter().chain(itself))
    };
    Case::Complete {
        params: Hex::new(params.encoding()),
        clients: size,
        slots: (0..clients).map(holders).collect(),
        witnesses: indices(graph.witnesses()),
    }
}

/// The first of some named directories for which a word has to be drawn again.
fn redrawn() -> Case {
    let clients = 60_000;
    let params = params("permutation", clients, 2, 60_000);
    let (directory, key, order, redrawn) = (0..100)
        .map(|i| {
            let directory = digest(&format!("permutation {i}"));
            let key = key(&params, directory);
            let (order, redrawn) = shuffle(&key, clients);
            (directory, key, order, redrawn)
        })
        .find(|(_, _, _, redrawn)| *redrawn > 0)
        .unwrap();
    let bytes: Vec<u8> = order.iter().flat_map(|p| p.to_be_bytes()).collect();
    Case::Permutation {
        params: Hex::new(params.encoding()),
        round_id: Hex::new(params.id().as_bytes()),
        directory: Hex::new(directory.as_bytes()),
        clients: clients as usize,
        key: Hex::new(key),
        redrawn,
        order_start: order[..8].to_vec(),
        order_sha256: Hex::new(Sha256::digest(&bytes)),
    }
}

/// Section 5.4 as it is written there: the order, and how many words were drawn again.
fn shuffle(key: &[u8; 32], clients: u32) -> (Vec<u32>, u32) {
    let mut cipher = ChaCha20::new(key.into(), &[0; 12].into());
    let mut order: Vec<u32> = (0..clients).collect();
    let mut redrawn = 0;
    for i in (1..u64::from(clients)).rev() {
        let limit = (1 << 32) - (1_u64 << 32) % (i + 1);
        let r = loop {
            let mut word = [0; 4];
            cipher.apply_keystream(&mut word);
            let r = u64::from(u32::from_le_bytes(word));
            if r < limit {
                break r;
            }
            redrawn += 1;
        };
        order.swap(i as usize, (r % (i + 1)) as usize);
    }
    (order, redrawn)
}

/// Positions as numbers.
pub(crate) fn indices(positions: impl IntoIterator<Item = Position>) -> Vec<u32> {
    positions.into_iter().map(|Position(at)| at).collect()
}
