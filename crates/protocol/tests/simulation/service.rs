//! The honest aggregator as a service: it stores what it accepted before it acknowledges, and a
//! restart rebuilds its state from that.

use std::collections::BTreeMap;

use undertone_protocol::RoundFailure;
use undertone_protocol::aggregator::memory::{MemoryAggregator, Receipt};
use undertone_protocol::aggregator::{AdvertiseKeysPhase, Aggregate, PhaseName, RoundContext};
use undertone_protocol::directory::Directory;
use undertone_protocol::id::RosterIndex;
use undertone_protocol::message::{MASKED_INPUT_HEADER, Signed};
use undertone_protocol::vector::RingVector;

use crate::network::{Reply, Verdict};
use crate::setup::Setup;

/// What is stored, in order.
enum Stored {
    Message(Vec<u8>),
    /// A phase closed at this time.
    Closed(u64),
}

pub(crate) struct Service {
    context: RoundContext,
    cohort: usize,
    aggregator: MemoryAggregator,
    log: Vec<Stored>,
    accepted: BTreeMap<(PhaseName, u32), Vec<u8>>,
    /// The set U3, which is handed out until the round ends: on a ring, ConsistencyCheck closes
    /// when the witnesses have signed, and the others may not have asked for it by then.
    survivors: Option<Vec<u8>>,
    pub(crate) up: bool,
}

impl Service {
    pub(crate) fn new(setup: &Setup) -> Self {
        let context = RoundContext::new(setup.params.clone(), setup.roster.clone()).unwrap();
        let cohort = setup.params.rule.max_clients as usize;
        Self {
            aggregator: MemoryAggregator::new(context.clone(), cohort, 0),
            context,
            cohort,
            log: Vec::new(),
            accepted: BTreeMap::new(),
            survivors: None,
            up: true,
        }
    }

    pub(crate) fn phase(&self) -> Option<PhaseName> {
        self.aggregator.phase()
    }

    pub(crate) fn result(&self) -> Option<&Result<Aggregate, RoundFailure>> {
        self.aggregator.result()
    }

    /// Takes a message. `Stored` means that it is on disk.
    pub(crate) fn put(&mut self, client: u32, phase: PhaseName, bytes: &[u8]) -> Verdict {
        let earlier = self.accepted.get(&(phase, client));
        if self.phase() != Some(phase) {
            return if earlier.is_some_and(|earlier| earlier == bytes) {
                Verdict::Stored
            } else {
                Verdict::Closed
            };
        }
        let earlier = earlier.cloned();
        match self.aggregator.receive(bytes) {
            Ok(Receipt::Accepted) => {
                assert_eq!(earlier, None);
                self.log.push(Stored::Message(bytes.to_vec()));
                self.accepted.insert((phase, client), bytes.to_vec());
                Verdict::Stored
            }
            Ok(Receipt::Repeated) => Verdict::Stored,
            Ok(Receipt::Conflict) | Err(_) => Verdict::Refused,
        }
    }

    pub(crate) fn get(&self, client: u32, phase: PhaseName) -> Reply {
        match self.phase() {
            Some(open) if open < phase => Reply::Early,
            Some(open) if open == phase => match self.aggregator.answer(RosterIndex(client)) {
                Ok(Some(body)) => Reply::Body(body),
                _ => Reply::Gone,
            },
            Some(PhaseName::Unmask) if phase == PhaseName::ConsistencyCheck => {
                self.survivors.clone().map_or(Reply::Gone, Reply::Body)
            }
            _ => Reply::Gone,
        }
    }

    /// Closes the phase if it is time. Returns whether it did.
    pub(crate) fn advance(&mut self, now: u64) -> bool {
        let closed = self.aggregator.advance(now);
        if closed {
            if self.phase() == Some(PhaseName::ConsistencyCheck) {
                self.survivors = self.aggregator.answer(RosterIndex(0)).unwrap();
            }
            self.log.push(Stored::Closed(now));
        }
        closed
    }

    /// Everything in memory is lost and comes back from the store, the same as before.
    pub(crate) fn restart(&mut self, setup: &Setup) {
        let mut again = MemoryAggregator::new(self.context.clone(), self.cohort, 0);
        for stored in &self.log {
            match stored {
                Stored::Message(bytes) => assert_eq!(again.receive(bytes), Ok(Receipt::Accepted)),
                Stored::Closed(at) => assert!(again.advance(*at)),
            }
        }
        assert_eq!(again.phase(), self.aggregator.phase());
        for client in (0..setup.members()).map(RosterIndex) {
            assert_eq!(again.answer(client), self.aggregator.answer(client));
        }
        assert_eq!(again.result(), self.aggregator.result());
        self.aggregator = again;
        self.up = true;
    }

    /// The masked vector that was accepted of a client.
    pub(crate) fn upload(&self, client: u32) -> Option<RingVector> {
        let params = self.context.params();
        let bytes = self.accepted.get(&(PhaseName::MaskedInput, client))?;
        let payload = bytes.get(MASKED_INPUT_HEADER..)?;
        RingVector::unpack(params.ring(), params.vector_length(), payload).ok()
    }

    /// The directory, if the round got that far.
    pub(crate) fn directory(&self) -> Option<Directory> {
        let phase = AdvertiseKeysPhase::new(self.context.clone());
        let entries = self
            .accepted
            .iter()
            .filter(|((of, _), _)| *of == PhaseName::AdvertiseKeys)
            .map(|(_, bytes)| Signed::decode(bytes).unwrap())
            .collect();
        Some(phase.close(entries).ok()?.directory().clone())
    }
}
