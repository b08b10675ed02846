//! The aggregation service of Undertone: it learns only sums.
//!
//! | idea | module |
//! |---|---|
//! | what is remembered | [`store`] |
//! | what a task is | [`task`] |
//! | what clients download | `downloads` |
//! | what a request may do | `api`, with errors in [`problem`] |
//! | who may ask for it | [`auth`] |
//! | what moves a round forward | [`driver`] |
//! | how it is reached: connections, TLS, limits, the stop | [`net`] |
//! | how a round is planned | [`schedule`] |
//! | how a phase is rebuilt after a restart | [`phases`] |
//! | the running service | [`app`] |
//! | what a task's rounds may cost in privacy | [`budget`] |
//! | what happened, for those who look later | [`audit`]; of privacy, for an auditor, [`report`] |
//! | what is not kept for ever | [`retention`] |
//! | what an operator can set | [`config`] |
//! | what an operator sees | [`telemetry`], and `page` in a browser |
//! | how a masked input gets into the sum | [`upload`] |
//! | what long polls are answered from | `watch` |
//!
//! The service is trusted for liveness only. It holds no secret of any client: every message it
//! stores is public or sealed to another client, and masked vectors exist only as a running sum.

mod api;
pub mod app;
pub mod audit;
pub mod auth;
pub mod budget;
pub mod coding;
pub mod config;
mod downloads;
pub mod driver;
pub mod error;
pub mod net;
mod page;
pub mod phases;
pub mod problem;
pub mod report;
pub mod retention;
pub mod schedule;
pub mod store;
pub mod task;
pub mod telemetry;
pub mod upload;
mod watch;

pub use api::document;
pub use app::{App, serve};
pub use config::Settings;
pub use error::ServerError;
