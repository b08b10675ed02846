//! Exact integer noise: Skellam and discrete Gaussian, from a cryptographic generator.
//!
//! # How a sample is drawn
//!
//! Thresholds of the cumulative distribution, to 128 bits, are computed once (`distribution`). A
//! sample compares one uniform 128-bit number with all of them (`table`): no floating-point
//! number, no branch and no memory address depends on it.
//!
//! Reading all thresholds is only fast where they are few, up to a standard deviation of about 70.
//! Beyond, the distribution P is drawn as a mixture: with probability 1 - ε from
//!
//! > A = y₁ + k₁y₂ + k₂(y₃ + k₁y₄),
//!
//! the y independent discrete Gaussians of one small table (Micciancio and Walter, "Gaussian
//! Sampling over the Integers", CRYPTO 2017), and with probability ε from the rest
//! R = (P - (1 - ε) A) / ε, whose table is as wide as P's. A is computed exactly, from the very
//! weights of the small table, so that the mixture is P itself and not only near to it. A has the
//! variance of P; ε is 1/(4V) for Skellam noise of variance V (its kurtosis), so that R is needed
//! once in millions of coordinates. So as not to show where, each batch draws the same number of
//! samples from R and selects by masks.
//!
//! # What is left
//!
//! The total variation distance between what is drawn and P is at most 2^-96 a coordinate
//! ([`DISTANCE_LOG2`]): weights are rounded to 2^-128 (at most 2^20 of them, each a sum of at most
//! 2^11 products), and a batch has too few places for R with probability below 2^-120.
//! [`delta_of_sampling`] turns that into what it adds to δ.

mod distribution;
mod table;
mod wide;

use core::fmt;

use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use self::table::Table;
use crate::error::PrivacyError;

/// The distance in total variation between a drawn coordinate and its distribution is at most
/// 2 to this power.
pub const DISTANCE_LOG2: i32 = -96;

/// Variances are multiples of 1/65536.
const VARIANCE_UNIT: f64 = 65536.0;

/// One table up to this many thresholds.
const DIRECT: usize = 960;

/// Coordinates that share the draws from the rest R.
const BATCH: usize = 1 << 16;

/// Coordinates whose randomness is drawn at once.
const CHUNK: usize = 32;

/// Bytes of randomness a coordinate: four numbers of 128 bits, and 64 bits for choice and signs.
const BYTES: usize = 4 * 16 + 8;

/// Which integer noise clients add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampler {
    /// Difference of two Poisson variables: the sum of clients' noise is again Skellam.
    Skellam,
    /// Discrete Gaussian: the sum of clients' noise is nearly one.
    DiscreteGaussian,
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Skellam => "Skellam",
            Self::DiscreteGaussian => "discrete Gaussian",
        })
    }
}

/// The variance of one client's noise in one coordinate: a multiple of 1/65536, from 1/16 to 2^30
/// squared grid units. (For the discrete Gaussian, its parameter σ².)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalVariance(u64);

impl LocalVariance {
    /// The largest: tables then have 2^19 thresholds, 8 MiB.
    pub const LARGEST: f64 = 1_073_741_824.0;
    /// The smallest.
    pub const SMALLEST: f64 = 0.0625;

    /// The least multiple of 1/65536 that is at least `variance`.
    ///
    /// # Errors
    /// [`PrivacyError::OutOfRange`].
    pub fn at_least(variance: f64) -> Result<Self, PrivacyError> {
        if !(Self::SMALLEST..=Self::LARGEST).contains(&variance) {
            return Err(PrivacyError::OutOfRange {
                name: "the variance of one client's noise, in squared grid units,",
                value: variance,
                range: "from 1/16 to 2^30; below, choose a larger scale (or more bits), above, a \
                        smaller scale (or fewer bits)",
            });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked above: at most 2^46"
        )]
        Ok(Self((variance * VARIANCE_UNIT).ceil() as u64))
    }

    /// In squared grid units.
    #[expect(clippy::cast_precision_loss, reason = "at most 2^46: exact")]
    pub fn get(self) -> f64 {
        self.0 as f64 / VARIANCE_UNIT
    }
}

/// Draws integer noise of one distribution. Making one computes its tables: up to about a second
/// for the largest variance, milliseconds for small ones.
pub struct IntegerNoise {
    way: Way,
}

enum Way {
    Direct(Table),
    Mixture(Box<Mixture>),
}

struct Mixture {
    base: Table,
    near: i64,
    far: i64,
    rest: Table,
    /// ε is 2 to the power of minus this.
    chance: u32,
    /// Draws from the rest in each batch.
    places: usize,
}

