//! The directory U1: who advertised keys, in roster order, and its Merkle root.

use std::collections::BTreeMap;

use crate::codec::{self, Label};
use crate::error::ProtocolError;
use crate::id::{Digest, DirectoryDigest, Position, RosterIndex};
use crate::message::{AdvertiseKeys, Signed};
use crate::params::RoundParams;
use crate::roster::Roster;

/// What the directory holds of each client: its roster index and two public keys.
pub type Entry = AdvertiseKeys;

/// A directory that passed every check: entries strictly ascending by roster index, each signed by
/// its roster key, no low-order key, no key twice, and as many clients as the parameters demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    entries: Vec<Signed<Entry>>,
    digest: DirectoryDigest,
}

impl Directory {
    /// Checks the entries and computes the digest.
    ///
    /// # Errors
    /// [`ProtocolError`] names the first entry that is refused.
    pub fn new(
        params: &RoundParams,
        roster: &Roster,
        entries: Vec<Signed<Entry>>,
    ) -> Result<Self, ProtocolError> {
        let (found, most) = (entries.len(), params.largest_directory());
        if found < params.min_survivors() {
            let needed = params.min_survivors();
            return Err(ProtocolError::TooFew {
                what: "clients in the directory",
                needed,
                found,
            });
        }
        if found > most {
            let what = "clients in the directory (the largest that k admits is expected)";
            return Err(ProtocolError::WrongLength {
                what,
                expected: most,
                found,
            });
        }
        if !entries.is_sorted_by(|a, b| a.message.sender < b.message.sender) {
            let detail = "entries are not strictly ascending by roster index".to_owned();
            return Err(ProtocolError::Malformed {
                what: "the directory",
                detail,
            });
        }
        for entry in &entries {
            check_entry(params, roster, entry)?;
        }
        if let Some(client) = duplicate_keys(&entries).first() {
            let detail = "it stands twice in the directory";
            return Err(ProtocolError::BadKey {
                client: *client,
                detail,
            });
        }
        let digest = merkle_root(&entries)?;
        Ok(Self { entries, digest })
    }

    /// Reads the wire form: all entries and no proofs, since the graph is complete.
    ///
    /// # Errors
    /// As [`Directory::new`], and [`ProtocolError::Malformed`].
    pub fn decode(
        params: &RoundParams,
        roster: &Roster,
        bytes: &[u8],
    ) -> Result<Self, ProtocolError> {
        Self::new(params, roster, codec::decode("the directory", bytes)?)
    }

    /// The wire form.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] if it is too long to encode.
    pub fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        codec::encode("the directory", &self.entries)
    }

    /// The Merkle root.
    pub fn digest(&self) -> DirectoryDigest {
        self.digest
    }

    /// The number of clients n.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no client.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The client at a position.
    ///
    /// # Errors
    /// [`ProtocolError::WrongLength`] beyond the directory.
    pub fn entry(&self, position: Position) -> Result<&Entry, ProtocolError> {
        self.entries
            .get(position.index())
            .map(|e| &e.message)
            .ok_or(ProtocolError::WrongLength {
                what: "directory position",
                expected: self.entries.len(),
                found: position.index(),
            })
    }

    /// The position of a client.
    ///
    /// # Errors
    /// [`ProtocolError::NotInSet`].
    pub fn position(&self, client: RosterIndex) -> Result<Position, ProtocolError> {
        self.entries
            .binary_search_by_key(&client, |e| e.message.sender)
            .map(Position::from_index)
            .map_err(|_| ProtocolError::NotInSet {
                client,
                set: "the directory",
            })
    }

    /// All positions, ascending.
    pub fn positions(&self) -> impl Iterator<Item = Position> + use<> {
        (0..self.entries.len()).map(Position::from_index)
    }
}

/// Checks one entry by itself: membership, signature, keys.
///
/// # Errors
/// [`ProtocolError::NotOnRoster`], [`ProtocolError::BadSignature`], [`ProtocolError::BadKey`].
pub fn check_entry(
    params: &RoundParams,
    roster: &Roster,
    entry: &Signed<Entry>,
) -> Result<(), ProtocolError> {
    entry.verify(params.id(), roster)?;
    let Entry {
        sender: client,
        cipher_key,
        mask_key,
    } = entry.message;
    if cipher_key == mask_key {
        return Err(ProtocolError::BadKey {
            client,
            detail: "one key serves for both uses",
        });
    }
    if !cipher_key.is_canonical() || !mask_key.is_canonical() {
        return Err(ProtocolError::BadKey {
            client,
            detail: "its encoding is not canonical",
        });
    }
    if cipher_key.is_low_order() || mask_key.is_low_order() {
        return Err(ProtocolError::BadKey {
            client,
            detail: "it has low order",
        });
    }
    Ok(())
}

/// The clients that share an ephemeral key with another client.
pub fn duplicate_keys(entries: &[Signed<Entry>]) -> Vec<RosterIndex> {
    let mut owners: BTreeMap<_, Vec<RosterIndex>> = BTreeMap::new();
    for Entry {
        sender,
        cipher_key,
        mask_key,
    } in entries.iter().map(|e| &e.message)
    {
        owners.entry(cipher_key).or_default().push(*sender);
        owners.entry(mask_key).or_default().push(*sender);
    }
    let mut duplicates: Vec<RosterIndex> = owners
        .into_values()
        .filter(|clients| clients.len() > 1)
        .flatten()
        .collect();
    duplicates.sort_unstable();
    duplicates.dedup();
    duplicates
}

/// Root over the entries' encodings: the tree of RFC 6962, section 2.1 (left subtree the largest
/// power of two below n), with its own labels and the number of leaves bound into the root.
fn merkle_root(entries: &[Signed<Entry>]) -> Result<DirectoryDigest, ProtocolError> {
    let leaves = entries
        .iter()
        .map(|e| {
            Ok(codec::hash(
                Label::DirectoryLeaf,
                &[&codec::encode("entry", &e.message)?],
            ))
        })
        .collect::<Result<Vec<Digest>, ProtocolError>>()?;
    let count = u64::try_from(leaves.len())
        .unwrap_or(u64::MAX)
        .to_be_bytes();
    let root = codec::hash(Label::DirectoryRoot, &[&count, subtree(&leaves).as_bytes()]);
    Ok(DirectoryDigest::from(*root.as_bytes()))
}

fn subtree(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => codec::hash(Label::DirectoryLeaf, &[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().div_ceil(2).next_power_of_two());
            let (left, right) = (subtree(left), subtree(right));
            codec::hash(Label::DirectoryNode, &[left.as_bytes(), right.as_bytes()])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_splits_at_the_largest_power_of_two() {
        let leaf = |i: u8| Digest::from([i; 32]);
        let node =
            |a: Digest, b: Digest| codec::hash(Label::DirectoryNode, &[a.as_bytes(), b.as_bytes()]);
        let leaves: Vec<Digest> = (0..7).map(leaf).collect();
        let four = node(node(leaf(0), leaf(1)), node(leaf(2), leaf(3)));
        assert_eq!(subtree(&leaves[..1]), leaf(0));
        assert_eq!(subtree(&leaves[..3]), node(node(leaf(0), leaf(1)), leaf(2)));
        assert_eq!(subtree(&leaves[..4]), four);
        assert_eq!(subtree(&leaves[..5]), node(four, leaf(4)));
        assert_eq!(
            subtree(&leaves),
            node(four, node(node(leaf(4), leaf(5)), leaf(6)))
        );
    }
}
