//! The sans-IO secure aggregation protocol of Undertone.

pub mod adapter;
