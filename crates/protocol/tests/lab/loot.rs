//! All that the aggregator and the corrupt clients have at the end of a round, and what they can
//! compute from it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use undertone_protocol::ProtocolError;
use undertone_protocol::directory::Directory;
use undertone_protocol::id::RosterIndex;
use undertone_protocol::keys::{EphemeralKey, Secret32};
use undertone_protocol::mask;
use undertone_protocol::message::{SecretKind, Share, ShareKeysBody, Unmask};
use undertone_protocol::seal::SealContext;
use undertone_protocol::shamir::combine;
use undertone_protocol::vector::{RingVector, Sign};

use super::corrupt::Corrupt;
use super::play::Plan;
use super::{LENGTH, Lab};

/// All that the attacker has at the end of a round. Clients are named by roster index.
pub(crate) struct Loot {
    pub(crate) corrupt: u32,
    pub(crate) plan: Plan,
    pub(crate) directories: Vec<Directory>,
    pub(super) teams: Vec<Vec<Corrupt>>,
    /// By directory and dealer.
    pub(super) dealt: BTreeMap<(usize, u32), ShareKeysBody>,
    pub(crate) uploads: BTreeMap<u32, RingVector>,
    pub(crate) revealed: Vec<Unmask>,
    /// Why the others did not reveal.
    pub(crate) refused: BTreeMap<u32, ProtocolError>,
}

impl Loot {
    /// Which views had an honest client answer Unmask.
    pub(crate) fn answered(&self) -> BTreeSet<usize> {
        let view = |m: &Unmask| self.plan.shown[&m.sender.0];
        self.revealed.iter().map(view).collect()
    }

    /// The directory that an honest client took part under.
    fn directory_of(&self, client: u32) -> Option<usize> {
        let view = self.plan.shown.get(&client)?;
        Some(self.plan.views[*view].directory)
    }

    /// A dealer's secret, if the attacker has t shares of it: those that honest clients revealed,
    /// and those that corrupt clients open.
    pub(crate) fn secret(&self, lab: &Lab, dealer: u32, kind: SecretKind) -> Option<Secret32> {
        let index = self.directory_of(dealer)?;
        let directory = &self.directories[index];
        let at = |client: u32| directory.position(RosterIndex(client)).ok();
        let place = at(dealer)?;
        let mut shares: BTreeMap<u8, Share> = BTreeMap::new();
        let here = |m: &&Unmask| self.directory_of(m.sender.0) == Some(index);
        for message in self.revealed.iter().filter(here) {
            let slot = directory.graph().slot(place, at(message.sender.0)?);
            for revelation in message.shares.iter().filter(|r| r.dealer == place) {
                if let Some(slot) = slot.filter(|_| revelation.share.kind() == kind) {
                    shares.insert(slot, revelation.share.share().clone());
                }
            }
        }
        for corrupt in &self.teams[index] {
            let holder = &corrupt.entry.message;
            let Some(slot) = directory.graph().slot(place, at(holder.sender.0)?) else {
                continue;
            };
            let from = directory.entry(place).unwrap();
            let context = SealContext {
                round: lab.params.id(),
                directory: directory.digest(),
                dealer: from,
                holder,
            };
            let cipher = EphemeralKey::from_seed(corrupt.cipher.clone());
            let shared = cipher.shared((from.sender, from.cipher_key)).unwrap();
            let dealt = self.delivery(lab, index, (dealer, holder.sender.0))?;
            let pair = context.open(&shared, &dealt.share.sealed).unwrap();
            let share = match kind {
                SecretKind::SelfMask => pair.self_mask,
                SecretKind::MaskKey => pair.mask_key,
            };
            shares.insert(slot, share);
        }
        let t = lab.params.threshold();
        let chosen: Vec<(u8, &Share)> = shares.iter().map(|(slot, s)| (*slot, s)).take(t).collect();
        (chosen.len() == t).then(|| combine(&chosen, t).unwrap())
    }

    /// The input of an honest client, if it comes out by itself.
    pub(crate) fn input_of(&self, lab: &Lab, victim: u32) -> Option<RingVector> {
        let sums = self.sums(lab);
        sums.get(&BTreeSet::from([victim])).cloned()
    }

    /// All that is learned of honest inputs: the sums over the closed components (protocol
    /// specification, 15.4), computed from what the attacker has and from nothing else.
    pub(crate) fn sums(&self, lab: &Lab) -> BTreeMap<BTreeSet<u32>, RingVector> {
        let desk = Desk {
            lab,
            loot: self,
            known: RefCell::default(),
        };
        let open: BTreeMap<u32, RingVector> = self
            .uploads
            .keys()
            .filter_map(|client| Some((*client, desk.without_open_masks(*client)?)))
            .collect();
        let mut left: BTreeSet<u32> = open.keys().copied().collect();
        let mut sums = BTreeMap::new();
        while let Some(first) = left.pop_first() {
            let (mut component, mut queue) = (BTreeSet::from([first]), vec![first]);
            let mut loose = false;
            while let Some(client) = queue.pop() {
                for peer in desk.closed_masks(client) {
                    let joined = open.contains_key(&peer)
                        && self.directory_of(peer) == self.directory_of(client)
                        && desk.closed_masks(peer).contains(&client);
                    loose |= !joined;
                    if joined && component.insert(peer) {
                        queue.push(peer);
                    }
                }
            }
            left.retain(|client| !component.contains(client));
            if !loose {
                let mut sum = RingVector::zeros(lab.params.ring(), LENGTH as usize);
                for client in &component {
                    sum.add(&open[client]).unwrap();
                }
                sums.insert(component, sum);
            }
        }
        sums
    }

