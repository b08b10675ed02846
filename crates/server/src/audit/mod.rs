//! The audit log: what happened, in hash-chained entries that are only ever added.
//!
//! There is one chain for each task and one for the service. An entry is appended inside the very
//! transaction that makes the change it records ([`store`](crate::store)), so there is no change
//! without its entry and no entry of a change that was undone. Messages of clients are no entries:
//! closing their phase is one, with their number and the digest of the senders.
//!
//! The head of a task's chain is signed and published with every result. Clients remember it and
//! check that later heads go on from it: a database administrator can rewrite this log, but not
//! what its readers remember of it.
//!
//! | idea | module |
//! |---|---|
//! | what an entry says | `event` |
//! | its bytes | [`canonical`] |
//! | what a round cost in privacy, and whether it adds up | `spend`, `spending` |
//! | the log as a file, from the database, and its check | `export`, [`read`], `verify` |
//! | what was refused, counted | `refusals` |
//! | the key, and signed heads | `signer`, `auditor` |
//!
//! Specification: chapter 19, "Audit log".

mod auditor;
pub mod canonical;
mod event;
mod export;
pub mod read;
pub(crate) mod refusals;
mod signer;
pub(crate) mod spend;
mod spending;
mod verify;

pub(crate) use auditor::{Auditor, signed_head, start};
pub(crate) use event::count;
pub use event::{
    Actor, AdminOutcome, Closed, Content, Event, Guarantee, Invited, Refusal, Released, Revealed,
    acting,
};
pub use export::Record;
pub use signer::{SignedHeadJson, key, sign};
pub use spend::UnitCost;
pub use undertone_protocol::audit::{Chain, Head};
pub use verify::{ChainReport, Fault, Verifier};
