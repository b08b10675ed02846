//! Phase 1, AdvertiseKeys: two fresh key pairs.
//!
//! Specification: chapter 6, "Phase 1: AdvertiseKeys".

use rand_core::CryptoRng;

use super::Participant;
use crate::error::ProtocolError;
use crate::keys::EphemeralKey;
use crate::message::AdvertiseKeys;

/// A client that advertised its keys and waits for the directory.
#[derive(Debug)]
pub struct AdvertisedKeys {
    pub(super) participant: Participant,
    pub(super) cipher: EphemeralKey,
    pub(super) mask: EphemeralKey,
    pub(super) advertised: AdvertiseKeys,
}

impl Participant {
    /// Draws this round's keys. Returns the signed AdvertiseKeys message to send.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] if the message cannot be encoded.
    pub fn advertise_keys(
        self,
        rng: &mut impl CryptoRng,
    ) -> Result<(AdvertisedKeys, Vec<u8>), ProtocolError> {
        let (cipher, mask) = (EphemeralKey::generate(rng), EphemeralKey::generate(rng));
        let advertised = AdvertiseKeys {
            sender: self.index,
            cipher_key: cipher.public(),
            mask_key: mask.public(),
        };
        let bytes = self.sign(advertised.clone())?;
        Ok((
            AdvertisedKeys {
                participant: self,
                cipher,
                mask,
                advertised,
            },
            bytes,
        ))
    }
}
