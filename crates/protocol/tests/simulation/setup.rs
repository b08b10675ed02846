//! Who takes part in a simulated round, under which parameters, and who of them is corrupt.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, OnceLock};

use undertone_protocol::client::Participant;
use undertone_protocol::id::{
    MechanismDigest, ModelDigest, RosterIndex, RoundId, RoundNumber, TaskId, TrainingDigest,
};
use undertone_protocol::keys::{IdentityKey, Secret32};
use undertone_protocol::params::{
    ParamsFields, PhaseDeadlines, RoundParams, SUITE, Trust, VERSION,
};
use undertone_protocol::roster::Roster;
use undertone_protocol::threshold::{Rule, Shape};
use undertone_protocol::vector::{Ring, RingVector};

use crate::dice::Dice;

const MOST_MEMBERS: usize = 48;
const TASK: [u8; 16] = [7; 16];

/// Identities are made once: they say nothing about a round.
static IDENTITIES: LazyLock<Vec<Arc<IdentityKey>>> = LazyLock::new(|| {
    (0..=MOST_MEMBERS as u8)
        .map(|i| Arc::new(IdentityKey::from_seed(&Secret32::from([i; 32]))))
        .collect()
});

static ROSTERS: [OnceLock<Arc<Roster>>; MOST_MEMBERS + 1] =
    [const { OnceLock::new() }; MOST_MEMBERS + 1];

/// The identity key of a client.
pub(crate) fn identity(client: u32) -> &'static Arc<IdentityKey> {
    &IDENTITIES[client as usize]
}

/// The roster of the first so many identities.
fn roster(members: u32) -> Arc<Roster> {
    let members = members as usize;
    let make = || {
        let keys = IDENTITIES[..members].iter().map(|i| i.public()).collect();
        let authority = &IDENTITIES[MOST_MEMBERS];
        Arc::new(Roster::sign(authority, TaskId::from(TASK), keys).unwrap())
    };
    ROSTERS[members].get_or_init(make).clone()
}

/// The complete graph of at most `clients`, against `corrupt` of them.
pub(crate) fn complete(clients: u32, corrupt: u32) -> Rule {
    Rule::complete(clients, corrupt)
}

/// A ring on which nothing is left to chance: `corrupt` clients fit into any window.
pub(crate) fn ring(clients: u32, neighbours: u16, corrupt: u32, witnesses: u16) -> Rule {
    let threshold = neighbours / 2 + corrupt as u16 + 1;
    let witness_threshold = witnesses.midpoint(corrupt as u16) + 1;
    let fewest = u32::from(threshold.max(witness_threshold)).max(corrupt + 2);
    Rule {
        min_clients: fewest.max(u32::from(neighbours) + 2).max(witnesses.into()),
        max_clients: clients,
        neighbours,
        threshold,
        witnesses,
        witness_threshold,
        corrupt,
        min_survivors: fewest,
    }
}

/// Draws a rule: most rounds are small, since their number is what finds things.
pub(crate) fn draw_rule(dice: &mut Dice, shape: Shape) -> Rule {
    let mut rule = smallest_rule(dice, shape);
    if dice.percent(30) {
        rule.min_survivors = (rule.min_survivors + 1).min(rule.max_clients - 1);
        rule.min_clients = rule.min_clients.max(rule.min_survivors);
    }
    rule
}

fn smallest_rule(dice: &mut Dice, shape: Shape) -> Rule {
    match shape {
        Shape::Complete => {
            let sizes = [4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 7, 0];
            let clients = match dice.pick(&sizes) {
                0 => dice.between(9, 14) as u32,
                clients => clients,
            };
            let most = (clients - 1) / 3;
            let corrupt = if dice.percent(80) { most } else { most - 1 };
            complete(clients, corrupt)
        }
        Shape::Ring => {
            let (neighbours, corrupt) =
                dice.pick(&[(4, 0), (4, 1), (4, 1), (6, 1), (6, 1), (6, 2), (8, 2)]);
            let clients = if dice.percent(95) {
                dice.between(12, 18) as u32
            } else {
                dice.between(19, 40) as u32
            };
            let witnesses = dice.between(5 + u64::from(corrupt), 9) as u16;
            ring(clients, neighbours, corrupt, witnesses)
        }
    }
}

