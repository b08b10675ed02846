//! The client SDK of Undertone: take part in a federated training task without showing anyone the
//! data or the update.
//!
//! An application supplies a [`Trainer`] and calls [`Client::join`] and [`Client::run`]. In each
//! round the client checks what the round is against the digests that its id binds and against the
//! local [`Policy`], trains, masks the update, and helps to unmask the sum of all survivors. The
//! server never sees the update itself.
//!
//! What this client has begun, spent and answered stands in a journal in its state directory,
//! before it happens. After a crash it joins again with the same directory: it leaves out the
//! round that was under way, never answers twice, and keeps count of its privacy budget.
//!
//! | idea | module |
//! |---|---|
//! | what the application supplies and watches | `trainer`, `observer` |
//! | what it is told, what it says at the end | `config`, `summary`, `error` |
//! | from round to round | `client` |
//! | one round: checks, training, phases | `round` |
//! | what this client agrees to | `policy` |
//! | how an update is put on the ring, and its noise | `coding` |
//! | what a round costs, and the receipt for it | `costs`, `receipt` |
//! | what must not be forgotten | `journal`; of the service's audit log, `heads` |
//! | the ledger, for its owner and for an auditor | [`ledger`] |
//! | how its key gets to the task authority | `enrolment` |
//! | what an administrator asks of a server | [`admin`] |
//! | the server's resources, over a bad network | `api`, `http`, `tls`, `problem` |
//!
//! ```no_run
//! use std::convert::Infallible;
//! use std::sync::Arc;
//!
//! use undertone_client::{Client, JoinConfig, Policy, Trainer, Work};
//! use undertone_privacy::{Budget, Delta, Epsilon};
//! use undertone_protocol::keys::{IdentityKey, Secret32};
//!
//! /// Takes part without moving the model.
//! struct Idle;
//!
//! impl Trainer for Idle {
//!     type Error = Infallible;
//!
//!     async fn train(&mut self, work: Work<'_>) -> Result<Vec<f32>, Infallible> {
//!         Ok(vec![0.0; work.adapter.len()])
//!     }
//! }
//!
//! # async fn example(secret: [u8; 32]) -> Result<(), Box<dyn std::error::Error>> {
//! let budget = Budget {
//!     epsilon: Epsilon::new(6.0)?,
//!     delta: Delta::new(1e-5)?,
//! };
//! let config = JoinConfig::new(
//!     "https://aggregator.example",
//!     "5d0f8e0c3b1a4f6e9d2c7b8a90817263".parse()?,
//!     Arc::new(IdentityKey::from_seed(&Secret32::from(secret))),
//!     "3ab1c0ffee5d0f8e0c3b1a4f6e9d2c7b8a908172635d0f8e0c3b1a4f6e9d2c7b".parse()?,
//!     Policy::new(budget)?,
//!     "/var/lib/example/undertone",
//! );
//! let summary = Client::join(config, Idle, ()).await?.run().await?;
//! println!("{summary}");
//! # Ok(())
//! # }
//! ```

pub mod admin;
mod api;
mod client;
mod coding;
mod config;
mod costs;
mod enrolment;
mod error;
mod heads;
mod http;
mod journal;
pub mod ledger;
#[cfg(feature = "lora")]
pub mod lora;
mod observer;
mod policy;
mod problem;
mod receipt;
mod round;
mod summary;
mod tls;
mod trainer;

pub use api::{RoundResult, SetAsideShare, TaskInfo, TaskStatus};
pub use client::Client;
pub use coding::GradientSum;
pub use config::JoinConfig;
pub use enrolment::{EnrolConfig, Enrolled, enrol};
pub use error::{ClientError, LostReason, RequestError};
pub use heads::AuditHead;
pub use observer::{Event, Observer};
pub use policy::{DeclineReason, Policy};
pub use problem::{Problem, ProblemKind};
pub use rustls::pki_types::CertificateDer;
pub use summary::{End, Privacy, Summary};
pub use tls::{BadPin, ClientCertificate, Pin, TlsConfig, certificates};
pub use trainer::{Trainer, Work};
