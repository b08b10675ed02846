//! Unsigned integers of 512 bits: the little arithmetic that exact thresholds need.
//!
//! The tables of [`super`] are computed once a mechanism, with at least 128 correct bits, and hold
//! nothing secret: speed and constant time do not matter here.

use core::cmp::Ordering;

/// Words of 64 bits, the least significant first.
pub(super) const WORDS: usize = 8;

/// An unsigned integer below 2^512; what overflows is cut off (callers stay far below).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wide(pub(super) [u64; WORDS]);

#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves of a 128-bit product are taken apart"
)]
impl Wide {
    pub(super) const ZERO: Self = Self([0; WORDS]);

    /// 2^`power`, `power` < 512.
    pub(super) const fn power_of_two(power: u32) -> Self {
        let mut words = [0; WORDS];
        words[(power / 64) as usize] = 1 << (power % 64);
        Self(words)
    }

    pub(super) fn add(mut self, other: &Self) -> Self {
        let mut carry = false;
        for (word, other) in self.0.iter_mut().zip(other.0) {
            (*word, carry) = word.carrying_add_(other, carry);
        }
        self
    }

    /// `self - other`, or 0 if that is negative.
    pub(super) fn saturating_sub(mut self, other: &Self) -> Self {
        if self.compare(other) == Ordering::Less {
            return Self::ZERO;
        }
        let mut borrow = false;
        for (word, other) in self.0.iter_mut().zip(other.0) {
            let (low, first) = word.overflowing_sub(other);
            let (low, second) = low.overflowing_sub(u64::from(borrow));
            *word = low;
            borrow = first || second;
        }
        self
    }

    pub(super) fn times(mut self, factor: u64) -> Self {
        let mut carry = 0_u128;
        for word in &mut self.0 {
            let product = u128::from(*word) * u128::from(factor) + carry;
            *word = product as u64;
            carry = product >> 64;
        }
        self
    }

    /// `self / divisor`, rounded down; `divisor` is not 0 (0 gives 0).
    pub(super) fn over(mut self, divisor: u64) -> Self {
        let Some(divisor) = core::num::NonZeroU64::new(divisor) else {
            return Self::ZERO;
        };
        let mut rest = 0_u128;
        for word in self.0.iter_mut().rev() {
            let part = (rest << 64) | u128::from(*word);
            *word = (part / u128::from(divisor.get())) as u64;
            rest = part % u128::from(divisor.get());
        }
        self
    }

    pub(super) fn shifted_left(self, bits: u32) -> Self {
        let (whole, part) = ((bits / 64) as usize, bits % 64);
        let mut words = [0; WORDS];
        for (i, word) in words.iter_mut().enumerate().skip(whole) {
            let low = self.0[i - whole];
            *word = low << part;
            if part > 0 && i > whole {
                *word |= self.0[i - whole - 1] >> (64 - part);
            }
        }
        Self(words)
    }

    pub(super) fn shifted_right(self, bits: u32) -> Self {
        let (whole, part) = ((bits / 64) as usize, bits % 64);
        let mut words = [0; WORDS];
        for (i, word) in words
            .iter_mut()
            .enumerate()
            .take(WORDS.saturating_sub(whole))
        {
            *word = self.0[i + whole] >> part;
            if part > 0 && i + whole + 1 < WORDS {
                *word |= self.0[i + whole + 1] << (64 - part);
            }
        }
        Self(words)
    }

    /// The number of bits up to the highest one that is set.
    pub(super) fn bits(&self) -> u32 {
        let zeros = self.0.iter().rev().take_while(|w| **w == 0).count();
        let top = WORDS.checked_sub(zeros + 1).map_or(0, |i| self.0[i]);
        (WORDS - zeros) as u32 * 64
            - if zeros == WORDS {
                0
            } else {
                top.leading_zeros()
            }
    }