    /// That what was learned is right, as sums of the true inputs, and what the theorem allows:
    /// each the sum of all honest clients of a view that clients accepted. Returns how many.
    pub(crate) fn assert_whole_sums_only(&self, lab: &Lab, case: &str) -> usize {
        let sums = self.sums(lab);
        for (clients, sum) in &sums {
            assert_eq!(*sum, plain_sum(lab, clients), "{case}");
            let whole = self.answered().into_iter().any(|view| {
                let survivors = self.plan.views[view].survivors.range(self.corrupt..);
                survivors.eq(clients)
            });
            assert!(whole, "{case}: the sum over {clients:?} came out");
            let least = lab.params.min_survivors() - self.corrupt as usize;
            assert!(clients.len() >= least, "{case}: {clients:?}");
        }
        sums.len()
    }
}

/// A client's neighbours under a directory.
pub(super) fn neighbours(
    directory: &Directory,
    client: u32,
) -> impl Iterator<Item = u32> + use<'_> {
    let at = directory.position(RosterIndex(client)).unwrap();
    let around = directory.graph().neighbours(at).into_iter();
    around.map(|at| directory.entry(at).unwrap().sender.0)
}

pub(crate) fn plain_sum(lab: &Lab, clients: &BTreeSet<u32>) -> RingVector {
    let mut sum = RingVector::zeros(lab.params.ring(), LENGTH as usize);
    for client in clients {
        sum.add(&Lab::input(*client)).unwrap();
    }
    sum
}

/// The attacker's desk: secrets that it worked out are kept.
struct Desk<'a> {
    lab: &'a Lab,
    loot: &'a Loot,
    known: RefCell<BTreeMap<(u32, SecretKind), Option<Secret32>>>,
}

impl Desk<'_> {
    fn secret(&self, client: u32, kind: SecretKind) -> Option<Secret32> {
        let find = || self.loot.secret(self.lab, client, kind);
        let mut known = self.known.borrow_mut();
        known.entry((client, kind)).or_insert_with(find).clone()
    }

    /// The seed of a mask key, as it is used in a directory.
    fn mask_key(&self, directory: usize, client: u32) -> Option<EphemeralKey> {
        let team = &self.loot.teams[directory];
        let seed = match team.iter().find(|c| c.entry.message.sender.0 == client) {
            Some(corrupt) => Some(corrupt.mask.clone()),
            None => self.secret(client, SecretKind::MaskKey),
        };
        seed.map(EphemeralKey::from_seed)
    }

    /// The peers whose pairwise masks a client used.
    fn used(&self, client: u32) -> Vec<u32> {
        let sets = &self.loot.plan.views[self.loot.plan.shown[&client]];
        let directory = &self.loot.directories[sets.directory];
        let around = neighbours(directory, client);
        around.filter(|v| sets.sharers.contains(v)).collect()
    }

    /// Those of them whose masks stay secret.
    fn closed_masks(&self, client: u32) -> Vec<u32> {
        let directory = self.loot.directory_of(client).unwrap();
        let closed = |v: &u32| {
            self.mask_key(directory, client).is_none() && self.mask_key(directory, *v).is_none()
        };
        self.used(client).into_iter().filter(closed).collect()
    }

    /// A client's upload without its self mask and without the pairwise masks that are known;
    /// `None` if the self mask is not.
    fn without_open_masks(&self, client: u32) -> Option<RingVector> {
        let round = self.lab.params.id();
        let mut vector = self.loot.uploads[&client].clone();
        let seed = self.secret(client, SecretKind::SelfMask)?;
        vector.mask(&[(mask::self_mask_key(&seed, round), Sign::Minus)]);
        let index = self.loot.directory_of(client)?;
        let directory = &self.loot.directories[index];
        let entry = |c: u32| {
            let at = directory.position(RosterIndex(c)).unwrap();
            directory.entry(at).unwrap()
        };
        for peer in self.used(client) {
            let (key, far) = match (self.mask_key(index, client), self.mask_key(index, peer)) {
                (Some(own), _) => ((entry(client), own), entry(peer)),
                (None, Some(theirs)) => ((entry(peer), theirs), entry(client)),
                (None, None) => continue,
            };
            let key = mask::pairwise_mask_key((key.0, &key.1), far, round, directory.digest());
            let sign = if client < peer {
                Sign::Minus
            } else {
                Sign::Plus
            };
            vector.mask(&[(key.unwrap(), sign)]);
        }
        Some(vector)
    }
}
