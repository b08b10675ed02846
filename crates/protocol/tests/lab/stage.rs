//! A round up to its directories, which the aggregator makes as it likes.

use std::collections::{BTreeMap, BTreeSet};

use undertone_protocol::client::AdvertisedKeys;
use undertone_protocol::directory::Directory;
use undertone_protocol::message::{AdvertiseKeys, Signed};

use super::Lab;
use super::corrupt::Corrupt;

/// A round in which keys are advertised and the directories made. The first clients are corrupt.
pub(crate) struct Stage {
    pub(crate) corrupt: u32,
    pub(super) states: BTreeMap<u32, AdvertisedKeys>,
    entries: BTreeMap<u32, Signed<AdvertiseKeys>>,
    pub(crate) teams: Vec<Vec<Corrupt>>,
    pub(crate) directories: Vec<Directory>,
}

impl Stage {
    /// Directories of these clients; corrupt ones bring keys of their own to each.
    pub(crate) fn new(lab: &mut Lab, corrupt: u32, members: &[BTreeSet<u32>]) -> Self {
        let (mut states, mut entries) = (BTreeMap::new(), BTreeMap::new());
        for client in members.iter().flatten().filter(|c| **c >= corrupt) {
            if !states.contains_key(client) {
                let (state, entry) = lab.advertise(*client);
                states.insert(*client, state);
                entries.insert(*client, entry);
            }
        }
        let mut stage = Self {
            corrupt,
            states,
            entries,
            teams: Vec::new(),
            directories: Vec::new(),
        };
        for members in members {
            let team: Vec<_> = members
                .range(..corrupt)
                .map(|c| Corrupt::new(lab, *c))
                .collect();
            stage.directories.push(stage.directory(lab, &team, members));
            stage.teams.push(team);
        }
        stage
    }

    fn directory(&self, lab: &Lab, team: &[Corrupt], members: &BTreeSet<u32>) -> Directory {
        let honest = members.iter().filter_map(|client| self.entries.get(client));
        let all = team.iter().map(|c| &c.entry).chain(honest);
        Directory::new(&lab.params, &lab.roster, all.cloned().collect()).unwrap()
    }

    /// Changes a corrupt client's keys until the directory's ring suits the aggregator: `wanted`
    /// is given the clients around the ring, witnesses first.
    pub(crate) fn grind<T>(
        &mut self,
        lab: &mut Lab,
        directory: usize,
        wanted: impl Fn(&[u32]) -> Option<T>,
    ) -> T {
        let members: BTreeSet<u32> = clients(&self.directories[directory]).collect();
        for _ in 0..20_000 {
            if let Some(found) = wanted(&seats(&self.directories[directory])) {
                return found;
            }
            if let Some(first) = self.teams[directory]
                .first()
                .map(|c| c.entry.message.sender.0)
            {
                self.teams[directory][0] = Corrupt::new(lab, first);
            } else {
                // Nobody's keys can be changed: an honest client comes with others.
                let first = members.first().copied().unwrap();
                let (state, entry) = lab.advertise(first);
                self.states.insert(first, state);
                self.entries.insert(first, entry);
            }
            let team = &self.teams[directory];
            self.directories[directory] = self.directory(lab, team, &members);
        }
        panic!("no permutation suits");
    }
}

pub(crate) fn clients(directory: &Directory) -> impl Iterator<Item = u32> {
    directory
        .positions()
        .map(|at| directory.entry(at).unwrap().sender.0)
}

/// The clients around a ring, beginning with the first witness.
pub(crate) fn seats(directory: &Directory) -> Vec<u32> {
    let graph = directory.graph();
    let first = graph.witnesses().next().unwrap();
    let around = std::iter::successors(Some(first), |at| Some(graph.neighbours(*at)[0]));
    around
        .take(directory.len())
        .map(|at| directory.entry(at).unwrap().sender.0)
        .collect()
}
