//! Differential privacy for Undertone: noise, accounting and the budget ledger's arithmetic.
//!
//! Pure computation. Nothing here reads a clock, a file, a socket or the operating system's
//! randomness; random generators are passed in.
//!
//! - [`noise`] draws Gaussian noise from a cryptographic generator.
//! - [`accountant`] turns (sampling rate, noise multiplier, steps) into (ε, δ) by Rényi divergences and
//!   by privacy loss distributions, and back into the least noise that stays within a target ε.
//! - [`distributed`] encodes vectors as integers and adds integer noise that many clients share.
//! - [`adaptive`] moves a clip norm towards a quantile, and says what that costs.
//! - [`budget`] keeps what one data owner has spent, and says whether a next round still fits.
//! - [`filter`] is what a ledger asks before each release: it holds where mechanisms are chosen by
//!   what earlier ones released.
//! - [`allocation`] splits a budget over rounds before the first of them.
//! - [`audit`] says how much an attack proves: a lower bound on ε from how often it was right.
//! - [`statement`] puts a guarantee into one complete sentence.
//! - [`promise`] says what a task's rounds promise for an example and for a client, against the
//!   aggregator and against those who see only the model; or why nothing is promised.
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
pub mod adaptive;
pub mod allocation;
pub mod audit;
pub mod budget;
pub mod distributed;
mod error;
pub mod filter;
pub mod mechanism;
pub mod noise;
pub mod promise;
pub mod statement;
mod units;

pub use accountant::{Event, RdpAccountant, SubsampledGaussian, noise_multiplier_for};
pub use adaptive::AdaptiveClip;
pub use allocation::{Allocation, Schedule, check_plan};
pub use budget::{Budget, Ledger, check_delta};
pub use error::PrivacyError;
pub use filter::Filter;
pub use mechanism::{Mechanism, Noise};
pub use noise::GaussianSource;
pub use promise::{Promise, Releases, Says, promises};
pub use statement::{Adjacency, PrivacyStatement, PrivacyUnit, View};
pub use units::{Delta, Epsilon, NoiseMultiplier, SamplingRate, Variance};

/// This crate's results.
pub type Result<T> = core::result::Result<T, PrivacyError>;
