//! An attacker's bench: an aggregator that shows each client what it likes, and corrupt clients
//! that hand it all they hold. Honest clients run the library's own state machine.
//!
//! The first `cohort` members of the roster make up the directory, so that a client's roster index
//! is also its position; the first `corrupt` of them are corrupt.

mod corrupt;
pub(crate) mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::masked_input::DealtToClient;
use undertone_protocol::client::{AdvertisedKeys, Participant};
use undertone_protocol::codec;
use undertone_protocol::directory::Directory;
use undertone_protocol::id::{
    MechanismDigest, ModelDigest, Position, RosterIndex, RoundId, RoundNumber, TaskId,
    TrainingDigest,
};
use undertone_protocol::keys::{EphemeralKey, IdentityKey, Secret32};
use undertone_protocol::mask;
use undertone_protocol::message::{
    AdvertiseKeys, ConsistencyCheck, Delivery, SecretKind, Share, ShareKeysBody, Signed, Unmask,
};
use undertone_protocol::params::{
    ParamsFields, PhaseDeadlines, RoundParams, SUITE, Trust, VERSION,
};
use undertone_protocol::roster::Roster;
use undertone_protocol::seal::SealContext;
use undertone_protocol::shamir::{SeededSplitter, combine};
use undertone_protocol::threshold::Rule;
use undertone_protocol::transcript::View;
use undertone_protocol::vector::{Ring, RingVector, Sign};

use self::corrupt::Corrupt;

pub(crate) const LENGTH: u32 = 6;
pub(crate) const BITS: u8 = 24;

/// Who may take part in what.
pub(crate) struct Lab {
    pub(crate) roster: Arc<Roster>,
    pub(crate) params: Arc<RoundParams>,
    pub(crate) identities: Vec<Arc<IdentityKey>>,
    pub(crate) rng: ChaCha20Rng,
}

