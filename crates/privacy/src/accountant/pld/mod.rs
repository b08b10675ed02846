//! The privacy-loss-distribution accountant: ε to three digits or more, from above.
//!
//! The distribution of the privacy loss of one step is put on a grid so that it dominates the exact
//! one (see `losses`), composed by Fourier transform (see `compose`), and δ(ε) read off. The grid is
//! refined until ε settles. Every step is pessimistic (rounding of losses, the ends of the grid, the
//! transform's rounding errors), so that the result is an upper bound at any width.
//!
//! Composition follows Koskela, Jälkö, Honkela 2020 and Gopi, Lee, Wutschitz, "Numerical Composition
//! of Differential Privacy", 2021 (arXiv 2106.02848).

mod compose;
mod losses;
mod pair;

use crate::accountant::event::Event;
use crate::accountant::gaussian;
use crate::accountant::pld::compose::{Composition, Miss, Tilts};
use crate::accountant::pld::losses::Losses;
use crate::accountant::pld::pair::{Direction, Pair};
use crate::error::PrivacyError;
use crate::statement::Adjacency;
use crate::units::{Delta, Epsilon};

/// Name of this accountant in statements.
pub const NAME: &str = "privacy loss distributions (Koskela, Jälkö, Honkela 2020), discretised \
                        pessimistically (Doroshenko et al. 2022)";

/// Points of the first grid, and by how much each next one is finer.
const FIRST_POINTS: f64 = 16_384.0;
const REFINEMENT: usize = 4;
/// Grids with more points than this are not tried: 16 MiB for each array of them.
const MOST_POINTS: usize = 1 << 21;
/// ε has settled when refining lowered it by less than these: a part of it, or absolutely. What
/// further refinement would gain is then about a third of that, as the error is proportional to the
/// width or to its square.
const SETTLED_RELATIVE: f64 = 2e-3;
const SETTLED_ABSOLUTE: f64 = 2e-4;
/// P's mass beyond the ends of a step's grid, over all steps, as a part of δ.
const OUTSIDE: f64 = 1e-7;
/// So many tilts are tried on a grid, and the next one only if the tilted mean is above ε by more
/// than this, in units of one over the tilt.
const TILTS: u32 = 8;
const OFF_CENTRE: f64 = 2.0;
/// The smallest δ for which masses keep their precision.
const SMALLEST_DELTA: f64 = 1e-100;

/// What has been released so far, as Gaussian steps with and without sampling.
///
/// Integer noise in many coordinates has no privacy loss distribution that could be computed
/// exactly (there is no single worst pair of distributions on the line), so it is refused here;
/// the Rényi accountant takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct PldAccountant {
    adjacency: Adjacency,
    /// Square of the sensitivity over the noise of all steps without sampling together: they
    /// compose to one Gaussian mechanism exactly.
    squared_mu: f64,
    sampled: Vec<Sampled>,
}

/// Equal steps with sampling.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sampled {
    q: f64,
    sigma: f64,
    steps: u64,
}

impl PldAccountant {
    /// An accountant that has seen nothing yet.
    pub const fn new(adjacency: Adjacency) -> Self {
        Self {
            adjacency,
            squared_mu: 0.0,
            sampled: Vec::new(),
        }
    }

