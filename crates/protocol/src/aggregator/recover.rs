//! Recovery: secrets from shares, and the masks that are still in the sum.

use super::{Aggregate, UnmaskPhase, inconsistent};
use crate::error::{ProtocolError, RoundFailure};
use crate::graph;
use crate::id::{Position, RosterIndex};
use crate::keys::{EphemeralKey, Secret32};
use crate::mask;
use crate::message::{SecretKind, Share, ShareKeys, Signed, Unmask};
use crate::shamir;
use crate::transcript::seed_commitment;
use crate::vector::{RingVector, Sign};

/// A share that is not the one its dealer committed to. Its holder checked it when it was dealt,
/// so a holder that reveals it is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetAside {
    /// Who revealed it.
    pub holder: RosterIndex,
    /// Whose secret it should be a share of.
    pub dealer: RosterIndex,
}

/// The masks that are still in the running sum of U3, as keys: self masks of the survivors, and
/// pairwise masks between survivors and those who vanished after ShareKeys.
#[derive(Debug)]
pub struct Recovery {
    masks: Vec<(Secret32, Sign)>,
    set_aside: Vec<SetAside>,
}

impl Recovery {
    /// Shares that failed their commitment.
    pub fn set_aside(&self) -> &[SetAside] {
        &self.set_aside
    }

    /// How many masks there are to take off: the PRG expansions of the aggregator.
    pub fn expansions(&self) -> usize {
        self.masks.len()
    }

    /// Takes the masks off the running sum.
    pub fn unmask(&self, sum: &mut RingVector) {
        for (key, sign) in &self.masks {
            sum.mask(key, *sign);
        }
    }
}

impl UnmaskPhase {
    /// Recovers every secret that is needed and checks it against its dealer's commitment.
    ///
    /// # Errors
    /// [`RoundFailure::BelowThreshold`], [`RoundFailure::BadDealer`],
    /// [`RoundFailure::Inconsistent`].
    pub fn recover(&self, received: &[Signed<Unmask>]) -> Result<Recovery, RoundFailure> {
        let mut recovery = Recovery {
            masks: Vec::new(),
            set_aside: Vec::new(),
        };
        let masked = &self.checked.masked;
        for (dealer, dealt) in masked.dealt.iter() {
            let secret = self.recover_secret(*dealer, dealt, received, &mut recovery)?;
            match self.expected_kind(*dealer) {
                SecretKind::SelfMask => {
                    let key = mask::self_mask_key(&secret, self.context().params.id());
                    recovery.masks.push((key, Sign::Minus));
                }
                SecretKind::MaskKey => {
                    let key = EphemeralKey::from_seed(secret);
                    let masks = self
                        .pairwise_masks(*dealer, &key)
                        .map_err(|e| inconsistent(&e))?;
                    recovery.masks.extend(masks);
                }
            }
        }
        Ok(recovery)
    }

    /// Takes the masks off the running sum and states the result.
    pub fn aggregate(&self, recovery: &Recovery, mut sum: RingVector) -> Aggregate {
        recovery.unmask(&mut sum);
        Aggregate {
            transcript: self.checked.view.digest(self.context().params.id(), &sum),
            sum,
            survivors: self.checked.survivors.clone(),
            clients: self.checked.survivor_indices(),
            set_aside: recovery.set_aside.clone(),
        }
    }

    fn recover_secret(
        &self,
        dealer: Position,
        dealt: &ShareKeys,
        received: &[Signed<Unmask>],
        recovery: &mut Recovery,
    ) -> Result<Secret32, RoundFailure> {
        let params = self.context().params();
        let shares = self
            .good_shares(dealer, dealt, received, &mut recovery.set_aside)
            .map_err(|e| inconsistent(&e))?;
        let (needed, client) = (params.threshold(), dealt.sender);
        let chosen = shares.get(..needed).ok_or(RoundFailure::BelowThreshold {
            client,
            needed,
            found: shares.len(),
        })?;
        let secret = shamir::combine(chosen, needed).map_err(|e| inconsistent(&e))?;
        let good = match self.expected_kind(dealer) {
            SecretKind::SelfMask => {
                seed_commitment(&secret, params.id(), client) == dealt.seed_commitment
            }
            SecretKind::MaskKey => {
                let entry = self.checked.masked.directory.entry(dealer);
                EphemeralKey::from_seed(secret.clone()).public()
                    == entry.map_err(|e| inconsistent(&e))?.mask_key
            }
        };
        if good {
            Ok(secret)
        } else {
            Err(RoundFailure::BadDealer { client })
        }
    }

    /// The shares of one secret that are what the dealer committed to, with their slots.
    fn good_shares<'a>(
        &self,
        dealer: Position,
        dealt: &ShareKeys,
        received: &'a [Signed<Unmask>],
        set_aside: &mut Vec<SetAside>,
    ) -> Result<Vec<(u8, &'a Share)>, ProtocolError> {
        let directory = &self.checked.masked.directory;
        let (kind, round) = (self.expected_kind(dealer), self.context().params.id());
        let neighbours = graph::neighbours(directory, dealer);
        let mut good = Vec::new();
        for message in received.iter().map(|signed| &signed.message) {
            let holder = directory.position(message.sender)?;
            let revealed = message.shares.iter().find(|r| r.dealer == dealer);
            let (Some(revealed), Some(slot)) = (revealed, graph::slot(directory, dealer, holder))
            else {
                continue;
            };
            let commitments = match neighbours.binary_search(&holder) {
                Ok(index) => dealt.shares.get(index).map(|dealt| &dealt.commitments),
                Err(_) => Some(&dealt.own),
            };
            let share = revealed.share.share();
            let commitment = share.commitment(kind, round, dealt.sender, slot);
            let expected = commitments.map(|both| match kind {
                SecretKind::SelfMask => both.self_mask,
                SecretKind::MaskKey => both.mask_key,
            });
            if expected == Some(commitment) {
                good.push((slot, share));
            } else {
                set_aside.push(SetAside {
                    holder: message.sender,
                    dealer: dealt.sender,
                });
            }
        }
        Ok(good)
    }

    /// The pairwise masks that survivors added for a client that vanished, with the sign that
    /// takes each off again.
    fn pairwise_masks(
        &self,
        vanished: Position,
        key: &EphemeralKey,
    ) -> Result<Vec<(Secret32, Sign)>, ProtocolError> {
        let (masked, round) = (&self.checked.masked, self.context().params.id());
        let directory = &masked.directory;
        let own = (directory.entry(vanished)?, key);
        graph::neighbours(directory, vanished)
            .into_iter()
            .filter(|u| self.checked.survivors.contains(*u))
            .map(|u| {
                let peer = directory.entry(u)?;
                let key = mask::pairwise_mask_key(own, peer, round, directory.digest())?;
                // Survivor u added this mask if it stands before the vanished client.
                Ok((
                    key,
                    if u < vanished {
                        Sign::Minus
                    } else {
                        Sign::Plus
                    },
                ))
            })
            .collect()
    }
}
