//! Phase 2, ShareKeys: shares of both secrets, sealed to each neighbour.
//!
//! Specification: chapter 7, "Phase 2: ShareKeys".

use std::collections::BTreeMap;

use rand_core::CryptoRng;

use super::{AdvertisedKeys, Participant};
use crate::codec;
use crate::directory::{Entry, LocalDirectory};
use crate::error::ProtocolError;
use crate::id::{Position, RosterIndex, RoundId};
use crate::keys::{EphemeralKey, Secret32, SharedSecret};
use crate::message::{
    Dealing, DealtShare, SecretKind, ShareCommitments, ShareKeys, ShareKeysBody, Signed,
};
use crate::seal::{SealContext, SharePair};
use crate::shamir::SplitShares;
use crate::transcript::seed_commitment;

/// A client that shared its secrets and waits for U2 and for the shares dealt to it.
#[derive(Debug)]
pub struct SharedKeys {
    pub(super) participant: Participant,
    pub(super) directory: LocalDirectory,
    /// What the cipher keys of this client and each neighbour agree on.
    pub(super) ciphers: BTreeMap<Position, SharedSecret>,
    pub(super) mask: EphemeralKey,
    pub(super) seed: Secret32,
    /// The shares that this client keeps of its own secrets: on the complete graph only.
    pub(super) own_shares: Option<SharePair>,
}

impl AdvertisedKeys {
    /// Checks the directory and deals shares. Returns the ShareKeys message to send.
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
        let directory =
            LocalDirectory::decode(params, &participant.roster, &advertised, directory)?;
        let (holders, threshold) = (directory.holder_count(), params.threshold());
        let seed = Secret32::random(rng);
        let seed_shares = splitter.split(&seed, holders, threshold)?;
        let mask_shares = splitter.split(mask.seed(), holders, threshold)?;
        let mut pairs = (0..=u8::MAX)
            .zip(seed_shares.into_iter().zip(mask_shares))
            .map(|(slot, (self_mask, mask_key))| {
                let pair = SharePair {
                    self_mask,
                    mask_key,
                };
                let commitments = pair.commitments(round, advertised.sender, slot);
                (pair, commitments)
            });

        let mut shares = Vec::with_capacity(directory.neighbours().len());
        let mut ciphers = BTreeMap::new();
        for (position, (pair, commitments)) in directory.neighbours().iter().zip(pairs.by_ref()) {
            let holder = directory.entry(*position)?;
            let context = seal_context(round, &directory, &advertised, holder);
            let shared = cipher.shared((holder.sender, holder.cipher_key))?;
            shares.push(DealtShare {
                sealed: context.seal(&shared, &pair)?,
                commitments,
            });
            ciphers.insert(*position, shared);
        }
        // What is left after the neighbours' shares is the dealer's own: its slot is the last.
        let (own_shares, own) = pairs.next().unzip();
        let dealing = Dealing { shares, own };
        let header = ShareKeys {
            sender: participant.index,
            directory: directory.digest(),
            seed_commitment: seed_commitment(&seed, round, participant.index),
            dealing: dealing.digest()?,
        };
        let header = Signed::sign(header, round, &participant.identity)?;
        let bytes = codec::encode("ShareKeys", &ShareKeysBody { header, dealing })?;
        Ok((
            SharedKeys {
                participant,
                directory,
                ciphers,
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
    directory: &LocalDirectory,
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
