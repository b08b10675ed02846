//! What the aggregator says that is not so.

use std::collections::BTreeMap;

use serde_json::Value;
use undertone_privacy::Mechanism;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::bitmap::Bitmap;
use undertone_protocol::client::masked_input::DealtToClient;
use undertone_protocol::codec;
use undertone_protocol::id::TaskId;
use undertone_protocol::keys::{IdentityKey, IdentityPublicKey};
use undertone_protocol::roster::Roster;

/// One lie, told to everyone in every round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    Nothing,
    /// The same members, signed by the authority for another task.
    RosterOfAnotherTask,
    /// The number of an earlier round.
    Number,
    /// A number one above that of the parameters.
    Announcement,
    /// Parameters with another nonce than the round's id binds.
    Params,
    /// Parameters of another task.
    Task,
    /// Parameters that bind another roster.
    Roster,
    /// An adapter with one value changed.
    Adapter,
    /// An adapter of one value too many, which the parameters bind.
    AdapterLength,
    /// An adapter with a value that is not finite, which the parameters bind.
    AdapterValue,
    /// An adapter of integers, which the parameters bind.
    AdapterType,
    /// A mechanism with other numbers.
    Mechanism,
    /// A mechanism with a field that does not exist, which the parameters bind.
    MechanismField,
    /// Training settings with other numbers.
    Training,
    /// A directory with one bit flipped.
    Directory,
    /// U2 over one place more than the directory has.
    SharersSize,
    /// U3 with one bit flipped.
    Survivors,
    /// U3 over one place more than the directory has.
    SurvivorsSize,
    /// No statements, as if the witnesses had none in common.
    Statements,
    /// The first client's Unmask is accepted, and answered when the round has ended.
    LostAnswer,
    /// A result with another round's id.
    ResultOfAnother,
    /// A result that names no survivors.
    ResultWithoutAnyone,
}

impl Lie {
    /// What is said where `honest` would be: a lie if it is one of `kinds`.
    pub(crate) fn told(self, kinds: &[Self], honest: &[u8]) -> Vec<u8> {
        let mut bytes = honest.to_vec();
        if !kinds.contains(&self) {
            return bytes;
        }
        match self {
            // The encoding of an empty list.
            Self::Statements => bytes = vec![0],
            Self::SurvivorsSize => {
                let set: Bitmap = codec::decode("U3", honest).unwrap();
                bytes = larger(&set).encode("U3").unwrap();
            }
            Self::SharersSize => {
                let mut dealt: DealtToClient = codec::decode("dealt", honest).unwrap();
                dealt.sharers = larger(&dealt.sharers);
                bytes = codec::encode("dealt", &dealt).unwrap();
            }
            _ => *bytes.last_mut().unwrap() ^= 1,
        }
        bytes
    }

    pub(crate) fn roster(
        self,
        authority: &IdentityKey,
        task: TaskId,
        members: &[IdentityPublicKey],
    ) -> Vec<u8> {
        let task = match self {
            Self::RosterOfAnotherTask => TaskId::from([8; 16]),
            _ => task,
        };
        let roster = Roster::sign(authority, task, members.to_vec()).unwrap();
        roster.encode().unwrap()
    }

    pub(crate) fn adapter(self) -> Vec<u8> {
        let tensor = match self {
            Self::AdapterLength => (vec![13], vec![0.5; 13]),
            _ => (vec![4, 3], vec![0.5; 12]),
        };
        let adapter = Adapter::new(BTreeMap::from([("a".to_owned(), tensor)])).unwrap();
        let mut bytes = adapter.to_bytes().unwrap();
        match self {
            Self::AdapterValue => {
                let last = bytes.last_chunk_mut::<4>().unwrap();
                *last = f32::NAN.to_le_bytes();
            }
            Self::AdapterType => {
                let at = bytes.windows(3).position(|text| text == b"F32").unwrap();
                bytes[at] = b'I';
            }
            _ => {}
        }
        bytes
    }

    pub(crate) fn mechanism(self, mechanism: &Mechanism) -> Vec<u8> {
        let mut json = serde_json::to_value(mechanism).unwrap();
        if self == Self::MechanismField {
            json["noise"]["per_round"]["free"] = Value::Bool(true);
        }
        serde_json::to_vec(&json).unwrap()
    }
}

fn larger(set: &Bitmap) -> Bitmap {
    Bitmap::new(set.size() + 1, set.iter())
}
