//! A set of positions in one directory, as a bitmap.
//!
//! Specification: chapter 5, "Directory and masking graph", section 5.1; the digest is section 8.4.

use std::io::Write;

use tls_codec::{DeserializeBytes, Serialize, Size, TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::codec::{self, Label};
use crate::error::ProtocolError;
use crate::id::{DirectoryDigest, Position, RoundId, SetDigest};

/// A subset of the positions 0 to n - 1 of a directory of n clients: bit i of byte i / 8, least
/// significant first, spare bits zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    bits: Vec<bool>,
}

#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Wire {
    size: u32,
    bytes: Vec<u8>,
}

impl Bitmap {
    /// The set of those `members` that are below `size`.
    pub fn new(size: usize, members: impl IntoIterator<Item = Position>) -> Self {
        let mut bits = vec![false; size];
        for member in members {
            if let Some(bit) = bits.get_mut(member.index()) {
                *bit = true;
            }
        }
        Self { bits }
    }

    /// Reads the wire form and checks that it is a set over `size` places.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] or [`ProtocolError::WrongLength`].
    pub fn decode(what: &'static str, bytes: &[u8], size: usize) -> Result<Self, ProtocolError> {
        let set: Self = codec::decode(what, bytes)?;
        let found = set.size();
        if found == size {
            return Ok(set);
        }
        let expected = size;
        Err(ProtocolError::WrongLength {
            what,
            expected,
            found,
        })
    }

    /// The wire form.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] beyond 2^30 clients.
    pub fn encode(&self, what: &'static str) -> Result<Vec<u8>, ProtocolError> {
        codec::encode(what, self)
    }

    /// Whether `position` is in the set.
    pub fn contains(&self, position: Position) -> bool {
        self.bits.get(position.index()).copied().unwrap_or(false)
    }

    /// The members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Position> + '_ {
        self.bits
            .iter()
            .enumerate()
            .filter(|(_, set)| **set)
            .map(|(i, _)| Position::from_index(i))
    }

    /// How many members there are.
    pub fn count(&self) -> usize {
        self.bits.iter().filter(|set| **set).count()
    }

    /// The size n of the directory that the set is over.
    pub fn size(&self) -> usize {
        self.bits.len()
    }

    /// Whether every member of `self` is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.iter().all(|position| other.contains(position))
    }

    /// The digest that MaskedInput headers and ConsistencyCheck statements carry.
    pub fn digest(&self, round: RoundId, directory: DirectoryDigest) -> SetDigest {
        let size = u64::try_from(self.bits.len())
            .unwrap_or(u64::MAX)
            .to_be_bytes();
        let parts: [&[u8]; 4] = [round.as_bytes(), directory.as_bytes(), &size, &self.pack()];
        SetDigest::from(*codec::hash(Label::Set, &parts).as_bytes())
    }

    fn wire(&self) -> Wire {
        Wire {
            size: Position::from_index(self.bits.len()).0,
            bytes: self.pack(),
        }
    }

    fn pack(&self) -> Vec<u8> {
        self.bits
            .chunks(8)
            .map(|chunk| {
                chunk
                    .iter()
                    .enumerate()
                    .fold(0, |byte, (bit, set)| byte | u8::from(*set) << bit)
            })
            .collect()
    }
}

impl Size for Bitmap {
    fn tls_serialized_len(&self) -> usize {
        self.wire().tls_serialized_len()
    }
}

impl Serialize for Bitmap {
    fn tls_serialize<W: Write>(&self, writer: &mut W) -> Result<usize, tls_codec::Error> {
        self.wire().tls_serialize(writer)
    }
}

impl DeserializeBytes for Bitmap {
    fn tls_deserialize_bytes(bytes: &[u8]) -> Result<(Self, &[u8]), tls_codec::Error> {
        let (wire, rest) = Wire::tls_deserialize_bytes(bytes)?;
        let size = usize::try_from(wire.size).unwrap_or(usize::MAX);
        let bits = wire.bytes.iter();
        let bits = bits.flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        let set = Self {
            bits: bits.take(size).collect(),
        };
        if set.bits.len() != size || set.pack() != wire.bytes {
            let detail = "bytes of a set are missing or spare bits are set".to_owned();
            return Err(tls_codec::Error::DecodingError(detail));
        }
        Ok((set, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Spec.
        #[test]
        fn round_trips(bits in proptest::collection::vec(any::<bool>(), 0..300)) {
            let members = bits.iter().enumerate().filter(|b| *b.1).map(|b| Position::from_index(b.0));
            let set = Bitmap::new(bits.len(), members);
            let bytes = set.encode("set").unwrap();
            prop_assert_eq!(Bitmap::decode("set", &bytes, bits.len()).unwrap(), set);
            prop_assert!(Bitmap::decode("set", &bytes, bits.len() + 1).is_err());
        }
    }

    /// Spec.
    #[test]
    fn spare_bits_are_refused() {
        let mut bytes = Bitmap::new(3, [Position(1)]).encode("set").unwrap();
        *bytes.last_mut().unwrap() |= 0x80;
        assert!(matches!(
            Bitmap::decode("set", &bytes, 3),
            Err(ProtocolError::Malformed { .. })
        ));
    }
}
