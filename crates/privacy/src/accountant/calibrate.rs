//! The inverse question: how much noise for a target ε?

use crate::accountant::event::Event;
use crate::accountant::{PldAccountant, RdpAccountant, SubsampledGaussian};
use crate::error::PrivacyError;
use crate::statement::Adjacency;
use crate::units::{Delta, Epsilon, NoiseMultiplier, SamplingRate};

/// Least noise multiplier considered.
const LEAST: f64 = NoiseMultiplier::LEAST.get();
/// Largest noise multiplier considered.
const LARGEST: f64 = 1e6;
/// The search ends when the bracket is this narrow, relative to its upper end.
const TOLERANCE: f64 = 1e-6;
/// The same for loss distributions, whose figures are good to that.
const LOSS_TOLERANCE: f64 = 1e-4;

/// By which accountant noise is calibrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalibratedBy {
    /// [`RdpAccountant`]: fast, with some noise too much.
    Rdp,
    /// [`PldAccountant`]: the least noise, up to a part in a thousand.
    Pld,
}

/// What noise is sought for.
#[derive(Debug, Clone, Copy)]
pub struct Calibration<'a> {
    /// The ε that is not to be exceeded.
    pub target: Epsilon,
    /// δ.
    pub delta: Delta,
    /// Which data sets count as neighbours.
    pub adjacency: Adjacency,
    /// By which accountant.
    pub by: CalibratedBy,
    /// What is composed with the steps that are calibrated, and is not to be changed.
    pub fixed: &'a [Event],
}

impl Calibration<'_> {
    /// The least noise multiplier, not below 0.01, with which `steps` steps at `sampling_rate`,
    /// composed with what is fixed, stay within the target: up to 1e-6 relative by Rényi divergences,
    /// up to 1e-4 by loss distributions.
    ///
    /// The result never exceeds the target: it is the end of a bracket that was computed to stay
    /// within it.
    ///
    /// # Errors
    /// No multiplier up to 1e6 is enough (the fixed steps may exceed the target by themselves), the
    /// target is 0, or there is nothing to calibrate (0 steps, rate 0).
    pub fn noise_multiplier(
        &self,
        sampling_rate: SamplingRate,
        steps: u64,
    ) -> Result<NoiseMultiplier, PrivacyError> {
        if steps == 0 || sampling_rate.get() == 0.0 {
            return Err(PrivacyError::NothingToCalibrate);
        }
        if self.target.get() == 0.0 {
            return Err(PrivacyError::TargetIsZero);
        }
        let fits = |by: CalibratedBy, sigma: f64| -> Result<bool, PrivacyError> {
            let sought = Event::Gaussian(SubsampledGaussian {
                sampling_rate,
                noise_multiplier: NoiseMultiplier::new(sigma)?,
                steps,
            });
            Ok(self.fits(by, &sought))
        };
        let by_rdp = bracket(
            |sigma| fits(CalibratedBy::Rdp, sigma),
            LEAST,
            1.0,
            2.0,
            TOLERANCE,
        )?;
        let found = match (self.by, by_rdp) {
            (CalibratedBy::Rdp, found) => found,
            // Loss distributions need no more noise than Rényi divergences do, as a rule a few percent
            // less.
            (CalibratedBy::Pld, found) => {
                let start = found.unwrap_or(1.0);
                let fits = |sigma| fits(CalibratedBy::Pld, sigma);
                let mut least = start;
                while least > LEAST && fits(least)? {
                    least /= 1.1;
                }
                let least = least.max(LEAST);
                bracket(fits, least, (1.1 * least).min(LARGEST), 1.1, LOSS_TOLERANCE)?
            }
        };
        found
            .ok_or(PrivacyError::TargetOutOfReach {
                target: self.target.get(),
                largest: LARGEST,
            })
            .and_then(NoiseMultiplier::new)
    }

    /// Whether `sought` and what is fixed stay within the target. An ε that is not finite does not.
    fn fits(&self, by: CalibratedBy, sought: &Event) -> bool {
        let epsilon = match by {
            CalibratedBy::Rdp => {
                let mut accountant = RdpAccountant::under(self.adjacency);
                accountant.compose(sought);
                for event in self.fixed {
                    accountant.compose(event);
                }
                accountant.epsilon(self.delta)
            }
            CalibratedBy::Pld => {
                let mut accountant = PldAccountant::new(self.adjacency);
                let mut composed = accountant.compose(sought);
                for event in self.fixed {
                    composed = composed.and_then(|()| accountant.compose(event));
                }
                composed.and_then(|()| accountant.epsilon(self.delta))
            }
        };
        epsilon.is_ok_and(|epsilon| epsilon <= self.target)
    }
}

/// The upper end of a bracket around where `fits` turns true, narrowed to `tolerance`; the search
/// for its upper end begins at `high` and goes on by factors of `growth`. `None` if nothing up to
/// [`LARGEST`] fits.
fn bracket(
    fits: impl Fn(f64) -> Result<bool, PrivacyError>,
    low: f64,
    high: f64,
    growth: f64,
    tolerance: f64,
) -> Result<Option<f64>, PrivacyError> {
    if fits(low)? {
        return Ok(Some(low));
    }
    // Invariant from here on: `low` does not fit, and after this loop `high` does.
    let (mut low, mut high) = (low, high);
    while !fits(high)? {
        if high >= LARGEST {
            return Ok(None);
        }
        low = high;
        high = (growth * high).min(LARGEST);
    }
    while high - low > tolerance * high {
        let middle = f64::midpoint(low, high);
        if fits(middle)? {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(Some(high))
}

/// The least noise multiplier for `steps` steps under adding or removing one record, by the RDP
/// accountant: see [`Calibration::noise_multiplier`].
///
/// # Errors
/// As [`Calibration::noise_multiplier`].
pub fn noise_multiplier_for(
    target: Epsilon,
    delta: Delta,
    sampling_rate: SamplingRate,
    steps: u64,
) -> Result<NoiseMultiplier, PrivacyError> {
    Calibration {
        target,
        delta,
        adjacency: Adjacency::AddOrRemoveOne,
        by: CalibratedBy::Rdp,
        fixed: &[],
    }
    .noise_multiplier(sampling_rate, steps)
}
