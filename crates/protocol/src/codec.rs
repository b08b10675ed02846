//! The one canonical codec: TLS presentation language (RFC 8446, section 3) by `tls_codec`.
//!
//! Every message has exactly one encoding. [`decode`] refuses trailing bytes and any input that
//! does not encode back to itself, so two different byte strings never mean the same message.
//!
//! Specification: chapter 3, "Encodings and primitives", sections 3.1 and 3.2.

use sha2::{Digest as _, Sha256};
use tls_codec::{DeserializeBytes, Serialize, Size};

use crate::error::ProtocolError;
use crate::id::Digest;

/// What has a canonical encoding.
pub trait Encodable: DeserializeBytes + Serialize + Size {}

impl<T: DeserializeBytes + Serialize + Size> Encodable for T {}

/// Encodes a message. Encoding to memory cannot fail for messages that this crate built within
/// their length limits; the error is kept for callers who build them from outside.
///
/// # Errors
/// [`ProtocolError::Malformed`] if a list is longer than its length field can say.
pub fn encode<T: Serialize + Size>(
    what: &'static str,
    value: &T,
) -> Result<Vec<u8>, ProtocolError> {
    value
        .tls_serialize_detached()
        .map_err(|e| ProtocolError::Malformed {
            what,
            detail: e.to_string(),
        })
}

/// Decodes a message that fills `bytes` to the last byte and is canonical.
///
/// # Errors
/// [`ProtocolError::Malformed`] says where decoding stopped.
pub fn decode<T: Encodable>(what: &'static str, bytes: &[u8]) -> Result<T, ProtocolError> {
    let value = T::tls_deserialize_exact_bytes(bytes).map_err(|e| ProtocolError::Malformed {
        what,
        detail: e.to_string(),
    })?;
    if encode(what, &value)? != bytes {
        let detail = "not the canonical encoding".to_owned();
        return Err(ProtocolError::Malformed { what, detail });
    }
    Ok(value)
}

/// Decodes a message at the start of `bytes` and returns the rest.
///
/// # Errors
/// [`ProtocolError::Malformed`], as [`decode`].
pub fn decode_prefix<'a, T: Encodable>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<(T, &'a [u8]), ProtocolError> {
    let malformed = |detail: String| ProtocolError::Malformed { what, detail };
    let (_, rest) = T::tls_deserialize_bytes(bytes).map_err(|e| malformed(e.to_string()))?;
    let (head, rest) = bytes
        .split_at_checked(bytes.len().saturating_sub(rest.len()))
        .ok_or_else(|| malformed("truncated".to_owned()))?;
    Ok((decode(what, head)?, rest))
}

/// The label-separated hash: SHA-256 over the label and the parts, each with its length before it
/// (label: 1 byte; part: 8 bytes, big-endian), so that no two inputs run together.
pub fn hash(label: Label, parts: &[&[u8]]) -> Digest {
    let mut state = Sha256::new();
    state.update(label.prefix());
    for part in parts {
        state.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        state.update(part);
    }
    Digest::from(<[u8; 32]>::from(state.finalize()))
}

/// [`hash`] over one part whose length is known before its bytes are.
#[derive(Debug, Clone)]
pub struct PartHash(Sha256);

impl PartHash {
    /// Starts the hash of a part of `length` bytes.
    pub fn new(label: Label, length: usize) -> Self {
        let mut state = Sha256::new();
        state.update(label.prefix());
        state.update(u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
        Self(state)
    }

    /// Takes the next bytes of the part.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest: that of [`hash`], if exactly `length` bytes were taken.
    pub fn finish(self) -> Digest {
        Digest::from(<[u8; 32]>::from(self.0.finalize()))
    }
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Every domain-separation label of the protocol. No two uses share one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Label {
            $($(#[$doc])* $name,)*
        }

        impl Label {
            /// All labels, for the registry and for the test that they differ.
            pub const ALL: &'static [Label] = &[$(Label::$name,)*];

            /// The label's text.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Label::$name => concat!("undertone/v1 ", $text),)*
                }
            }
        }
    };
}

