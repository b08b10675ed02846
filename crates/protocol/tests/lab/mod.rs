//! An attacker's bench: an aggregator that shows each client what it likes, and corrupt clients
//! that hand it all they hold. Honest clients run the library's own state machine.
//!
//! The first clients of the roster are the corrupt ones. [`stage`] makes the directories, [`play`]
//! has what the aggregator then does, [`loot`] all that it learns by it, [`session`] a round with an honest aggregator whose messages
//! are changed on the way, [`view`] directory views made by hand.

mod corrupt;
pub(crate) mod loot;
pub(crate) mod play;
pub(crate) mod session;
pub(crate) mod stage;
pub(crate) mod view;

use std::sync::Arc;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use undertone_protocol::client::{AdvertisedKeys, Participant};
use undertone_protocol::id::{MechanismDigest, ModelDigest, RoundNumber, TaskId, TrainingDigest};
use undertone_protocol::keys::IdentityKey;
use undertone_protocol::message::{AdvertiseKeys, Signed};
use undertone_protocol::params::{
    ParamsFields, PhaseDeadlines, RoundParams, SUITE, Trust, VERSION,
};
use undertone_protocol::roster::Roster;
use undertone_protocol::shamir::SeededSplitter;
use undertone_protocol::threshold::Rule;
use undertone_protocol::vector::{Ring, RingVector};

pub(crate) use self::play::{Accept, Plan, Sets};

pub(crate) const LENGTH: u32 = 6;
pub(crate) const BITS: u8 = 24;

/// Who may take part in what.
pub(crate) struct Lab {
    pub(crate) roster: Arc<Roster>,
    pub(crate) params: Arc<RoundParams>,
    pub(crate) identities: Vec<Arc<IdentityKey>>,
    pub(crate) rng: ChaCha20Rng,
    /// What honest clients assume about the roster.
    pub(crate) trust: Trust,
}

impl Lab {
    /// A roster of `members`, and a round on the complete graph of `cohort` clients, made for
    /// fewer than a third of them.
    pub(crate) fn new(seed: u64, members: u16, cohort: u16) -> Self {
        let rule = Rule::complete(cohort.into(), u32::from(cohort - 1) / 3);
        Self::with_rule(seed, members, rule, Trust::default())
    }

    /// A round whose clients assume as many corrupt ones as the rule is made for.
    pub(crate) fn of_rule(seed: u64, members: u16, rule: Rule) -> Self {
        let fraction = f64::from(rule.corrupt) / f64::from(members);
        let corrupt = Some(fraction);
        Self::with_rule(seed, members, rule, Trust { corrupt })
    }

    fn with_rule(seed: u64, members: u16, rule: Rule, trust: Trust) -> Self {
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
            rule,
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
        Self {
            roster,
            params: Arc::new(params.unwrap()),
            identities,
            rng,
            trust,
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
        Participant::new(params.clone(), self.roster.clone(), identity, self.trust).unwrap()
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

    /// The input of a client: no two are alike, and no two sums of some of them.
    pub(crate) fn input(client: u32) -> RingVector {
        let elements: Vec<u64> = (0..LENGTH)
            .map(|i| u64::from((client + 1).pow(2) * 97 + i * 31 * client))
            .collect();
        RingVector::from_elements(Ring::new(BITS).unwrap(), &elements)
    }

    /// Signs a message as a client: a corrupt one, or an honest one whose software lacks a check.
    pub(crate) fn sign<M: undertone_protocol::message::Message>(&self, message: M) -> Signed<M> {
        let key = &self.identities[message.sender().0 as usize];
        Signed::sign(message, self.params.id(), key).unwrap()
    }
}

/// A ring of exactly `n` places whose rules hold with certainty: made for e corrupt clients, so
/// that no window of k/2 can hold more than e. Everyone is a witness.
pub(crate) fn ring(n: u16, k: u16, e: u16) -> Rule {
    let witness_threshold = u16::midpoint(n, e) + 1;
    let threshold = k / 2 + e + 1;
    let least = threshold.max(witness_threshold).max(e + 2);
    Rule {
        min_clients: n.into(),
        max_clients: n.into(),
        neighbours: k,
        threshold,
        witnesses: n,
        witness_threshold,
        corrupt: e.into(),
        min_survivors: least.into(),
    }
}
