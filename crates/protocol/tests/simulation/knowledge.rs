//! What the aggregator and the corrupt clients can compute together, from the bytes that they saw.
//!
//! Every share that was revealed or that a corrupt client holds is collected; where there are t of
//! a secret it is recovered and checked against its commitment. Call a mask open if the attacker
//! can compute it. A client whose self mask is open is worth looking at; two such clients belong
//! together if both used a pairwise mask of theirs that is not open; a client with a mask that
//! is not open and does not cancel like that is out of reach, and all that belong with it. What is
//! left are the components whose sum the attacker has, and nothing else (specification, section
//! 15.4). The sums are computed, and must be the plain sums.

use std::collections::{BTreeMap, BTreeSet};

use undertone_protocol::directory::Directory;
use undertone_protocol::id::{Position, RosterIndex};
use undertone_protocol::keys::{EphemeralKey, EphemeralPublicKey, Secret32};
use undertone_protocol::mask;
use undertone_protocol::message::{SecretKind, Share, ShareKeysBody};
use undertone_protocol::seal::SealContext;
use undertone_protocol::shamir::combine;
use undertone_protocol::transcript::seed_commitment;
use undertone_protocol::vector::{RingVector, Sign};

use crate::client::Client;
use crate::setup::Setup;

/// Everything that happened in a round.
pub(crate) struct Evidence<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) directories: &'a [Directory],
    pub(crate) honest: Vec<&'a Client>,
    /// Corrupt clients, in every life they led.
    pub(crate) corrupt: Vec<&'a Client>,
}

/// A sum that the attacker has.
#[derive(Debug, Clone)]
pub(crate) struct Sum {
    /// Under which directory.
    pub(crate) directory: usize,
    /// Whose inputs it is the sum of: honest clients, by roster index.
    pub(crate) clients: BTreeSet<u32>,
}

/// What the attacker has at the end.
pub(crate) struct Learned {
    /// Honest clients of whom both secrets are known.
    pub(crate) both: Vec<u32>,
    pub(crate) sums: Vec<Sum>,
}

/// An honest client that sent its masked input.
struct Sender<'a> {
    client: &'a Client,
    directory: &'a Directory,
    at: usize,
    position: Position,
}

struct Attacker<'a> {
    evidence: &'a Evidence<'a>,
    /// Cipher and mask keys by their public halves: of corrupt clients, and mask keys recovered.
    keys: BTreeMap<EphemeralPublicKey, Secret32>,
    /// Self-mask seeds of honest clients.
    seeds: BTreeMap<u32, Secret32>,
}

impl Evidence<'_> {
    pub(crate) fn directory_of(&self, client: &Client) -> Option<(usize, &Directory)> {
        let digest = client.directory()?;
        let mut all = self.directories.iter().enumerate();
        all.find(|(_, directory)| directory.digest() == digest)
    }

    /// Computes what the attacker can know.
    pub(crate) fn learn(&self) -> Learned {
        let keys = self.corrupt.iter().flat_map(|client| client.secrets());
        let mut attacker = Attacker {
            evidence: self,
            keys: keys
                .map(|seed| (EphemeralKey::from_seed(seed.clone()).public(), seed))
                .collect(),
            seeds: BTreeMap::new(),
        };
        let both = attacker.recover();
        Learned {
            both,
            sums: attacker.sums(),
        }
    }
}

