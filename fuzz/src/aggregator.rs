//! An aggregator in memory that is fed a round of clients some of which misbehave. With no input
//! left every client is honest, so that each phase is within reach.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Arbitrary, Unstructured};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::aggregator::memory::{MemoryAggregator, Receipt};
use undertone_protocol::message::MASKED_INPUT_HEADER;
use undertone_protocol::vector::RingVector;
use undertone_protocol::{ProtocolError, RoundFailure};

use crate::edit::{self, Edit};
use crate::player::Player;
use crate::world::{DEADLINE, World, index, world};

/// What one client does in one phase.
#[derive(Debug, Arbitrary)]
enum Deviation {
    /// It is gone for good.
    Vanish,
    /// It sends its message one phase late.
    Late,
    /// It sends its message three times.
    Repeat,
    /// Its message is damaged on the way.
    Damage(Vec<Edit>),
    /// It is corrupt: it changes its message and signs that.
    Insider(Vec<Edit>),
    /// As before, and then it sends the message that it should have sent.
    Both(Vec<Edit>),
    /// It sends a message that was sent before, by anyone.
    Replay(u16),
    /// It sends noise.
    Noise(Vec<u8>),
    /// Time passes before it sends.
    Wait(u8),
}

/// Runs one round.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let setting = input.arbitrary::<u8>().unwrap_or(0);
    let mut round = Round::new(world(setting & 1 == 1), setting & 2 == 2);
    while let Some(phase) = round.aggregator.phase() {
        for bytes in std::mem::take(&mut round.late) {
            round.send(&bytes);
        }
        for client in 0..round.world.members() {
            // A zero, which is all there is when the input has run out, is an honest client.
            let deviates = input.arbitrary::<u8>().unwrap_or(0) % 4 == 1;
            let deviation = deviates.then(|| input.arbitrary::<Deviation>().ok());
            round.act(phase, client, deviation.flatten());
        }
        round.close(phase);
    }
    round.judge();
}

struct Round {
    world: &'static World,
    aggregator: MemoryAggregator,
    now: u64,
    players: Vec<Player>,
    /// What was signed by the holder of a key, with the phase and the signer.
    genuine: BTreeMap<Vec<u8>, (PhaseName, usize)>,
    /// Everything that was sent.
    sent: Vec<Vec<u8>>,
    late: Vec<Vec<u8>>,
    /// What was accepted first, of each client in each phase.
    accepted: BTreeMap<(PhaseName, usize), Vec<u8>>,
    /// What each client's own input became by its changes to its masked vector.
    inputs: BTreeMap<usize, RingVector>,
    /// Who signed another message than it should have, and was accepted.
    insiders: BTreeSet<usize>,
    deviated: bool,
}

impl Round {
    fn new(world: &'static World, late_epoch: bool) -> Self {
        let now = if late_epoch { u64::MAX - 25 } else { 0 };
        let players = (0..world.members())
            .map(|c| Player::new(world, c))
            .collect();
        Self {
            world,
            aggregator: MemoryAggregator::new(world.context(), world.members(), now),
            now,
            players,
            genuine: BTreeMap::new(),
            sent: Vec::new(),
            late: Vec::new(),
            accepted: BTreeMap::new(),
            inputs: BTreeMap::new(),
            insiders: BTreeSet::new(),
            deviated: false,
        }
    }

    fn act(&mut self, phase: PhaseName, client: usize, deviation: Option<Deviation>) {
        if self.aggregator.phase() != Some(phase) {
            return;
        }
        self.deviated |= deviation.is_some();
        if matches!(deviation, Some(Deviation::Vanish)) {
            self.players[client].vanish();
        }
        let Some(honest) = self.next_message(phase, client) else {
            return;
        };
        self.genuine.insert(honest.clone(), (phase, client));
        match deviation {
            None | Some(Deviation::Vanish) => self.send(&honest),
            Some(Deviation::Late) => self.late.push(honest),
            Some(Deviation::Repeat) => (0..3).for_each(|_| self.send(&honest)),
            Some(Deviation::Damage(edits)) => {
                let mut bytes = honest;
                edit::apply(&mut bytes, &edits);
                self.send(&bytes);
            }
            Some(Deviation::Insider(edits)) => self.send_changed(phase, client, &honest, &edits),
            Some(Deviation::Both(edits)) => {
                self.send_changed(phase, client, &honest, &edits);
                self.send(&honest);
            }
            Some(Deviation::Replay(which)) => {
                let which = usize::from(which).checked_rem(self.sent.len());
                if let Some(bytes) = which.map(|at| self.sent[at].clone()) {
                    self.send(&bytes);
                }
            }
            Some(Deviation::Noise(bytes)) => self.send(&bytes),
            Some(Deviation::Wait(time)) => {
                self.now = self.now.saturating_add(u64::from(time) % DEADLINE);
                self.aggregator.advance(self.now);
                self.late.push(honest);
            }
        }
    }

    /// What an honest client says now. It never finds fault with this aggregator, which is honest:
    /// it only ever misses other clients.
    fn next_message(&mut self, phase: PhaseName, client: usize) -> Option<Vec<u8>> {
        let answer = self.aggregator.answer(index(client));
        if let Err(error) = &answer {
            assert!(matches!(error, ProtocolError::NotInSet { .. }), "{error}");
        }
        let answer = answer.ok()?.unwrap_or_default();
        match self.players[client].step(phase, &answer) {
            Ok(message) => message,
            Err(error) => {
                let missing = matches!(
                    error,
                    ProtocolError::TooFew { .. } | ProtocolError::NotInSet { .. }
                );
                assert!(
                    missing || self.insiders.contains(&client),
                    "{phase}: {error}"
                );
                None
            }
        }
    }

