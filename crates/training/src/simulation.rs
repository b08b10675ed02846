//! Whole trainings in one process, without a protocol: what a federated run is compared with.
//!
//! `generator` supplies each trainer's randomness by the trainer's number; `progress` gets rounds
//! done and rounds in all.

mod products;

use std::sync::Arc;

use rand_core::CryptoRng;
use undertone_federated::{Cohort, ServerOptimizer};
use undertone_protocol::adapter::Adapter;

use crate::algorithm::model_part;
use crate::config::TrainingConfig;
use crate::error::{Result, TrainingError};
use crate::features::Features;
use crate::metrics::Metrics;
use crate::model::{Encoder, Model};
use crate::train::{LocalTrainer, evaluate};

/// Clients' features, and the held-out ones.
pub type Data<'a> = (&'a [Features], &'a Features);

/// How the clients' vectors become the next adapter.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Aggregation {
    /// What the server does with their mean.
    pub optimizer: ServerOptimizer,
    /// Whether plain LoRA's products `B A` are averaged and factored anew, instead of A and B each
    /// ([`undertone_federated::refactor`]). A secure sum of the factors cannot do that.
    pub products: bool,
}

/// Federated averaging (`McMahan` et al. 2017, equal weights) over the clients that `in_sum` says
/// for (round from 1, client). Evaluates the last model.
///
/// # Errors
/// [`TrainingError`] if the parts do not fit together, or if a round has nobody in its sum.
pub fn federated<R: CryptoRng>(
    model: &Arc<Model>,
    data: Data<'_>,
    rounds: u32,
    in_sum: impl Fn(u32, usize) -> bool,
    generator: impl FnMut(usize) -> R,
    progress: impl FnMut(u32, u32),
) -> Result<Metrics> {
    let plain = Aggregation::default();
    let run = Run { rounds, in_sum };
    let adapter = train_federated(model, plain, data.0, &run, generator, progress)?;
    evaluate(model, &adapter, data.1)
}

/// How long, and who is in the sums.
#[derive(Clone, Copy, Debug)]
pub struct Run<F> {
    /// How many rounds.
    pub rounds: u32,
    /// Whether a client is in the sum of a round, by (round from 1, client).
    pub in_sum: F,
}

/// The algorithm of the model's settings and of `aggregation` over all rounds, as a service with
/// these clients does it but for the rounding on the ring. Returns the last adapter.
///
/// # Errors
/// [`TrainingError`] if the parts do not fit together, or if a round has nobody in its sum.
pub fn train_federated<R: CryptoRng, F: Fn(u32, usize) -> bool>(
    model: &Arc<Model>,
    aggregation: Aggregation,
    clients: &[Features],
    run: &Run<F>,
    mut generator: impl FnMut(usize) -> R,
    mut progress: impl FnMut(u32, u32),
) -> Result<Adapter> {
    let mut trainers = clients
        .iter()
        .enumerate()
        .map(|(i, features)| LocalTrainer::new(Arc::clone(model), features.clone(), generator(i)))
        .collect::<Result<Vec<_>>>()?;
    let mut global = model.initial_adapter();
    let (_, layout) = model_part(&global)?;
    let mut state = aggregation.optimizer.first_state(&layout);
    for round in 1..=run.rounds {
        let mut sum = vec![0.0_f64; global.len()];
        let mut updates = Vec::new();
        let mut survivors = 0_u32;
        for (client, trainer) in trainers.iter_mut().enumerate() {
            if !(run.in_sum)(round, client) {
                continue;
            }
            let update = trainer.train(&global, |_, _| ())?;
            trainer.control_mut().settle(true);
            sum.iter_mut()
                .zip(&update.delta)
                .for_each(|(s, d)| *s += f64::from(*d));
            survivors += 1;
            if aggregation.products {
                updates.push(update.delta);
            }
        }
        if survivors == 0 {
            return Err(TrainingError::NoData(format!(
                "nobody is in the sum of round {round}"
            )));
        }
        for value in &mut sum {
            *value /= f64::from(survivors);
        }
        let cohort = Cohort {
            survivors,
            clients: u32::try_from(clients.len()).unwrap_or(u32::MAX),
        };
        let optimizer = aggregation.optimizer;
        let next = optimizer.next(&layout, global.values(), &sum, &mut state, cohort)?;
        let mut next = global.with_values(next)?;
        if aggregation.products {
            next = products::averaged(&global, &next, &updates)?;
        }
        global = next;
        progress(round, run.rounds);
    }
    Ok(global)
}

