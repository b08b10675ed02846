//! Reading a chain from the database, in the order of an export.

use undertone_protocol::audit::Chain;
use undertone_protocol::keys::IdentityKey;

use super::{Record, sign};
use crate::error::ServerError;
use crate::store::Store;

/// Entries read at a time.
const PAGE: u32 = 500;

/// All chains.
///
/// # Errors
/// The database failed.
pub async fn chains<S: Store>(store: &S) -> Result<Vec<Chain>, ServerError> {
    Ok(store.audit_chains().await?)
}

/// Gives a chain's entries to `take`, from the first on, and then its head, signed with `key`.
/// What is appended meanwhile is left out.
///
/// # Errors
/// The database failed, the chain has no entries, or `take` failed.
pub async fn chain<S: Store, E: From<ServerError>>(
    store: &S,
    chain: Chain,
    key: &IdentityKey,
    mut take: impl FnMut(Record) -> Result<(), E>,
) -> Result<(), E> {
    let head = store.audit_head(chain).await.map_err(ServerError::from)?;
    let head = head.ok_or_else(|| ServerError::NoChain(chain))?;
    let mut from = 0;
    while from <= head.sequence {
        let page = store
            .audit_entries(chain, from, PAGE)
            .await
            .map_err(ServerError::from)?;
        let Some(last) = page.last() else {
            // The verifier says what is missing.
            break;
        };
        // A page brings the reader on, whatever numbers stand in the database.
        from = last.sequence.max(from).saturating_add(1);
        for entry in page {
            if entry.sequence <= head.sequence {
                take(Record::Entry { chain, entry })?;
            }
        }
    }
    take(Record::Head(sign(key, chain, head)?))
}