    fn send_changed(&mut self, phase: PhaseName, client: usize, honest: &[u8], edits: &[Edit]) {
        let (round, key) = (self.world.params.id(), &self.world.identities[client]);
        let Some(bytes) = edit::insider(phase, honest, edits, round, key) else {
            return;
        };
        self.genuine.insert(bytes.clone(), (phase, client));
        let fresh = !self.accepted.contains_key(&(phase, client));
        self.send(&bytes);
        if fresh && bytes != honest && self.accepted.get(&(phase, client)) == Some(&bytes) {
            self.insiders.insert(client);
            if phase == PhaseName::MaskedInput {
                self.shift_input(client, honest, &bytes);
            }
        }
    }

    /// A corrupt client chose another input: the difference between the two masked vectors.
    fn shift_input(&mut self, client: usize, honest: &[u8], changed: &[u8]) {
        let params = &self.world.params;
        let vector = |body: &[u8]| {
            let packed = &body[MASKED_INPUT_HEADER..];
            RingVector::unpack(params.ring(), params.vector_length(), packed).expect("accepted")
        };
        let (old, new) = (vector(honest), vector(changed));
        let input = self.world.input(client);
        let shifted: Vec<u64> = input
            .elements()
            .zip(old.elements().zip(new.elements()))
            .map(|(input, (old, new))| input.wrapping_add(new).wrapping_sub(old))
            .collect();
        let shifted = RingVector::from_elements(params.ring(), &shifted);
        self.inputs.insert(client, shifted);
    }

    /// Sends bytes and checks the receipt.
    fn send(&mut self, bytes: &[u8]) {
        self.sent.push(bytes.to_vec());
        let phase = self.aggregator.phase();
        let first = self.aggregator.receive(bytes);
        // Signatures cost: what was refused is not often sent again.
        let again = first.is_ok() || bytes.len() % 4 == 0;
        let second = if again {
            self.aggregator.receive(bytes)
        } else {
            first.clone()
        };
        assert_eq!(self.aggregator.phase(), phase, "a message closes no phase");
        let receipt = match &first {
            Err(_) => return assert_eq!(first, second, "a refusal changes nothing"),
            Ok(receipt) => *receipt,
        };
        let phase = phase.expect("a finished round accepts nothing");
        let (signed_for, signer) = *self.genuine.get(bytes).expect("a forgery is accepted");
        let sender = u32::from_be_bytes(*bytes.first_chunk().expect("a message"));
        assert_eq!(
            (signed_for, signer),
            (phase, sender as usize),
            "accepted out of place"
        );
        let earlier = self.accepted.get(&(phase, signer));
        match (receipt, earlier) {
            (Receipt::Accepted, None) => {
                self.accepted.insert((phase, signer), bytes.to_vec());
                assert_eq!(second, Ok(Receipt::Repeated));
            }
            (Receipt::Repeated, Some(earlier)) => {
                assert_eq!(earlier, bytes);
                assert_eq!(second, Ok(Receipt::Repeated));
            }
            (Receipt::Conflict, Some(earlier)) => {
                assert_ne!(earlier, bytes);
                assert_eq!(second, Ok(Receipt::Conflict));
            }
            (receipt, earlier) => panic!("{receipt:?} after {earlier:?}"),
        }
    }

    fn close(&mut self, phase: PhaseName) {
        if self.aggregator.phase() != Some(phase) {
            return;
        }
        self.now = self.now.saturating_add(DEADLINE);
        assert!(self.aggregator.advance(self.now), "the deadline has passed");
        let next = PhaseName::ALL.into_iter().find(|next| *next > phase);
        let now = self.aggregator.phase();
        assert!(now.is_none() || now == next, "{phase} to {now:?}");
    }

    fn judge(&self) {
        match self.aggregator.result().expect("the round is over") {
            Ok(aggregate) => {
                let clients: Vec<usize> = aggregate.clients.iter().map(|c| c.0 as usize).collect();
                let summed = |c: &usize| self.accepted.contains_key(&(PhaseName::MaskedInput, *c));
                assert!(
                    (0..self.world.members())
                        .filter(summed)
                        .eq(clients.iter().copied())
                );
                let params = &self.world.params;
                assert!(clients.len() >= params.min_survivors());
                let mut sum = RingVector::zeros(params.ring(), params.vector_length());
                for client in clients {
                    let input = self.inputs.get(&client).cloned();
                    let input = input.unwrap_or_else(|| self.world.input(client));
                    sum.add(&input).expect("of one length");
                }
                assert!(aggregate.sum == sum, "the sum is not exact");
                for fault in &aggregate.set_aside {
                    let holder = fault.holder.0 as usize;
                    assert!(self.insiders.contains(&holder), "{holder} is blamed");
                }
            }
            Err(failure) => {
                assert!(self.deviated, "{failure} though nobody deviated");
                let inconsistent = matches!(failure, RoundFailure::Inconsistent(_));
                assert!(!inconsistent, "{failure}");
                let Some(culprit) = failure.culprit() else {
                    return;
                };
                // Beyond c corrupt clients, holders together can make a dealer look bad.
                let bounded = self.insiders.len() <= self.world.params.rule.corrupt as usize;
                let proof = matches!(failure, RoundFailure::BadDealer { .. });
                let honest = !self.insiders.contains(&(culprit.0 as usize));
                assert!(!(honest && (bounded || proof)), "{failure}: it is honest");
            }
        }
    }
}
