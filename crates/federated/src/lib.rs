//! The arithmetic of federated algorithms: what a server does with a sum, and what a client adds
//! to its gradients.
//!
//! Everything here is a pure function of vectors. The service, local training and the studies call
//! the same ones, so that a computation in one process can be compared with a round of the service
//! bit by bit.
//!
//! | idea | module |
//! |---|---|
//! | `FedAvg`, `FedAdam`, `FedYogi` on the mean update | [`optimizer`] |
//! | which coordinates of an adapter are the model's, and which an algorithm's | [`layout`] |
//! | the whole step of a server, from the mean of a round to the next adapter | [`server`] |
//! | weights that stay hidden: `[w x, w]` in one sum | [`weight`] |
//! | a clip norm for whole clients that follows a quantile | [`clip`] |
//! | `FedProx` and SCAFFOLD at a client | [`client`] |
//! | plain LoRA: the average of products, factored anew | [`refactor`] |

pub mod client;
pub mod clip;
pub mod error;
pub mod layout;
pub mod optimizer;
pub mod refactor;
pub mod server;
pub mod weight;

pub use clip::ClientClip;
pub use error::FederatedError;
pub use layout::{Layout, Role};
pub use optimizer::{Moments, ServerOptimizer};
pub use server::{Cohort, ServerState};
