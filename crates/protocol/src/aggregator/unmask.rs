//! Phase 5, Unmask: survivors reveal one share of each dealer.
//!
//! Specification: chapter 10, "Phase 5: Unmask", section 10.4.

use super::{ConsistencyCheckPhase, RoundContext};
use crate::error::ProtocolError;
use crate::id::Position;
use crate::message::{SecretKind, Signed, Unmask};

/// Clients of U3 reveal shares.
#[derive(Debug, Clone)]
pub struct UnmaskPhase {
    pub(super) checked: ConsistencyCheckPhase,
    pub(super) statements: Vec<u8>,
}

impl UnmaskPhase {
    /// What every phase knows.
    pub fn context(&self) -> &RoundContext {
        self.checked.context()
    }

    /// The phase before, which knows U3.
    pub fn checked(&self) -> &ConsistencyCheckPhase {
        &self.checked
    }

    /// The witnesses' statements, encoded, as survivors fetch them.
    pub fn statements(&self) -> &[u8] {
        &self.statements
    }

    /// Checks one message: from a survivor, dealers ascending and each a dealer of the sender, of
    /// each the kind of share that the sets ask for. Whether a share is good shows when the secret
    /// is recovered.
    ///
    /// # Errors
    /// [`ProtocolError`] says why it is refused.
    pub fn check(&self, bytes: &[u8]) -> Result<Signed<Unmask>, ProtocolError> {
        let signed = self.context().verified::<Unmask>(bytes)?;
        let holder = self.checked.survivor(signed.message.sender)?;
        let shares = &signed.message.shares;
        if !shares.is_sorted_by(|a, b| a.dealer < b.dealer) {
            let detail = "dealers are not strictly ascending".to_owned();
            return Err(ProtocolError::Malformed {
                what: "Unmask",
                detail,
            });
        }
        let masked = &self.checked.masked;
        for revelation in shares {
            let dealer = revelation.dealer;
            if !masked.sharers.contains(dealer)
                || masked.directory.graph().slot(dealer, holder).is_none()
                || revelation.share.kind() != self.expected_kind(dealer)
            {
                return Err(ProtocolError::ViewMismatch {
                    what: "a revealed share",
                });
            }
        }
        Ok(signed)
    }

    /// Which of a dealer's secrets is recovered.
    pub(super) fn expected_kind(&self, dealer: Position) -> SecretKind {
        if self.checked.survivors.contains(dealer) {
            SecretKind::SelfMask
        } else {
            SecretKind::MaskKey
        }
    }
}
