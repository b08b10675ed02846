//! Two small rounds, one of each shape, whose identities are all known.

use std::sync::{Arc, OnceLock};

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use undertone_protocol::aggregator::RoundContext;
use undertone_protocol::client::Participant;
use undertone_protocol::id::{
    MechanismDigest, ModelDigest, RosterIndex, RoundNumber, TaskId, TrainingDigest,
};
use undertone_protocol::keys::{IdentityKey, Secret32};
use undertone_protocol::params::{
    ParamsFields, PhaseDeadlines, RoundParams, SUITE, Trust, VERSION,
};
use undertone_protocol::roster::Roster;
use undertone_protocol::threshold::Rule;
use undertone_protocol::vector::RingVector;

/// What each phase's deadline is, in milliseconds.
pub const DEADLINE: u64 = 10;

/// One round that can be opened again and again: the same keys and ids each time.
#[derive(Debug)]
pub struct World {
    /// The round's parameters.
    pub params: Arc<RoundParams>,
    /// The roster.
    pub roster: Arc<Roster>,
    /// Everyone's identity, in roster order.
    pub identities: Vec<Arc<IdentityKey>>,
}

/// Four clients on the complete graph, of whom one may be corrupt, or seven on a ring of four
/// neighbours, made for none: as small as the rules allow if someone is to drop out, since every
/// client costs public-key operations.
pub fn world(ring: bool) -> &'static World {
    static WORLDS: [OnceLock<World>; 2] = [OnceLock::new(), OnceLock::new()];
    let world = WORLDS.get(usize::from(ring)).expect("two shapes");
    world.get_or_init(|| {
        if ring {
            let rule = Rule {
                min_clients: 6,
                max_clients: 7,
                neighbours: 4,
                threshold: 3,
                witnesses: 3,
                witness_threshold: 2,
                corrupt: 0,
                min_survivors: 4,
            };
            World::new(7, 33, rule)
        } else {
            World::new(4, 20, Rule::complete(4, 1))
        }
    })
}

impl World {
    fn new(members: u8, bits: u8, rule: Rule) -> Self {
        let identities = Self::identities(members);
        let keys = identities.iter().map(|i| i.public()).collect();
        let roster = Roster::sign(&Self::key(0), TaskId::from([7; 16]), keys).expect("a roster");
        let fields = ParamsFields {
            version: VERSION,
            suite: SUITE,
            task: roster.task(),
            round: RoundNumber(1),
            nonce: [3; 32],
            length: 3,
            bits,
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
        };
        Self {
            params: Arc::new(RoundParams::new(fields).expect("sound parameters")),
            roster: Arc::new(roster),
            identities,
        }
    }

    /// The identity of a seed.
    pub fn key(seed: u8) -> IdentityKey {
        IdentityKey::from_seed(&Secret32::from([seed; 32]))
    }

    /// The identities of a roster.
    pub fn identities(members: u8) -> Vec<Arc<IdentityKey>> {
        (1..=members)
            .map(|seed| Arc::new(Self::key(seed)))
            .collect()
    }

    /// Parameters and roster for the aggregator.
    pub fn context(&self) -> RoundContext {
        RoundContext::new(self.params.clone(), self.roster.clone()).expect("they fit")
    }

    /// A client at the start of the round.
    pub fn participant(&self, client: usize) -> Participant {
        let (params, roster) = (self.params.clone(), self.roster.clone());
        let trust = Trust {
            corrupt: Some(f64::from(self.params.rule.corrupt) / self.members() as f64),
        };
        Participant::new(params, roster, self.identities[client].clone(), trust).expect("a member")
    }

    /// The generator of one client in one phase: what it draws does not hang on other clients.
    pub fn rng(client: usize, phase: u64) -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64((client as u64) << 8 | phase)
    }

    /// The input of one client: not small, so that sums wrap.
    pub fn input(&self, client: usize) -> RingVector {
        let mut rng = Self::rng(client, 99);
        let elements: Vec<u64> = (0..self.params.vector_length())
            .map(|_| rng.next_u64())
            .collect();
        RingVector::from_elements(self.params.ring(), &elements)
    }

    /// How many members the roster has.
    pub fn members(&self) -> usize {
        self.identities.len()
    }
}

/// A client's place in the roster, as its index.
pub fn index(client: usize) -> RosterIndex {
    RosterIndex(client as u32)
}
