//! A deterministic world of clients and one aggregator, all from one seed.

use std::collections::BTreeMap;
use std::sync::Arc;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use undertone_protocol::aggregator::memory::{MemoryAggregator, Receipt};
use undertone_protocol::aggregator::{Aggregate, PhaseName, RoundContext};
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::{
    AdvertisedKeys, Participant, SentInput, SharedKeys, SignedStatement,
};
use undertone_protocol::id::{
    MechanismDigest, ModelDigest, Position, RosterIndex, RoundNumber, TaskId, TrainingDigest,
};
use undertone_protocol::keys::IdentityKey;
use undertone_protocol::message::{RevealedShare, Share, Signed, Unmask};
use undertone_protocol::params::{
    ParamsFields, PhaseDeadlines, RoundParams, SUITE, Trust, VERSION,
};
use undertone_protocol::roster::Roster;
use undertone_protocol::shamir::SeededSplitter;
use undertone_protocol::threshold::Rule;
use undertone_protocol::vector::{Ring, RingVector};
use undertone_protocol::{ProtocolError, RoundFailure, codec};

/// What goes wrong in a round beside clients that vanish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// This client flips a bit of every share that it reveals.
    CorruptShares(usize),
    /// The aggregator shows one half of the clients a smaller U3.
    SplitSurvivors,
}

enum State {
    Ready(Participant),
    Advertised(AdvertisedKeys),
    Shared(SharedKeys),
    Sent(SentInput),
    Signed(SignedStatement),
    Gone,
}

pub(crate) struct World {
    seed: u64,
    params: Arc<RoundParams>,
    identities: Vec<Arc<IdentityKey>>,
    inputs: Vec<RingVector>,
    states: Vec<State>,
    vanish: BTreeMap<usize, PhaseName>,
    aggregator: MemoryAggregator,
    rng: ChaCha20Rng,
    pub(crate) fault: Option<Fault>,
    pub(crate) uploads: Vec<RingVector>,
    statements: Vec<Vec<u8>>,
}

