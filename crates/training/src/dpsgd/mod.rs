//! DP-SGD with true per-example gradients (Abadi et al. 2016).
//!
//! A step samples each example independently with probability q, clips each example's gradient
//! over all trainable values together, sums, adds Gaussian noise of standard deviation
//! `noise_multiplier * clip_norm`, and divides by the expected batch size `q n`. The divisor does
//! not depend on the sample, so neighbouring data sets (one example more or less) differ only in
//! the sum, by at most `clip_norm`.

mod gradient;
mod sampling;
mod step;

pub(crate) use gradient::shared_parameters;
pub use gradient::{ClippedSum, clipped_gradient_sum};
pub use sampling::poisson_sample;
pub(crate) use step::Optimizer;
