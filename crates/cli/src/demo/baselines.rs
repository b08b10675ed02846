//! What the federated private model is compared with, on the same held-out mail.

use std::collections::BTreeMap;
use std::sync::Arc;

use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;
use undertone_study::mail::{Cut, Prepared};
use undertone_training::simulation;
use undertone_training::{Metrics, Model, TrainingConfig, evaluate};

use super::federation::Federation;
use super::progress::Progress;
use super::settings::{self, Settings};
use crate::error::CliError;
use crate::system_generator;

/// All comparisons by the names of the report.
pub(super) fn run(
    prepared: &Prepared,
    settings: &Settings,
    federation: &Federation,
    progress: &Progress,
) -> Result<BTreeMap<String, Metrics>, CliError> {
    let config = &settings.training;
    let build = |config: TrainingConfig| Model::new(prepared.encoder.clone(), config).map(Arc::new);
    let open = build(config.without_privacy())?;
    let private_head = build(config.head_only())?;
    let mut compared = BTreeMap::new();
    compared.insert("federated_private".to_owned(), federation.last);

    let held_out = &prepared.adapters.held_out;
    let start = prepared.model.initial_adapter();
    compared.insert(
        "untrained".into(),
        evaluate(&prepared.model, &start, held_out)?,
    );

    progress.begin("federated, without noise");
    compared.insert(
        "federated".into(),
        federated(&open, &prepared.adapters, settings, progress)?,
    );
    progress.begin("private head without adapters");
    let metrics = federated(&private_head, &prepared.head, settings, progress)?;
    compared.insert("head_only_private".into(), metrics);
    progress.begin("all mail in one place, without noise");
    let metrics = simulation::central(
        &prepared.encoder,
        config,
        (&prepared.adapters.pooled, held_out),
        (settings.rounds, settings::CENTRAL_BATCH),
        system_generator()?,
        |done, all| progress.at(done, all),
    )?;
    compared.insert("central".into(), metrics);
    progress.begin("each client alone, private");
    let metrics = simulation::alone_mean(
        &prepared.model,
        (&prepared.adapters.clients, held_out),
        settings.rounds,
        generators()?,
        |done, all| progress.at(done, all),
    )?;
    compared.insert("alone_mean".into(), metrics);
    Ok(compared)
}

/// Federated averaging without masks, with the survivors of the demo's plan.
fn federated(
    model: &Arc<Model>,
    cut: &Cut,
    settings: &Settings,
    progress: &Progress,
) -> Result<Metrics, CliError> {
    Ok(simulation::federated(
        model,
        (&cut.clients, &cut.held_out),
        settings.rounds,
        in_sum,
        generators()?,
        |done, all| progress.at(done, all),
    )?)
}

/// A generator for each trainer, all from the system's.
fn generators() -> Result<impl FnMut(usize) -> ChaCha20Rng, CliError> {
    let mut root = system_generator()?;
    Ok(move |_| ChaCha20Rng::from_rng(&mut root))
}

/// Whether a client's update reaches the sum of a round: it did not vanish before MaskedInput.
fn in_sum(round: u32, client: usize) -> bool {
    use undertone_protocol::aggregator::PhaseName::MaskedInput;
    !Settings::vanishing(round)
        .iter()
        .any(|(who, phase)| *who == client && *phase <= MaskedInput)
}