/// One trainer on all features in one place, without noise, as many steps as a client makes in so
/// many rounds, with batches of `batch` examples in expectation. Evaluates the last model.
///
/// # Errors
/// [`TrainingError`] if the parts do not fit together.
pub fn central<R: CryptoRng>(
    encoder: &Arc<Encoder>,
    config: &TrainingConfig,
    (pooled, held_out): (&Features, &Features),
    (rounds, batch): (u32, f64),
    rng: R,
    progress: impl FnMut(u32, u32),
) -> Result<Metrics> {
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let sampling_rate = (batch / pooled.len().max(1) as f64).min(1.0);
    let config = TrainingConfig {
        sampling_rate,
        ..config.without_privacy()
    };
    let model = Arc::new(Model::new(Arc::clone(encoder), config)?);
    alone(&model, (pooled, held_out), rounds, rng, progress)
}

/// One trainer by itself for as many rounds. Evaluates the last model.
///
/// # Errors
/// [`TrainingError`] if the parts do not fit together.
pub fn alone<R: CryptoRng>(
    model: &Arc<Model>,
    (features, held_out): (&Features, &Features),
    rounds: u32,
    rng: R,
    mut progress: impl FnMut(u32, u32),
) -> Result<Metrics> {
    let mut trainer = LocalTrainer::new(Arc::clone(model), features.clone(), rng)?;
    let mut adapter = model.initial_adapter();
    for round in 1..=rounds {
        let update = trainer.train(&adapter, |_, _| ())?.delta;
        adapter = moved(&adapter, update.into_iter().map(f64::from))?;
        progress(round, rounds);
    }
    evaluate(model, &adapter, held_out)
}

/// Every client [`alone`]; the mean of their metrics. `progress` gets clients done and in all.
///
/// # Errors
/// [`TrainingError`] if the parts do not fit together or there is no client.
pub fn alone_mean<R: CryptoRng>(
    model: &Arc<Model>,
    (clients, held_out): Data<'_>,
    rounds: u32,
    mut generator: impl FnMut(usize) -> R,
    mut progress: impl FnMut(u32, u32),
) -> Result<Metrics> {
    let count = u32::try_from(clients.len()).unwrap_or(u32::MAX);
    if count == 0 {
        return Err(TrainingError::NoData(
            "there is no client to train alone".to_owned(),
        ));
    }
    let mut mean = Metrics {
        accuracy: 0.0,
        auc: Some(0.0),
        loss: 0.0,
    };
    for (done, features) in (1..).zip(clients) {
        let rng = generator(usize::try_from(done - 1).unwrap_or(0));
        let metrics = alone(model, (features, held_out), rounds, rng, |_, _| ())?;
        mean.accuracy += metrics.accuracy / f64::from(count);
        mean.loss += metrics.loss / f64::from(count);
        mean.auc = mean
            .auc
            .zip(metrics.auc)
            .map(|(sum, auc)| sum + auc / f64::from(count));
        progress(done, count);
    }
    Ok(mean)
}

/// `adapter + update`, with the update's values in the adapter's canonical order, `[d]`.
///
/// # Errors
/// [`TrainingError::Adapter`] if there are fewer values, or one is not finite.
pub fn moved(adapter: &Adapter, update: impl IntoIterator<Item = f64>) -> Result<Adapter> {
    let values = adapter.values().iter().zip(update);
    #[allow(clippy::cast_possible_truncation, reason = "adapters hold f32")]
    let values = values.map(|(v, u)| (f64::from(*v) + u) as f32).collect();
    Ok(adapter.with_values(values)?)
}
