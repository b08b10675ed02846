//! Local training of one client, and evaluation.

use std::fmt;
use std::sync::Arc;

use rand_core::CryptoRng;
use undertone_protocol::adapter::Adapter;

use crate::algorithm::{Control, Correction, model_part, with_auxiliary};
use crate::dpsgd::{self, Bounds, Clip, Optimizer, clipped_gradient_sum, for_each_clipped};
use crate::error::{Result, TrainingError};
use crate::features::Features;
use crate::metrics::Metrics;
use crate::model::Model;

/// Examples in one forward pass of an evaluation.
const EVALUATION_BATCH: usize = 8;

/// Trains on one client's features, round after round.
///
/// `R` supplies the sampling and the noise; it must be seeded from the operating system (a fixed
/// seed is for tests), and its outputs never leave the client.
pub struct LocalTrainer<R> {
    model: Arc<Model>,
    features: Features,
    clip: Clip,
    rng: R,
    control: Control,
}

impl<R> fmt::Debug for LocalTrainer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalTrainer")
            .field("features", &self.features)
            .finish_non_exhaustive()
    }
}

/// What a client has after its local steps.
#[derive(Clone, PartialEq)]
pub struct LocalUpdate {
    /// What is to be summed, in the adapter's canonical order, `[d]`: trained values minus global
    /// values, times the client's weight; and the weight and the change of the control variate
    /// where the algorithm has them.
    pub delta: Vec<f32>,
    /// Steps made: what the accountant must be told.
    pub steps: u32,
    /// Mean loss of the sampled examples before each step; `None` if no example was drawn.
    /// It carries no noise and must not leave the client.
    pub mean_loss: Option<f64>,
}

impl fmt::Debug for LocalUpdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An unmasked update and an unprotected loss do not belong in a log.
        f.debug_struct("LocalUpdate")
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

impl<R: CryptoRng> LocalTrainer<R> {
    /// Joins a model with one client's examples.
    ///
    /// # Errors
    /// [`TrainingError::NoData`] without examples, [`TrainingError::Features`] if the features
    /// were made for another model.
    pub fn new(model: Arc<Model>, features: Features, rng: R) -> Result<Self> {
        if features.is_empty() {
            return Err(TrainingError::NoData(
                "a client needs at least one example".to_owned(),
            ));
        }
        model.check_features(&features)?;
        Ok(Self {
            clip: Clip::new(model.config()),
            model,
            features,
            rng,
            control: Control::default(),
        })
    }

    /// The task's model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The number of local examples.
    pub fn examples(&self) -> usize {
        self.features.len()
    }

    /// The clip norm of the next step; the configured one unless it is adaptive. It is private
    /// already: it follows from noisy counts alone.
    pub fn clip_norm(&self) -> Option<f64> {
        self.clip.norm()
    }

    /// SCAFFOLD's memory, which outlives this trainer: keep it with the client's data.
    pub const fn control(&self) -> &Control {
        &self.control
    }

    /// Goes on from what was kept, or says how the last round ended ([`Control::settle`]).
    pub const fn control_mut(&mut self) -> &mut Control {
        &mut self.control
    }

    /// One step's contributions, for a mechanism that clips and encodes each example by itself: draws
    /// a Poisson sample at the configured rate and hands the negated gradient at `global` of each
    /// sampled example to `sink`, `[d]`, unclipped; zeros where it is not finite. Memory is bounded
    /// by a micro-batch a worker.
    ///
    /// # Errors
    /// [`TrainingError::AdapterMismatch`] if `global` is not an adapter of this task, and whatever
    /// `sink` returns.
    pub fn contributions<E: From<TrainingError>>(
        &mut self,
        global: &Adapter,
        mut sink: impl FnMut(&[f32]) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let model = Arc::clone(&self.model);
        let rate = model.config().sampling_rate;
        let rows = dpsgd::poisson_sample(&mut self.rng, self.features.len(), rate);
        let mut negated = Vec::with_capacity(global.len());
        for_each_clipped(
            &model,
            global,
            &self.features,
            &rows,
            &Bounds::none(),
            |batch| {
                for row in batch.rows() {
                    negated.clear();
                    negated.extend(row.iter().map(|g| -g));
                    sink(&negated)?;
                }
                Ok::<_, E>(())
            },
        )?;
        Ok(())
    }

