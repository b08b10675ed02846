//! What a lying aggregator does: whom it shows which directory, U2 and U3.

use std::collections::{BTreeMap, BTreeSet};

use undertone_protocol::ProtocolError;
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::masked_input::DealtToClient;
use undertone_protocol::client::{SharedKeys, SignedStatement};
use undertone_protocol::codec;
use undertone_protocol::id::RosterIndex;
use undertone_protocol::message::{ConsistencyCheck, Delivery, ShareKeysBody, Signed, Unmask};
use undertone_protocol::transcript::View;
use undertone_protocol::vector::RingVector;

use super::loot::{Loot, neighbours};
use super::stage::Stage;
use super::{LENGTH, Lab};

/// What one group of clients is shown. Clients are named by roster index.
#[derive(Debug, Clone)]
pub(crate) struct Sets {
    /// Which of the directories.
    pub(crate) directory: usize,
    pub(crate) sharers: BTreeSet<u32>,
    pub(crate) survivors: BTreeSet<u32>,
}

impl Sets {
    /// Everyone of these is there.
    pub(crate) fn all(members: impl IntoIterator<Item = u32>) -> Self {
        let sharers: BTreeSet<u32> = members.into_iter().collect();
        let survivors = sharers.clone();
        Self {
            directory: 0,
            sharers,
            survivors,
        }
    }

    /// One of them never shared its keys.
    pub(crate) fn leave_out(&mut self, client: u32) {
        self.sharers.remove(&client);
        self.survivors.remove(&client);
    }

    /// Some of them vanished after ShareKeys.
    pub(crate) fn without(mut self, dropped: impl IntoIterator<Item = u32>) -> Self {
        for client in dropped {
            self.survivors.remove(&client);
        }
        self
    }
}

/// Which rule decides whether an honest client reveals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accept {
    /// The library's: statements of witnesses.
    Witnesses,
    /// A weaker one: this many of its neighbours hold the same view.
    Neighbours(usize),
}

/// What the aggregator does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) views: Vec<Sets>,
    /// Which view each honest client is shown; who is not here has vanished before ShareKeys.
    pub(crate) shown: BTreeMap<u32, usize>,
    pub(crate) accept: Accept,
    /// Witnesses that forgot, over a restart, that they had signed: they sign every view.
    pub(crate) forgetful: BTreeSet<u32>,
    /// Clients whose header passes under a directory that is not theirs, as if nobody checked it.
    pub(crate) unchecked: BTreeSet<u32>,
}

impl Plan {
    /// Everyone is shown the first view.
    pub(crate) fn of(views: Vec<Sets>) -> Self {
        let shown = views[0].sharers.iter().map(|client| (*client, 0)).collect();
        Self {
            views,
            shown,
            accept: Accept::Witnesses,
            forgetful: BTreeSet::new(),
            unchecked: BTreeSet::new(),
        }
    }

    /// The plan with two views, both saying that everyone is there.
    pub(crate) fn honest(n: u32) -> Self {
        Self::of(vec![Sets::all(0..n), Sets::all(0..n)])
    }

    /// Clients from `border` on are shown the second view.
    pub(crate) fn split_at(mut self, border: u32) -> Self {
        for (client, view) in &mut self.shown {
            *view = usize::from(*client >= border);
        }
        self
    }

    /// These clients are shown that view.
    pub(crate) fn show(mut self, clients: impl IntoIterator<Item = u32>, view: usize) -> Self {
        self.shown
            .extend(clients.into_iter().map(|client| (client, view)));
        self
    }
}

impl Stage {
    /// Plays the round to its end.
    pub(crate) fn play(mut self, lab: &mut Lab, plan: &Plan) -> Loot {
        let mut dealt = BTreeMap::new();
        let mut sharing = BTreeMap::new();
        for (client, view) in plan.shown.iter().filter(|(c, _)| **c >= self.corrupt) {
            let directory = plan.views[*view].directory;
            let bytes = self.directories[directory].encode_for(RosterIndex(*client));
            let state = self.states.remove(client).unwrap();
            let (state, bytes) = state
                .share_keys(&bytes.unwrap(), &mut lab.splitter(), &mut lab.rng)
                .unwrap();
            let body: ShareKeysBody = codec::decode("ShareKeys", &bytes).unwrap();
            sharing.insert(*client, state);
            dealt.insert((directory, *client), body);
        }
        for (directory, team) in self.teams.iter().enumerate() {
            for corrupt in team {
                let body = corrupt.deal(lab, &self.directories[directory]);
                dealt.insert((directory, corrupt.entry.message.sender.0), body);
            }
        }
        let mut loot = Loot {
            corrupt: self.corrupt,
            plan: plan.clone(),
            directories: self.directories,
            teams: self.teams,
            dealt,
            uploads: BTreeMap::new(),
            revealed: Vec::new(),
            refused: BTreeMap::new(),
        };
        let (statements, signed) = loot.up_to_statements(lab, sharing);
        for (client, state) in signed {
            let statements = loot.statements_for(lab, client, &statements);
            match state.unmask(&codec::encode("statements", &statements).unwrap()) {
                Ok(bytes) => loot
                    .revealed
                    .push(Signed::<Unmask>::decode(&bytes).unwrap().message),
                Err(error) => drop(loot.refused.insert(client, error)),
            }
        }
        loot
    }
}

type Statements = Vec<Signed<ConsistencyCheck>>;

