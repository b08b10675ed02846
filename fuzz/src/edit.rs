//! Small changes to bytes, and messages that a corrupt client changes and signs again.

use arbitrary::Arbitrary;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::client::masked_input::payload_digest;
use undertone_protocol::codec;
use undertone_protocol::id::RoundId;
use undertone_protocol::keys::IdentityKey;
use undertone_protocol::message::{
    AdvertiseKeys, ConsistencyCheck, MASKED_INPUT_HEADER, MaskedInput, Message, ShareKeysBody,
    Signed, Unmask,
};

/// One change to a byte string; places are taken modulo its length.
#[derive(Debug, Clone, Arbitrary)]
pub enum Edit {
    /// XORs one byte.
    Flip(u16, u8),
    /// Overwrites one byte.
    Set(u16, u8),
    /// Cuts everything from here on.
    Cut(u16),
    /// Takes one byte out.
    Remove(u16),
    /// Puts bytes in.
    Insert(u16, [u8; 3]),
    /// Copies 32 bytes over 32 others: keys, digests and shares are of that length.
    Copy(u16, u16),
}

/// Applies the changes in order.
pub fn apply(bytes: &mut Vec<u8>, edits: &[Edit]) {
    for edit in edits.iter().take(8) {
        let at = |place: u16| usize::from(place) % bytes.len().max(1);
        match *edit {
            _ if bytes.is_empty() => return,
            Edit::Flip(place, mask) => {
                let at = at(place);
                bytes[at] ^= mask;
            }
            Edit::Set(place, value) => {
                let at = at(place);
                bytes[at] = value;
            }
            Edit::Cut(place) => bytes.truncate(at(place)),
            Edit::Remove(place) => drop(bytes.remove(at(place))),
            Edit::Insert(place, new) => {
                let at = at(place);
                bytes.splice(at..at, new);
            }
            Edit::Copy(from, to) => {
                let (from, to) = (at(from), at(to));
                let length = 32.min(bytes.len() - from.max(to));
                bytes.copy_within(from..from + length, to);
            }
        }
    }
}

/// What a corrupt client makes of the message that its phase asks for: changed, with every digest
/// in it right again, and signed with its own key. `None` if the change leaves no message.
pub fn insider(
    phase: PhaseName,
    honest: &[u8],
    edits: &[Edit],
    round: RoundId,
    key: &IdentityKey,
) -> Option<Vec<u8>> {
    match phase {
        PhaseName::AdvertiseKeys => resign::<AdvertiseKeys>(honest, edits, round, key),
        PhaseName::ConsistencyCheck => resign::<ConsistencyCheck>(honest, edits, round, key),
        PhaseName::Unmask => resign::<Unmask>(honest, edits, round, key),
        PhaseName::ShareKeys => {
            let mut changed = honest.to_vec();
            apply(&mut changed, edits);
            let mut body: ShareKeysBody = codec::decode("ShareKeys", &changed).ok()?;
            body.header.message.dealing = body.dealing.digest().ok()?;
            body.header = Signed::sign(body.header.message, round, key).ok()?;
            codec::encode("ShareKeys", &body).ok()
        }
        PhaseName::MaskedInput => {
            let mut changed = honest.to_vec();
            apply(&mut changed, edits);
            let (header, payload) = changed.split_at_checked(MASKED_INPUT_HEADER)?;
            let mut message = Signed::<MaskedInput>::decode(header).ok()?.message;
            message.payload = payload_digest(payload);
            let header = Signed::sign(message, round, key).ok()?.encode().ok()?;
            Some([header.as_slice(), payload].concat())
        }
    }
}

fn resign<M: Message>(
    honest: &[u8],
    edits: &[Edit],
    round: RoundId,
    key: &IdentityKey,
) -> Option<Vec<u8>> {
    let message = Signed::<M>::decode(honest).ok()?.message;
    let mut bytes = codec::encode("message", &message).ok()?;
    apply(&mut bytes, edits);
    let message: M = codec::decode("message", &bytes).ok()?;
    Signed::sign(message, round, key).ok()?.encode().ok()
}
