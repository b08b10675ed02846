//! A client: the library's state machine, the durable journal of the client library, and a record
//! of all that it ever said. A corrupt client is one whose randomness the attacker knows.

use std::sync::Arc;

use chacha20::ChaCha20Rng;
use undertone_protocol::ProtocolError;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::masked_input::DealtToClient;
use undertone_protocol::client::{
    AdvertisedKeys, Participant, SentInput, SharedKeys, SignedStatement,
};
use undertone_protocol::codec;
use undertone_protocol::id::DirectoryDigest;
use undertone_protocol::keys::Secret32;
use undertone_protocol::message::{
    AdvertiseKeys, ConsistencyCheck, MASKED_INPUT_HEADER, ShareKeysBody, Signed, Unmask,
};
use undertone_protocol::params::RoundParams;
use undertone_protocol::shamir::SeededSplitter;
use undertone_protocol::vector::RingVector;

use crate::dice::stream;
use crate::setup::Setup;

enum State {
    Ready(Participant),
    Advertised(AdvertisedKeys),
    Shared(SharedKeys),
    Sent(SentInput),
    Signed(SignedStatement),
    Gone,
}

/// What survives a crash.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    begun: bool,
    signed: bool,
    answered: bool,
}

/// All that a client said, and what it had been shown when it did.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) advertised: Option<Signed<AdvertiseKeys>>,
    pub(crate) shared: Option<ShareKeysBody>,
    /// U2 as it masked against it.
    pub(crate) sharers: Option<Bitmap>,
    pub(crate) upload: Option<RingVector>,
    /// U3 as it accepted it.
    pub(crate) survivors: Option<Bitmap>,
    pub(crate) statements: Vec<ConsistencyCheck>,
    pub(crate) answers: Vec<Unmask>,
    pub(crate) refused: Option<(PhaseName, ProtocolError)>,
}

pub(crate) struct Client {
    pub(crate) index: u32,
    /// Weakened for a test: it forgets its journal with everything else.
    pub(crate) forgetful: bool,
    pub(crate) said: Said,
    seed: u64,
    life: u64,
    params: Arc<RoundParams>,
    rng: ChaCha20Rng,
    state: State,
    journal: Journal,
}

impl Client {
    pub(crate) fn new(setup: &Setup, index: u32) -> Self {
        Self::with_params(setup, index, &setup.params, 0)
    }

    /// `life` tells apart the runs of a corrupt client that takes part more than once.
    pub(crate) fn with_params(
        setup: &Setup,
        index: u32,
        params: &Arc<RoundParams>,
        life: u64,
    ) -> Self {
        Self {
            index,
            forgetful: false,
            said: Said::default(),
            seed: setup.seed,
            life,
            params: params.clone(),
            rng: stream(setup.seed, 1000 + u64::from(index), life),
            state: State::Ready(setup.participant(index, params)),
            journal: Journal::default(),
        }
    }

    /// The seeds of the cipher key and the mask key: the first that the client draws.
    pub(crate) fn secrets(&self) -> [Secret32; 2] {
        let mut rng = stream(self.seed, 1000 + u64::from(self.index), self.life);
        [Secret32::random(&mut rng), Secret32::random(&mut rng)]
    }

    /// Which phase it has its message still to send of; `None` once it has left the round.
    pub(crate) fn phase(&self) -> Option<PhaseName> {
        match self.state {
            State::Ready(_) => Some(PhaseName::AdvertiseKeys),
            State::Advertised(_) => Some(PhaseName::ShareKeys),
            State::Shared(_) => Some(PhaseName::MaskedInput),
            State::Sent(_) => Some(PhaseName::ConsistencyCheck),
            State::Signed(_) => Some(PhaseName::Unmask),
            State::Gone => None,
        }
    }

    /// The directory that it takes part under.
    pub(crate) fn directory(&self) -> Option<DirectoryDigest> {
        Some(self.said.shared.as_ref()?.header.message.directory)
    }

    pub(crate) fn leave(&mut self) {
        self.state = State::Gone;
    }

    /// A crash and a restart: what is not in the journal is lost. A client that finds a round that
    /// it has begun abstains.
    pub(crate) fn restart(&mut self, setup: &Setup) {
        self.state = State::Gone;
        if self.forgetful {
            self.journal = Journal::default();
        }
        if !self.journal.begun {
            self.life += 1;
            self.rng = stream(self.seed, 1000 + u64::from(self.index), self.life);
            self.state = State::Ready(setup.participant(self.index, &self.params));
        }
    }

    /// Takes the aggregator's answer and returns the message to send, if there is one.
    pub(crate) fn step(&mut self, setup: &Setup, answer: &[u8]) -> Option<Vec<u8>> {
        let phase = self.phase()?;
        match self.try_step(setup, answer) {
            Ok(message) => message,
            Err(error) => {
                self.said.refused = Some((phase, error));
                None
            }
        }
    }

    fn try_step(&mut self, setup: &Setup, answer: &[u8]) -> Result<Option<Vec<u8>>, ProtocolError> {
        let state = std::mem::replace(&mut self.state, State::Gone);
        let (next, message) = match state {
            State::Ready(state) => {
                assert!(!std::mem::replace(&mut self.journal.begun, true));
                let (next, bytes) = state.advertise_keys(&mut self.rng)?;
                self.said.advertised = Some(Signed::decode(&bytes)?);
                (State::Advertised(next), bytes)
            }
            State::Advertised(state) => {
                let mut splitter =
                    SeededSplitter(stream(self.seed, 2000 + u64::from(self.index), self.life));
                let (next, bytes) = state.share_keys(answer, &mut splitter, &mut self.rng)?;
                self.said.shared = Some(codec::decode("ShareKeys", &bytes)?);
                (State::Shared(next), bytes)
            }
            State::Shared(state) => {
                let input = setup.inputs[self.index as usize].clone();
                let (next, bytes) = state.masked_input(answer, input)?;
                let dealt: DealtToClient = codec::decode("dealt", answer)?;
                self.said.sharers = Some(dealt.sharers);
                let (ring, length) = (self.params.ring(), self.params.vector_length());
                let vector = RingVector::unpack(ring, length, &bytes[MASKED_INPUT_HEADER..])?;
                self.said.upload = Some(vector);
                (State::Sent(next), bytes)
            }
            State::Sent(state) => {
                let (next, message) = state.consistency_check(answer)?;
                self.said.survivors = Some(codec::decode("U3", answer)?);
                self.state = State::Signed(next);
                if let Some(bytes) = &message {
                    assert!(!std::mem::replace(&mut self.journal.signed, true));
                    let statement = Signed::<ConsistencyCheck>::decode(bytes)?.message;
                    self.said.statements.push(statement);
                }
                return Ok(message);
            }
            State::Signed(state) => {
                let bytes = state.unmask(answer)?;
                assert!(!std::mem::replace(&mut self.journal.answered, true));
                self.said
                    .answers
                    .push(Signed::<Unmask>::decode(&bytes)?.message);
                (State::Gone, bytes)
            }
            State::Gone => return Ok(None),
        };
        self.state = next;
        Ok(Some(message))
    }
}
