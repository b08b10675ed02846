//! The way from a socket to the routes: connections that are counted and timed, TLS, rates, and a
//! stop that answers what is open.
//!
//! | idea | module |
//! |---|---|
//! | what can be set | `settings` |
//! | how many connections, and how long one may stall | `connections` |
//! | certificates, and how they are renewed | `tls`, `expiry` |
//! | who a request is from, and how many it may make | `address`, `rates` |
//! | start and stop | `serve` |

mod address;
mod connections;
mod expiry;
mod rates;
mod serve;
mod settings;
mod tls;

pub use address::Network;
pub(crate) use rates::{Rates, limit};
pub(crate) use serve::serve;
pub use settings::{ClientAuth, LimitSettings, ShutdownSettings, TlsSettings};
