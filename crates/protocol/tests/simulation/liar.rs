//! A lying aggregator and its corrupt clients: it makes up every answer by itself.
//!
//! [`Liar::open`] takes the clients' keys and lays out one or two directories; then the attacks
//! decide what each client is shown, since some need the masking graph (`attacks`); and
//! [`Liar::play`] takes every honest client through the rest of the round (`answers`).

use std::collections::{BTreeMap, BTreeSet};

use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::codec;
use undertone_protocol::directory::Directory;
use undertone_protocol::id::{Position, RosterIndex};
use undertone_protocol::message::{ConsistencyCheck, ShareKeysBody, Signed};

use crate::client::Client;
use crate::dice::Dice;
use crate::knowledge::Evidence;
use crate::setup::{Setup, identity};
use crate::trace::Trace;

/// The sets that one client is shown, by roster index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shown {
    /// Which of the directories.
    pub(crate) directory: usize,
    pub(crate) sharers: BTreeSet<u32>,
    pub(crate) survivors: BTreeSet<u32>,
}

/// What the aggregator does beside choosing sets.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a trick of its own")]
pub(crate) struct Tricks {
    /// Asks everyone a second time, after a restart, and shows it another U3.
    pub(crate) ask_twice: bool,
    /// Slips in messages of another round.
    pub(crate) replay: bool,
    /// Slips in forged statements.
    pub(crate) forge: bool,
    /// Changes or swaps shares on the way, for so many percent of them.
    pub(crate) swap_shares: usize,
    /// Leaves out a delivery, or delivers one too many.
    pub(crate) miscount: bool,
    /// Changes an entry of the directory that it hands to some clients.
    pub(crate) bad_entry: Option<BadEntry>,
    /// Not an attack: statements are signed with the keys of honest witnesses. It weakens the
    /// check of the statements to nothing, to show that the invariants notice.
    pub(crate) stolen_keys: bool,
    /// Not an attack either: clients keep no journal.
    pub(crate) forgetful: bool,
}

/// How an entry of the directory is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadEntry {
    LowOrder,
    Copied,
    /// The aggregator's key in the name of an honest client.
    Replaced,
    /// The entry that the client signed in another round.
    OtherRound,
}

pub(crate) struct Liar {
    pub(crate) setup: Setup,
    pub(crate) directories: Vec<Directory>,
    pub(crate) honest: BTreeMap<u32, Client>,
    /// The corrupt clients under each directory.
    pub(crate) teams: Vec<Vec<Client>>,
    /// Clients that were told of another model.
    pub(crate) misled: Vec<Client>,
    pub(crate) dealt: BTreeMap<(usize, u32), ShareKeysBody>,
    pub(crate) statements: Vec<Signed<ConsistencyCheck>>,
    pub(crate) dice: Dice,
    trace: Trace,
}

impl Liar {
    /// Takes the honest clients' keys. `groups`: the honest members of each directory; a client
    /// takes part in the first that lists it, in others it is a phantom.
    pub(crate) fn open(
        setup: Setup,
        groups: &[Vec<u32>],
        fresh_keys: bool,
        dice: Dice,
        trace: Trace,
    ) -> Self {
        let members: BTreeSet<u32> = groups.iter().flatten().copied().collect();
        let mut honest = BTreeMap::new();
        for index in members {
            let mut client = Client::new(&setup, index);
            client.step(&setup, &[]);
            honest.insert(index, client);
        }
        let (mut teams, mut directories) = (Vec::new(), Vec::new());
        for (at, group) in (0..).zip(groups) {
            let life = if fresh_keys { at } else { 0 };
            let mut team = Vec::new();
            for index in &setup.corrupt {
                let mut client = Client::with_params(&setup, *index, &setup.params, life);
                client.step(&setup, &[]);
                team.push(client);
            }
            let all = team.iter().chain(group.iter().map(|index| &honest[index]));
            let mut entries: Vec<_> = all.map(|c| c.said.advertised.clone().unwrap()).collect();
            entries.sort_by_key(|entry| entry.message.sender);
            directories.push(Directory::new(&setup.params, &setup.roster, entries).unwrap());
            trace.note(0, || format!("directory {at}: honest {group:?}"));
            teams.push(team);
        }
        Self {
            setup,
            directories,
            honest,
            teams,
            misled: Vec::new(),
            dealt: BTreeMap::new(),
            statements: Vec::new(),
            dice,
            trace,
        }
    }

    /// The members of a directory in the order of their places on the ring; of their positions on
    /// the complete graph.
    pub(crate) fn seats(&self, directory: usize) -> Vec<u32> {
        let directory = &self.directories[directory];
        let graph = directory.graph();
        let after = |at: &Position| graph.neighbours(*at).first().copied();
        let first = graph.witnesses().next();
        let seated = std::iter::successors(first, after).take(directory.len());
        seated
            .map(|at| directory.entry(at).unwrap().sender.0)
            .collect()
    }

    /// The neighbours of a client.
    pub(crate) fn around(&self, directory: usize, client: u32) -> Vec<u32> {
        let directory = &self.directories[directory];
        let own = directory.position(RosterIndex(client)).unwrap();
        let around = directory.graph().neighbours(own).into_iter();
        around
            .map(|at| directory.entry(at).unwrap().sender.0)
            .collect()
    }

