//! What must hold after a round with an honest aggregator: the sum is exact, or the round failed
//! because of faults that are there.

use std::collections::BTreeSet;

use undertone_protocol::aggregator::{Aggregate, PhaseName};
use undertone_protocol::directory::Directory;
use undertone_protocol::id::RosterIndex;
use undertone_protocol::threshold::Shape;
use undertone_protocol::vector::RingVector;
use undertone_protocol::{ProtocolError, RoundFailure};

use crate::honest::Round;
use crate::invariants::{self, Broken};
use crate::knowledge::Evidence;
use crate::mischief::Mischief;
use crate::network::{DELAY, RETRY};
use crate::setup::numbers;

/// Checks all invariants after a round with an honest aggregator.
pub(crate) fn check(round: &Round, result: &Result<Aggregate, RoundFailure>) -> Broken {
    let justice = Justice {
        round,
        directory: round.service.directory(),
    };
    let (corrupt, honest): (Vec<_>, Vec<_>) = round
        .processes
        .iter()
        .partition(|process| process.mischief.is_some());
    let evidence = Evidence {
        setup: &round.setup,
        directories: justice.directory.as_slice(),
        honest: honest.into_iter().map(|p| &p.client).collect(),
        corrupt: corrupt.into_iter().map(|p| &p.client).collect(),
    };
    let (learned, mut broken) = invariants::check(&evidence);
    broken.extend(justice.unjustified_refusals());
    broken.extend(justice.left_out());
    let what = match result {
        Ok(aggregate) => {
            if learned.sums.len() != 1 {
                broken.push(format!(
                    "a sum is published, the attacker has {:?}",
                    learned.sums
                ));
            }
            justice.wrong_sum(aggregate)
        }
        Err(failure) => justice.unjustified(failure),
    };
    broken.extend(what);
    broken
}

struct Justice<'a> {
    round: &'a Round,
    /// The directory, if the round got that far.
    directory: Option<Directory>,
}

