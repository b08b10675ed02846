//! Accountants: from a mechanism's parameters to (ε, δ), and back.
//!
//! - [`Event`] is what a round or a step releases: Gaussian, Skellam or discrete Gaussian noise.
//! - [`rdp`] composes Rényi divergences over a fixed set of orders and converts to (ε, δ).
//! - [`noise_multiplier_for`] searches the least noise multiplier within a target ε.

mod calibrate;
mod event;
mod integer_noise;
mod numeric;
mod poisson;
pub mod rdp;
mod subsampled_gaussian;

pub use calibrate::noise_multiplier_for;
pub use event::Event;
pub use integer_noise::{DiscreteGaussian, Skellam, l1_bound};
pub use rdp::RdpAccountant;
pub use subsampled_gaussian::{SubsampledGaussian, renyi_divergence};
