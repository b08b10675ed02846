//! What a hostile aggregator can hand to one client, if every other client is on its side: valid
//! answers for any view, and changes to them.

use std::sync::OnceLock;

use arbitrary::Arbitrary;
use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::aggregator::memory::MemoryAggregator;
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::codec;
use undertone_protocol::directory::Directory;
use undertone_protocol::id::{Digest, Position};
use undertone_protocol::keys::{EphemeralKey, Secret32};
use undertone_protocol::message::{AdvertiseKeys, ShareKeysBody, Signed};

use crate::edit::{self, Edit};
use crate::player::Player;
use crate::world::{World, index, world};

/// What a client fetches of the directory, as the specification has it.
#[derive(Debug, Clone, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct DirectoryView {
    /// Who is in it, over the roster.
    pub members: Bitmap,
    /// The client's own entry and its neighbours'.
    pub entries: Vec<Signed<AdvertiseKeys>>,
    /// The proof.
    pub nodes: Vec<Digest>,
}

/// An honest round's messages.
#[derive(Debug)]
pub struct Honest {
    /// The entries of the directory, in roster order.
    pub entries: Vec<Signed<AdvertiseKeys>>,
    /// The directory.
    pub directory: Directory,
    /// What each client dealt.
    pub dealt: Vec<ShareKeysBody>,
    /// Every message of the round, in the order of phases.
    pub messages: Vec<Vec<u8>>,
    /// Every answer of the aggregator, in the order of phases.
    pub answers: Vec<Vec<u8>>,
}

/// The round in which nobody deviates.
pub fn honest(ring: bool) -> &'static Honest {
    static ROUNDS: [OnceLock<Honest>; 2] = [OnceLock::new(), OnceLock::new()];
    let round = ROUNDS.get(usize::from(ring)).expect("two shapes");
    round.get_or_init(|| Honest::play(world(ring)))
}

impl Honest {
    /// Plays it.
    pub fn play(world: &'static World) -> Self {
        let members = 0..world.members();
        let mut players: Vec<_> = members.clone().map(|c| Player::new(world, c)).collect();
        let mut aggregator = MemoryAggregator::new(world.context(), members.len(), 0);
        let (mut entries, mut dealt) = (Vec::new(), Vec::new());
        let (mut messages, mut answers) = (Vec::new(), Vec::new());
        while let Some(phase) = aggregator.phase() {
            for client in members.clone() {
                let answer = aggregator.answer(index(client)).expect("a member");
                answers.extend(answer.clone());
                let answer = answer.unwrap_or_default();
                let Some(bytes) = players[client].step(phase, &answer).expect("honest") else {
                    continue;
                };
                aggregator.receive(&bytes).expect("honest");
                match phase {
                    PhaseName::AdvertiseKeys => entries.push(Signed::decode(&bytes).expect("one")),
                    PhaseName::ShareKeys => dealt.push(codec::decode("it", &bytes).expect("one")),
                    _ => {}
                }
                messages.push(bytes);
            }
            assert!(aggregator.advance(0), "everyone sent");
        }
        assert!(matches!(aggregator.result(), Some(Ok(_))));
        let directory = Directory::new(&world.params, &world.roster, entries.clone());
        Self {
            entries,
            directory: directory.expect("sound"),
            dealt,
            messages,
            answers,
        }
    }
}

/// A change to who is in the directory and with which keys.
#[derive(Debug, Arbitrary)]
pub enum Change {
    /// A client is left out.
    Drop(u8),
    /// A client has other keys.
    NewKeys(u8, [u8; 32]),
    /// A client has another's keys.
    CopyKeys(u8, u8),
    /// A client's entry is changed and signed by it again.
    Resign(u8, Vec<Edit>),
    /// A client's entry is damaged.
    Damage(u8, Vec<Edit>),
    /// A client stands twice.
    Double(u8),
}

/// Another directory than the honest one, as the view of one client: valid where it can be.
pub fn other_view(world: &World, ring: bool, victim: usize, changes: &[Change]) -> Vec<u8> {
    let mut entries = honest(ring).entries.clone();
    for change in changes.iter().take(6) {
        alter(world, &mut entries, change);
    }
    entries.sort_by_key(|entry| entry.message.sender);
    let directory = Directory::new(&world.params, &world.roster, entries.clone());
    let view = directory.and_then(|directory| directory.encode_for(index(victim)));
    view.unwrap_or_else(|_| {
        let members = entries.iter().map(|entry| Position(entry.message.sender.0));
        let view = DirectoryView {
            members: Bitmap::new(world.members(), members),
            entries,
            nodes: Vec::new(),
        };
        codec::encode("view", &view).expect("it is short")
    })
}

fn alter(world: &World, entries: &mut Vec<Signed<AdvertiseKeys>>, change: &Change) {
    let pick = |client: &u8| usize::from(*client).checked_rem(entries.len());
    let sign = |message: AdvertiseKeys| {
        let signer = message.sender.0 as usize % world.members();
        Signed::sign(message, world.params.id(), &world.identities[signer]).expect("it is short")
    };
    match change {
        Change::Drop(client) => {
            if let Some(at) = pick(client) {
                entries.remove(at);
            }
        }
        Change::NewKeys(client, seed) => {
            if let Some(at) = pick(client) {
                let mut message = entries[at].message.clone();
                let key = |seed| EphemeralKey::from_seed(Secret32::from(seed)).public();
                message.cipher_key = key(*seed);
                message.mask_key = key(seed.map(|byte| !byte));
                entries[at] = sign(message);
            }
        }
        Change::CopyKeys(client, other) => {
            if let (Some(at), Some(other)) = (pick(client), pick(other)) {
                let mut message = entries[other].message.clone();
                message.sender = entries[at].message.sender;
                entries[at] = sign(message);
            }
        }
        Change::Resign(client, edits) => {
            if let Some(at) = pick(client) {
                let mut bytes = codec::encode("entry", &entries[at].message).expect("it is short");
                edit::apply(&mut bytes, edits);
                if let Ok(message) = codec::decode("entry", &bytes) {
                    entries[at] = sign(message);
                }
            }
        }
        Change::Damage(client, edits) => {
            if let Some(at) = pick(client) {
                let mut bytes = entries[at].encode().expect("it is short");
                edit::apply(&mut bytes, edits);
                if let Ok(entry) = Signed::decode(&bytes) {
                    entries[at] = entry;
                }
            }
        }
        Change::Double(client) => {
            if let Some(at) = pick(client) {
                entries.push(entries[at].clone());
            }
        }
    }
}
