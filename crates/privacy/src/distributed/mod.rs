//! Distributed noise: integers that clients encode and noise so that only their sum is private.
//!
//! A vector is rotated ([`rotation`]), clipped, scaled and rounded to integers within an exact norm
//! bound ([`rounding`]); a client adds up its vectors and adds integer noise ([`noise`]), reduced
//! modulo 2^b. What the masks reveal is the sum over the survivors, whose noise has, whoever else
//! drops out or colludes, at least the variance of h honest clients. [`Parameters`] says what that
//! costs, and [`Encoder`] does it.
//!
//! Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism for Federated Learning with
//! Secure Aggregation", ICML 2021; Agarwal, Kairouz, Liu, "The Skellam Mechanism for Differentially
//! Private Federated Learning", `NeurIPS` 2021.

#![cfg_attr(
    test,
    allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        clippy::float_cmp,
        reason = "small counts, and numbers that are exact"
    )
)]

mod coder;
pub mod noise;
mod parameters;
pub mod rotation;
pub mod rounding;
mod tail;

pub use coder::{Contribution, Encoder};
pub use noise::{IntegerNoise, LocalVariance, Sampler};
pub use parameters::{
    DEFAULT_BITS, JointNoise, LARGEST_INFLATION, Parameters, Setup, noise_multiplier_within,
};
pub use rotation::{Layout, Rotation};
pub use tail::WRAP_BITS;
