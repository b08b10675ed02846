//! Newtypes for every identifier and digest, so that one is never taken for another.

use std::fmt;
use std::str::FromStr;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::codec::{self, Label};
use crate::error::ProtocolError;

macro_rules! byte_newtype {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
        pub struct $name([u8; $len]);

        impl $name {
            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl From<[u8; $len]> for $name {
            fn from(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = ProtocolError;

            fn try_from(bytes: &[u8]) -> Result<Self, ProtocolError> {
                let found = bytes.len();
                bytes.try_into().map(Self).map_err(|_| ProtocolError::WrongLength {
                    what: stringify!($name),
                    expected: $len,
                    found,
                })
            }
        }

        impl FromStr for $name {
            type Err = ProtocolError;

            fn from_str(text: &str) -> Result<Self, ProtocolError> {
                let mut bytes = [0; $len];
                hex::decode_to_slice(text, &mut bytes).map_err(|e| ProtocolError::Malformed {
                    what: stringify!($name),
                    detail: format!("expected {} hexadecimal digits: {e}", 2 * $len),
                })?;
                Ok(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

byte_newtype!(
    /// A SHA-256 digest under some label.
    Digest, 32
);
byte_newtype!(
    /// A task: one model trained by one roster over many rounds.
    TaskId, 16
);
byte_newtype!(
    /// A round: the digest of its parameters. Everything in the round binds it.
    RoundId, 32
);
byte_newtype!(
    /// Digest of the roster that may take part.
    RosterDigest, 32
);
byte_newtype!(
    /// Digest of the global adapter that the round starts from.
    ModelDigest, 32
);
byte_newtype!(
    /// Digest of the training settings.
    TrainingDigest, 32
);
byte_newtype!(
    /// Digest of the mechanism: clip, scale, noise, encoding.
    MechanismDigest, 32
);
byte_newtype!(
    /// Root of the Merkle tree over the directory U1.
    DirectoryDigest, 32
);
byte_newtype!(
    /// Digest of a set of positions (U2, U3) in one directory.
    SetDigest, 32
);

impl ModelDigest {
    /// The digest of an adapter's bytes, as they are handed out.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*codec::hash(Label::Model, &[bytes]).as_bytes())
    }
}

impl TrainingDigest {
    /// The digest of the training settings' bytes, as they are handed out.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*codec::hash(Label::Training, &[bytes]).as_bytes())
    }
}

impl MechanismDigest {
    /// The digest of the mechanism's bytes, as they are handed out.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*codec::hash(Label::Mechanism, &[bytes]).as_bytes())
    }
}

/// A client's place in the task's roster.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    TlsSerialize,
    TlsDeserializeBytes,
    TlsSize,
)]
pub struct RosterIndex(pub u32);

impl fmt::Display for RosterIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A client's place in the directory of one round: 0 to n - 1, in roster order.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    TlsSerialize,
    TlsDeserializeBytes,
    TlsSize,
)]
pub struct Position(pub u32);

impl Position {
    /// The position as an index into a slice.
    pub fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The position of a slice index; an index beyond `u32` becomes one that is in no directory.
    pub fn from_index(index: usize) -> Self {
        Self(u32::try_from(index).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a round within its task, from 1.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    TlsSerialize,
    TlsDeserializeBytes,
    TlsSize,
)]
pub struct RoundNumber(pub u32);

impl fmt::Display for RoundNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