impl Loot {
    fn up_to_statements(
        &mut self,
        lab: &Lab,
        sharing: BTreeMap<u32, SharedKeys>,
    ) -> (Statements, BTreeMap<u32, SignedStatement>) {
        let (mut statements, mut signed) = (Vec::new(), BTreeMap::new());
        for (client, state) in sharing {
            match self.one_statement(lab, client, state) {
                Ok((state, statement)) => {
                    statements.extend(statement);
                    signed.insert(client, state);
                }
                Err(error) => drop(self.refused.insert(client, error)),
            }
        }
        // Corrupt clients sign whatever is asked for, as often as it is asked for.
        let views = 0..self.plan.views.len();
        for view in views {
            let willing = (0..self.corrupt).chain(self.plan.forgetful.iter().copied());
            for client in willing {
                let statement = self.view(lab, view).statement(RosterIndex(client));
                statements.push(lab.sign(statement));
            }
        }
        (statements, signed)
    }

    fn one_statement(
        &mut self,
        lab: &Lab,
        client: u32,
        state: SharedKeys,
    ) -> Result<(SignedStatement, Option<Signed<ConsistencyCheck>>), ProtocolError> {
        let view = self.plan.shown[&client];
        let (state, body) =
            state.masked_input(&self.deliver(lab, view, client), Lab::input(client))?;
        let ring = lab.params.ring();
        let vector = &body[body.len() - ring.packed_length(LENGTH as usize)..];
        let vector = RingVector::unpack(ring, LENGTH as usize, vector).unwrap();
        self.uploads.insert(client, vector);
        let sets = &self.plan.views[view];
        let survivors = self.set(sets.directory, &sets.survivors);
        let (state, bytes) = state.consistency_check(&survivors.encode("U3").unwrap())?;
        Ok((state, bytes.map(|bytes| Signed::decode(&bytes).unwrap())))
    }

    /// The statements that one client is shown: all there are; or, where it goes by a weaker rule,
    /// as many as the library asks for if that rule is content.
    fn statements_for(&self, lab: &Lab, client: u32, all: &Statements) -> Statements {
        let Accept::Neighbours(enough) = self.plan.accept else {
            return all.clone();
        };
        let view = self.plan.shown[&client];
        let directory = &self.directories[self.plan.views[view].directory];
        let agrees = |v: &u32| {
            let signs = self.plan.views[view].survivors.contains(v);
            signs && (*v < self.corrupt || self.plan.shown.get(v) == Some(&view))
        };
        if neighbours(directory, client).filter(agrees).count() < enough {
            return Vec::new();
        }
        let witnesses = directory.graph().witnesses();
        witnesses
            .map(|at| {
                self.view(lab, view)
                    .statement(directory.entry(at).unwrap().sender)
            })
            .map(|statement| lab.sign(statement))
            .collect()
    }

    fn set(&self, directory: usize, clients: &BTreeSet<u32>) -> Bitmap {
        let directory = &self.directories[directory];
        let positions = clients
            .iter()
            .map(|c| directory.position(RosterIndex(*c)).unwrap());
        Bitmap::new(directory.len(), positions)
    }

    fn view(&self, lab: &Lab, view: usize) -> View {
        let (sets, round) = (&self.plan.views[view], lab.params.id());
        let directory = self.directories[sets.directory].digest();
        let digest = |clients| self.set(sets.directory, clients).digest(round, directory);
        View {
            directory,
            sharers: digest(&sets.sharers),
            survivors: digest(&sets.survivors),
        }
    }

    /// What a dealer dealt to a holder under a directory. Of a dealer that shared under another
    /// one there is only the header of that, or, where nobody checks it, one made up for it.
    pub(super) fn delivery(
        &self,
        lab: &Lab,
        directory: usize,
        (dealer, holder): (u32, u32),
    ) -> Option<Delivery> {
        if let Some(body) = self.dealt.get(&(directory, dealer)) {
            let graph = self.directories[directory].graph();
            let [dealer, holder] = [dealer, holder].map(|c| {
                self.directories[directory]
                    .position(RosterIndex(c))
                    .unwrap()
            });
            let slot = graph.slot(dealer, holder)?;
            return Some(Delivery {
                header: body.header.clone(),
                share: body.dealing.shares[usize::from(slot)],
            });
        }
        let (_, body) = self
            .dealt
            .iter()
            .find(|((_, client), _)| *client == dealer)?;
        let mut header = body.header.clone();
        if self.plan.unchecked.contains(&dealer) {
            header.message.directory = self.directories[directory].digest();
            header = lab.sign(header.message);
        }
        Some(Delivery {
            header,
            share: body.dealing.shares[0],
        })
    }

    fn deliver(&self, lab: &Lab, view: usize, client: u32) -> Vec<u8> {
        let sets = &self.plan.views[view];
        let directory = &self.directories[sets.directory];
        let mut dealers: Vec<u32> = neighbours(directory, client)
            .filter(|v| sets.sharers.contains(v))
            .collect();
        dealers.sort_unstable();
        let dealt = DealtToClient {
            sharers: self.set(sets.directory, &sets.sharers),
            deliveries: dealers
                .into_iter()
                .filter_map(|dealer| self.delivery(lab, sets.directory, (dealer, client)))
                .collect(),
        };
        codec::encode("dealt", &dealt).unwrap()
    }
}

impl Lab {
    /// Plays a round of the first n clients of the roster, of whom the first `corrupt` are.
    pub(crate) fn play(&mut self, corrupt: u32, plan: &Plan) -> Loot {
        let everyone: BTreeSet<u32> = (0..self.cohort()).collect();
        let count = plan.views.iter().map(|v| v.directory).max().unwrap() + 1;
        Stage::new(self, corrupt, &vec![everyone; count]).play(self, plan)
    }
}
