//! Accountants: from a mechanism's parameters to (ε, δ), and back.
//!
//! - [`Event`] is what a round or a step releases: Gaussian, Skellam or discrete Gaussian noise.
//! - [`rdp`] composes Rényi divergences over a fixed set of orders and converts to (ε, δ): an upper
//!   bound for every event, and what a ledger adds up.
//! - [`pld`] composes privacy loss distributions: the tightest upper bound, for Gaussian events.
//! - [`gdp`] is the central limit of Gaussian differential privacy: exact without sampling, else an
//!   estimate.
//! - [`gaussian`] is the one Gaussian mechanism, without sampling, exactly.
//! - [`Figures`] puts all of them side by side; [`Calibration`] searches the least noise for a target.

mod calibrate;
mod event;
mod figures;
pub mod gaussian;
pub mod gdp;
mod integer_noise;
mod numeric;
pub mod pld;
mod poisson;
pub mod rdp;
mod subsampled_gaussian;

pub use calibrate::{CalibratedBy, Calibration, noise_multiplier_for};
pub use event::Event;
pub use figures::{Epsilons, Figures, Meaning, Meanings};
pub use gdp::GdpAccountant;
pub use integer_noise::{DiscreteGaussian, Skellam, l1_bound};
pub use pld::PldAccountant;
pub use rdp::RdpAccountant;
pub use subsampled_gaussian::{SubsampledGaussian, renyi_divergence};
