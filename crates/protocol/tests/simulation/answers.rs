//! The answers that a lying aggregator makes up.

use std::collections::{BTreeMap, BTreeSet};

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::masked_input::DealtToClient;
use undertone_protocol::codec;
use undertone_protocol::id::{Digest, RosterIndex};
use undertone_protocol::message::{AdvertiseKeys, DealtShare, Delivery, Signed};
use undertone_protocol::transcript::View;

use crate::liar::{BadEntry, Liar, Shown, Tricks};
use crate::setup::identity;

/// What a client fetches of the directory, to be changed.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(crate) struct DirectoryWire {
    pub(crate) members: Bitmap,
    pub(crate) entries: Vec<Signed<AdvertiseKeys>>,
    pub(crate) nodes: Vec<Digest>,
}

impl Liar {
    /// A set over a directory; who is not in it is left out.
    pub(crate) fn set(&self, shown: &Shown, members: &BTreeSet<u32>) -> Bitmap {
        let directory = &self.directories[shown.directory];
        let positions = members
            .iter()
            .filter_map(|c| directory.position(RosterIndex(*c)).ok());
        Bitmap::new(directory.len(), positions)
    }

    /// The directory as one client is handed it.
    pub(crate) fn directory_for(&mut self, client: u32, at: usize, tricks: &Tricks) -> Vec<u8> {
        let bytes = self.directories[at]
            .encode_for(RosterIndex(client))
            .unwrap();
        let Some(bad) = tricks.bad_entry.filter(|_| self.dice.percent(50)) else {
            return bytes;
        };
        let mut wire: DirectoryWire = codec::decode("directory", &bytes).unwrap();
        let place = self.dice.below(wire.entries.len());
        let copied = wire.entries[(place + 1) % wire.entries.len()]
            .message
            .mask_key;
        let entry: &mut Signed<AdvertiseKeys> = &mut wire.entries[place];
        let sender = entry.message.sender.0;
        // It can sign for corrupt clients only.
        let signer = if self.setup.corrupt.contains(&sender) {
            sender
        } else {
            self.setup.corrupt.first().copied().unwrap_or(sender)
        };
        let round = match bad {
            BadEntry::LowOrder => {
                entry.message.mask_key = [0; 32].into();
                self.setup.round()
            }
            BadEntry::Copied => {
                entry.message.mask_key = copied;
                self.setup.round()
            }
            BadEntry::Replaced => {
                entry.message.mask_key = self.dice.bytes().into();
                self.setup.round()
            }
            BadEntry::OtherRound => self.setup.other_round().id(),
        };
        let message = entry.message.clone();
        // In another round, honest clients signed for themselves.
        let signer = if bad == BadEntry::OtherRound {
            sender
        } else {
            signer
        };
        *entry = Signed::sign(message, round, identity(signer)).unwrap();
        codec::encode("directory", &wire).unwrap()
    }

    /// U2 and the deliveries for one client. Of a phantom there is the header that it signed under
    /// its own directory.
    pub(crate) fn deliver(&mut self, client: u32, shown: &Shown, tricks: &Tricks) -> Vec<u8> {
        let directory = &self.directories[shown.directory];
        let graph = directory.graph();
        let own = directory.position(RosterIndex(client)).unwrap();
        let mut dealers = graph.neighbours(own);
        dealers.sort_unstable();
        let mut deliveries = Vec::new();
        for dealer in dealers {
            let index = directory.entry(dealer).unwrap().sender.0;
            if !shown.sharers.contains(&index) {
                continue;
            }
            let theirs = self.dealt.get(&(shown.directory, index));
            let mut elsewhere =
                (0..self.directories.len()).filter_map(|at| self.dealt.get(&(at, index)));
            let Some(body) = theirs.or_else(|| elsewhere.next()) else {
                continue;
            };
            let slot = graph.slot(dealer, own).unwrap_or_default();
            let shares = &body.dealing.shares;
            let mut share: DealtShare = shares[usize::from(slot) % shares.len()];
            let mut header = body.header.clone();
            if self.dice.percent(tricks.swap_shares) {
                match self.dice.below(3) {
                    0 => share.sealed.0[11] ^= 1,
                    1 => share.sealed = shares[self.dice.below(shares.len())].sealed,
                    _ => share.commitments = shares[self.dice.below(shares.len())].commitments,
                }
            }
            if tricks.replay && self.dice.percent(15) {
                let round = self.setup.other_round().id();
                header = Signed::sign(header.message, round, identity(index)).unwrap();
            }
            deliveries.push(Delivery { header, share });
        }
        if tricks.miscount && self.dice.percent(40) && !deliveries.is_empty() {
            let place = self.dice.below(deliveries.len());
            let delivery = deliveries.remove(place);
            if self.dice.percent(50) {
                deliveries.push(delivery);
            }
        }
        let dealt = DealtToClient {
            sharers: self.set(shown, &shown.sharers),
            deliveries,
        };
        codec::encode("dealt", &dealt).unwrap()
    }

    /// Corrupt witnesses sign every view; and forgeries.
    pub(crate) fn corrupt_statements(&mut self, shown: &BTreeMap<u32, Shown>, tricks: &Tricks) {
        let views: BTreeSet<&Shown> = shown.values().collect();
        let round = self.setup.round();
        for shown in views {
            let directory = self.directories[shown.directory].digest();
            let view = View {
                directory,
                sharers: self.set(shown, &shown.sharers).digest(round, directory),
                survivors: self.set(shown, &shown.survivors).digest(round, directory),
            };
            for member in self.members(shown.directory) {
                let corrupt = self.setup.corrupt.contains(&member);
                let statement = view.statement(RosterIndex(member));
                let (round, signer) = if corrupt || tricks.stolen_keys {
                    (round, member)
                } else if tricks.forge {
                    let other = self.setup.corrupt.first().copied();
                    (round, other.unwrap_or(self.setup.members()))
                } else if tricks.replay {
                    (self.setup.other_round().id(), member)
                } else {
                    continue;
                };
                let key = identity(signer);
                self.statements
                    .push(Signed::sign(statement, round, key).unwrap());
                if tricks.forge && corrupt {
                    let again = self.statements.last().cloned();
                    self.statements.extend(again);
                }
            }
        }
    }
}
