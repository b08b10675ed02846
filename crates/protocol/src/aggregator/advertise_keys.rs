//! Phase 1, AdvertiseKeys: closing fixes the directory U1.
//!
//! Specification: chapter 6, "Phase 1: AdvertiseKeys", section 6.3.

use std::sync::Arc;

use super::{RoundContext, ShareKeysPhase, enough, inconsistent};
use crate::directory::{self, Directory};
use crate::error::{ProtocolError, RoundFailure};
use crate::message::{AdvertiseKeys, Signed};

/// Clients advertise their keys.
#[derive(Debug, Clone)]
pub struct AdvertiseKeysPhase {
    pub(super) context: RoundContext,
}

impl AdvertiseKeysPhase {
    /// Opens the round.
    pub fn new(context: RoundContext) -> Self {
        Self { context }
    }

    /// What every phase knows.
    pub fn context(&self) -> &RoundContext {
        &self.context
    }

    /// Checks one message.
    ///
    /// # Errors
    /// [`ProtocolError`] says why it is refused.
    pub fn check(&self, bytes: &[u8]) -> Result<Signed<AdvertiseKeys>, ProtocolError> {
        let signed = Signed::decode(bytes)?;
        directory::check_entry(&self.context.params, &self.context.roster, &signed)?;
        Ok(signed)
    }

    /// Fixes the directory. Clients that share an ephemeral key are all left out, since one of
    /// them copied it and no one can tell which; beyond the largest directory, the lowest roster
    /// indices stay.
    ///
    /// # Errors
    /// [`RoundFailure::TooFewClients`], [`RoundFailure::Inconsistent`].
    pub fn close(
        self,
        mut received: Vec<Signed<AdvertiseKeys>>,
    ) -> Result<ShareKeysPhase, RoundFailure> {
        let params = &self.context.params;
        let duplicates = directory::duplicate_keys(&received);
        received.retain(|entry| !duplicates.contains(&entry.message.sender));
        received.sort_by_key(|entry| entry.message.sender);
        let sizes = params.directory_sizes();
        received.truncate(*sizes.end());
        enough("AdvertiseKeys", *sizes.start(), received.len())?;
        let directory =
            Directory::new(params, &self.context.roster, received).map_err(|e| inconsistent(&e))?;
        Ok(ShareKeysPhase {
            context: self.context,
            directory: Arc::new(directory),
        })
    }
}
