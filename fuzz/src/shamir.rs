//! Splitting and combining, with shares that are corrupt, missing, doubled or misplaced, against
//! Lagrange interpolation over GF(256) written out.

use arbitrary::{Arbitrary, Unstructured};
use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use undertone_protocol::keys::Secret32;
use undertone_protocol::message::Share;
use undertone_protocol::shamir::{SeededSplitter, SplitShares, SystemSplitter, combine};

#[derive(Debug, Arbitrary)]
struct Plan {
    secret: [u8; 32],
    seed: u64,
    holders: u16,
    threshold: u16,
    system: bool,
    /// The shares that are put together, each with what goes wrong.
    picks: Vec<(u8, Fault)>,
    /// The threshold that combining is told, if another.
    told: Option<u16>,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Fault {
    None,
    /// One byte of the share is changed.
    Corrupt(u8, u8),
    /// The share stands under another slot.
    Slot(u8),
    /// The share is any 32 bytes.
    Noise([u8; 32]),
}

/// Runs one plan.
pub fn run(data: &[u8]) {
    let Ok(plan) = Plan::arbitrary(&mut Unstructured::new(data)) else {
        return;
    };
    let secret = Secret32::from(plan.secret);
    // Beyond the bounds now and then, but most of the time small: interpolation is cubic.
    let limit = if plan.seed % 16 == 0 { 300 } else { 24 };
    let (n, t) = (
        usize::from(plan.holders % limit),
        usize::from(plan.threshold % limit),
    );
    let shares = if plan.system || n * t > 1000 {
        SystemSplitter.split(&secret, n, t)
    } else {
        SeededSplitter(ChaCha20Rng::seed_from_u64(plan.seed)).split(&secret, n, t)
    };
    let possible = 2 <= t && t <= n && n <= 255;
    assert_eq!(shares.is_ok(), possible, "{n} holders, threshold {t}");
    let Ok(shares) = shares else { return };
    assert_eq!(shares.len(), n);

    // Any t good shares recover: those from a place that the plan gives on, around the end.
    let first = plan.seed as usize % n;
    let good: Vec<(u8, &Share)> = (0..t)
        .map(|i| (first + i) % n)
        .map(|slot| (slot as u8, &shares[slot]))
        .collect();
    let recovered = combine(&good, t).expect("t good shares");
    assert_eq!(recovered.expose(), secret.expose());

    let picked: Vec<(u8, Share)> = plan
        .picks
        .iter()
        .map(|pick| pick_one(&shares, pick))
        .collect();
    judge(
        &picked,
        usize::from(plan.told.unwrap_or(plan.threshold % limit)),
    );
    // A share that is not the dealt one never passes unnoticed: it changes the result.
    if let Some((at, Fault::Corrupt(byte, mask))) = plan.picks.first()
        && *mask != 0
    {
        let at = usize::from(*at) % t;
        let bad = corrupt(good[at].1, *byte, *mask);
        let mut mixed = good.clone();
        mixed[at].1 = &bad;
        let wrong = combine(&mixed, t).expect("t shares");
        assert_ne!(wrong.expose(), secret.expose());
    }
}

fn pick_one(shares: &[Share], (at, fault): &(u8, Fault)) -> (u8, Share) {
    let slot = usize::from(*at) % shares.len();
    let share = &shares[slot];
    match fault {
        Fault::None => (slot as u8, share.clone()),
        Fault::Corrupt(byte, mask) => (slot as u8, corrupt(share, *byte, *mask)),
        Fault::Slot(slot) => (*slot, share.clone()),
        Fault::Noise(bytes) => (slot as u8, Share::from(*bytes)),
    }
}

fn corrupt(share: &Share, byte: u8, mask: u8) -> Share {
    let mut bytes = *share.expose();
    bytes[usize::from(byte % 32)] ^= mask;
    Share::from(bytes)
}

/// Combining gives what interpolation gives, for exactly t shares of distinct slots below 255.
fn judge(shares: &[(u8, Share)], threshold: usize) {
    let borrowed: Vec<(u8, &Share)> = shares.iter().map(|(slot, share)| (*slot, share)).collect();
    let mut slots: Vec<u8> = shares.iter().map(|(slot, _)| *slot).collect();
    slots.sort_unstable();
    slots.dedup();
    let distinct = slots.len() == shares.len() && !slots.contains(&255);
    let result = combine(&borrowed, threshold);
    let sound = distinct && threshold >= 2 && shares.len() == threshold;
    assert_eq!(
        result.is_ok(),
        sound,
        "{} shares, threshold {threshold}",
        shares.len()
    );
    if let Ok(secret) = result {
        assert_eq!(*secret.expose(), interpolate(shares));
    }
}

/// The value at 0 of the polynomial through (slot + 1, share), byte by byte.
fn interpolate(shares: &[(u8, Share)]) -> [u8; 32] {
    let mut out = [0; 32];
    for (slot, share) in shares {
        let x = slot + 1;
        let others = shares
            .iter()
            .map(|(other, _)| other + 1)
            .filter(|other| *other != x);
        let weight = others.fold(1, |w, other| mul(w, mul(other, inverse(other ^ x))));
        for (out, byte) in out.iter_mut().zip(share.expose()) {
            *out ^= mul(weight, *byte);
        }
    }
    out
}

/// GF(256) with the polynomial x^8 + x^4 + x^3 + x + 1.
fn mul(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = if a & 0x80 == 0 { a << 1 } else { a << 1 ^ 0x1b };
        b >>= 1;
    }
    product
}

/// a^254.
fn inverse(a: u8) -> u8 {
    (0..254).fold(1, |power, _| mul(power, a))
}