/// Everything that stands before a round begins.
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) params: Arc<RoundParams>,
    pub(crate) roster: Arc<Roster>,
    /// Roster indices of the corrupt clients.
    pub(crate) corrupt: BTreeSet<u32>,
    pub(crate) inputs: Vec<RingVector>,
    trust: Trust,
}

impl Setup {
    /// `corrupt` may be more than the rule is made for: then the round is not safe.
    pub(crate) fn new(seed: u64, members: u32, rule: Rule, corrupt: BTreeSet<u32>) -> Self {
        let mut dice = Dice::new(seed, 1);
        let (length, bits) = (dice.between(3, 8) as u32, dice.between(8, 64) as u8);
        Self::sized(seed, members, rule, corrupt, (length, bits))
    }

    pub(crate) fn sized(
        seed: u64,
        members: u32,
        rule: Rule,
        corrupt: BTreeSet<u32>,
        (length, bits): (u32, u8),
    ) -> Self {
        let roster = roster(members);
        let mut dice = Dice::new(seed, 2);
        let open = dice.pick(&[300, 1000]);
        let fields = ParamsFields {
            version: VERSION,
            suite: SUITE,
            task: TaskId::from(TASK),
            round: RoundNumber(1),
            nonce: dice.bytes(),
            length,
            bits,
            rule,
            roster: roster.digest(),
            model: ModelDigest::of(b"model"),
            training: TrainingDigest::of(b"training"),
            mechanism: MechanismDigest::of(b"mechanism"),
            deadlines: PhaseDeadlines {
                advertise_keys: open,
                share_keys: open,
                masked_input: open,
                consistency_check: open,
                unmask: open,
            },
        };
        let ring = Ring::new(bits).unwrap();
        let mut input = || {
            let elements: Vec<u64> = (0..length).map(|_| dice.word()).collect();
            RingVector::from_elements(ring, &elements)
        };
        Self {
            seed,
            inputs: (0..members).map(|_| input()).collect(),
            params: Arc::new(RoundParams::new(fields).unwrap()),
            roster,
            corrupt,
            trust: Trust {
                corrupt: Some(f64::from(rule.corrupt) / f64::from(members)),
            },
        }
    }

    /// The same parameters with another model: another round.
    pub(crate) fn other_round(&self) -> Arc<RoundParams> {
        let mut fields: ParamsFields = (**self.params).clone();
        fields.model = ModelDigest::of(b"another model");
        Arc::new(RoundParams::new(fields).unwrap())
    }

    pub(crate) fn participant(&self, client: u32, params: &Arc<RoundParams>) -> Participant {
        let (roster, identity) = (self.roster.clone(), identity(client));
        Participant::new(params.clone(), roster, identity.clone(), self.trust).unwrap()
    }

    pub(crate) fn round(&self) -> RoundId {
        self.params.id()
    }

    pub(crate) fn members(&self) -> u32 {
        self.roster.len() as u32
    }

    pub(crate) fn honest(&self) -> Vec<u32> {
        let all = 0..self.members();
        all.filter(|c| !self.corrupt.contains(c)).collect()
    }

    pub(crate) fn plain_sum(&self, clients: impl IntoIterator<Item = u32>) -> RingVector {
        let mut sum = RingVector::zeros(self.params.ring(), self.params.vector_length());
        for client in clients {
            sum.add(&self.inputs[client as usize]).unwrap();
        }
        sum
    }
}

/// Roster indices as plain numbers.
pub(crate) fn numbers(clients: &[RosterIndex]) -> Vec<u32> {
    clients.iter().map(|c| c.0).collect()
}
