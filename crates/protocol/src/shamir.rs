//! Shamir sharing of 32-byte secrets over GF(256), by `shamirsecretsharing`.
//!
//! The crate does the field arithmetic in constant time. What it leaves open is settled here: the
//! bounds, x fixed by the holder's slot and never read from the wire, exactly t distinct shares,
//! and returned buffers wiped. Below the threshold it returns a wrong secret without an error, so
//! a caller must compare what [`combine`] returns with the dealer's commitment.
//!
//! Specification: chapter 3, "Encodings and primitives", section 3.6.

use rand_core::CryptoRng;
use shamirsecretsharing::hazmat::{combine_keyshares, create_keyshares};
use zeroize::{Zeroize, Zeroizing};

use crate::error::ProtocolError;
use crate::keys::Secret32;
use crate::message::Share;

/// Splits secrets. A trait because the library draws its coefficients from the system's generator,
/// while simulations and test vectors must be reproducible.
pub trait SplitShares {
    /// Splits `secret` into `holders` shares, any `threshold` of which recover it; share i belongs
    /// to slot i.
    ///
    /// # Errors
    /// [`ProtocolError::Sharing`] unless 2 <= threshold <= holders <= 255.
    fn split(
        &mut self,
        secret: &Secret32,
        holders: usize,
        threshold: usize,
    ) -> Result<Vec<Share>, ProtocolError>;
}

fn bounds(holders: usize, threshold: usize) -> Result<(u8, u8), ProtocolError> {
    match (u8::try_from(holders), u8::try_from(threshold)) {
        (Ok(n), Ok(t)) if 2 <= t && t <= n => Ok((n, t)),
        _ => Err(ProtocolError::Sharing("needs 2 <= t <= n <= 255")),
    }
}

/// The library's own splitting, coefficients from the system's generator. It does not wipe those
/// coefficients when it is done: freed memory of the process may hold them for a while.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemSplitter;

impl SplitShares for SystemSplitter {
    fn split(
        &mut self,
        secret: &Secret32,
        holders: usize,
        threshold: usize,
    ) -> Result<Vec<Share>, ProtocolError> {
        let (n, t) = bounds(holders, threshold)?;
        create_keyshares(secret.expose(), n, t)
            .map_err(|_| ProtocolError::Sharing("the secret could not be split"))?
            .into_iter()
            .map(|keyshare| {
                let keyshare = Zeroizing::new(keyshare);
                keyshare
                    .last_chunk::<32>()
                    .map(|y| Share::from(*y))
                    .ok_or(ProtocolError::Sharing("the library returned a short share"))
            })
            .collect()
    }
}

/// Splitting with a generator that is passed in: t - 1 shares are drawn, the others follow by
/// interpolation through them and the secret. A polynomial of degree t - 1 is fixed by its values
/// at t places, so this is the same distribution as drawing its coefficients.
#[derive(Debug)]
pub struct SeededSplitter<R>(pub R);

impl<R: CryptoRng> SplitShares for SeededSplitter<R> {
    fn split(
        &mut self,
        secret: &Secret32,
        holders: usize,
        threshold: usize,
    ) -> Result<Vec<Share>, ProtocolError> {
        let (n, t) = bounds(holders, threshold)?;
        // Points of the polynomial: the secret at 0, drawn shares at 1 to t - 1.
        let mut points = vec![(0_u8, Share::from(*secret.expose()))];
        points.extend((1..t).map(|x| (x, Share::from(*Secret32::random(&mut self.0).expose()))));
        (1..=n)
            .map(|x| match points.iter().find(|(at, _)| *at == x) {
                Some((_, share)) => Ok(share.clone()),
                // Interpolation at x is interpolation at 0 with every place moved by x: in a
                // field of characteristic 2, subtraction is XOR.
                None => interpolate(points.iter().map(|(at, share)| (at ^ x, share)))
                    .map(|secret| Share::from(*secret.expose())),
            })
            .collect()
    }
}

/// Recovers a secret from exactly `threshold` shares of distinct slots.
///
/// # Errors
/// [`ProtocolError::Sharing`] if shares are too few, too many, or two have one slot. A wrong share
/// is *not* an error here: compare the result with the dealer's commitment.
pub fn combine(shares: &[(u8, &Share)], threshold: usize) -> Result<Secret32, ProtocolError> {
    let mut slots: Vec<u8> = shares.iter().map(|(slot, _)| *slot).collect();
    slots.sort_unstable();
    slots.dedup();
    if threshold < 2
        || slots.len() != threshold
        || shares.len() != threshold
        || slots.last() == Some(&u8::MAX)
    {
        return Err(ProtocolError::Sharing(
            "exactly t shares of distinct slots are needed, t >= 2",
        ));
    }
    interpolate(
        shares
            .iter()
            .map(|(slot, share)| (slot.wrapping_add(1), *share)),
    )
}

/// The value at 0 of the polynomial through these points.
fn interpolate<'a>(
    points: impl Iterator<Item = (u8, &'a Share)>,
) -> Result<Secret32, ProtocolError> {
    let mut keyshares: Vec<Vec<u8>> = points
        .map(|(x, share)| {
            std::iter::once(x)
                .chain(share.expose().iter().copied())
                .collect()
        })
        .collect();
    let combined = combine_keyshares(&keyshares).map(Zeroizing::new);
    keyshares.iter_mut().for_each(Zeroize::zeroize);
    combined
        .ok()
        .and_then(|secret| {
            secret
                .first_chunk::<32>()
                .map(|bytes| Secret32::from(*bytes))
        })
        .ok_or(ProtocolError::Sharing("the shares could not be combined"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chacha20::rand_core::SeedableRng;
    use proptest::prelude::*;

    fn recover(shares: &[Share], slots: &[usize], t: usize) -> [u8; 32] {
        let chosen: Vec<(u8, &Share)> = slots
            .iter()
            .map(|s| (u8::try_from(*s).unwrap(), &shares[*s]))
            .collect();
        *combine(&chosen, t).unwrap().expose()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn any_t_shares_recover(seed in any::<[u8; 32]>(), n in 2_usize..40, t in 2_usize..40, skip in 0_usize..40) {
            prop_assume!(t <= n);
            let secret = Secret32::from(seed);
            let slots: Vec<usize> = (0..n).cycle().skip(skip % n).take(t).collect();
            let rng = chacha20::ChaCha20Rng::from_seed(seed);
            let seeded = SeededSplitter(rng).split(&secret, n, t).unwrap();
            let system = SystemSplitter.split(&secret, n, t).unwrap();
            for shares in [seeded, system] {
                prop_assert_eq!(recover(&shares, &slots, t), *secret.expose());
                if t > 2 {
                    prop_assert_ne!(recover(&shares, &slots[1..], t - 1), *secret.expose());
                }
            }
        }
    }

    /// Spec.
    #[test]
    fn bounds_are_enforced() {
        let secret = Secret32::from([1; 32]);
        for (n, t) in [(5, 1), (5, 6), (256, 3), (0, 0)] {
            assert!(SystemSplitter.split(&secret, n, t).is_err(), "{n} {t}");
        }
        let shares = SystemSplitter.split(&secret, 255, 2).unwrap();
        assert!(combine(&[], 0).is_err(), "found by fuzzing");
        assert!(combine(&[(3, &shares[3])], 1).is_err());
        assert!(combine(&[(3, &shares[3]), (3, &shares[3])], 2).is_err());
        assert!(combine(&[(3, &shares[3])], 2).is_err());
        assert_eq!(recover(&shares, &[254, 0], 2), *secret.expose());
    }
}
