//! Probabilities of symmetric integer distributions, to 128 bits.
//!
//! A distribution is held as `weights[k]`, the probability of k ≥ 0 (and of -k) times 2^128. They
//! are rounded down, and what is lost is given to 0: the weights of all integers together are 2^128
//! exactly. Computed with more than 200 correct bits in [`Wide`] integers; no floating-point
//! number decides a weight.

use super::wide::{Wide, reciprocal};

/// 1.0 in the fixed-point numbers of the discrete Gaussian.
const ONE: u32 = 255;

/// Skellam noise of variance `variance` / 65536: the difference of two Poisson variables of half
/// that mean each. `P(k) = e^-V I_k(V)`, with the modified Bessel function of the first kind.
///
/// Miller's algorithm: `I_(k-1) = I_(k+1) + (2k/V) I_k`, started far out in the tail, is stable
/// downwards as all terms are positive; `I_0 + 2 Σ I_k = e^V` normalises it.
pub(super) fn skellam(variance: u64) -> Vec<u128> {
    let last = skellam_support(variance);
    // Rounding errors are at most 1 in 2^128 where the recurrence starts, and vanish beside the
    // values, which grow by 256 bits on the way to 0.
    let (mut outer, mut inner) = (Wide::ZERO, Wide::power_of_two(128));
    let mut values = vec![inner];
    for k in (1..=last).rev() {
        let next = outer.add(&inner.times(k * (2 << 16)).over(variance));
        (outer, inner) = (inner, next);
        values.push(next);
    }
    values.reverse();
    normalised(&values)
}

/// The discrete Gaussian: P(k) proportional to exp(-k² · `numerator` / `denominator`), the
/// quotient being 1/(2σ²), at most 8.
pub(super) fn discrete_gaussian(numerator: u64, denominator: u64) -> Vec<u128> {
    let multiply = |a: &Wide, b: &Wide| a.times_half(b).shifted_right(ONE);
    let first = exp_minus(numerator, denominator);
    let square = multiply(&first, &first);
    // The ratio of neighbours shrinks by the same factor every time.
    let (mut value, mut ratio) = (Wide::power_of_two(ONE), first);
    let mut values = Vec::new();
    while value.bits() > ONE - 140 {
        values.push(value);
        value = multiply(&value, &ratio);
        ratio = multiply(&ratio, &square);
    }
    normalised(&values)
}

/// exp(-`numerator` / `denominator`) times 2^255, for a quotient up to 8: the exponential series.
fn exp_minus(numerator: u64, denominator: u64) -> Wide {
    let (mut even, mut odd, mut term) = (Wide::ZERO, Wide::ZERO, Wide::power_of_two(ONE));
    let mut n = 0;
    while term != Wide::ZERO {
        let sum = if n % 2 == 0 { &mut even } else { &mut odd };
        *sum = sum.add(&term);
        n += 1;
        term = term.times(numerator).over(denominator).over(n);
    }
    even.saturating_sub(&odd)
}

/// Where the tail of Skellam noise has fallen below 2^-256 (Chernoff's bound).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "only the size of a table comes from it, with room to spare"
)]
fn skellam_support(variance: u64) -> u64 {
    let v = variance as f64 / 65536.0;
    let exponent = |k: f64| k * libm::asinh(k / v) - v * ((1.0 + (k / v).powi(2)).sqrt() - 1.0);
    let needed = 260.0 * core::f64::consts::LN_2;
    let mut high = 16.0;
    while exponent(high) < needed {
        high *= 1.1;
    }
    high.ceil() as u64
}

/// Weights in proportion to `values`, those of 0, 1, 2 and so on.
fn normalised(values: &[Wide]) -> Vec<u128> {
    let mut total = Wide::ZERO;
    for (k, value) in values.iter().enumerate() {
        total = total.add(value);
        if k > 0 {
            total = total.add(value);
        }
    }
    let shift = total.bits().saturating_sub(256);
    let factor = reciprocal(511, &total.shifted_right(shift));
    let mut weights: Vec<u128> = values
        .iter()
        .map(|value| {
            let product = value.shifted_right(shift).times_half(&factor);
            product.shifted_right(511 - 128).saturating_u128()
        })
        .collect();
    while weights.len() > 1 && weights.last() == Some(&0) {
        weights.pop();
    }
    complete(&mut weights);
    weights
}

/// Gives to 0 what is missing to 2^128.
fn complete(weights: &mut [u128]) {
    let others = weights
        .iter()
        .skip(1)
        .fold(0_u128, |sum, w| sum.wrapping_add(w.wrapping_mul(2)));
    if let Some(zero) = weights.first_mut() {
        *zero = others.wrapping_neg();
    }
}

