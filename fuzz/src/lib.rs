//! Fuzz targets of Undertone. Each is a function over bytes; the files in `fuzz_targets/` hand them
//! to libFuzzer.
//!
//! | target | what is fed | what must hold |
//! |---|---|---|
//! | [`codec`] | bytes to every decoder | accepted bytes encode back to themselves |
//! | [`aggregator`] | a round of clients some of which misbehave | no forgery is accepted, receipts are idempotent, the sum is exact or the round fails with a reason, no honest client is blamed |
//! | [`client`] | answers of an aggregator that holds everyone else's keys | the client reveals only what it may |
//! | [`packing`] | elements and packed vectors | equal to a naive oracle over bit strings |
//! | [`shamir`] | corrupt, missing and misplaced shares | equal to interpolation written out |
//! | [`http_body`] | requests to the service, over an SQLite store | no panic, no 5xx, problem details |

#![forbid(unsafe_code)]

pub mod aggregator;
pub mod client;
pub mod codec;
pub mod edit;
pub mod hostile;
pub mod http_body;
mod lies;
pub mod packing;
pub mod player;
pub mod seeds;
mod service;
pub mod shamir;
pub mod world;
