//! One client's part of the directory.
//!
//! Specification: chapter 5, "Directory and masking graph", section 5.3.

use std::collections::{BTreeMap, BTreeSet};

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use super::{Entry, Members, check_entries, leaf, tree};
use crate::bitmap::Bitmap;
use crate::codec;
use crate::error::ProtocolError;
use crate::graph::Graph;
use crate::id::{Digest, DirectoryDigest, Position, RosterIndex};
use crate::message::{AdvertiseKeys, Signed};
use crate::params::RoundParams;
use crate::roster::Roster;

/// What a client fetches when AdvertiseKeys has closed.
#[derive(Debug, Clone, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(super) struct Wire {
    /// Who is in the directory, over the roster.
    pub(super) members: Bitmap,
    /// The client's own entry and its neighbours', ascending.
    pub(super) entries: Vec<Signed<Entry>>,
    /// The proof of these entries.
    pub(super) nodes: Vec<Digest>,
}

/// One client's part of the directory, checked against the digest that it computed itself.
#[derive(Debug)]
pub struct LocalDirectory {
    digest: DirectoryDigest,
    size: usize,
    position: Position,
    neighbours: Vec<Position>,
    holder_count: usize,
    own_slot: Option<u8>,
    /// The slot of this client as a holder of each neighbour's shares.
    slots: BTreeMap<Position, u8>,
    entries: BTreeMap<Position, Entry>,
    witnesses: BTreeSet<RosterIndex>,
}

impl LocalDirectory {
    /// Reads and checks what the client that `advertised` these keys was handed.
    ///
    /// # Errors
    /// [`ProtocolError`] says which check failed: how many clients, whose signature, which key,
    /// the proof, the list of neighbours, or this client's own entry.
    pub fn decode(
        params: &RoundParams,
        roster: &Roster,
        advertised: &AdvertiseKeys,
        bytes: &[u8],
    ) -> Result<Self, ProtocolError> {
        let what = "the directory";
        let Wire {
            members,
            entries,
            nodes,
        } = codec::decode(what, bytes)?;
        let (expected, found) = (roster.len(), members.size());
        if found != expected {
            let what = "the roster that the directory is over";
            return Err(ProtocolError::WrongLength {
                what,
                expected,
                found,
            });
        }
        let members = Members::from_set(members);
        members.check_count(params)?;
        let position = members.position(advertised.sender)?;
        check_entries(params, roster, &entries)?;
        let leaves = entries
            .iter()
            .map(|entry| {
                let at = members.position(entry.message.sender)?;
                Ok((at.index(), leaf(&entry.message)?))
            })
            .collect::<Result<BTreeMap<_, _>, ProtocolError>>()?;
        let mismatch = |what| ProtocolError::ViewMismatch { what };
        let size = members.indices.len();
        let root = tree::root_of(size, &leaves, &nodes)
            .ok_or(mismatch("the proof of the directory's entries"))?;
        let digest = members.digest(root)?;

        let graph = Graph::new(params, size, digest);
        let neighbours = graph.neighbours(position);
        let entries: BTreeMap<Position, Entry> = leaves
            .into_keys()
            .map(Position::from_index)
            .zip(entries.into_iter().map(|entry| entry.message))
            .collect();
        let wanted: BTreeSet<Position> = neighbours.iter().copied().chain([position]).collect();
        if !wanted.iter().eq(entries.keys()) {
            return Err(mismatch("the list of this client's neighbours"));
        }
        if entries.get(&position) != Some(advertised) {
            return Err(mismatch("this client's own directory entry"));
        }
        let slot_at = |dealer: &Position| Some((*dealer, graph.slot(*dealer, position)?));
        Ok(Self {
            digest,
            size,
            position,
            slots: neighbours.iter().filter_map(slot_at).collect(),
            holder_count: graph.holder_count(),
            own_slot: graph.slot(position, position),
            witnesses: graph.witnesses().filter_map(|w| members.at(w)).collect(),
            neighbours,
            entries,
        })
    }

    /// The digest: of the members and of all entries.
    pub fn digest(&self) -> DirectoryDigest {
        self.digest
    }

    /// The number of clients n.
    pub fn size(&self) -> usize {
        self.size
    }

