//! The inverse question: how much noise for a target ε?

use crate::accountant::rdp::RdpAccountant;
use crate::error::PrivacyError;
use crate::units::{Delta, Epsilon, NoiseMultiplier, SamplingRate};

/// Least noise multiplier considered: below it, ε is in the thousands and more.
const SMALLEST: f64 = 1e-2;
/// Largest noise multiplier considered.
const LARGEST: f64 = 1e6;
/// The search ends when the bracket is this narrow, relative to its upper end.
const TOLERANCE: f64 = 1e-6;

/// The least noise multiplier (up to 1e-6 relative, not below 0.01) with which `steps` steps at
/// `sampling_rate` stay within (`target`, `delta`), by bisection over the RDP accountant.
///
/// The result never exceeds the target: it is the end of the bracket that was computed to stay
/// within it.
///
/// # Errors
/// No multiplier up to 1e6 is enough, or there is nothing to calibrate (0 steps, rate 0).
pub fn noise_multiplier_for(
    target: Epsilon,
    delta: Delta,
    sampling_rate: SamplingRate,
    steps: u64,
) -> Result<NoiseMultiplier, PrivacyError> {
    if steps == 0 || sampling_rate.get() == 0.0 {
        return Err(PrivacyError::NothingToCalibrate);
    }
    let fits = |sigma: f64| -> Result<bool, PrivacyError> {
        let mut accountant = RdpAccountant::new();
        accountant.compose_subsampled_gaussian(sampling_rate, NoiseMultiplier::new(sigma)?, steps);
        // An ε that is not finite does not fit.
        Ok(accountant
            .epsilon(delta)
            .is_ok_and(|epsilon| epsilon <= target))
    };
    if fits(SMALLEST)? {
        return NoiseMultiplier::new(SMALLEST);
    }
    // Invariant from here on: `low` does not fit, and after this loop `high` does.
    let (mut low, mut high) = (SMALLEST, 1.0);
    while !fits(high)? {
        if high >= LARGEST {
            return Err(PrivacyError::TargetOutOfReach {
                target: target.get(),
                largest: LARGEST,
            });
        }
        low = high;
        high = (2.0 * high).min(LARGEST);
    }
    while high - low > TOLERANCE * high {
        let middle = f64::midpoint(low, high);
        if fits(middle)? {
            high = middle;
        } else {
            low = middle;
        }
    }
    NoiseMultiplier::new(high)
}