    /// Takes everyone through the round.
    pub(crate) fn play(&mut self, shown: &BTreeMap<u32, Shown>, tricks: &Tricks) {
        for client in self.honest.values_mut() {
            client.forgetful = tricks.forgetful;
        }
        let clients: Vec<u32> = shown.keys().copied().collect();
        for client in &clients {
            let bytes = self.directory_for(*client, shown[client].directory, tricks);
            self.step(*client, &bytes);
            let body = self.honest[client].said.shared.clone();
            if let Some(body) = body {
                self.dealt.insert((shown[client].directory, *client), body);
            }
        }
        for (at, team) in self.teams.iter_mut().enumerate() {
            for corrupt in team {
                let index = RosterIndex(corrupt.index);
                let bytes = self.directories[at].encode_for(index).unwrap();
                corrupt.step(&self.setup, &bytes);
                let body = corrupt.said.shared.clone().unwrap();
                self.dealt.insert((at, corrupt.index), body);
            }
        }
        for client in &clients {
            let bytes = self.deliver(*client, &shown[client], tricks);
            self.step(*client, &bytes);
        }
        for client in &clients {
            let bytes = self.set(&shown[client], &shown[client].survivors);
            let bytes = bytes.encode("U3").unwrap();
            if let Some(statement) = self.step(*client, &bytes) {
                self.statements.push(Signed::decode(&statement).unwrap());
            }
        }
        self.corrupt_statements(shown, tricks);
        for client in &clients {
            let bytes = codec::encode("statements", &self.statements).unwrap();
            self.step(*client, &bytes);
        }
        if tricks.ask_twice {
            self.again(shown, tricks);
        }
    }

    /// Restarts every client and takes it through the round again, with the two sets U3 swapped.
    fn again(&mut self, shown: &BTreeMap<u32, Shown>, tricks: &Tricks) {
        let all = || shown.values().map(|s| s.survivors.clone());
        for (client, shown) in shown {
            let setup = &self.setup;
            let restarted = self.honest.get_mut(client).unwrap();
            restarted.restart(setup);
            if restarted.phase().is_none() {
                continue;
            }
            // Only a client without a journal begins once more.
            self.step(*client, &[]);
            let entries: Vec<_> = self
                .members(shown.directory)
                .into_iter()
                .map(|c| {
                    self.honest
                        .get(&c)
                        .or(self.team(shown.directory, c))
                        .unwrap()
                })
                .map(|c| c.said.advertised.clone().unwrap())
                .collect();
            let directory = Directory::new(&self.setup.params, &self.setup.roster, entries);
            let Ok(directory) = directory else { continue };
            let bytes = directory.encode_for(RosterIndex(*client)).unwrap();
            self.step(*client, &bytes);
            let (dealt, directories) = (self.dealt.clone(), self.directories.len());
            self.directories.push(directory);
            // The others' headers name the first directory; witnesses with stolen keys would sign.
            for ((at, dealer), body) in dealt {
                if at == shown.directory {
                    let mut body = body;
                    let digest = self.directories[directories].digest();
                    body.header.message.directory = digest;
                    let key = identity(dealer);
                    let round = self.setup.round();
                    body.header = Signed::sign(body.header.message, round, key).unwrap();
                    self.dealt.insert((directories, dealer), body);
                }
            }
            let mut other = shown.clone();
            other.directory = directories;
            other.survivors = all()
                .find(|u3| *u3 != shown.survivors)
                .unwrap_or(other.survivors);
            let bytes = self.deliver(*client, &other, tricks);
            self.step(*client, &bytes);
            let bytes = self.set(&other, &other.survivors).encode("U3").unwrap();
            self.step(*client, &bytes);
        }
    }

    fn step(&mut self, client: u32, answer: &[u8]) -> Option<Vec<u8>> {
        let process = self.honest.get_mut(&client).unwrap();
        let phase = process.phase()?;
        let message = process.step(&self.setup, answer);
        let said = &process.said;
        self.trace.note(0, || match &said.refused {
            Some((_, error)) => format!("client {client} refuses in {phase}: {error}"),
            None => format!("client {client} goes through {phase}"),
        });
        message
    }

    fn team(&self, directory: usize, client: u32) -> Option<&Client> {
        self.teams
            .get(directory)?
            .iter()
            .find(|c| c.index == client)
    }

    /// All members of a directory, ascending.
    pub(crate) fn members(&self, directory: usize) -> Vec<u32> {
        let directory = &self.directories[directory];
        let entries = directory.positions().map(|at| directory.entry(at).unwrap());
        entries.map(|entry| entry.sender.0).collect()
    }

    pub(crate) fn evidence(&self) -> Evidence<'_> {
        Evidence {
            setup: &self.setup,
            directories: &self.directories,
            honest: self.honest.values().collect(),
            corrupt: self.teams.iter().flatten().collect(),
        }
    }

    /// In how many directories an honest client unmasked.
    pub(crate) fn refusals(&self) -> BTreeMap<PhaseName, usize> {
        let mut count = BTreeMap::new();
        for (phase, _) in self.honest.values().filter_map(|c| c.said.refused.as_ref()) {
            *count.entry(*phase).or_default() += 1;
        }
        count
    }
}
