//! How much a service takes: many clients in one process against `undertone serve` in another.
//!
//! The clients are light: of their vectors they keep seeds, and they train nothing. Everything
//! else is the protocol as it is: keys, shares, masks, signatures, and HTTP to a real service on a
//! real database, whose sum is then compared with the plain one.
//!
//! | idea | module |
//! |---|---|
//! | what is asked for, and the task made for it | [`plan`] |
//! | the service, and the database under it | [`process`], [`postgres`] |
//! | requests, made again as the SDK would, and timed | `http`, `record` |
//! | one client in one round | `light` |
//! | all rounds | [`rounds`] |
//! | clients that only wait | [`idle`] |
//! | a round without network and store: what it costs over key stream and memory | [`protocol`] |
//! | how fast this machine is at all | [`floor`] |
//! | what comes out | [`report`] |

pub mod error;
pub mod floor;
mod http;
pub mod idle;
mod light;
pub mod plan;
pub mod postgres;
pub mod process;
pub mod protocol;
mod record;
pub mod report;
pub mod rounds;

pub use error::BenchError;
pub use idle::{IdlePlan, IdleReport};
pub use plan::{Graph, Plan};
pub use protocol::{ProtocolPlan, ProtocolReport};
pub use report::{Environment, Report};

use std::sync::Arc;

use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;

use undertone_protocol::aggregator::PhaseName;

/// What a measurement is doing, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A step begins.
    Step(String),
    /// So many of all clients have sent their message of a phase.
    Phase {
        /// The round's number.
        round: u32,
        /// The phase.
        phase: PhaseName,
        /// Messages accepted.
        done: usize,
        /// Clients.
        of: usize,
    },
}

/// A generator of this round's secrets, seeded by the system.
fn generator() -> Result<ChaCha20Rng, BenchError> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

/// Is told of progress.
pub type Watch = Arc<dyn Fn(Progress) + Send + Sync>;
