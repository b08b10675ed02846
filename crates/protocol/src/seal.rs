//! Share encryption: a pair of shares from one dealer to one holder.
//!
//! Specification: chapter 7, "Phase 2: ShareKeys", section 7.3.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use zeroize::Zeroizing;

use crate::codec::Label;
use crate::directory::Entry;
use crate::error::ProtocolError;
use crate::id::{DirectoryDigest, RoundId};
use crate::keys::{Secret32, SharedSecret};
use crate::message::{SEALED_LENGTH, Sealed, Share};

/// A dealer's two shares for one holder.
#[derive(Debug)]
pub struct SharePair {
    /// Of the self-mask seed.
    pub self_mask: Share,
    /// Of the mask key's seed.
    pub mask_key: Share,
}

/// Where a sealed pair belongs: it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct SealContext<'a> {
    /// The round.
    pub round: RoundId,
    /// The directory.
    pub directory: DirectoryDigest,
    /// Who dealt.
    pub dealer: &'a Entry,
    /// Who holds.
    pub holder: &'a Entry,
}

impl SealContext<'_> {
    fn info(&self) -> Vec<u8> {
        let dealer = self.dealer.sender.0.to_be_bytes();
        let holder = self.holder.sender.0.to_be_bytes();
        [self.directory.as_bytes().as_slice(), &dealer, &holder].concat()
    }

    fn key(&self, shared: &SharedSecret) -> Secret32 {
        shared.derive(Label::Seal, self.round, &[&self.info()])
    }

    /// Seals a pair by what the cipher keys of dealer and holder agree on. The key is used once, so the
    /// nonce is constant.
    ///
    /// # Errors
    /// [`ProtocolError::Sharing`] if the cipher fails, which it does not at this length.
    pub fn seal(&self, shared: &SharedSecret, pair: &SharePair) -> Result<Sealed, ProtocolError> {
        let key = self.key(shared);
        let plain = Zeroizing::new([*pair.self_mask.expose(), *pair.mask_key.expose()].concat());
        ChaCha20Poly1305::new(key.expose().into())
            .encrypt(
                &Nonce::default(),
                Payload {
                    msg: &plain,
                    aad: &self.info(),
                },
            )
            .ok()
            .and_then(|sealed| <[u8; SEALED_LENGTH]>::try_from(sealed).ok())
            .map(Sealed)
            .ok_or(ProtocolError::Sharing(
                "a pair of shares could not be sealed",
            ))
    }

    /// Opens a pair by the same.
    ///
    /// # Errors
    /// [`ProtocolError::Sharing`] if it was not sealed by this dealer for this holder, round and
    /// directory.
    pub fn open(&self, shared: &SharedSecret, sealed: &Sealed) -> Result<SharePair, ProtocolError> {
        let key = self.key(shared);
        let plain = ChaCha20Poly1305::new(key.expose().into())
            .decrypt(
                &Nonce::default(),
                Payload {
                    msg: &sealed.0,
                    aad: &self.info(),
                },
            )
            .map(Zeroizing::new)
            .map_err(|_| ProtocolError::Sharing("a sealed pair of shares does not open"))?;
        match plain.as_chunks::<32>() {
            ([self_mask, mask_key], []) => Ok(SharePair {
                self_mask: Share::from(*self_mask),
                mask_key: Share::from(*mask_key),
            }),
            _ => Err(ProtocolError::Sharing(
                "a sealed pair of shares has the wrong length",
            )),
        }
    }
}
