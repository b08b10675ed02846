//! Phase 2, ShareKeys: shares of both secrets, sealed to each neighbour.

use rand_core::CryptoRng;

use super::{AdvertisedKeys, Participant};
use crate::directory::{Directory, Entry};
use crate::error::ProtocolError;
use crate::graph;
use crate::id::{Position, RosterIndex, RoundId};
use crate::keys::{EphemeralKey, Secret32};
use crate::message::{DealtShare, SecretKind, ShareCommitments, ShareKeys};
use crate::seal::{SealContext, SharePair};
use crate::shamir::SplitShares;
use crate::transcript::seed_commitment;

/// A client that shared its secrets and waits for U2 and for the shares dealt to it.
#[derive(Debug)]
pub struct SharedKeys {
    pub(super) participant: Participant,
    pub(super) directory: Directory,
    pub(super) position: Position,
    pub(super) cipher: EphemeralKey,
    pub(super) mask: EphemeralKey,
    pub(super) seed: Secret32,
    pub(super) own_shares: SharePair,
}

impl AdvertisedKeys {
    /// Checks the directory and deals shares. Returns the signed ShareKeys message to send.
    ///
    /// # Errors
    /// [`ProtocolError`] if the directory is refused or does not hold this client's own entry.
    pub fn share_keys(
        self,
        directory: &[u8],
        splitter: &mut impl SplitShares,
        rng: &mut impl CryptoRng,
    ) -> Result<(SharedKeys, Vec<u8>), ProtocolError> {
        let Self {
            participant,
            cipher,
            mask,
            advertised,
        } = self;
        let (params, round) = (&participant.params, participant.round());
        let directory = Directory::decode(params, &participant.roster, directory)?;
        let position = directory.position(participant.index)?;
        let me = directory.entry(position)?;
        if *me != advertised {
            return Err(ProtocolError::ViewMismatch {
                what: "this client's own directory entry",
            });
        }
        let holders = graph::holders(&directory, position);
        let seed = Secret32::random(rng);
        let seed_shares = splitter.split(&seed, holders.len(), params.threshold())?;
        let mask_shares = splitter.split(mask.seed(), holders.len(), params.threshold())?;

        let mut shares = Vec::with_capacity(holders.len());
        let mut own = None;
        let pairs = seed_shares.into_iter().zip(mask_shares);
        for ((slot, holder), (self_mask, mask_key)) in (0..=u8::MAX).zip(holders).zip(pairs) {
            let pair = SharePair {
                self_mask,
                mask_key,
            };
            let commitments = pair.commitments(round, advertised.sender, slot);
            if holder == position {
                own = Some((pair, commitments));
                continue;
            }
            let holder = directory.entry(holder)?;
            let context = seal_context(round, &directory, me, holder);
            shares.push(DealtShare {
                sealed: context.seal(&cipher, &pair)?,
                commitments,
            });
        }
        let (own_shares, own) = own.ok_or(ProtocolError::Sharing("a dealer holds no own share"))?;
        let message = ShareKeys {
            sender: participant.index,
            directory: directory.digest(),
            seed_commitment: seed_commitment(&seed, round, participant.index),
            own,
            shares,
        };
        let bytes = participant.sign(message)?;
        Ok((
            SharedKeys {
                participant,
                directory,
                position,
                cipher,
                mask,
                seed,
                own_shares,
            },
            bytes,
        ))
    }
}

pub(super) fn seal_context<'a>(
    round: RoundId,
    directory: &Directory,
    dealer: &'a Entry,
    holder: &'a Entry,
) -> SealContext<'a> {
    SealContext {
        round,
        directory: directory.digest(),
        dealer,
        holder,
    }
}

impl SharePair {
    /// The commitments to both shares.
    pub(super) fn commitments(
        &self,
        round: RoundId,
        dealer: RosterIndex,
        slot: u8,
    ) -> ShareCommitments {
        ShareCommitments {
            self_mask: self
                .self_mask
                .commitment(SecretKind::SelfMask, round, dealer, slot),
            mask_key: self
                .mask_key
                .commitment(SecretKind::MaskKey, round, dealer, slot),
        }
    }
}
