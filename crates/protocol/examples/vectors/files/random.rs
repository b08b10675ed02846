//! Secrets that anyone can draw again, and generators that hand out listed ones.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};
use undertone_protocol::ProtocolError;
use undertone_protocol::keys::{IdentityKey, Secret32};
use undertone_protocol::message::Share;
use undertone_protocol::shamir::{SeededSplitter, SplitShares};

/// The secret of a name: SHA-256 of `undertone test vectors: ` and the name.
pub(crate) fn secret(name: &str) -> [u8; 32] {
    Sha256::digest(format!("undertone test vectors: {name}")).into()
}

/// The identity whose seed is the secret of a name.
pub(crate) fn identity(name: &str) -> IdentityKey {
    IdentityKey::from_seed(&Secret32::from(secret(name)))
}

/// The secrets of `NAME 0`, `NAME 1`, and so on.
pub(crate) struct Stream {
    name: String,
    next: u32,
}

impl Stream {
    pub(crate) fn new(name: &str) -> Self {
        let name = name.to_owned();
        Self { name, next: 0 }
    }

    fn draw(&mut self) -> [u8; 32] {
        let secret = secret(&format!("{} {}", self.name, self.next));
        self.next += 1;
        secret
    }
}

/// Hands out listed secrets, one each time that 32 bytes are asked for.
pub(crate) struct Script(pub(crate) Vec<[u8; 32]>);

/// Hands out listed coins.
pub(crate) struct Coins(pub(crate) Vec<u64>);

/// A generator of 32-byte secrets.
macro_rules! generator {
    ($name:ident, $self:ident => $draw:expr) => {
        impl TryRng for $name {
            type Error = Infallible;

            fn try_next_u32(&mut self) -> Result<u32, Infallible> {
                unreachable!("no part of the protocol draws words")
            }

            fn try_next_u64(&mut self) -> Result<u64, Infallible> {
                unreachable!("no part of the protocol draws words")
            }

            fn try_fill_bytes(&mut $self, bytes: &mut [u8]) -> Result<(), Infallible> {
                bytes.copy_from_slice(&$draw);
                Ok(())
            }
        }

        impl TryCryptoRng for $name {}
    };
}
generator!(Stream, self => self.draw());
generator!(Script, self => self.0.remove(0));

impl TryRng for Coins {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("coins have 53 bits")
    }

    /// The coin stands in the 53 high bits.
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.remove(0) << 11)
    }

    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Infallible> {
        unreachable!("coins have 53 bits")
    }
}

/// Splits by a named stream: the shares of slots 0 to t - 2 are its secrets, the others follow.
pub(crate) fn split(name: &str, secret: [u8; 32], holders: usize, threshold: usize) -> Vec<Share> {
    SeededSplitter(Stream::new(name))
        .split(&Secret32::from(secret), holders, threshold)
        .unwrap()
}

/// Hands out listed shares, the lists in turn.
pub(crate) struct Listed(pub(crate) Vec<Vec<Share>>);

impl SplitShares for Listed {
    fn split(
        &mut self,
        _: &Secret32,
        holders: usize,
        _: usize,
    ) -> Result<Vec<Share>, ProtocolError> {
        let shares = self.0.remove(0);
        assert_eq!(shares.len(), holders);
        Ok(shares)
    }
}
