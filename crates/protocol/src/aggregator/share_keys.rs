//! Phase 2, ShareKeys: closing fixes the set U2.
//!
//! Specification: chapter 7, "Phase 2: ShareKeys", section 7.5.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{MaskedInputPhase, RoundContext, enough, inconsistent};
use crate::bitmap::Bitmap;
use crate::codec;
use crate::directory::Directory;
use crate::error::{ProtocolError, RoundFailure};
use crate::message::ShareKeysBody;

/// Clients of the directory share their secrets.
#[derive(Debug, Clone)]
pub struct ShareKeysPhase {
    pub(super) context: RoundContext,
    pub(super) directory: Arc<Directory>,
}

impl ShareKeysPhase {
    /// What every phase knows.
    pub fn context(&self) -> &RoundContext {
        &self.context
    }

    /// The directory U1.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Checks one message.
    ///
    /// # Errors
    /// [`ProtocolError`] says why it is refused.
    pub fn check(&self, bytes: &[u8]) -> Result<ShareKeysBody, ProtocolError> {
        let body: ShareKeysBody = codec::decode("ShareKeys", bytes)?;
        let header = &body.header.message;
        let context = &self.context;
        body.header.verify(context.params.id(), &context.roster)?;
        let position = self.directory.position(header.sender)?;
        let mismatch = |what| Err(ProtocolError::ViewMismatch { what });
        if header.directory != self.directory.digest() {
            return mismatch("the directory digest");
        }
        if header.dealing != body.dealing.digest()? {
            return mismatch("the digest of the dealt shares");
        }
        let graph = self.directory.graph();
        let (expected, found) = (graph.neighbours(position).len(), body.dealing.shares.len());
        if found != expected {
            let what = "shares, one for each neighbour";
            return Err(ProtocolError::WrongLength {
                what,
                expected,
                found,
            });
        }
        if body.dealing.own.is_some() != graph.slot(position, position).is_some() {
            return mismatch("whether a dealer holds shares of its own");
        }
        Ok(body)
    }

    /// Fixes U2: the clients that shared.
    ///
    /// # Errors
    /// [`RoundFailure::TooFewClients`], [`RoundFailure::Inconsistent`].
    pub fn close(self, received: Vec<ShareKeysBody>) -> Result<MaskedInputPhase, RoundFailure> {
        let needed = self.context.params.min_survivors();
        enough("ShareKeys", needed, received.len())?;
        let dealt = received
            .into_iter()
            .map(|body| {
                let dealer = self.directory.position(body.header.message.sender)?;
                Ok((dealer, body))
            })
            .collect::<Result<BTreeMap<_, _>, ProtocolError>>()
            .map_err(|e| inconsistent(&e))?;
        let sharers = Bitmap::new(self.directory.len(), dealt.keys().copied());
        Ok(MaskedInputPhase {
            context: self.context,
            directory: self.directory,
            sharers,
            dealt: Arc::new(dealt),
        })
    }
}
