//! One honest client, in whichever phase it is.

use undertone_protocol::ProtocolError;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::client::{
    AdvertisedKeys, Participant, SentInput, SharedKeys, SignedStatement,
};
use undertone_protocol::shamir::SeededSplitter;

use crate::world::World;

/// A client and its state.
#[derive(Debug)]
pub struct Player {
    world: &'static World,
    client: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    Ready(Participant),
    Advertised(AdvertisedKeys),
    Shared(SharedKeys),
    Sent(SentInput),
    Signed(SignedStatement),
    Gone,
}

impl Player {
    /// A client at the start of the round.
    pub fn new(world: &'static World, client: usize) -> Self {
        let state = State::Ready(world.participant(client));
        Self {
            world,
            client,
            state,
        }
    }

    /// The client stops.
    pub fn vanish(&mut self) {
        self.state = State::Gone;
    }

    /// Takes the aggregator's answer; returns the message of this phase. `None` if there is none to
    /// send, or if the client has missed an earlier phase.
    pub fn step(
        &mut self,
        phase: PhaseName,
        answer: &[u8],
    ) -> Result<Option<Vec<u8>>, ProtocolError> {
        let mut rng = World::rng(self.client, 0);
        let (state, message) = match (phase, std::mem::replace(&mut self.state, State::Gone)) {
            (PhaseName::AdvertiseKeys, State::Ready(state)) => {
                let (state, bytes) = state.advertise_keys(&mut rng)?;
                (State::Advertised(state), Some(bytes))
            }
            (PhaseName::ShareKeys, State::Advertised(state)) => {
                let mut splitter = SeededSplitter(World::rng(self.client, 1));
                let mut rng = World::rng(self.client, 2);
                let (state, bytes) = state.share_keys(answer, &mut splitter, &mut rng)?;
                (State::Shared(state), Some(bytes))
            }
            (PhaseName::MaskedInput, State::Shared(state)) => {
                let (state, bytes) = state.masked_input(answer, self.world.input(self.client))?;
                (State::Sent(state), Some(bytes))
            }
            (PhaseName::ConsistencyCheck, State::Sent(state)) => {
                let (state, bytes) = state.consistency_check(answer)?;
                (State::Signed(state), bytes)
            }
            (PhaseName::Unmask, State::Signed(state)) => (State::Gone, Some(state.unmask(answer)?)),
            _ => (State::Gone, None),
        };
        self.state = state;
        Ok(message)
    }
}