impl Lab {
    pub(crate) fn new(seed: u64, members: u16, cohort: u16) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let task = TaskId::from([7; 16]);
        let authority = IdentityKey::generate(&mut rng);
        let identities: Vec<_> = (0..members)
            .map(|_| Arc::new(IdentityKey::generate(&mut rng)))
            .collect();
        let keys = identities.iter().map(|i| i.public()).collect();
        let roster = Arc::new(Roster::sign(&authority, task, keys).unwrap());
        let params = RoundParams::new(ParamsFields {
            version: VERSION,
            suite: SUITE,
            task,
            round: RoundNumber(1),
            nonce: [9; 32],
            length: LENGTH,
            bits: BITS,
            rule: Rule::complete(cohort.into(), u32::from(cohort - 1) / 3),
            roster: roster.digest(),
            model: ModelDigest::of(b"model"),
            training: TrainingDigest::of(b"training"),
            mechanism: MechanismDigest::of(b"mechanism"),
            deadlines: PhaseDeadlines {
                advertise_keys: 10,
                share_keys: 10,
                masked_input: 10,
                consistency_check: 10,
                unmask: 10,
            },
        });
        let params = Arc::new(params.unwrap());
        Self {
            roster,
            params,
            identities,
            rng,
        }
    }

    /// The same parameters but for one change: another round.
    pub(crate) fn other_round(&self, change: impl FnOnce(&mut ParamsFields)) -> Arc<RoundParams> {
        let mut fields = (**self.params).clone();
        change(&mut fields);
        Arc::new(RoundParams::new(fields).unwrap())
    }

    pub(crate) fn participant(&self, client: u32, params: &Arc<RoundParams>) -> Participant {
        let identity = self.identities[client as usize].clone();
        Participant::new(
            params.clone(),
            self.roster.clone(),
            identity,
            Trust::default(),
        )
        .unwrap()
    }

    pub(crate) fn advertise(&mut self, client: u32) -> (AdvertisedKeys, Signed<AdvertiseKeys>) {
        let participant = self.participant(client, &self.params);
        let (state, bytes) = participant.advertise_keys(&mut self.rng).unwrap();
        (state, Signed::decode(&bytes).unwrap())
    }

    pub(crate) fn cohort(&self) -> u32 {
        self.params.rule.max_clients
    }

    pub(crate) fn splitter(&mut self) -> SeededSplitter<ChaCha20Rng> {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        SeededSplitter(ChaCha20Rng::from_seed(seed))
    }

    /// The input of a client: no two are alike.
    pub(crate) fn input(client: u32) -> RingVector {
        let elements: Vec<u64> = (0..LENGTH).map(|i| u64::from(client * 1000 + i)).collect();
        RingVector::from_elements(Ring::new(BITS).unwrap(), &elements)
    }

    /// Plays a round in which the aggregator follows `plan`.
    pub(crate) fn play(&mut self, plan: &Plan) -> Loot {
        let (n, round) = (self.cohort(), self.params.id());
        let mut states: BTreeMap<u32, AdvertisedKeys> = BTreeMap::new();
        let mut entries = Vec::new();
        for client in plan.corrupt..n {
            let (state, entry) = self.advertise(client);
            states.insert(client, state);
            entries.push(entry);
        }
        let mut teams = vec![self.team(plan.corrupt)];
        teams.push(if plan.split_directory {
            self.team(plan.corrupt)
        } else {
            teams[0].clone()
        });
        let directories: Vec<Directory> = teams
            .iter()
            .map(|team| {
                let all = team.iter().map(|c| c.entry.clone()).chain(entries.clone());
                Directory::new(&self.params, &self.roster, all.collect()).unwrap()
            })
            .collect();

        // Who deals what; honest clients deal once, by the directory that they were shown.
        let mut dealt = BTreeMap::new();
        let mut sharing = BTreeMap::new();
        for (client, state) in states {
            let directory = &directories[plan.view_of(client)];
            let (state, bytes) = state
                .share_keys(
                    &directory.encode_for(RosterIndex(client)).unwrap(),
                    &mut self.splitter(),
                    &mut self.rng,
                )
                .unwrap();
            let message: ShareKeysBody = codec::decode("ShareKeys", &bytes).unwrap();
            sharing.insert(client, state);
            (0..2).for_each(|view| drop(dealt.insert((view, client), message.clone())));
        }
        for (view, directory) in directories.iter().enumerate() {
            for corrupt in teams[view].clone() {
                let message = corrupt.deal(self, directory);
                dealt.insert((view, corrupt.entry.message.sender.0), message);
            }
        }

        let mut loot = Loot {
            plan: plan.clone(),
            directories,
            teams,
            dealt,
            uploads: BTreeMap::new(),
            revealed: Vec::new(),
        };
        let mut statements: Vec<Signed<ConsistencyCheck>> = Vec::new();
        let mut signed = Vec::new();
        for (client, state) in sharing {
            let view = plan.view_of(client);
            let Ok((state, body)) =
                state.masked_input(&loot.deliver(view, client), Self::input(client))
            else {
                continue;
            };
            let vector = &body[body.len() - self.params.ring().packed_length(LENGTH as usize)..];
            let vector = RingVector::unpack(self.params.ring(), LENGTH as usize, vector).unwrap();
            loot.uploads.insert(client, vector);
            let survivors = Sets::set(n, &plan.views[view].survivors);
            if let Ok((state, bytes)) = state.consistency_check(&survivors.encode("U3").unwrap()) {
                statements.extend(bytes.map(|bytes| Signed::decode(&bytes).unwrap()));
                signed.push(state);
            }
        }
        // Corrupt clients sign whatever is asked for, as often as it is asked for.
        for view in 0..2 {
            for client in 0..plan.corrupt {
                let statement = loot.view(view, n, round).statement(RosterIndex(client));
                let key = &self.identities[client as usize];
                statements.push(Signed::sign(statement, round, key).unwrap());
            }
        }
        let statements = codec::encode("statements", &statements).unwrap();
        for state in signed {
            if let Ok(bytes) = state.unmask(&statements) {
                loot.revealed
                    .push(Signed::<Unmask>::decode(&bytes).unwrap().message);
            }
        }
        loot
    }

    fn team(&mut self, size: u32) -> Vec<Corrupt> {
        (0..size).map(|client| Corrupt::new(self, client)).collect()
    }
}

/// The sets that one group of clients is shown.
#[derive(Debug, Clone)]
pub(crate) struct Sets {
    pub(crate) sharers: BTreeSet<u32>,
    pub(crate) survivors: BTreeSet<u32>,
}

impl Sets {
    fn set(n: u32, members: &BTreeSet<u32>) -> Bitmap {
        Bitmap::new(n as usize, members.iter().map(|m| Position(*m)))
    }
}

/// What the aggregator does: honest clients below `border` see the first view, others the second.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) corrupt: u32,
    pub(crate) border: u32,
    pub(crate) views: [Sets; 2],
    pub(crate) split_directory: bool,
}

impl Plan {
    /// The plan that shows everyone that everyone is there.
    pub(crate) fn honest(n: u32, corrupt: u32) -> Self {
        let all = Sets {
            sharers: (0..n).collect(),
            survivors: (0..n).collect(),
        };
        Self {
            corrupt,
            border: n,
            views: [all.clone(), all],
            split_directory: false,
        }
    }

    fn view_of(&self, client: u32) -> usize {
        usize::from(client >= self.border)
    }
}

/// All that the attacker has at the end of a round.
pub(crate) struct Loot {
    plan: Plan,
    directories: Vec<Directory>,
    teams: Vec<Vec<Corrupt>>,
    dealt: BTreeMap<(usize, u32), ShareKeysBody>,
    uploads: BTreeMap<u32, RingVector>,
    pub(crate) revealed: Vec<Unmask>,
}

