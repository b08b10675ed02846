//! The whole directory, as the aggregator keeps it.
//!
//! Specification: chapter 5, "Directory and masking graph", sections 5.1 and 5.2.

use std::collections::BTreeMap;

use super::local::Wire;
use super::tree::Tree;
use super::{Entry, Members, check_entries, leaf};
use crate::codec;
use crate::error::ProtocolError;
use crate::graph::Graph;
use crate::id::{DirectoryDigest, Position, RosterIndex};
use crate::message::Signed;
use crate::params::RoundParams;
use crate::roster::Roster;

/// A directory that passed every check: entries strictly ascending by roster index, each signed by
/// its roster key, no low-order key, no key twice, and as many clients as the parameters demand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    entries: Vec<Signed<Entry>>,
    members: Members,
    tree: Tree,
    digest: DirectoryDigest,
    graph: Graph,
}

impl Directory {
    /// Checks the entries, computes the digest and with it the masking graph.
    ///
    /// # Errors
    /// [`ProtocolError`] names the first entry that is refused.
    pub fn new(
        params: &RoundParams,
        roster: &Roster,
        entries: Vec<Signed<Entry>>,
    ) -> Result<Self, ProtocolError> {
        let indices = entries.iter().map(|entry| entry.message.sender).collect();
        let members = Members::new(roster, indices);
        members.check_count(params)?;
        check_entries(params, roster, &entries)?;
        let leaves = entries.iter().map(|entry| leaf(&entry.message));
        let tree = Tree::new(leaves.collect::<Result<_, _>>()?);
        let digest = members.digest(tree.root())?;
        Ok(Self {
            graph: Graph::new(params, entries.len(), digest),
            entries,
            members,
            tree,
            digest,
        })
    }

    /// The digest: of the members and of all entries.
    pub fn digest(&self) -> DirectoryDigest {
        self.digest
    }

    /// The masking graph over it.
    pub fn graph(&self) -> &Graph {
        &self.graph
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
        let entry = self.entries.get(position.index()).map(|e| &e.message);
        entry.ok_or(ProtocolError::WrongLength {
            what: "a position in the directory",
            expected: self.entries.len(),
            found: position.index(),
        })
    }

    /// The position of a client.
    ///
    /// # Errors
    /// [`ProtocolError::NotInSet`].
    pub fn position(&self, client: RosterIndex) -> Result<Position, ProtocolError> {
        self.members.position(client)
    }

    /// All positions, ascending.
    pub fn positions(&self) -> impl Iterator<Item = Position> + use<> {
        (0..self.entries.len()).map(Position::from_index)
    }

    /// What one client fetches of the directory, encoded: the members, its own entry and its
    /// neighbours', and the proof of them; on the complete graph that is every entry, and no proof.
    ///
    /// # Errors
    /// [`ProtocolError::NotInSet`] if the client is not in the directory.
    pub fn encode_for(&self, client: RosterIndex) -> Result<Vec<u8>, ProtocolError> {
        let own = self.position(client)?;
        let mut positions = self.graph.neighbours(own);
        positions.push(own);
        let picked: BTreeMap<usize, &Signed<Entry>> = positions
            .iter()
            .filter_map(|at| Some((at.index(), self.entries.get(at.index())?)))
            .collect();
        let wire = Wire {
            members: self.members.set.clone(),
            nodes: self.tree.prove(&picked),
            entries: picked.into_values().cloned().collect(),
        };
        codec::encode("the directory", &wire)
    }
}