impl Justice<'_> {
    /// A client that ran all the time and lost few messages must be counted in a phase.
    fn reliable(&self, client: u32, upto: PhaseName) -> bool {
        let process = &self.round.processes[client as usize];
        let in_time = |phase: usize| {
            let tries = (process.losses[phase] + 1) * RETRY + 9 * DELAY + self.round.down[phase];
            tries < u64::from(self.round.setup.params.deadlines.unmask)
        };
        let listed = upto == PhaseName::AdvertiseKeys
            || self
                .directory
                .as_ref()
                .is_none_or(|d| d.position(RosterIndex(client)).is_ok());
        listed
            && !process.excused
            && process.client.said.refused.is_none()
            && (0..=upto as usize).all(in_time)
    }

    /// How many must have been counted when a phase closed. A client that copied a key fills two
    /// places of the directory, its own and its victim's, until the phase closes.
    fn reliable_count(&self, upto: PhaseName) -> usize {
        let all = 0..self.round.setup.members();
        let mut most = self.round.setup.params.rule.max_clients as usize;
        let copied = |client: u32| self.mischief(RosterIndex(client)) == Some(Mischief::CopiedKey);
        let copies = all.clone().filter(|client| copied(*client)).count();
        most = most.saturating_sub(2 * copies);
        let reliable = all.filter(|client| self.reliable(*client, upto));
        reliable.count().min(most)
    }

    /// Clients are missing in the directory although there was room.
    fn left_out(&self) -> Option<String> {
        let (found, expected) = (
            self.directory.as_ref()?.len(),
            self.reliable_count(PhaseName::AdvertiseKeys),
        );
        (found < expected).then(|| format!("{found} of {expected} clients are in the directory"))
    }

    fn wrong_sum(&self, aggregate: &Aggregate) -> Option<String> {
        let clients = numbers(&aggregate.clients);
        let plain = self.sum_sent(&clients);
        let missing: Vec<u32> = (0..self.round.setup.members())
            .filter(|c| self.reliable(*c, PhaseName::MaskedInput) && !clients.contains(c))
            .collect();
        let honest_set_aside = aggregate
            .set_aside
            .iter()
            .any(|s| !self.is_corrupt(s.holder));
        if aggregate.sum != plain {
            Some(format!("the sum over {clients:?} is wrong"))
        } else if !missing.is_empty() {
            Some(format!("{missing:?} are missing in the sum"))
        } else if honest_set_aside {
            Some(format!(
                "honest holders are blamed: {:?}",
                aggregate.set_aside
            ))
        } else {
            None
        }
    }

    /// The plain sum of the inputs that were sent: a corrupt client may have sent another than it
    /// had, under the same masks.
    fn sum_sent(&self, clients: &[u32]) -> RingVector {
        let mut sum = self.round.setup.plain_sum(clients.iter().copied());
        for client in clients
            .iter()
            .filter(|c| self.round.setup.corrupt.contains(c))
        {
            let sent = self.round.service.upload(*client).unwrap();
            let had = self.round.processes[*client as usize]
                .client
                .said
                .upload
                .as_ref();
            let minus: Vec<u64> = had.unwrap().elements().map(u64::wrapping_neg).collect();
            sum.add(&sent).unwrap();
            sum.add(&RingVector::from_elements(sum.ring(), &minus))
                .unwrap();
        }
        sum
    }

    fn is_corrupt(&self, client: RosterIndex) -> bool {
        self.round.setup.corrupt.contains(&client.0)
    }

    fn mischief(&self, client: RosterIndex) -> Option<Mischief> {
        self.round.processes[client.0 as usize].mischief
    }

    /// Whether a failure has no cause in the faults of the round.
    fn unjustified(&self, failure: &RoundFailure) -> Option<String> {
        let bad_dealer = |client| self.mischief(client).is_some_and(Mischief::deals_badly);
        let just = match failure {
            RoundFailure::TooFewClients {
                phase,
                needed,
                found,
            } => {
                let phase = PhaseName::ALL
                    .into_iter()
                    .find(|name| named(*name) == *phase)
                    .unwrap();
                let expected = match (phase, &self.directory) {
                    (PhaseName::ConsistencyCheck, Some(directory)) => {
                        let all = 0..self.round.setup.members();
                        let witness = |client: &u32| {
                            let position = directory.position(RosterIndex(*client));
                            position.is_ok_and(|p| directory.graph().is_witness(p))
                        };
                        all.filter(witness)
                            .filter(|c| self.reliable(*c, phase))
                            .count()
                    }
                    _ => self.reliable_count(phase),
                };
                found < needed && expected <= *found
            }
            RoundFailure::BelowThreshold {
                client,
                needed,
                found,
                dealt_badly,
            } => {
                let directory = self.directory.as_ref().unwrap();
                let dealer = directory.position(*client).unwrap();
                let holders: BTreeSet<u32> = directory
                    .graph()
                    .neighbours(dealer)
                    .into_iter()
                    .map(|holder| directory.entry(holder).unwrap().sender.0)
                    .collect();
                let answering = holders
                    .iter()
                    .filter(|h| self.reliable(**h, PhaseName::Unmask));
                let own = usize::from(directory.graph().holder_count() > holders.len())
                    * usize::from(self.reliable(client.0, PhaseName::Unmask));
                found < needed
                    && (bad_dealer(*client) || answering.count() + own < *needed)
                    && (!dealt_badly || bad_dealer(*client))
            }
            RoundFailure::BadDealer { client } => {
                self.mischief(*client) == Some(Mischief::UncombinableShares)
            }
            RoundFailure::Inconsistent(_) => false,
        };
        let culprit = failure
            .culprit()
            .is_none_or(|client| self.is_corrupt(client));
        (!just || !culprit).then(|| format!("without a cause: {failure}"))
    }

    /// What an honest aggregator hands out is refused only on a ring, where too few of a client's
    /// holders are left.
    fn unjustified_refusals(&self) -> Vec<String> {
        let ring = self.round.setup.params.shape() == Shape::Ring;
        let mut broken = Vec::new();
        for process in self.round.processes.iter().filter(|p| p.mischief.is_none()) {
            let Some((phase, error)) = &process.client.said.refused else {
                continue;
            };
            let alone = match error {
                ProtocolError::TooFew {
                    what,
                    found,
                    needed,
                } => ring && *what == "holders of this client's shares" && found < needed,
                // It came too late for the directory, or there was no room left.
                ProtocolError::NotInSet { client, .. } => {
                    let directory = self.directory.as_ref();
                    directory.is_some_and(|d| d.position(*client).is_err())
                }
                _ => false,
            };
            if !alone {
                let client = process.client.index;
                broken.push(format!("client {client} refuses in {phase}: {error}"));
            }
        }
        broken
    }
}

fn named(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::AdvertiseKeys => "AdvertiseKeys",
        PhaseName::ShareKeys => "ShareKeys",
        PhaseName::MaskedInput => "MaskedInput",
        PhaseName::ConsistencyCheck => "ConsistencyCheck",
        PhaseName::Unmask => "Unmask",
    }
}