impl fmt::Debug for IntegerNoise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IntegerNoise({} thresholds)", self.thresholds())
    }
}

impl IntegerNoise {
    /// Noise of mean 0 and the given variance (for the discrete Gaussian, parameter σ²).
    ///
    /// # Errors
    /// [`PrivacyError::Sampler`] if the tables fail their own check, which they do not for any
    /// variance in range.
    pub fn new(sampler: Sampler, variance: LocalVariance) -> Result<Self, PrivacyError> {
        let weights = match sampler {
            Sampler::Skellam => distribution::skellam(variance.0),
            Sampler::DiscreteGaussian => distribution::discrete_gaussian(32_768, variance.0),
        };
        let way = if weights.len() <= DIRECT {
            Way::Direct(Table::new(&weights, 0))
        } else {
            Way::Mixture(Box::new(Mixture::new(&weights, variance)?))
        };
        Ok(Self { way })
    }

    /// Thresholds in all tables, 16 bytes each.
    pub fn thresholds(&self) -> usize {
        match &self.way {
            Way::Direct(table) => table.len(),
            Way::Mixture(mixture) => mixture.base.len() + mixture.rest.len(),
        }
    }

    /// Adds an independent sample to each value. What the generator gave out is erased; the values
    /// are the caller's to erase. Sums must stay within 64 bits.
    pub fn add_to<R: CryptoRng>(&self, values: &mut [i64], rng: &mut R) {
        match &self.way {
            Way::Direct(table) => {
                each(values, rng, |bytes, choice| {
                    signed(table.magnitude(word(bytes, 0)), choice)
                });
            }
            Way::Mixture(mixture) => mixture.add_to(values, rng),
        }
    }
}

/// Calls `sample` for each value with fresh randomness, and adds what it returns.
fn each<R: CryptoRng>(
    values: &mut [i64],
    rng: &mut R,
    mut sample: impl FnMut(&[u8; BYTES], u64) -> i64,
) {
    let mut random = Zeroizing::new([0_u8; CHUNK * BYTES]);
    for values in values.chunks_mut(CHUNK) {
        rng.fill_bytes(&mut *random);
        for (value, bytes) in values.iter_mut().zip(random.as_chunks::<BYTES>().0) {
            let choice = bytes.last_chunk().map_or(0, |b| u64::from_le_bytes(*b));
            *value = value.wrapping_add(sample(bytes, choice));
        }
    }
}

/// The `index`-th number of 128 bits.
#[inline]
fn word(bytes: &[u8; BYTES], index: usize) -> u128 {
    let (words, _) = bytes.as_chunks::<16>();
    words.get(index).map_or(0, |w| u128::from_le_bytes(*w))
}

/// `magnitude` or, if the lowest bit of `sign` is set, minus it.
#[inline]
const fn signed(magnitude: i64, sign: u64) -> i64 {
    let mask = (sign & 1).wrapping_neg().cast_signed();
    (magnitude ^ mask).wrapping_sub(mask)
}

impl Mixture {
    fn new(weights: &[u128], variance: LocalVariance) -> Result<Self, PrivacyError> {
        let (near, far) = factors(variance.get());
        // Rounded down, so that A is a little too narrow rather than too wide: then P / A is least
        // at 0, by far less than ε, and the far tails are the rest's to fill.
        let base_variance = (u128::from(variance.0) << 16)
            / (u128::from(1 + near * near) * u128::from(1 + far * far));
        let base_variance = u64::try_from(base_variance).unwrap_or(u64::MAX);
        let base = distribution::discrete_gaussian(1 << 31, base_variance);
        let size = |factor: u64| usize::try_from(factor).unwrap_or(usize::MAX);
        let combined = distribution::convolved(&base, size(near));
        let combined = distribution::convolved(&combined, size(far));
        let chance = chance(weights, &combined)?;
        let rest = rest(weights, &combined, chance)?;
        Ok(Self {
            base: Table::new(&base, 0),
            near: near.cast_signed(),
            far: far.cast_signed(),
            rest: Table::new(&rest, chance),
            chance,
            places: places(chance),
        })
    }

    fn add_to<R: CryptoRng>(&self, values: &mut [i64], rng: &mut R) {
        let mut rests = Zeroizing::new(vec![0_i64; self.places]);
        for values in values.chunks_mut(BATCH) {
            rests.zeroize();
            rests.resize(self.places, 0);
            each(&mut rests, rng, |bytes, choice| {
                signed(self.rest.magnitude(word(bytes, 0)), choice)
            });
            let mut taken = 0_u64;
            each(values, rng, |bytes, choice| {
                self.sample(bytes, choice, &rests, &mut taken)
            });
            taken.zeroize();
        }
    }

