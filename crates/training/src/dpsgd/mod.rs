//! DP-SGD with true per-example gradients (Abadi et al. 2016).
//!
//! A step samples each example independently with probability q, clips each example's gradient to
//! its [`Bounds`], sums, adds Gaussian noise of standard deviation
//! `noise_multiplier * clip_norm`, and divides by the expected batch size `q n`. The divisor does
//! not depend on the sample, and n, the number of examples, is not protected: neighbouring data sets
//! are those of the same n in which one example counts for nothing (zero-out), and differ only in the
//! sum, by at most `clip_norm`. Every ε is that of adding or removing one example to a sum.
//!
//! [`clipped_gradient_sum`] is that sum; [`for_each_clipped`] hands out the clipped gradients one by
//! one, for mechanisms that encode each example by itself.

mod adaptive;
mod clip;
mod gradient;
mod sampling;
mod step;

pub(crate) use adaptive::Clip;
pub use clip::Bounds;
pub(crate) use gradient::shared_parameters;
pub use gradient::{ClippedBatch, ClippedSum, Totals, clipped_gradient_sum, for_each_clipped};
pub use sampling::poisson_sample;
pub(crate) use step::Optimizer;