impl World {
    pub(crate) fn new(seed: u64, clients: u16, bits: u8, length: u32) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let task = TaskId::from([7; 16]);
        let authority = IdentityKey::generate(&mut rng);
        let identities: Vec<_> = (0..clients)
            .map(|_| Arc::new(IdentityKey::generate(&mut rng)))
            .collect();
        let members = identities.iter().map(|i| i.public()).collect();
        let roster = Arc::new(Roster::sign(&authority, task, members).unwrap());
        let mut nonce = [0; 32];
        rng.fill_bytes(&mut nonce);
        let params = Arc::new(
            RoundParams::new(ParamsFields {
                version: VERSION,
                suite: SUITE,
                task,
                round: RoundNumber(1),
                nonce,
                length,
                bits,
                rule: Rule::complete(clients.into(), u32::from(clients - 1) / 3),
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
            })
            .unwrap(),
        );
        let ring = Ring::new(bits).unwrap();
        let inputs = (0..clients)
            .map(|_| {
                let elements: Vec<u64> = (0..length).map(|_| rng.next_u64()).collect();
                RingVector::from_elements(ring, &elements)
            })
            .collect();
        let states = identities
            .iter()
            .map(|identity| {
                let (params, roster) = (params.clone(), roster.clone());
                State::Ready(
                    Participant::new(params, roster, identity.clone(), Trust::default()).unwrap(),
                )
            })
            .collect();
        let context = RoundContext::new(params.clone(), roster).unwrap();
        let aggregator = MemoryAggregator::new(context, usize::from(clients), 0);
        Self {
            seed,
            params,
            identities,
            inputs,
            states,
            vanish: BTreeMap::new(),
            aggregator,
            rng,
            fault: None,
            uploads: Vec::new(),
            statements: Vec::new(),
        }
    }

    /// The client stops before it sends its message of `phase`.
    pub(crate) fn vanish(&mut self, client: usize, phase: PhaseName) {
        let at = self.vanish.entry(client).or_insert(phase);
        *at = phase.min(*at);
    }

    /// How many clients send their message of `phase`.
    pub(crate) fn left_after(&self, phase: PhaseName) -> usize {
        self.states.len() - self.vanish.values().filter(|at| **at <= phase).count()
    }

    pub(crate) fn threshold(&self) -> usize {
        self.params.threshold()
    }

    pub(crate) fn plain_sum(&self, clients: &[RosterIndex]) -> RingVector {
        let mut sum = RingVector::zeros(self.params.ring(), self.params.vector_length());
        for client in clients {
            sum.add(&self.inputs[client.0 as usize]).unwrap();
        }
        sum
    }

    /// Runs the round to its end. Every message is sent twice, as over a lossy network.
    pub(crate) fn run(&mut self) -> Result<Aggregate, RoundFailure> {
        let mut now = 0;
        while let Some(phase) = self.aggregator.phase() {
            for client in 0..self.states.len() {
                if self.vanish.get(&client).is_some_and(|at| *at <= phase) {
                    continue;
                }
                let answer = self.aggregator.answer(RosterIndex(client as u32));
                // A client that is not in the set of this phase has nothing to say.
                let Ok(answer) = answer else { continue };
                let answer = self.tamper(phase, client, answer);
                let Ok(message) = self.step(client, answer) else {
                    continue;
                };
                let first = self.aggregator.receive(&message);
                if first == Ok(Receipt::Accepted) {
                    assert_eq!(self.aggregator.receive(&message), Ok(Receipt::Repeated));
                }
                if phase == PhaseName::MaskedInput {
                    self.keep_upload(&message);
                }
                if phase == PhaseName::ConsistencyCheck {
                    self.statements.push(message);
                }
            }
            now += 10;
            assert!(self.aggregator.advance(now), "seed {}", self.seed);
        }
        self.aggregator.result().unwrap().clone()
    }

    /// What the clients say when they are shown each other's conflicting statements: how many
    /// reveal anything.
    pub(crate) fn answers_to_mixed_statements(&mut self) -> usize {
        let decoded: Vec<Signed<undertone_protocol::message::ConsistencyCheck>> = self
            .statements
            .iter()
            .map(|s| Signed::decode(s).unwrap())
            .collect();
        let bytes = codec::encode("statements", &decoded).unwrap();
        (0..self.states.len())
            .filter(|c| self.step(*c, Some(bytes.clone())).is_ok())
            .count()
    }

    fn tamper(&self, phase: PhaseName, client: usize, answer: Option<Vec<u8>>) -> Option<Vec<u8>> {
        if self.fault == Some(Fault::SplitSurvivors)
            && phase == PhaseName::ConsistencyCheck
            && client >= self.states.len() / 2
        {
            let size = self.states.len();
            let smaller = Bitmap::new(size, (1..size as u32).map(Position));
            return Some(smaller.encode("the set U3").unwrap());
        }
        answer
    }

    fn step(&mut self, client: usize, answer: Option<Vec<u8>>) -> Result<Vec<u8>, ProtocolError> {
        let answer = answer.unwrap_or_default();
        let state = std::mem::replace(&mut self.states[client], State::Gone);
        let (next, message) = match state {
            State::Ready(state) => {
                let (next, message) = state.advertise_keys(&mut self.rng)?;
                (State::Advertised(next), message)
            }
            State::Advertised(state) => {
                let mut seed = [0; 32];
                self.rng.fill_bytes(&mut seed);
                let mut splitter = SeededSplitter(ChaCha20Rng::from_seed(seed));
                let (next, message) = state.share_keys(&answer, &mut splitter, &mut self.rng)?;
                (State::Shared(next), message)
            }
            State::Shared(state) => {
                let (next, message) = state.masked_input(&answer, self.inputs[client].clone())?;
                (State::Sent(next), message)
            }
            State::Sent(state) => {
                let (next, message) = state.consistency_check(&answer)?;
                (State::Signed(next), message.unwrap())
            }
            State::Signed(state) => (State::Gone, self.unmask(client, state, &answer)?),
            State::Gone => return Err(ProtocolError::Sharing("the client has left the round")),
        };
        self.states[client] = next;
        Ok(message)
    }

    fn unmask(
        &self,
        client: usize,
        state: SignedStatement,
        answer: &[u8],
    ) -> Result<Vec<u8>, ProtocolError> {
        let bytes = state.unmask(answer)?;
        if self.fault != Some(Fault::CorruptShares(client)) {
            return Ok(bytes);
        }
        let mut message = Signed::<Unmask>::decode(&bytes)?.message;
        for revelation in &mut message.shares {
            let mut share = *revelation.share.share().expose();
            share[5] ^= 1;
            revelation.share = match revelation.share {
                RevealedShare::SelfMask(_) => RevealedShare::SelfMask(Share::from(share)),
                RevealedShare::MaskKey(_) => RevealedShare::MaskKey(Share::from(share)),
            };
        }
        Signed::sign(message, self.params.id(), &self.identities[client])?.encode()
    }

    fn keep_upload(&mut self, message: &[u8]) {
        let (ring, length) = (self.params.ring(), self.params.vector_length());
        let payload = &message[message.len() - ring.packed_length(length)..];
        self.uploads
            .push(RingVector::unpack(ring, length, payload).unwrap());
    }
}
