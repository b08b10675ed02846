//! A step of DP-SGD against a step of SGD on the same batch.

use std::sync::Arc;

use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;
use serde::Serialize;
use undertone_protocol::adapter::Adapter;

use super::{Comparison, at_least_one, compare, features};
use crate::algorithm::Correction;
use crate::config::{
    BaseWeights, LoraConfig, LoraVariant, PrivacyConfig, Projection, TrainingConfig,
};
use crate::dpsgd::{Bounds, Optimizer, clipped_gradient_sum};
use crate::error::Result;
use crate::features::Features;
use crate::model::{Encoder, Model};

/// What is measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepPlan {
    /// The last encoder layers that carry updates, at least 1.
    pub layers: usize,
    /// The projections that carry updates.
    pub projections: Vec<Projection>,
    /// The rank of an update.
    pub rank: usize,
    /// What of an update is trained.
    pub variant: LoraVariant,
    /// How the frozen weights are kept.
    pub base: BaseWeights,
    /// Examples in the batch, at least 1.
    pub batch: usize,
    /// Tokens of each.
    pub length: usize,
    /// Pairs of steps.
    pub pairs: usize,
}

impl Default for StepPlan {
    /// The demo's model: rank 4 in query and value of the last layer, 64 tokens.
    fn default() -> Self {
        Self {
            layers: 1,
            projections: vec![Projection::Query, Projection::Value],
            rank: 4,
            variant: LoraVariant::Ffa,
            base: BaseWeights::F32,
            batch: 32,
            length: 64,
            pairs: 21,
        }
    }
}

/// The cost of one setting.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepCost {
    /// What was measured.
    pub plan: StepPlan,
    /// Trainable values.
    pub values: usize,
    /// What is first and what second is said by the function that measured it.
    pub time: Comparison,
}

/// A model and a batch, ready to be stepped from the start.
struct Batch {
    model: Model,
    features: Features,
    start: Adapter,
    rows: Vec<usize>,
}

impl Batch {
    fn new(encoder: &Arc<Encoder>, plan: &StepPlan) -> Result<Self> {
        at_least_one(plan.batch, "batch")?;
        let config = TrainingConfig {
            sequence_length: plan.length,
            labels: 2,
            head_bias: true,
            feature_scale: 4.0,
            base_weights: plan.base,
            lora: Some(LoraConfig {
                layers: plan.layers,
                projections: plan.projections.clone(),
                rank: plan.rank,
                alpha: 4.0,
                seed: 1,
                variant: plan.variant,
            }),
            privacy: Some(PrivacyConfig::new(1.0, 1.0)),
            sampling_rate: 1.0,
            local_steps: 1,
            learning_rate: 0.1,
            momentum: 0.5,
            federated: crate::FederatedConfig::default(),
        };
        let model = Model::new(encoder.with_base(plan.base)?, config)?;
        Ok(Self {
            features: features(&model, plan.batch)?,
            start: model.initial_adapter(),
            rows: (0..plan.batch).collect(),
            model,
        })
    }

    /// A whole step after sampling: gradients, clipping, noise, momentum.
    fn step(&self, config: &TrainingConfig) -> Result<()> {
        let Self {
            model,
            features,
            start,
            rows,
        } = self;
        let bounds = Bounds::of(config.privacy.as_ref(), start)?;
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let mut optimizer = Optimizer::new(config, features.len(), start.len());
        let mut values = start.values().to_vec();
        let sum = clipped_gradient_sum(model, start, features, rows, &bounds)?;
        optimizer.step(
            &mut values,
            sum.gradient,
            1.0,
            &Correction::none(),
            &mut rng,
        )
    }
}

/// Measures private steps (the first) against steps without clipping and noise (the second), which
/// are what [`crate::LocalTrainer`] makes where `privacy` is not set: the same operations,
/// micro-batches and worker threads, with one variable for all examples of a micro-batch.
///
/// # Errors
/// [`crate::TrainingError::Config`] if the plan has no examples or does not fit the encoder.
pub fn private_step(encoder: &Arc<Encoder>, plan: &StepPlan) -> Result<StepCost> {
    let batch = Batch::new(encoder, plan)?;
    let private = batch.model.config();
    let open = private.without_privacy();
    let time = compare(plan.pairs, || batch.step(private), || batch.step(&open))?;
    Ok(StepCost {
        plan: plan.clone(),
        values: batch.start.len(),
        time,
    })
}

/// Measures private steps on weights as the plan says (the first) against private steps on `f32`
/// weights (the second).
///
/// # Errors
/// As for [`private_step`].
pub fn quantized_step(encoder: &Arc<Encoder>, plan: &StepPlan) -> Result<StepCost> {
    let full = StepPlan {
        base: BaseWeights::F32,
        ..plan.clone()
    };
    let (small, full) = (Batch::new(encoder, plan)?, Batch::new(encoder, &full)?);
    let time = compare(
        plan.pairs,
        || small.step(small.model.config()),
        || full.step(full.model.config()),
    )?;
    Ok(StepCost {
        plan: plan.clone(),
        values: small.start.len(),
        time,
    })
}