impl Attacker<'_> {
    /// Recovers what can be recovered of honest clients; returns those who lost both secrets.
    fn recover(&mut self) -> Vec<u32> {
        let (mut both, setup) = (Vec::new(), self.evidence.setup);
        for client in &self.evidence.honest {
            let Some((_, directory)) = self.evidence.directory_of(client) else {
                continue;
            };
            let (entry, dealt) = (&client.said.advertised, &client.said.shared);
            let (Some(entry), Some(dealt)) = (entry, dealt) else {
                continue;
            };
            let seed = self.secret(directory, dealt, SecretKind::SelfMask);
            let key = self.secret(directory, dealt, SecretKind::MaskKey);
            if seed.is_some() && key.is_some() {
                both.push(client.index);
            }
            if let Some(seed) = seed {
                let commitment = seed_commitment(&seed, setup.round(), RosterIndex(client.index));
                assert_eq!(commitment, dealt.header.message.seed_commitment);
                self.seeds.insert(client.index, seed);
            }
            if let Some(seed) = key {
                let public = EphemeralKey::from_seed(seed.clone()).public();
                assert_eq!(public, entry.message.mask_key);
                self.keys.insert(public, seed);
            }
        }
        both
    }

    /// One secret of an honest dealer, from t shares of it.
    fn secret(
        &self,
        directory: &Directory,
        dealt: &ShareKeysBody,
        kind: SecretKind,
    ) -> Option<Secret32> {
        let (setup, graph) = (self.evidence.setup, directory.graph());
        let client = dealt.header.message.sender;
        let dealer = directory.position(client).ok()?;
        let holders = graph.neighbours(dealer).into_iter().chain([dealer]);
        let mut shares: Vec<(u8, Share)> = Vec::new();
        let dealing = &dealt.dealing;
        let commitments = dealing.shares.iter().map(|s| &s.commitments);
        for (holder, committed) in holders.zip(commitments.chain(&dealing.own)) {
            let slot = graph.slot(dealer, holder).unwrap();
            let committed = match kind {
                SecretKind::SelfMask => committed.self_mask,
                SecretKind::MaskKey => committed.mask_key,
            };
            let held = self.held(directory, dealt, (dealer, holder), kind);
            let good =
                |share: &Share| share.commitment(kind, setup.round(), client, slot) == committed;
            shares.extend(held.into_iter().find(good).map(|share| (slot, share)));
        }
        let needed = setup.params.threshold();
        let chosen: Vec<_> = shares.iter().take(needed).map(|(s, x)| (*s, x)).collect();
        (chosen.len() == needed).then(|| combine(&chosen, needed).unwrap())
    }

    /// What one holder's share may be: it revealed it, or it is corrupt and opens it.
    fn held(
        &self,
        directory: &Directory,
        dealt: &ShareKeysBody,
        (dealer, holder): (Position, Position),
        kind: SecretKind,
    ) -> Vec<Share> {
        let entry = directory.entry(holder).unwrap();
        if let Some(cipher) = self.keys.get(&entry.cipher_key) {
            let from = directory.entry(dealer).unwrap();
            let context = SealContext {
                round: self.evidence.setup.round(),
                directory: directory.digest(),
                dealer: from,
                holder: entry,
            };
            let slot = directory.graph().slot(dealer, holder).unwrap();
            let sealed = &dealt.dealing.shares[usize::from(slot)].sealed;
            let own = EphemeralKey::from_seed(cipher.clone());
            let shared = own.shared((from.sender, from.cipher_key)).unwrap();
            let pair = context.open(&shared, sealed).unwrap();
            return vec![match kind {
                SecretKind::SelfMask => pair.self_mask,
                SecretKind::MaskKey => pair.mask_key,
            }];
        }
        let honest = self.evidence.honest.iter();
        honest
            .filter(|c| c.index == entry.sender.0 && c.directory() == Some(directory.digest()))
            .flat_map(|c| &c.said.answers)
            .flat_map(|answer| &answer.shares)
            .filter(|r| r.dealer == dealer && r.share.kind() == kind)
            .map(|r| r.share.share().clone())
            .collect()
    }

    fn sums(&self) -> Vec<Sum> {
        let senders: BTreeMap<u32, Sender<'_>> = self
            .evidence
            .honest
            .iter()
            .filter(|c| c.said.upload.is_some() && self.seeds.contains_key(&c.index))
            .filter_map(|client| {
                let (at, directory) = self.evidence.directory_of(client)?;
                let position = directory.position(RosterIndex(client.index)).ok()?;
                let sender = Sender {
                    client,
                    directory,
                    at,
                    position,
                };
                Some((client.index, sender))
            })
            .collect();
        let mut parts: Vec<(BTreeSet<u32>, bool)> = Vec::new();
        for sender in senders.values() {
            let mut part = BTreeSet::from([sender.client.index]);
            let mut loose = false;
            for peer in sender.peers().filter(|p| !self.open(sender, *p)) {
                match sender.returned(peer, &senders) {
                    Some(other) => drop(part.insert(other)),
                    None => loose = true,
                }
            }
            parts.retain(|(other, other_loose)| {
                let joined = !other.is_disjoint(&part);
                if joined {
                    part.extend(other);
                    loose |= *other_loose;
                }
                !joined
            });
            parts.push((part, loose));
        }
        let closed = parts.into_iter().filter(|(_, loose)| !loose);
        closed.map(|(part, _)| self.sum(&senders, part)).collect()
    }

    /// Whether the attacker can compute the pairwise mask of a sender and a peer.
    fn open(&self, sender: &Sender<'_>, peer: Position) -> bool {
        let entry = |at| sender.directory.entry(at).unwrap();
        [sender.position, peer]
            .into_iter()
            .any(|at| self.keys.contains_key(&entry(at).mask_key))
    }

    /// Takes every open mask off the sum of these uploads: what is left is the plain sum, or the
    /// reasoning here is wrong.
    fn sum(&self, senders: &BTreeMap<u32, Sender<'_>>, clients: BTreeSet<u32>) -> Sum {
        let setup = self.evidence.setup;
        let (ring, length) = (setup.params.ring(), setup.params.vector_length());
        let mut value = RingVector::zeros(ring, length);
        let mut at = 0;
        for client in &clients {
            let sender = &senders[client];
            at = sender.at;
            value
                .add(sender.client.said.upload.as_ref().unwrap())
                .unwrap();
            let seed = mask::self_mask_key(&self.seeds[client], setup.round());
            value.mask(&[(seed, Sign::Minus)]);
            for peer in sender.peers().filter(|p| self.open(sender, *p)) {
                let sign = if sender.position < peer {
                    Sign::Minus
                } else {
                    Sign::Plus
                };
                value.mask(&[(self.pairwise(sender, peer), sign)]);
            }
        }
        let plain = setup.plain_sum(clients.iter().copied());
        assert_eq!(value, plain, "the attacker's sum over {clients:?}");
        Sum {
            directory: at,
            clients,
        }
    }

    fn pairwise(&self, sender: &Sender<'_>, peer: Position) -> Secret32 {
        let directory = sender.directory;
        let [own, peer] = [sender.position, peer].map(|at| directory.entry(at).unwrap());
        let (known, other) = if self.keys.contains_key(&own.mask_key) {
            (own, peer)
        } else {
            (peer, own)
        };
        let key = EphemeralKey::from_seed(self.keys[&known.mask_key].clone());
        let round = self.evidence.setup.round();
        mask::pairwise_mask_key((known, &key), other, round, directory.digest()).unwrap()
    }
}

impl Sender<'_> {
    /// With whom it used a pairwise mask.
    fn peers(&self) -> impl Iterator<Item = Position> {
        let sharers = self.client.said.sharers.as_ref().unwrap();
        let around = self.directory.graph().neighbours(self.position).into_iter();
        around.filter(|peer| sharers.contains(*peer))
    }

    /// The client at the other end of a mask that is not open, if it used the mask too and its
    /// self mask is open.
    fn returned(&self, peer: Position, senders: &BTreeMap<u32, Sender<'_>>) -> Option<u32> {
        let other = senders.get(&self.directory.entry(peer).unwrap().sender.0)?;
        let used =
            other.at == self.at && other.client.said.sharers.as_ref()?.contains(self.position);
        used.then_some(other.client.index)
    }
}