    /// This client's position.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The neighbours, in the order of their slots as holders of this client's shares.
    pub fn neighbours(&self) -> &[Position] {
        &self.neighbours
    }

    /// How many holders this client's shares have.
    pub fn holder_count(&self) -> usize {
        self.holder_count
    }

    /// The slot of this client among its own holders: on the complete graph only.
    pub fn own_slot(&self) -> Option<u8> {
        self.own_slot
    }

    /// The slot of this client as a holder of a neighbour's shares.
    pub fn slot(&self, dealer: Position) -> Option<u8> {
        self.slots.get(&dealer).copied()
    }

    /// How many holders of this client's shares are in a set.
    pub fn holders_in(&self, set: &Bitmap) -> usize {
        let own = self.own_slot.map(|_| &self.position);
        let holders = self.neighbours.iter().chain(own);
        holders.filter(|holder| set.contains(**holder)).count()
    }

    /// The entry of a neighbour or of this client.
    ///
    /// # Errors
    /// [`ProtocolError::ViewMismatch`] for anyone else.
    pub fn entry(&self, position: Position) -> Result<&Entry, ProtocolError> {
        let what = "the list of this client's neighbours";
        let entry = self.entries.get(&position);
        entry.ok_or(ProtocolError::ViewMismatch { what })
    }

    /// The witnesses of the round.
    pub fn witnesses(&self) -> &BTreeSet<RosterIndex> {
        &self.witnesses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{Directory, check_entry};
    use crate::id::TaskId;
    use crate::keys::{EphemeralKey, IdentityKey, Secret32};
    use crate::params::tests::fields;

    /// Parameters, roster, and every member's entry.
    fn world() -> (RoundParams, Roster, Vec<Signed<Entry>>) {
        let params = RoundParams::new(fields(10)).unwrap();
        let identities: Vec<_> = (1..=10)
            .map(|seed| IdentityKey::from_seed(&Secret32::from([seed; 32])))
            .collect();
        let members = identities.iter().map(IdentityKey::public).collect();
        let roster = Roster::sign(&identities[0], TaskId::from([1; 16]), members).unwrap();
        let entries = (0_u8..)
            .zip(&identities)
            .map(|(client, identity)| {
                let key = |offset| EphemeralKey::from_seed([client + offset; 32].into()).public();
                let entry = Entry {
                    sender: RosterIndex(client.into()),
                    cipher_key: key(50),
                    mask_key: key(100),
                };
                Signed::sign(entry, params.id(), identity).unwrap()
            })
            .collect();
        (params, roster, entries)
    }

    /// A client would find the key twice among its entries; the aggregator checks one at a time.
    ///
    /// Spec.
    #[test]
    fn one_key_for_both_uses_is_refused() {
        let (params, roster, entries) = world();
        let identity = IdentityKey::from_seed(&Secret32::from([4; 32]));
        let check = |entry: &Entry| {
            let signed = Signed::sign(entry.clone(), params.id(), &identity).unwrap();
            check_entry(&params, &roster, &signed)
        };
        let mut entry = entries[3].message.clone();
        assert_eq!(check(&entry), Ok(()));
        entry.mask_key = entry.cipher_key;
        let client = RosterIndex(3);
        let detail = "one key serves for both uses";
        assert_eq!(check(&entry), Err(ProtocolError::BadKey { client, detail }));
    }

    /// Members over a roster of another size would move nobody, but give another digest.
    ///
    /// Spec.
    #[test]
    fn members_are_over_the_roster() {
        let (params, roster, entries) = world();
        let own = entries[3].message.clone();
        let directory = Directory::new(&params, &roster, entries).unwrap();
        let bytes = directory.encode_for(own.sender).unwrap();
        LocalDirectory::decode(&params, &roster, &own, &bytes).unwrap();

        let good: Wire = codec::decode("the directory", &bytes).unwrap();
        for size in [11, 16, 100] {
            let members = Bitmap::new(size, good.members.iter());
            let bad = Wire {
                members,
                ..good.clone()
            };
            let bad = codec::encode("the directory", &bad).unwrap();
            let refused = LocalDirectory::decode(&params, &roster, &own, &bad);
            assert!(matches!(
                refused,
                Err(ProtocolError::WrongLength { found, .. }) if found == size
            ));
        }
    }
}