    /// Makes the configured number of steps from `global`; `progress` gets steps done and steps in
    /// all. Momentum starts afresh in each call; an adaptive clip norm goes on from the last one.
    /// An update of before that was not settled counts as lost.
    ///
    /// # Errors
    /// [`TrainingError::AdapterMismatch`] if `global` is not an adapter of this task, or
    /// [`TrainingError::Adapter`] if training diverges.
    pub fn train(
        &mut self,
        global: &Adapter,
        mut progress: impl FnMut(u32, u32),
    ) -> Result<LocalUpdate> {
        let model = Arc::clone(&self.model);
        let config = model.config();
        let (start, layout) = model_part(global)?;
        model.check(&start)?;
        if with_auxiliary(&start, config)?.len() != global.len() {
            return Err(TrainingError::AdapterMismatch(
                "the algorithm's tensors are missing or too many".to_owned(),
            ));
        }
        self.control.settle(false);
        let correction = Correction::new(config, (global, &layout), &start, &self.control)?;
        let mut optimizer = Optimizer::new(config, self.features.len(), start.len());
        let mut values = start.values().to_vec();
        let (mut loss, mut drawn) = (0.0, 0_usize);
        for step in 0..config.local_steps {
            let rows =
                dpsgd::poisson_sample(&mut self.rng, self.features.len(), config.sampling_rate);
            let adapter = start.with_values(values.clone())?;
            let bounds = self.clip.bounds(&start)?;
            let sum = clipped_gradient_sum(&model, &adapter, &self.features, &rows, &bounds)?;
            loss += sum.totals.loss;
            drawn += rows.len();
            let clip_norm = self.clip.norm().unwrap_or_default();
            optimizer.step(
                &mut values,
                sum.gradient,
                clip_norm,
                &correction,
                &mut self.rng,
            )?;
            let within = rows.len() - sum.totals.clipped;
            self.clip.adapt(
                within,
                sum.totals.clipped,
                optimizer.divisor(),
                &mut self.rng,
            )?;
            progress(step + 1, config.local_steps);
        }
        let trained = start.with_values(values)?;
        let moved = trained.values().iter().zip(start.values());
        let update = (moved.map(|(t, s)| t - s).collect(), self.features.len());
        let delta = correction.send(config, &layout, update, &mut self.control)?;
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let mean_loss = (drawn > 0).then(|| loss / drawn as f64);
        Ok(LocalUpdate {
            delta,
            steps: config.local_steps,
            mean_loss,
        })
    }
}

/// Accuracy, AUC and loss of `adapter` on `features`.
///
/// # Errors
/// [`TrainingError::NoData`] without examples; [`TrainingError::AdapterMismatch`] or
/// [`TrainingError::Features`] if the parts do not fit together.
pub fn evaluate(model: &Model, adapter: &Adapter, features: &Features) -> Result<Metrics> {
    let (adapter, _) = model_part(adapter)?;
    model.check(&adapter)?;
    model.check_features(features)?;
    if features.is_empty() {
        return Err(TrainingError::NoData("nothing to evaluate on".to_owned()));
    }
    let parameters = dpsgd::shared_parameters(&adapter)?;
    let all: Vec<usize> = (0..features.len()).collect();
    let jobs: Vec<&[usize]> = all.chunks(EVALUATION_BATCH).collect();
    let scores = model.encoder().workers().map(
        &jobs,
        |rows| {
            let batch = features.batch(rows)?;
            Ok(model
                .logits(&batch.input, &batch.lengths, &parameters)?
                .to_vec2::<f32>()?)
        },
        |_| (),
    )?;
    Ok(Metrics::of(&scores.concat(), &features.labels()))
}