impl Loot {
    /// Which views had an honest client answer Unmask.
    pub(crate) fn answered(&self) -> BTreeSet<usize> {
        let view = |m: &Unmask| self.plan.view_of(m.sender.0);
        self.revealed.iter().map(view).collect()
    }

    /// A dealer's secret, if the attacker has t shares of it: those that honest clients revealed,
    /// and those that corrupt clients open.
    pub(crate) fn secret(&self, lab: &Lab, dealer: u32, kind: SecretKind) -> Option<Secret32> {
        let mut shares: BTreeMap<u8, Share> = BTreeMap::new();
        let view = self.plan.view_of(dealer);
        let graph = self.directories[view].graph();
        let dealer = Position(dealer);
        for message in &self.revealed {
            let slot = graph.slot(dealer, Position(message.sender.0));
            for revelation in message.shares.iter().filter(|r| r.dealer == dealer) {
                if let Some(slot) = slot.filter(|_| revelation.share.kind() == kind) {
                    shares.insert(slot, revelation.share.share().clone());
                }
            }
        }
        for corrupt in &self.teams[view] {
            let holder = &corrupt.entry.message;
            let Some(slot) = graph.slot(dealer, Position(holder.sender.0)) else {
                continue;
            };
            let context = SealContext {
                round: lab.params.id(),
                directory: self.directories[view].digest(),
                dealer: self.directories[view].entry(dealer).unwrap(),
                holder,
            };
            let cipher = EphemeralKey::from_seed(corrupt.cipher.clone());
            let dealt = self.delivery(view, dealer, Position(holder.sender.0));
            let pair = context.open(&cipher, &dealt.share.sealed).unwrap();
            let share = match kind {
                SecretKind::SelfMask => pair.self_mask,
                SecretKind::MaskKey => pair.mask_key,
            };
            shares.insert(slot, share);
        }
        let t = lab.params.threshold();
        let chosen: Vec<(u8, &Share)> = shares.iter().map(|(slot, s)| (*slot, s)).take(t).collect();
        (chosen.len() == t).then(|| combine(&chosen, t).unwrap())
    }

    /// The input of an honest client, if the attacker can take every mask off its upload.
    pub(crate) fn input_of(&self, lab: &Lab, victim: u32) -> Option<RingVector> {
        let (view, round) = (self.plan.view_of(victim), lab.params.id());
        let directory = &self.directories[view];
        let mut vector = self.uploads.get(&victim)?.clone();
        let seed = self.secret(lab, victim, SecretKind::SelfMask)?;
        vector.mask(&mask::self_mask_key(&seed, round), Sign::Minus);
        let own = self
            .secret(lab, victim, SecretKind::MaskKey)
            .map(EphemeralKey::from_seed);
        let me = directory.entry(Position(victim)).unwrap();
        let around = directory.graph().neighbours(Position(victim));
        let sharers = &self.plan.views[view].sharers;
        for peer in around.iter().map(|p| &p.0).filter(|p| sharers.contains(p)) {
            let entry = directory.entry(Position(*peer)).unwrap();
            let corrupt = self.teams[view].get(*peer as usize);
            let theirs = corrupt.map(|c| EphemeralKey::from_seed(c.mask.clone()));
            let key = match (&own, &theirs) {
                (Some(own), _) => {
                    mask::pairwise_mask_key((me, own), entry, round, directory.digest())
                }
                (None, Some(theirs)) => {
                    mask::pairwise_mask_key((entry, theirs), me, round, directory.digest())
                }
                (None, None) => return None,
            };
            let sign = if victim < *peer {
                Sign::Minus
            } else {
                Sign::Plus
            };
            vector.mask(&key.unwrap(), sign);
        }
        Some(vector)
    }

    fn view(&self, view: usize, n: u32, round: RoundId) -> View {
        let (sets, directory) = (&self.plan.views[view], self.directories[view].digest());
        View {
            directory,
            sharers: Sets::set(n, &sets.sharers).digest(round, directory),
            survivors: Sets::set(n, &sets.survivors).digest(round, directory),
        }
    }

    fn delivery(&self, view: usize, dealer: Position, holder: Position) -> Delivery {
        let slot = self.directories[view].graph().slot(dealer, holder).unwrap();
        let body = &self.dealt[&(view, dealer.0)];
        Delivery {
            header: body.header.clone(),
            share: body.dealing.shares[usize::from(slot)],
        }
    }

    fn deliver(&self, view: usize, client: u32) -> Vec<u8> {
        let n = u32::try_from(self.directories[view].len()).unwrap();
        let sets = &self.plan.views[view];
        let mut dealers = self.directories[view].graph().neighbours(Position(client));
        dealers.retain(|v| sets.sharers.contains(&v.0));
        dealers.sort_unstable();
        let dealt = DealtToClient {
            sharers: Sets::set(n, &sets.sharers),
            deliveries: dealers
                .into_iter()
                .map(|dealer| self.delivery(view, dealer, Position(client)))
                .collect(),
        };
        codec::encode("dealt", &dealt).unwrap()
    }
}