/// The weights of X + `factor` · Y, where X and Y are independent and both have `weights`. Each is
/// too small by at most the number of its terms.
pub(super) fn convolved(weights: &[u128], factor: usize) -> Vec<u128> {
    let reach = weights.len() - 1;
    (0..=reach * (factor + 1))
        .map(|x| {
            // Y = y and X = x - factor·y, both within reach.
            let low = x.saturating_sub(reach).div_ceil(factor);
            let high = ((x + reach) / factor).min(reach);
            let negative = reach.saturating_sub(x) / factor;
            let positive = (low..=high).map(|y| (y, (factor * y).abs_diff(x)));
            let mirrored = (1..=negative).map(|y| (y, factor * y + x));
            positive
                .chain(mirrored)
                .map(|(y, rest)| high_product(weights[y], weights[rest]))
                .fold(0_u128, u128::saturating_add)
        })
        .collect()
}

/// `a` · `b` / 2^128, rounded down.
fn high_product(a: u128, b: u128) -> u128 {
    const LOW: u128 = u64::MAX as u128;
    let (a1, a0, b1, b0) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let (low, left, right) = (a0 * b0, a1 * b0, a0 * b1);
    let middle = (low >> 64) + (left & LOW) + (right & LOW);
    a1 * b1 + (left >> 64) + (right >> 64) + (middle >> 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probability(weight: u128) -> f64 {
        weight as f64 / 2_f64.powi(128)
    }

    fn variance(weights: &[u128]) -> f64 {
        let squares = weights.iter().enumerate();
        squares
            .map(|(k, w)| 2.0 * (k as f64).powi(2) * probability(*w))
            .sum()
    }

    fn total(weights: &[u128]) -> f64 {
        2.0 * weights.iter().map(|w| probability(*w)).sum::<f64>() - probability(weights[0])
    }

    #[test]
    fn weights_have_the_variance_and_the_tail_of_their_distribution() {
        for v in [4096, 65_536, 655_360, 65_536_000_u64] {
            let exact = v as f64 / 65536.0;
            let weights = skellam(v);
            assert!((variance(&weights) / exact - 1.0).abs() < 1e-13, "{v}");
            assert!((total(&weights) - 1.0).abs() < 1e-14);
            assert!(weights.is_sorted_by(|a, b| a >= b), "unimodal");
            // The last weight that is kept is within a step of 2^-128.
            assert!(*weights.last().unwrap() < 1 << 20, "{v}");
        }
        // Large variances only: below, the discrete Gaussian's differs from σ².
        for v in [65_536_u64, 655_360, 65_536_000] {
            let weights = discrete_gaussian(32_768, v);
            assert!((variance(&weights) / (v as f64 / 65536.0) - 1.0).abs() < 1e-6);
            assert!((total(&weights) - 1.0).abs() < 1e-14);
        }
    }

    /// P(0) of Skellam noise of variance 1 is `I_0(1)/e`, of the discrete Gaussian with σ = 1
    /// `1/θ_3(e^-1/2)`: mpmath, 40 digits.
    #[test]
    fn known_values_to_128_bits() {
        for (weights, expected) in [
            (skellam(65_536), "0.46575960759364043650190152956320999"),
            (
                discrete_gaussian(32_768, 65_536),
                "0.39894227826686170558168053638920741",
            ),
        ] {
            let digits = decimal(weights[0]);
            assert!(digits.starts_with(expected), "{digits} {expected}");
        }
    }

    /// Forty decimals of weight / 2^128.
    fn decimal(weight: u128) -> String {
        let mut rest = Wide::ZERO;
        rest.0[0] = weight as u64;
        rest.0[1] = (weight >> 64) as u64;
        let digit = |rest: &mut Wide| {
            *rest = rest.times(10);
            let digit = rest.shifted_right(128).0[0];
            rest.0[2] = 0;
            digit.to_string()
        };
        let digits: String = (0..40).map(|_| digit(&mut rest)).collect();
        format!("0.{digits}")
    }

    #[test]
    fn a_convolution_is_the_distribution_of_the_sum() {
        let weights = skellam(4096);
        let small = &weights[..4.min(weights.len())];
        let sums = convolved(small, 3);
        let reach = small.len() as i64 - 1;
        for x in 0..=4 * reach {
            let mut expected = 0.0;
            for a in -reach..=reach {
                for b in -reach..=reach {
                    if a + 3 * b == x {
                        let of = |k: i64| probability(small[k.unsigned_abs() as usize]);
                        expected += of(a) * of(b);
                    }
                }
            }
            let found = probability(sums[x as usize]);
            assert!((found - expected).abs() < 1e-15, "{x}: {found} {expected}");
        }
    }
}