labels! {
    /// `round_id`: hash of the encoded round parameters.
    Round = "round parameters";
    /// Digest of the roster.
    Roster = "roster";
    /// Signature of the task authority on the roster.
    RosterSignature = "roster signature";
    /// Digest of the global adapter's bytes.
    Model = "model";
    /// Digest of the training settings' bytes.
    Training = "training";
    /// Digest of the mechanism's bytes.
    Mechanism = "mechanism";
    /// Leaf of the directory's Merkle tree.
    DirectoryLeaf = "directory leaf";
    /// Inner node of the directory's Merkle tree.
    DirectoryNode = "directory node";
    /// Root of the directory: binds the number of leaves.
    DirectoryRoot = "directory root";
    /// Key of the permutation that seats clients on the ring.
    Graph = "graph";
    /// Public randomness of the rotation that updates go through before they are rounded.
    Rotation = "rotation";
    /// Signature of an AdvertiseKeys message.
    AdvertiseKeys = "AdvertiseKeys";
    /// Signature of a ShareKeys message.
    ShareKeys = "ShareKeys";
    /// Signature of a MaskedInput header.
    MaskedInput = "MaskedInput";
    /// Signature of a ConsistencyCheck statement.
    ConsistencyCheck = "ConsistencyCheck";
    /// Signature of an Unmask message.
    Unmask = "Unmask";
    /// Digest of the shares that a client deals.
    Dealing = "dealing";
    /// Digest of a set of positions.
    Set = "set";
    /// Digest of a packed masked vector.
    Payload = "masked input payload";
    /// Key of one sealed pair of shares.
    Seal = "seal";
    /// Key of one pairwise mask.
    PairwiseMask = "mask";
    /// Key of a self mask.
    SelfMask = "self mask";
    /// Commitment to the self-mask seed.
    SeedCommitment = "seed commitment";
    /// Commitment to one share.
    ShareCommitment = "share commitment";
    /// The transcript digest that is published with the sum.
    Transcript = "transcript";
    /// Digest of an audit entry's content.
    AuditContent = "audit content";
    /// Digest of an audit entry, and the start of a chain.
    AuditEntry = "audit entry";
    /// Digest of a set of clients in an audit entry.
    AuditClients = "audit clients";
    /// Signature of the service on an audit head.
    AuditHead = "audit head";
    /// Signature of a client's key on the enrolment token that it is handed in with.
    Enrolment = "enrolment";
    /// Signature of a client on what it spent of its privacy budget in a round.
    SpendReceipt = "spend receipt";
}

impl Label {
    /// The label as it stands before what it separates: one length byte, then the text.
    pub fn prefix(self) -> Vec<u8> {
        let text = self.text().as_bytes();
        let mut out = Vec::with_capacity(text.len().saturating_add(1));
        out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(text);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn labels_are_prefix_free_and_short() {
        let prefixes: BTreeSet<Vec<u8>> = Label::ALL.iter().map(|l| l.prefix()).collect();
        assert_eq!(prefixes.len(), Label::ALL.len());
        assert!(Label::ALL.iter().all(|l| l.text().len() < 255));
    }

    #[test]
    fn a_part_may_come_in_pieces() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for size in [1, 7, 64, 999, 1000] {
            let mut pieces = PartHash::new(Label::Payload, bytes.len());
            bytes.chunks(size).for_each(|piece| pieces.update(piece));
            assert_eq!(pieces.finish(), hash(Label::Payload, &[&bytes]));
        }
    }

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(
            hash(Label::Set, &[b"ab", b"c"]),
            hash(Label::Set, &[b"a", b"bc"])
        );
        assert_ne!(hash(Label::Set, &[b"ab"]), hash(Label::Model, &[b"ab"]));
    }
}
