//! Exact tails of the hypergeometric distribution: how many marked clients stand on a given set of
//! places of a random permutation.
//!
//! Specification: chapter 13, "Choosing parameters", section 13.1.

use libm::{exp2, log2};

/// Terms this far below the largest one, in bits, no longer change a sum of doubles.
const NEGLIGIBLE: f64 = -64.0;

/// A population of which some are marked, with tables for up to a given number of draws.
///
/// Every value comes from IEEE additions and divisions and from `libm` in software, so every party
/// computes the same bits, whatever machine it runs on. Off by less than 1e-9 bits.
#[derive(Debug, Clone)]
pub struct Population {
    size: u32,
    marked: u32,
    /// Most draws that the tables are long enough for.
    most: u32,
    /// Entry i: log2 of the falling factorial of `marked` of length i over `size`^i.
    falling_marked: Vec<f64>,
    /// The same of those that are not marked.
    falling_unmarked: Vec<f64>,
    /// The same of the whole population.
    falling_size: Vec<f64>,
    /// Entry i: log2 of i!.
    factorial: Vec<f64>,
}

impl Population {
    /// Prepares up to `draws` draws without replacement from `size` clients of whom `marked` are
    /// marked. More marked clients or draws than there are clients count as all of them.
    pub fn new(size: u32, marked: u32, draws: u32) -> Self {
        let (marked, most) = (marked.min(size), draws.min(size));
        let falling = |from: u32| {
            let terms = 0..most.min(from);
            running_sum(terms.map(|i| log2(f64::from(from.abs_diff(i)) / f64::from(size))))
        };
        Self {
            size,
            marked,
            most,
            falling_marked: falling(marked),
            falling_unmarked: falling(size.abs_diff(marked)),
            falling_size: falling(size),
            factorial: running_sum((0..most).map(|i| log2(f64::from(i) + 1.0))),
        }
    }

    /// log2 P[more than `above` of `draws` are marked]: 0 if it is certain, negative infinity if it
    /// cannot happen. More draws than the tables hold count as that many.
    pub fn log2_tail(&self, draws: u32, above: u32) -> f64 {
        let draws = draws.min(self.most);
        let fewest = draws.saturating_sub(self.size.abs_diff(self.marked));
        let most = draws.min(self.marked);
        if above >= most {
            return f64::NEG_INFINITY;
        }
        if above < fewest {
            return 0.0;
        }
        let first = above.saturating_add(1);
        // The terms rise up to the mode and fall after it.
        let wide = |x: u32| u64::from(x).saturating_add(1);
        let mode = wide(draws)
            .saturating_mul(wide(self.marked))
            .checked_div(wide(self.size).saturating_add(1))
            .unwrap_or(0);
        let peak = u32::try_from(mode).unwrap_or(u32::MAX).clamp(first, most);
        let scale = self.log2_mass(draws, peak);
        let mut sum = 0.0;
        for i in first..=most {
            let below_peak = self.log2_mass(draws, i) - scale;
            sum += exp2(below_peak);
            if i > peak && below_peak < NEGLIGIBLE {
                break;
            }
        }
        (scale + log2(sum)).min(0.0)
    }

    /// log2 P[exactly `hits` of `draws` are marked].
    fn log2_mass(&self, draws: u32, hits: u32) -> f64 {
        let misses = draws.saturating_sub(hits);
        let ways =
            at(&self.factorial, draws) - at(&self.factorial, hits) - at(&self.factorial, misses);
        ways + at(&self.falling_marked, hits) + at(&self.falling_unmarked, misses)
            - at(&self.falling_size, draws)
    }
}

/// Beyond a table's end there is nothing left to draw: probability zero.
fn at(table: &[f64], index: u32) -> f64 {
    usize::try_from(index)
        .ok()
        .and_then(|i| table.get(i))
        .copied()
        .unwrap_or(f64::NEG_INFINITY)
}

/// The sums of the first 0, 1, 2, ... terms, each with Kahan's correction: thousands of terms then
/// cost no more than one rounding.
fn running_sum(terms: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sums = vec![0.0];
    let (mut sum, mut lost) = (0.0, 0.0);
    for term in terms {
        let corrected: f64 = term - lost;
        let next: f64 = sum + corrected;
        lost = (next - sum) - corrected;
        sum = next;
        sums.push(sum);
    }
    sums
}

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct KnownAnswer {
        size: u32,
        marked: u32,
        draws: u32,
        above: u32,
        log2: f64,
    }

    /// Computed with Python's fractions, exactly but for the last logarithm
    /// (`known_answers.py` beside the file).
    /// Spec.
    #[test]
    fn known_answers() {
        let cases: Vec<KnownAnswer> =
            serde_json::from_str(include_str!("known_answers.json")).unwrap();
        assert!(cases.len() > 30);
        for case in cases {
            let population = Population::new(case.size, case.marked, case.draws);
            let found = population.log2_tail(case.draws, case.above);
            assert!(
                (found - case.log2).abs() < 1e-9,
                "{} of {}, {} draws, above {}: {found}, exactly {}",
                case.marked,
                case.size,
                case.draws,
                case.above,
                case.log2
            );
        }
    }

    fn binomial(n: u32, k: u32) -> u128 {
        if k > n {
            return 0;
        }
        (0..k).fold(1, |value, i| value * u128::from(n - i) / u128::from(i + 1))
    }

    /// Spec.
    #[test]
    fn every_small_case_counts_exactly() {
        for size in 0..=16 {
            for marked in 0..=size {
                let population = Population::new(size, marked, size);
                for draws in 0..=size {
                    for above in 0..=draws {
                        let hits: u128 = (above + 1..=draws)
                            .map(|i| binomial(marked, i) * binomial(size - marked, draws - i))
                            .sum();
                        let found = exp2(population.log2_tail(draws, above));
                        let exact = hits as f64 / binomial(size, draws) as f64;
                        assert!(
                            (found - exact).abs() <= 1e-13 * exact,
                            "{marked} of {size}, {draws} draws, above {above}: {found}, {exact}"
                        );
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_stays_a_probability(
            size in any::<u32>(), marked in any::<u32>(), most in 0_u32..3000,
            draws in any::<u32>(), above in any::<u32>(),
        ) {
            let population = Population::new(size, marked, most);
            for (draws, above) in [(draws, above), (draws % 3000, above % 3000)] {
                let tail = population.log2_tail(draws, above);
                prop_assert!(tail <= 0.0, "{}", tail);
            }
        }

        #[test]
        fn falls_with_the_bound_and_grows_with_the_marked(
            size in 2_u32..2_000_000, share in 0.0..1.0_f64, draws in 1_u32..600, part in 0.0..1.0_f64,
        ) {
            let marked = (f64::from(size - 1) * share) as u32;
            let above = (f64::from(draws) * part) as u32;
            let population = Population::new(size, marked, draws);
            let tail = population.log2_tail(draws, above);
            prop_assert!(population.log2_tail(draws, above + 1) <= tail);
            prop_assert!(Population::new(size, marked + 1, draws).log2_tail(draws, above) >= tail - 1e-9);
        }
    }
}
