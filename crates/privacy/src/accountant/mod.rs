//! Accountants: from a mechanism's parameters to (ε, δ), and back.
//!
//! - [`rdp`] composes Rényi divergences over a fixed set of orders and converts to (ε, δ).
//! - [`noise_multiplier_for`] searches the least noise multiplier within a target ε.

mod calibrate;
pub mod rdp;
mod subsampled_gaussian;

pub use calibrate::noise_multiplier_for;
pub use rdp::RdpAccountant;
pub use subsampled_gaussian::{SubsampledGaussian, renyi_divergence};
