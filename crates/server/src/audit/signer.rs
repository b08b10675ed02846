//! The key that signs heads, and signed heads.
//!
//! The key lies in a file that only the service can read, or, where none is configured, in the
//! database. There, whoever can rewrite the log can also sign what was rewritten: only those who
//! remember an earlier head then notice. With a file, the database alone is not enough.

use std::path::Path;

use serde::{Deserialize, Serialize};
use undertone_protocol::audit::{Chain, Head, HeadStatement, SignedHead};
use undertone_protocol::id::Digest;
use undertone_protocol::keys::{IdentityKey, IdentityPublicKey, Secret32, SignatureBytes};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::canonical::Hex;
use crate::driver::now_ms;
use crate::error::ServerError;
use crate::store::Store;

/// The key that signs heads: of the file, if there is one, else of the database, where it is made
/// if need be.
///
/// # Errors
/// [`ServerError::AuditKey`] says why it cannot be used.
pub async fn key<S: Store>(store: &S, file: Option<&Path>) -> Result<IdentityKey, ServerError> {
    if let Some(path) = file {
        return read(path);
    }
    let mut fresh = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *fresh)?;
    let seed = store.audit_key(Some(&Secret32::from(*fresh))).await?;
    let seed = seed.ok_or_else(|| ServerError::AuditKey("the database kept none".into()))?;
    Ok(IdentityKey::from_seed(&seed))
}

/// Reads a key file: 64 hexadecimal digits, as `undertone identity new` writes it.
fn read(path: &Path) -> Result<IdentityKey, ServerError> {
    let refuse = |reason: String| ServerError::AuditKey(format!("{}: {reason}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
    let text = Zeroizing::new(text);
    let seed: Zeroizing<Vec<u8>> = Zeroizing::new(
        text.trim()
            .as_bytes()
            .chunks(2)
            .map(|pair| {
                let digits = std::str::from_utf8(pair).ok()?;
                u8::from_str_radix(digits, 16).ok()
            })
            .collect::<Option<_>>()
            .unwrap_or_default(),
    );
    let seed = <[u8; 32]>::try_from(seed.as_slice()).map_err(|_| {
        refuse("a key file holds 64 hexadecimal digits; `undertone identity new` makes one".into())
    })?;
    Ok(IdentityKey::from_seed(&Secret32::from(seed)))
}

/// A signed head as JSON: beside a result, from its own path, and in an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedHeadJson {
    /// The chain.
    pub chain: String,
    /// The number of the last entry.
    pub sequence: u64,
    /// Its digest.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    pub head: Hex<Digest>,
    /// When it was signed.
    pub time: u64,
    /// The signature.
    #[schema(value_type = String, pattern = "^[0-9a-f]{128}$")]
    pub signature: Hex<SignatureBytes>,
    /// The service's audit key.
    #[schema(value_type = String, pattern = "^[0-9a-f]{64}$")]
    pub key: Hex<IdentityPublicKey>,
}

impl From<SignedHead> for SignedHeadJson {
    fn from(signed: SignedHead) -> Self {
        let HeadStatement { chain, head, time } = signed.statement;
        Self {
            chain: chain.to_string(),
            sequence: head.sequence,
            head: Hex(head.digest),
            time,
            signature: Hex(signed.signature),
            key: Hex(signed.key),
        }
    }
}

impl TryFrom<&SignedHeadJson> for SignedHead {
    type Error = undertone_protocol::ProtocolError;

    fn try_from(json: &SignedHeadJson) -> Result<Self, Self::Error> {
        Ok(Self {
            statement: HeadStatement {
                chain: json.chain.parse()?,
                head: Head {
                    sequence: json.sequence,
                    digest: json.head.0,
                },
                time: json.time,
            },
            signature: json.signature.0,
            key: json.key.0,
        })
    }
}

/// Signs what is the head of a chain now.
///
/// # Errors
/// None in practice: a statement always encodes.
pub fn sign(key: &IdentityKey, chain: Chain, head: Head) -> Result<SignedHead, ServerError> {
    let time = now_ms();
    Ok(HeadStatement { chain, head, time }.sign(key)?)
}
