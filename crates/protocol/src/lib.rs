//! The sans-IO secure aggregation protocol of Undertone: messages, both state machines, masks,
//! shares, transcript. No socket, no clock, no database, and no randomness but the generator that
//! the caller passes in.
//!
//! A round has five message phases. Read the rooms in that order:
//!
//! | idea | module |
//! |---|---|
//! | who may take part | [`roster`]; how a key gets there, [`enrolment`] |
//! | what a round is | [`params`] |
//! | what is said | [`message`], in the codec of [`codec`] |
//! | what a client does | [`client`] |
//! | what the aggregator does | [`aggregator`] |
//! | how inputs hide | [`vector`], [`mask`], [`keys`], [`seal`], [`shamir`] |
//! | who masks with whom | [`directory`], [`graph`], [`threshold`] |
//! | what everyone agrees on | [`transcript`] |
//! | reals to ring and back | [`encoding`], [`adapter`] |
//! | what the service did, for those who look later | [`audit`] |
//! | what a client spent, likewise | [`receipt`] |
//!
//! Sources: Bonawitz et al., CCS 2017 (double masking, dropout recovery, consistency check); Bell
//! et al., CCS 2020 (`SecAgg+`); Pasquini et al., CCS 2022 (model inconsistency).
//!
//! Specification: `protocol-spec/`; each module names its chapter, and tests name requirements
//! (`R-5.3`).

#![warn(
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::arithmetic_side_effects
    )
)]

pub mod adapter;
pub mod aggregator;
pub mod audit;
pub mod bitmap;
pub mod client;
pub mod codec;
pub mod directory;
pub mod encoding;
pub mod enrolment;
pub mod error;
pub mod graph;
pub mod id;
pub mod keys;
pub mod mask;
pub mod message;
pub mod params;
pub mod receipt;
pub mod roster;
pub mod seal;
pub mod shamir;
pub mod threshold;
pub mod transcript;
pub mod vector;

pub use error::{ProtocolError, RoundFailure};
