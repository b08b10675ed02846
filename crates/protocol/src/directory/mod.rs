//! The directory U1: who advertised keys, in roster order, bound by one digest.
//!
//! The digest covers the set of members and the Merkle tree over their entries. The aggregator
//! keeps all of it ([`Directory`]); a client fetches its part of it ([`LocalDirectory`]): the set
//! of members, its own entry and its neighbours', and a proof.
//!
//! Specification: chapter 5, "Directory and masking graph", sections 5.1 to 5.3.

mod full;
mod local;
pub mod tree;

use std::collections::BTreeMap;

pub use full::Directory;
pub use local::LocalDirectory;

use crate::bitmap::Bitmap;
use crate::codec::{self, Label};
use crate::error::ProtocolError;
use crate::id::{Digest, DirectoryDigest, Position, RosterIndex};
use crate::message::{AdvertiseKeys, Signed};
use crate::params::RoundParams;
use crate::roster::Roster;

/// What the directory holds of each client: its roster index and two public keys.
pub type Entry = AdvertiseKeys;

/// Who is in the directory: a set over the roster. The position of a member is its rank in it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Members {
    set: Bitmap,
    indices: Vec<RosterIndex>,
}

impl Members {
    fn new(roster: &Roster, indices: Vec<RosterIndex>) -> Self {
        let set = Bitmap::new(roster.len(), indices.iter().map(|i| Position(i.0)));
        Self { set, indices }
    }

    fn from_set(set: Bitmap) -> Self {
        let indices = set.iter().map(|bit| RosterIndex(bit.0)).collect();
        Self { set, indices }
    }

    fn position(&self, client: RosterIndex) -> Result<Position, ProtocolError> {
        let set = "the directory";
        self.indices
            .binary_search(&client)
            .map(Position::from_index)
            .map_err(|_| ProtocolError::NotInSet { client, set })
    }

    fn at(&self, position: Position) -> Option<RosterIndex> {
        self.indices.get(position.index()).copied()
    }

    /// Checks how many there are.
    fn check_count(&self, params: &RoundParams) -> Result<(), ProtocolError> {
        let (found, sizes) = (self.indices.len(), params.directory_sizes());
        if sizes.contains(&found) {
            return Ok(());
        }
        let (what, least) = ("clients in the directory", *sizes.start());
        Err(if found < least {
            let needed = least;
            ProtocolError::TooFew {
                what,
                needed,
                found,
            }
        } else {
            let expected = *sizes.end();
            ProtocolError::WrongLength {
                what,
                expected,
                found,
            }
        })
    }

    /// The directory's digest. Without the set of members in it, clients could be shown different
    /// members, and with them different witnesses, under one root.
    fn digest(&self, root: Digest) -> Result<DirectoryDigest, ProtocolError> {
        let set = self.set.encode("the members of the directory")?;
        let digest = codec::hash(Label::DirectoryRoot, &[&set, root.as_bytes()]);
        Ok(DirectoryDigest::from(*digest.as_bytes()))
    }
}

/// Checks entries: each by itself, and that no ephemeral key stands twice among them.
fn check_entries(
    params: &RoundParams,
    roster: &Roster,
    entries: &[Signed<Entry>],
) -> Result<(), ProtocolError> {
    if !entries.is_sorted_by(|a, b| a.message.sender < b.message.sender) {
        let detail = "entries are not strictly ascending by roster index".to_owned();
        return Err(ProtocolError::Malformed {
            what: "the directory",
            detail,
        });
    }
    for entry in entries {
        check_entry(params, roster, entry)?;
    }
    if let Some(client) = duplicate_keys(entries).first() {
        let detail = "it stands twice in the directory";
        return Err(ProtocolError::BadKey {
            client: *client,
            detail,
        });
    }
    Ok(())
}

fn leaf(entry: &Entry) -> Result<Digest, ProtocolError> {
    let encoding = codec::encode("entry", entry)?;
    Ok(codec::hash(Label::DirectoryLeaf, &[&encoding]))
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
