//! A cumulative table, searched in constant time.

use core::fmt;

/// The magnitude of a symmetric integer distribution as thresholds: entry k is P(|X| ≤ k) · 2^128.
#[derive(Clone)]
pub(super) struct Table {
    thresholds: Vec<u128>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} thresholds)", self.thresholds.len())
    }
}

impl Table {
    /// The table of `weights` that stand for 0, 1, 2 and so on, each times 2^`shift`.
    pub(super) fn new(weights: &[u128], shift: u32) -> Self {
        let mut sum = 0_u128;
        let mut thresholds: Vec<u128> = weights
            .iter()
            .enumerate()
            .map(|(k, weight)| {
                sum = sum.saturating_add(if k == 0 {
                    *weight
                } else {
                    weight.saturating_mul(2)
                });
                sum.saturating_mul(1 << shift)
            })
            .collect();
        // Every draw is below the last threshold, which is 2^128.
        thresholds.pop();
        Self { thresholds }
    }

    /// Thresholds in the table.
    pub(super) fn len(&self) -> usize {
        self.thresholds.len()
    }

    /// The magnitude that a uniform `draw` stands for: how many thresholds it reaches.
    ///
    /// All of them are read, and each comparison is a subtraction whose borrow is added up: neither
    /// time nor memory access depends on the draw.
    #[inline]
    pub(super) fn magnitude(&self, draw: u128) -> i64 {
        let reached = |threshold: &u128| i64::from(!draw.overflowing_sub(*threshold).1);
        self.thresholds.iter().map(reached).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_magnitude_has_its_interval() {
        // P(0) = 1/2, P(±1) = 1/8 each, P(±2) = 1/8 each.
        let unit = 1_u128 << 125;
        let table = Table::new(&[4 * unit, unit, unit], 0);
        assert_eq!(table.len(), 2);
        for (draw, magnitude) in [
            (0, 0),
            (4 * unit - 1, 0),
            (4 * unit, 1),
            (6 * unit - 1, 1),
            (6 * unit, 2),
            (u128::MAX, 2),
        ] {
            assert_eq!(table.magnitude(draw), magnitude, "{draw}");
        }
        // The same weights, 2^3 times too small.
        let scaled = Table::new(&[unit / 2, unit / 8, unit / 8], 3);
        assert_eq!(scaled.thresholds, table.thresholds);
    }
}
