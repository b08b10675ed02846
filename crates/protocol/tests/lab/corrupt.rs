//! A corrupt client: it keeps to the protocol where that serves, and shares its secrets.

use undertone_protocol::directory::Directory;
use undertone_protocol::id::RosterIndex;
use undertone_protocol::keys::{EphemeralKey, Secret32};
use undertone_protocol::message::{
    AdvertiseKeys, Dealing, DealtShare, SecretKind, ShareCommitments, ShareKeys, ShareKeysBody,
    Signed,
};
use undertone_protocol::seal::{SealContext, SharePair};
use undertone_protocol::shamir::SplitShares;
use undertone_protocol::transcript::seed_commitment;

use super::Lab;

/// A corrupt client and its secrets.
#[derive(Clone)]
pub(crate) struct Corrupt {
    pub(crate) entry: Signed<AdvertiseKeys>,
    pub(super) cipher: Secret32,
    pub(super) mask: Secret32,
}

impl Corrupt {
    pub(crate) fn new(lab: &mut Lab, client: u32) -> Self {
        let (cipher, mask) = (
            Secret32::random(&mut lab.rng),
            Secret32::random(&mut lab.rng),
        );
        let message = AdvertiseKeys {
            sender: RosterIndex(client),
            cipher_key: EphemeralKey::from_seed(cipher.clone()).public(),
            mask_key: EphemeralKey::from_seed(mask.clone()).public(),
        };
        let entry = lab.sign(message);
        Self {
            entry,
            cipher,
            mask,
        }
    }

    pub(super) fn deal(&self, lab: &mut Lab, directory: &Directory) -> ShareKeysBody {
        let graph = directory.graph();
        let (n, t, round) = (
            graph.holder_count(),
            lab.params.threshold(),
            lab.params.id(),
        );
        let me = &self.entry.message;
        let seed = Secret32::random(&mut lab.rng);
        let mut splitter = lab.splitter();
        let seeds = splitter.split(&seed, n, t).unwrap();
        let masks = splitter.split(&self.mask, n, t).unwrap();
        let mut pairs =
            (0..=u8::MAX)
                .zip(seeds.into_iter().zip(masks))
                .map(|(slot, (self_mask, mask_key))| {
                    let commitments = ShareCommitments {
                        self_mask: self_mask.commitment(
                            SecretKind::SelfMask,
                            round,
                            me.sender,
                            slot,
                        ),
                        mask_key: mask_key.commitment(SecretKind::MaskKey, round, me.sender, slot),
                    };
                    let pair = SharePair {
                        self_mask,
                        mask_key,
                    };
                    (pair, commitments)
                });
        let position = directory.position(me.sender).unwrap();
        let neighbours = graph.neighbours(position);
        let shares = neighbours
            .into_iter()
            .zip(pairs.by_ref())
            .map(|(holder, (pair, commitments))| {
                let to = directory.entry(holder).unwrap();
                let context = SealContext {
                    round,
                    directory: directory.digest(),
                    dealer: me,
                    holder: to,
                };
                let cipher = EphemeralKey::from_seed(self.cipher.clone());
                let shared = cipher.shared((to.sender, to.cipher_key)).unwrap();
                DealtShare {
                    sealed: context.seal(&shared, &pair).unwrap(),
                    commitments,
                }
            })
            .collect();
        let own = pairs.next().map(|(_, commitments)| commitments);
        let dealing = Dealing { shares, own };
        let header = ShareKeys {
            sender: me.sender,
            directory: directory.digest(),
            seed_commitment: seed_commitment(&seed, round, me.sender),
            dealing: dealing.digest().unwrap(),
        };
        let header = lab.sign(header);
        ShareKeysBody { header, dealing }
    }
}
