//! Directory views made by hand from the protocol specification, 5.2 and 5.3: of entries that the
//! library's own aggregator would refuse, and with damage of every kind.

use std::collections::BTreeSet;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::codec::{self, Label};
use undertone_protocol::graph::Graph;
use undertone_protocol::id::{Digest, DirectoryDigest, Position};
use undertone_protocol::message::{AdvertiseKeys, Signed};

use super::Lab;

/// What one client fetches of the directory.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(crate) struct DirectoryView {
    pub(crate) members: Bitmap,
    pub(crate) entries: Vec<Signed<AdvertiseKeys>>,
    pub(crate) nodes: Vec<Digest>,
}

impl DirectoryView {
    /// The view of the client at this position, of a directory of these entries.
    pub(crate) fn forge(lab: &Lab, entries: &[Signed<AdvertiseKeys>], at: usize) -> Self {
        let graph = Graph::new(&lab.params, entries.len(), digest(lab, entries));
        let at = Position::from_index(at);
        let around = graph.neighbours(at).into_iter().chain([at]);
        Self::prove(lab, entries, &around.map(Position::index).collect())
    }

    /// A view with these entries, whoever's neighbours they are, and a right proof of them.
    pub(crate) fn prove(
        lab: &Lab,
        entries: &[Signed<AdvertiseKeys>],
        wanted: &BTreeSet<usize>,
    ) -> Self {
        let mut nodes = Vec::new();
        prove(&leaves(entries), 0, wanted, &mut nodes);
        Self {
            members: members(lab, entries),
            entries: wanted.iter().map(|i| entries[*i].clone()).collect(),
            nodes,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        codec::encode("the directory", self).unwrap()
    }
}

fn members(lab: &Lab, entries: &[Signed<AdvertiseKeys>]) -> Bitmap {
    let senders = entries.iter().map(|e| Position(e.message.sender.0));
    Bitmap::new(lab.roster.len(), senders)
}

/// The digest of a directory.
pub(crate) fn digest(lab: &Lab, entries: &[Signed<AdvertiseKeys>]) -> DirectoryDigest {
    digest_of(&members(lab, entries), &tree(&leaves(entries)))
}

/// The digest of these members beside the root of a tree.
fn digest_of(members: &Bitmap, root: &Digest) -> DirectoryDigest {
    let members = members.encode("members").unwrap();
    let digest = codec::hash(Label::DirectoryRoot, &[&members, root.as_bytes()]);
    DirectoryDigest::from(*digest.as_bytes())
}

fn leaves(entries: &[Signed<AdvertiseKeys>]) -> Vec<Digest> {
    entries
        .iter()
        .map(|e| codec::encode("entry", &e.message).unwrap())
        .map(|entry| codec::hash(Label::DirectoryLeaf, &[&entry]))
        .collect()
}

fn tree(leaves: &[Digest]) -> Digest {
    if let [leaf] = leaves {
        return *leaf;
    }
    let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
    let (left, right) = (tree(left), tree(right));
    codec::hash(Label::DirectoryNode, &[left.as_bytes(), right.as_bytes()])
}

fn prove(leaves: &[Digest], first: usize, wanted: &BTreeSet<usize>, nodes: &mut Vec<Digest>) {
    if wanted.range(first..first + leaves.len()).next().is_none() {
        nodes.push(tree(leaves));
    } else if leaves.len() > 1 {
        let middle = largest_power_below(leaves.len());
        let (left, right) = leaves.split_at(middle);
        prove(left, first, wanted, nodes);
        prove(right, first + middle, wanted, nodes);
    }
}

fn largest_power_below(count: usize) -> usize {
    count.next_power_of_two() / 2
}