    /// A sample of A, or the next of `rests` with probability ε.
    #[inline]
    fn sample(&self, bytes: &[u8; BYTES], choice: u64, rests: &[i64], taken: &mut u64) -> i64 {
        let y = |i: u32| {
            let magnitude = self.base.magnitude(word(bytes, i as usize));
            signed(magnitude, choice >> i)
        };
        let mut x = y(0) + self.near * y(1) + self.far * (y(2) + self.near * y(3));
        // The high bits decide; the signs are the low ones.
        let from_rest = (choice >> (64 - self.chance)).ct_eq(&0);
        for (place, rest) in (0_u64..).zip(rests) {
            x.conditional_assign(rest, from_rest & place.ct_eq(taken));
        }
        *taken += u64::from(Choice::unwrap_u8(&from_rest));
        x
    }
}

/// k₁ and k₂: as large as A stays smooth. A sum y + k·y' of discrete Gaussians of deviation s
/// repeats with period k in its density, by a factor of about 2 exp(-2π²s²/k²): 4e-14 for
/// s = 1.25 k.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most a few hundred"
)]
fn factors(variance: f64) -> (u64, u64) {
    const SMOOTH: f64 = 1.25;
    // s·sqrt(1 + k²) is the deviation that is wanted, and s at least SMOOTH·k.
    let largest = |variance: f64| {
        let square = ((1.0 + 4.0 * variance / (SMOOTH * SMOOTH)).sqrt() - 1.0) / 2.0;
        square.sqrt().floor().max(1.0)
    };
    let far = largest(variance);
    let near = largest(variance / (1.0 + far * far));
    (near as u64, far as u64)
}

/// The weight below which ratios of weights are rounding: 2^-64.
const COMPARABLE: u128 = 1 << 64;

/// The largest e with P ≥ (1 - 2^-e) A.
fn chance(weights: &[u128], combined: &[u128]) -> Result<u32, PrivacyError> {
    let exponent = |(p, a): (&u128, &u128)| {
        let excess = a.checked_sub(*p)?;
        (*p > COMPARABLE).then(|| (a / excess.max(1)).ilog2())
    };
    let least = weights.iter().zip(combined).filter_map(exponent).min();
    match least.unwrap_or(40).min(40) {
        chance @ 8.. => Ok(chance),
        _ => Err(PrivacyError::Sampler("the parts of the mixture do not fit")),
    }
}

/// The weights of R times ε: P - (1 - ε) A.
fn rest(weights: &[u128], combined: &[u128], chance: u32) -> Result<Vec<u128>, PrivacyError> {
    let mut cut = 0_u128;
    let length = weights.len().max(combined.len());
    let mut rest = Vec::with_capacity(length);
    for x in 0..length {
        let (p, a) = (weights.get(x).unwrap_or(&0), combined.get(x).unwrap_or(&0));
        let (plus, minus) = (p + (a >> chance), *a);
        cut = cut.saturating_add(minus.saturating_sub(plus));
        rest.push(plus.saturating_sub(minus));
    }
    while rest.len() > 1 && rest.last() == Some(&0) {
        rest.pop();
    }
    // Where A is above P by rounding alone; its part of the distance.
    if cut > 1 << 24 {
        return Err(PrivacyError::Sampler("the rest of the mixture is negative"));
    }
    Ok(rest)
}

/// The fewest places that a batch exceeds with probability below 2^-120: the chance that m of N
/// coordinates are from the rest is at most (Nε)^m / m!.
fn places(chance: u32) -> usize {
    let rate = f64::from(u32::try_from(BATCH).unwrap_or(u32::MAX)) * (-f64::from(chance)).exp2();
    let (mut log, mut places) = (0.0, 0_u32);
    while log > -121.0 || f64::from(places) < rate {
        places += 1;
        log += (rate / f64::from(places)).log2();
    }
    places as usize
}

/// What inexact sampling adds to δ: (1 + e^ε) times the distance in total variation of all that was
/// drawn, by `clients` honest clients, `coordinates` each, in `rounds` rounds.
///
/// If M' is within distance ξ of an (ε, δ)-differentially private M, then
/// P[M'(x) in S] ≤ P[M(x) in S] + ξ ≤ e^ε (P[M'(x') in S] + ξ) + δ + ξ.
pub fn delta_of_sampling(epsilon: f64, clients: u32, coordinates: u64, rounds: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a bound, rounded up below")]
    let drawn = f64::from(clients) * coordinates as f64 * rounds as f64;
    1.001 * (1.0 + epsilon.exp()) * drawn * f64::from(DISTANCE_LOG2).exp2()
}

#[cfg(test)]
mod tests;
