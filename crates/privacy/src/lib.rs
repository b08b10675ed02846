//! Differential privacy for Undertone: noise, accounting and the budget ledger's arithmetic.
//!
//! Pure computation. Nothing here reads a clock, a file, a socket or the operating system's
//! randomness; random generators are passed in.
//!
//! - [`noise`] draws Gaussian noise from a cryptographic generator.
//! - [`accountant`] turns (sampling rate, noise multiplier, steps) into (ε, δ), and back into the
//!   least noise multiplier that stays within a target ε.
//! - [`budget`] keeps what one data owner has spent, and says whether a next round still fits.
//! - [`statement`] puts a guarantee into one complete sentence.
//!
//! ```
//! use undertone_privacy::{Delta, NoiseMultiplier, RdpAccountant, SamplingRate};
//!
//! let mut accountant = RdpAccountant::new();
//! accountant.compose_subsampled_gaussian(SamplingRate::new(0.1)?, NoiseMultiplier::new(1.2)?, 40);
//! let epsilon = accountant.epsilon(Delta::new(1e-5)?)?;
//! assert!(epsilon.get() < 4.0);
//! # Ok::<(), undertone_privacy::PrivacyError>(())
//! ```

pub mod accountant;
pub mod budget;
mod error;
pub mod mechanism;
pub mod noise;
pub mod statement;
mod units;

pub use accountant::{Event, RdpAccountant, SubsampledGaussian, noise_multiplier_for};
pub use budget::{Budget, Ledger};
pub use error::PrivacyError;
pub use mechanism::{Mechanism, Noise};
pub use noise::GaussianSource;
pub use statement::{Adjacency, PrivacyStatement, PrivacyUnit};
pub use units::{Delta, Epsilon, NoiseMultiplier, SamplingRate, Variance};

/// This crate's results.
pub type Result<T> = core::result::Result<T, PrivacyError>;
