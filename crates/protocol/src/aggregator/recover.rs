//! Recovery: secrets from shares, and the masks that are still in the sum.
//!
//! Specification: chapter 11, "Result, transcript, failures", sections 11.1 and 11.3.

use std::collections::BTreeMap;

use super::{Aggregate, UnmaskPhase, inconsistent};
use crate::error::{ProtocolError, RoundFailure};
use crate::id::{Digest, Position, RosterIndex};
use crate::keys::{EphemeralKey, Secret32};
use crate::mask::{self, Mask};
use crate::message::{Dealing, SecretKind, Share, ShareKeysBody, Signed, Unmask};
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
    masks: Vec<Mask>,
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
        sum.mask(&self.masks);
    }

    /// Takes the masks off a part of the running sum: its elements from `first` on. Parts need
    /// nothing of each other, so they may be unmasked in any order and by any number of processes.
    ///
    /// # Errors
    /// [`ProtocolError::WrongLength`] if the part is not of a vector that a round can have.
    pub fn unmask_from(&self, first: usize, part: &mut RingVector) -> Result<(), ProtocolError> {
        part.mask_from(first, &self.masks)
    }
}

/// The answers by the position of who gave them.
type Answers<'a> = BTreeMap<Position, &'a Unmask>;

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
        let answers = received
            .iter()
            .map(|s| Ok((masked.directory.position(s.message.sender)?, &s.message)))
            .collect::<Result<Answers<'_>, _>>()
            .map_err(|e| inconsistent(&e))?;
        for (dealer, dealt) in masked.dealt.iter() {
            let secret = self.recover_secret(*dealer, dealt, &answers, &mut recovery)?;
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

    /// The transcript digest of the packed sum, with the masks off.
    pub fn transcript(&self, packed: &[u8]) -> Digest {
        let round = self.context().params.id();
        self.checked.view.digest_packed(round, packed)
    }

    fn recover_secret(
        &self,
        dealer: Position,
        dealt: &ShareKeysBody,
        answers: &Answers<'_>,
        recovery: &mut Recovery,
    ) -> Result<Secret32, RoundFailure> {
        let params = self.context().params();
        let (needed, header) = (params.threshold(), &dealt.header.message);
        let client = header.sender;
        let (shares, withheld) = self.good_shares(dealer, dealt, answers, &mut recovery.set_aside);
        let chosen = shares.get(..needed).ok_or(RoundFailure::BelowThreshold {
            client,
            needed,
            found: shares.len(),
            dealt_badly: withheld > Position(params.rule.corrupt_holders()).index(),
        })?;
        let secret = shamir::combine(chosen, needed).map_err(|e| inconsistent(&e))?;
        let good = match self.expected_kind(dealer) {
            SecretKind::SelfMask => {
                seed_commitment(&secret, params.id(), client) == header.seed_commitment
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

    /// The shares of one secret that are what the dealer committed to, with their slots; and how
    /// many holders answered without a share of this dealer.
    fn good_shares<'a>(
        &self,
        dealer: Position,
        dealt: &ShareKeysBody,
        answers: &Answers<'a>,
        set_aside: &mut Vec<SetAside>,
    ) -> (Vec<(u8, &'a Share)>, usize) {
        let graph = self.checked.masked.directory.graph();
        let (kind, round) = (self.expected_kind(dealer), self.context().params.id());
        let client = dealt.header.message.sender;
        let Dealing { shares, own } = &dealt.dealing;
        let commitments = shares.iter().map(|dealt| &dealt.commitments).chain(own);
        let holders = graph.neighbours(dealer).into_iter().chain([dealer]);
        let (mut good, mut withheld) = (Vec::new(), 0_usize);
        for (slot, (holder, both)) in (0..=u8::MAX).zip(holders.zip(commitments)) {
            let Some(answer) = answers.get(&holder) else {
                continue;
            };
            let Ok(index) = answer.shares.binary_search_by_key(&dealer, |r| r.dealer) else {
                withheld = withheld.saturating_add(1);
                continue;
            };
            let expected = match kind {
                SecretKind::SelfMask => both.self_mask,
                SecretKind::MaskKey => both.mask_key,
            };
            match answer.shares.get(index).map(|r| r.share.share()) {
                Some(share) if share.commitment(kind, round, client, slot) == expected => {
                    good.push((slot, share));
                }
                _ => set_aside.push(SetAside {
                    holder: answer.sender,
                    dealer: client,
                }),
            }
        }
        (good, withheld)
    }

    /// The pairwise masks that survivors added for a client that vanished, with the sign that
    /// takes each off again.
    fn pairwise_masks(
        &self,
        vanished: Position,
        key: &EphemeralKey,
    ) -> Result<Vec<Mask>, ProtocolError> {
        let (masked, round) = (&self.checked.masked, self.context().params.id());
        let directory = &masked.directory;
        let own = (directory.entry(vanished)?, key);
        directory
            .graph()
            .neighbours(vanished)
            .into_iter()
            .filter(|u| self.checked.survivors.contains(*u))
            .map(|u| {
                let peer = directory.entry(u)?;
                let key = mask::pairwise_mask_key(own, peer, round, directory.digest())?;
                // Survivor u added this mask if it stands before the vanished client.
                let sign = if u < vanished {
                    Sign::Minus
                } else {
                    Sign::Plus
                };
                Ok((key, sign))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vector::Ring;

    proptest! {
        /// The parts put together are the whole, wherever it is cut and whatever is in it.
        #[test]
        fn parts_are_the_whole(
            bits in 8_u8..=64,
            length in 1_usize..20_000,
            cuts in proptest::collection::vec(0.0_f64..1.0, 0..5),
            keys in proptest::collection::vec((any::<[u8; 32]>(), any::<bool>()), 1..6),
        ) {
            let ring = Ring::new(bits).unwrap();
            let sign = |plus| if plus { Sign::Plus } else { Sign::Minus };
            let masks = keys.iter().map(|(key, plus)| (Secret32::from(*key), sign(*plus)));
            let recovery = Recovery { masks: masks.collect(), set_aside: Vec::new() };
            let elements: Vec<u64> = (0..20_000_u64).take(length).collect();
            let mut whole = RingVector::from_elements(ring, &elements);
            recovery.unmask(&mut whole);

            #[allow(clippy::as_conversions, clippy::cast_possible_truncation,
                clippy::cast_precision_loss, clippy::cast_sign_loss)]
            let mut cuts: Vec<usize> = cuts.iter().map(|c| (c * length as f64) as usize).collect();
            cuts.extend([0, length]);
            cuts.sort_unstable();
            let mut parts = Vec::new();
            for cut in cuts.windows(2) {
                let mut part = RingVector::from_elements(ring, &elements[cut[0]..cut[1]]);
                recovery.unmask_from(cut[0], &mut part).unwrap();
                parts.extend(part.elements());
            }
            prop_assert_eq!(parts, whole.elements().collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_vector_is_longer_than_a_mask() {
        let masks = vec![(Secret32::from([1; 32]), Sign::Plus)];
        let recovery = Recovery {
            masks,
            set_aside: Vec::new(),
        };
        let mut part = RingVector::zeros(Ring::new(64).unwrap(), 10);
        // The longest vector has 2^32 - 1 elements.
        recovery.unmask_from((1 << 32) - 11, &mut part).unwrap();
        assert!(recovery.unmask_from(1 << 35, &mut part).is_err());
    }
}
