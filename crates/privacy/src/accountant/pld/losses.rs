//! One step's privacy loss on a grid, rounded so that it dominates the exact one.

use crate::accountant::pld::pair::Pair;

/// Powers are taken afresh after so many products, so that their rounding does not add up.
const STRIDE: usize = 64;

/// Losses on a grid, under P: `offset` + `width` (`first` + i) with probability `masses[i]`.
#[derive(Debug)]
pub(super) struct Losses {
    pub(super) offset: f64,
    pub(super) width: f64,
    /// Index of the first mass.
    pub(super) first: i64,
    pub(super) masses: Vec<f64>,
    /// Probability of a loss above the grid: it counts as infinite.
    pub(super) infinite: f64,
}

/// Logarithm of Σ `masses[i]` e^(s i), and its first two derivatives in s.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cumulants {
    pub(super) value: f64,
    pub(super) mean: f64,
    pub(super) variance: f64,
}

impl Losses {
    /// The loss of `pair` on cells of `width`, P's mass beyond the grid's two ends being at most
    /// `tail` each. `None` if the grid would have more than `most` points.
    ///
    /// Losses within a cell are spread to its ends (see [`Pair::cell`]), losses below the grid
    /// rounded up to its first point, and those above it made infinite.
    pub(super) fn new(pair: &Pair, width: f64, tail: f64, most: usize) -> Option<Self> {
        let (low, high) = pair.range(tail);
        let (low, high) = ((low / width).floor(), (high / width).ceil());
        #[expect(
            clippy::cast_precision_loss,
            reason = "numbers of points are far below 2^53"
        )]
        let fits = low.abs() < 1e15 && high.abs() < 1e15 && high - low < most as f64;
        if !fits {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole numbers, below 1e15")]
        let (first, cells) = (low as i64, (high - low) as i64);
        let at = |index: i64| {
            #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
            let index = (first + index) as f64;
            pair.boundary(width * index)
        };
        let mut below = at(0);
        let mut masses = Vec::with_capacity(usize::try_from(cells).ok()? + 1);
        let mut carried = pair.mass_below(&below);
        for index in 1..=cells {
            let above = at(index);
            let cell = pair.cell(&below, &above);
            masses.push(carried + cell.mass - cell.upper);
            carried = cell.upper;
            below = above;
        }
        masses.push(carried);
        Some(Self {
            offset: pair.offset(),
            width,
            first,
            masses,
            infinite: pair.mass_above(&below),
        })
    }

    /// Cumulants of the masses tilted by e^(`tilt` · loss), in units of the grid's index.
    pub(super) fn cumulants(&self, tilt: f64) -> Cumulants {
        let (mut sum, mut first, mut second) = (0.0, 0.0, 0.0);
        self.for_each_tilted(tilt, |index, weight| {
            sum += weight;
            first += weight * index;
            second += weight * index * index;
        });
        let mean = first / sum;
        Cumulants {
            value: sum.ln(),
            mean,
            variance: (second / sum - mean * mean).max(0.0),
        }
    }

    /// Calls `visit` with each index i and `masses[i]` e^(`tilt` · `width` · i).
    pub(super) fn for_each_tilted(&self, tilt: f64, mut visit: impl FnMut(f64, f64)) {
        let step = tilt * self.width;
        let ratio = step.exp();
        let mut index = 0.0;
        for chunk in self.masses.chunks(STRIDE) {
            let mut factor = (step * index).exp();
            for mass in chunk {
                visit(index, mass * factor);
                factor *= ratio;
                index += 1.0;
            }
        }
    }

    /// The largest tilt at which no factor of [`Self::for_each_tilted`] overflows.
    pub(super) fn largest_tilt(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        let points = self.masses.len() as f64;
        500.0 / (self.width * points)
    }
}
