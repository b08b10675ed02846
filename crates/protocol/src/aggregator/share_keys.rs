//! Phase 2, ShareKeys: closing fixes the set U2.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{MaskedInputPhase, RoundContext, inconsistent};
use crate::bitmap::Bitmap;
use crate::directory::Directory;
use crate::error::{ProtocolError, RoundFailure};
use crate::graph;
use crate::message::{ShareKeys, Signed};

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
    pub fn check(&self, bytes: &[u8]) -> Result<Signed<ShareKeys>, ProtocolError> {
        let signed = self.context.verified::<ShareKeys>(bytes)?;
        let position = self.directory.position(signed.message.sender)?;
        if signed.message.directory != self.directory.digest() {
            return Err(ProtocolError::ViewMismatch {
                what: "the directory digest",
            });
        }
        let expected = graph::neighbours(&self.directory, position).len();
        let found = signed.message.shares.len();
        if found != expected {
            let what = "shares, one for each neighbour";
            return Err(ProtocolError::WrongLength {
                what,
                expected,
                found,
            });
        }
        Ok(signed)
    }

    /// Fixes U2: the clients that shared.
    ///
    /// # Errors
    /// [`RoundFailure::TooFewClients`], [`RoundFailure::Inconsistent`].
    pub fn close(self, received: Vec<Signed<ShareKeys>>) -> Result<MaskedInputPhase, RoundFailure> {
        self.context.enough("ShareKeys", received.len())?;
        let dealt = received
            .into_iter()
            .map(|signed| {
                Ok((
                    self.directory.position(signed.message.sender)?,
                    signed.message,
                ))
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
