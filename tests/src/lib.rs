//! What the end-to-end tests share: databases, the service as a process, a task, and clients.
//!
//! Everything is real but the training: clients of the SDK over HTTP, the service's binary, SQLite
//! files and a PostgreSQL server (see `make test`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "this is test code"
)]
#![allow(clippy::missing_panics_doc, reason = "a panic is how a test fails")]

pub mod browser;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod collector;
pub mod database;
pub mod page;
pub mod proxy;
pub mod raw;
pub mod secrets;
pub mod service;
pub mod task;
