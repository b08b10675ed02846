//! Phase 5, Unmask: one share of each dealer, never both, once.
//!
//! Specification: chapter 10, "Phase 5: Unmask".

use std::collections::BTreeSet;

use super::SignedStatement;
use crate::codec;
use crate::error::ProtocolError;
use crate::message::{ConsistencyCheck, RevealedShare, Revelation, Signed, Unmask};

impl SignedStatement {
    /// Checks the witnesses' statements and reveals: for each dealer of U2 the share of its
    /// self-mask seed if it is in U3, else the share of its mask key. Returns the message to send.
    /// The state is consumed and with it every secret of the round.
    ///
    /// The caller must have stored durably that this client answers this round before it sends.
    ///
    /// # Errors
    /// [`ProtocolError::TooFew`] unless `t_w` witnesses signed exactly this client's own statement:
    /// the views conflict, or too many witnesses vanished. Nothing is revealed then.
    pub fn unmask(self, statements: &[u8]) -> Result<Vec<u8>, ProtocolError> {
        let statements: Vec<Signed<ConsistencyCheck>> =
            codec::decode("the witnesses' statements", statements)?;
        let (round, roster) = (self.participant.round(), &self.participant.roster);
        let needed = self.participant.params.witness_threshold();
        // Statements that do not verify or say something else are not counted, whoever slipped
        // them in; the set keeps a repeated one from counting twice. Those beyond the ones that are
        // needed change nothing, and are not verified.
        let mut witnesses = BTreeSet::new();
        for statement in &statements {
            let sender = statement.message.sender;
            if witnesses.len() < needed
                && statement.message.agrees(&self.statement)
                && self.directory.witnesses().contains(&sender)
                && !witnesses.contains(&sender)
                && statement.verify(round, roster).is_ok()
            {
                witnesses.insert(sender);
            }
        }
        let found = witnesses.len();
        if found < needed {
            let what = "witnesses' signatures on this client's view";
            return Err(ProtocolError::TooFew {
                what,
                needed,
                found,
            });
        }
        let shares = self
            .held
            .iter()
            .filter(|(dealer, _)| self.sharers.contains(**dealer))
            .map(|(dealer, pair)| Revelation {
                dealer: *dealer,
                share: if self.survivors.contains(*dealer) {
                    RevealedShare::SelfMask(pair.self_mask.clone())
                } else {
                    RevealedShare::MaskKey(pair.mask_key.clone())
                },
            })
            .collect();
        self.participant.sign(Unmask {
            sender: self.participant.index,
            shares,
        })
    }
}