    /// The product of the low 256 bits of both: exact.
    pub(super) fn times_half(&self, other: &Self) -> Self {
        let mut words = [0_u64; WORDS];
        for i in 0..WORDS / 2 {
            let mut carry = 0_u128;
            for j in 0..WORDS / 2 {
                let product = u128::from(self.0[i]) * u128::from(other.0[j]);
                let sum = product + u128::from(words[i + j]) + carry;
                words[i + j] = sum as u64;
                carry = sum >> 64;
            }
            words[i + WORDS / 2] = carry as u64;
        }
        Self(words)
    }

    /// The low 128 bits; all ones if it is larger.
    pub(super) fn saturating_u128(&self) -> u128 {
        if self.bits() > 128 {
            return u128::MAX;
        }
        u128::from(self.0[0]) | (u128::from(self.0[1]) << 64)
    }

    pub(super) fn compare(&self, other: &Self) -> Ordering {
        self.0.iter().rev().cmp(other.0.iter().rev())
    }
}

/// `carrying_add` of nightly Rust.
trait Carrying: Sized {
    fn carrying_add_(self, other: Self, carry: bool) -> (Self, bool);
}

impl Carrying for u64 {
    fn carrying_add_(self, other: Self, carry: bool) -> (Self, bool) {
        let (sum, first) = self.overflowing_add(other);
        let (sum, second) = sum.overflowing_add(Self::from(carry));
        (sum, first || second)
    }
}

/// 2^`numerator` / `divisor`, rounded down, by long division; the quotient has below 512 bits.
pub(super) fn reciprocal(numerator: u32, divisor: &Wide) -> Wide {
    let (mut rest, mut quotient) = (Wide::ZERO, Wide::ZERO);
    for bit in (0..=numerator).rev() {
        rest = rest.shifted_left(1);
        if bit == numerator {
            rest.0[0] |= 1;
        }
        quotient = quotient.shifted_left(1);
        if rest.compare(divisor) != Ordering::Less {
            rest = rest.saturating_sub(divisor);
            quotient.0[0] |= 1;
        }
    }
    quotient
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wide(value: u128) -> Wide {
        let mut wide = Wide::ZERO;
        wide.0[0] = value as u64;
        wide.0[1] = (value >> 64) as u64;
        wide
    }

    proptest! {
        #[test]
        fn arithmetic_is_that_of_128_bits(a in any::<u128>(), b in any::<u64>(), s in 0..127_u32) {
            let a = a >> 1;
            prop_assert_eq!(wide(a).add(&wide(a)).saturating_u128(), a << 1);
            prop_assert_eq!(wide(a >> 64).times(b).saturating_u128(), (a >> 64) * u128::from(b));
            prop_assert_eq!(wide(a).over(b).saturating_u128(), a.checked_div(b.into()).unwrap_or(0));
            prop_assert_eq!(wide(a).shifted_right(s).saturating_u128(), a >> s);
            prop_assert_eq!(wide(a).shifted_left(s).shifted_right(s), wide(a));
            prop_assert_eq!(wide(a).bits(), 128 - a.leading_zeros());
            let product = (a >> 64) * u128::from(b);
            prop_assert_eq!(wide(a >> 64).times_half(&wide(b.into())).saturating_u128(), product);
            prop_assert_eq!(wide(a).saturating_sub(&wide(a >> s)).saturating_u128(), a - (a >> s));
            if b > 0 {
                let expected = (1_u128 << s) / u128::from(b);
                prop_assert_eq!(reciprocal(s, &wide(b.into())).saturating_u128(), expected);
            }
        }
    }

    #[test]
    fn carries_go_through_all_words() {
        let all = Wide([u64::MAX; WORDS]);
        assert_eq!(all.bits(), 512);
        assert_eq!(all.add(&wide(1)), Wide::ZERO);
        assert_eq!(all.shifted_right(511), wide(1));
        assert_eq!(Wide::power_of_two(300).bits(), 301);
        assert_eq!(Wide::power_of_two(300).shifted_right(300), wide(1));
        assert_eq!(Wide::ZERO.bits(), 0);
        assert_eq!(Wide::power_of_two(200).saturating_u128(), u128::MAX);
        assert_eq!(wide(1).saturating_sub(&wide(2)), Wide::ZERO);
    }
}
