//! The audit log, with its contents.

use serde::Deserialize;

use super::{AdminClient, PAGE, Result};
use crate::heads::AuditHead;

/// An entry of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuditEntry {
    /// Its number in the chain, from 0.
    pub sequence: u64,
    /// Canonical JSON; the digest covers these bytes as they stand.
    pub content: String,
    /// 64 hexadecimal digits.
    pub digest: String,
}

/// A page of a chain, and the head as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AuditPage {
    /// The signed head; none if the chain has no entries.
    pub head: Option<AuditHead>,
    /// The entries, ascending.
    #[serde(default)]
    pub entries: Vec<AuditEntry>,
}

#[derive(Deserialize)]
struct Chains {
    chains: Vec<String>,
}

impl AdminClient {
    /// The names of all chains.
    ///
    /// # Errors
    /// [`ClientError::Request`](crate::ClientError::Request).
    pub async fn audit_chains(&self) -> Result<Vec<String>> {
        let chains: Chains = self
            .get("the audit log's chains", "admin/v1/audit".into())
            .await?;
        Ok(chains.chains)
    }

    /// Entries of a chain from number `from` on, and its head.
    ///
    /// # Errors
    /// [`ClientError::Request`](crate::ClientError::Request).
    pub async fn audit_page(&self, chain: &str, from: u64) -> Result<AuditPage> {
        let path = format!("admin/v1/audit?chain={chain}&from={from}&limit={PAGE}");
        self.get("a page of the audit log", path).await
    }
}