    /// Adds a mechanism's steps. Order does not matter.
    ///
    /// # Errors
    /// The noise is not Gaussian.
    pub fn compose<E: Copy + Into<Event>>(&mut self, event: &E) -> Result<(), PrivacyError> {
        let event: Event = (*event).into();
        let Some(steps) = event.gaussian_steps()? else {
            return Ok(());
        };
        let (q, sigma) = (steps.sampling_rate.get(), steps.noise_multiplier.get());
        if q >= 1.0 {
            #[expect(
                clippy::cast_precision_loss,
                reason = "beyond 2^53 steps, 1e-16 relative"
            )]
            let count = steps.steps as f64;
            self.squared_mu += count * (self.sensitivity() / sigma).powi(2);
            return Ok(());
        }
        let same = self
            .sampled
            .iter_mut()
            .find(|other| (other.q, other.sigma) == (q, sigma));
        match same {
            Some(other) => other.steps = other.steps.saturating_add(steps.steps),
            None => self.sampled.push(Sampled {
                q,
                sigma,
                steps: steps.steps,
            }),
        }
        Ok(())
    }

    /// An upper bound, as a rule within a thousandth, of the least ε such that all that was
    /// composed is (ε, `delta`)-differentially private.
    ///
    /// # Errors
    /// δ is below 1e-100, or so many or such unlike steps were composed that no grid of 2^21 points
    /// holds their loss.
    pub fn epsilon(&self, delta: Delta) -> Result<Epsilon, PrivacyError> {
        if delta.get() < SMALLEST_DELTA {
            return Err(PrivacyError::DeltaTooSmall {
                delta: delta.get(),
                smallest: SMALLEST_DELTA,
            });
        }
        if self.sampled.is_empty() {
            return gaussian::epsilon_of_mu(self.squared_mu.sqrt(), delta);
        }
        match self.adjacency {
            Adjacency::AddOrRemoveOne => {
                let remove = self.settle(delta, Direction::Remove, 0.0)?;
                let most = self.most_from_adding();
                if most <= remove {
                    return Epsilon::new(remove);
                }
                // Only if adding costs more than removing does it need more than a coarse grid.
                let add = match self.settle(delta, Direction::Add, remove) {
                    Err(_) if most.is_finite() => most,
                    add => add?.min(most),
                };
                Epsilon::new(remove.max(add))
            }
            Adjacency::ReplaceOne => Epsilon::new(self.settle(delta, Direction::Replace, 0.0)?),
        }
    }

    /// How far one record can move a sum of vectors that are clipped to norm 1.
    const fn sensitivity(&self) -> f64 {
        match self.adjacency {
            Adjacency::AddOrRemoveOne => 1.0,
            Adjacency::ReplaceOne => 2.0,
        }
    }

    /// The largest loss there is with P standing for the data set without the record: a step's
    /// output is at most 1 / (1-q) times as likely without it as with it.
    fn most_from_adding(&self) -> f64 {
        if self.squared_mu > 0.0 {
            return f64::INFINITY;
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "beyond 2^53 steps, 1e-16 relative"
        )]
        let most = |one: &Sampled| one.steps as f64 * -(-one.q).ln_1p();
        self.sampled.iter().map(most).sum()
    }

    /// ε in one direction, on finer and finer grids until it settles or is not above `enough`.
    fn settle(&self, delta: Delta, direction: Direction, enough: f64) -> Result<f64, PrivacyError> {
        let delta = delta.get();
        let pairs = self.pairs(direction);
        #[expect(clippy::cast_precision_loss, reason = "a part of a tail")]
        let steps: f64 = pairs.iter().map(|(_, steps)| *steps as f64).sum();
        let tail = delta * OUTSIDE / steps;
        let mut width = first_width(&pairs, delta, tail)?;
        let mut tilts = None;
        let mut last = f64::INFINITY;
        while let Some(grid) = on_grid(&pairs, width, tail, delta, tilts)? {
            // Every grid gives an upper bound: the least of them is one.
            let gained = last - grid.epsilon;
            last = last.min(grid.epsilon);
            let settled = gained < SETTLED_ABSOLUTE.max(SETTLED_RELATIVE * last);
            if settled || last <= enough || grid.points * REFINEMENT > MOST_POINTS {
                break;
            }
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let finer = REFINEMENT as f64;
            width /= finer;
            tilts = Some(grid.tilts);
        }
        if last.is_finite() {
            Ok(last)
        } else {
            Err(PrivacyError::LossTooWide)
        }
    }

    fn pairs(&self, direction: Direction) -> Vec<(Pair, u64)> {
        let sampled = self
            .sampled
            .iter()
            .map(|one| (Pair::sampled(direction, one.q, one.sigma), one.steps));
        let unsampled =
            (self.squared_mu > 0.0).then(|| (Pair::gaussian(self.squared_mu.sqrt()), 1));
        sampled.chain(unsampled).collect()
    }
}

/// A cell width with which the steps' losses, and their sum, take about [`FIRST_POINTS`].
fn first_width(pairs: &[(Pair, u64)], delta: f64, tail: f64) -> Result<f64, PrivacyError> {
    let widest = pairs
        .iter()
        .map(|(pair, _)| pair.range(tail))
        .map(|(low, high)| high - low)
        .fold(0.0, f64::max);
    let coarse = composition(pairs, widest / 1024.0, tail).ok_or(PrivacyError::LossTooWide)?;
    let window = coarse.window(coarse.chernoff(delta.ln()));
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let sum = window.points as f64 * coarse.width;
    let width = widest.max(sum) / FIRST_POINTS;
    if width.is_normal() {
        Ok(width)
    } else {
        Err(PrivacyError::LossTooWide)
    }
}

fn composition(pairs: &[(Pair, u64)], width: f64, tail: f64) -> Option<Composition> {
    let parts = pairs
        .iter()
        .map(|(pair, steps)| Some((Losses::new(pair, width, tail, MOST_POINTS)?, *steps)))
        .collect::<Option<Vec<_>>>()?;
    Some(Composition { width, parts })
}

/// ε on one grid.
struct OnGrid {
    epsilon: f64,
    tilts: Tilts,
    points: usize,
}

/// ε on one grid, beginning with `tilts` (those of a coarser grid) or with Chernoff's; `None` where
/// the grid would have too many points.
fn on_grid(
    pairs: &[(Pair, u64)],
    width: f64,
    tail: f64,
    delta: f64,
    tilts: Option<Tilts>,
) -> Result<Option<OnGrid>, PrivacyError> {
    let Some(sum) = composition(pairs, width, tail) else {
        return Ok(None);
    };
    let step_points = sum.parts.iter().map(|(losses, _)| losses.masses.len());
    let step_points = step_points.max().unwrap_or(0);
    let mut tilts = tilts.unwrap_or_else(|| sum.chernoff(delta.ln()));
    let mut best: Option<OnGrid> = None;
    for _ in 0..TILTS {
        let window = sum.window(tilts);
        if window.points > MOST_POINTS {
            return Ok(best);
        }
        match sum.epsilon(delta, &window) {
            Ok(epsilon) => {
                // Every tilt gives an upper bound: the least of them is one.
                if best.as_ref().is_none_or(|best| epsilon < best.epsilon) {
                    let points = window.points.max(step_points);
                    best = Some(OnGrid {
                        epsilon,
                        tilts,
                        points,
                    });
                }
                // Far below the tilted mean, the transform's errors weigh heavily.
                let off = (window.centre - epsilon) * tilts.sum;
                if epsilon == 0.0 || off < OFF_CENTRE {
                    return Ok(best);
                }
                tilts = sum.centred(epsilon, tilts);
            }
            Err(Miss::Below) => tilts = sum.with_bounds(0.6 * tilts.sum),
            Err(Miss::Lost) => break,
        }
    }
    best.map(Some).ok_or(PrivacyError::LossTooWide)
}

#[cfg(test)]
mod tests;
