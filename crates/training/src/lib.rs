//! Private fine-tuning of a pretrained text encoder.
//!
//! One client's side of a federated task: a frozen BERT encoder ([`Encoder`]), LoRA updates in its
//! last layers and a classification head ([`Model`]), activations of the frozen part computed once
//! ([`Features`]), and local DP-SGD on true per-example gradients ([`LocalTrainer`]). What is
//! trained travels as an [`undertone_protocol::adapter::Adapter`]. No network, no protocol
//! messages, and no random numbers but those of the generator that is passed in.

pub mod algorithm;
pub mod config;
pub mod data;
pub mod dpsgd;
pub mod error;
pub mod features;
pub mod fixture;
pub mod measure;
pub mod metrics;
pub mod model;
mod ops;
pub mod simulation;
pub mod tokenize;
pub mod train;
mod workers;

pub use algorithm::{ClientAlgorithm, Control, FederatedConfig};
pub use config::{
    BaseWeights, ClipGroups, LoraConfig, LoraVariant, PrivacyConfig, PrivacySchedule, Projection,
    TrainingConfig,
};
pub use error::{Result, TrainingError};
pub use features::{Features, LabelledTokens};
pub use metrics::Metrics;
pub use model::{BertConfig, Depth, Encoder, Model};
pub use tokenize::TextTokenizer;
pub use train::{LocalTrainer, LocalUpdate, evaluate};
pub use undertone_federated::ClientClip;
