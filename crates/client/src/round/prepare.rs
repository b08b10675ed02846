//! Before a round: is it what it says it is, and does this client agree to it?
//!
//! Specification: chapter 4, "Roster and round parameters".

use std::sync::Arc;
use std::time::Duration;

use undertone_privacy::Mechanism;
use undertone_privacy::distributed::IntegerNoise;
use undertone_protocol::ProtocolError;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::client::Participant;
use undertone_protocol::id::{MechanismDigest, ModelDigest, RoundId, RoundNumber, TrainingDigest};
use undertone_protocol::params::RoundParams;

use super::{Stop, off_runtime};
use crate::api::{Link, MECHANISM_LIMIT, PARAMS_LIMIT, Stage, TRAINING_LIMIT, adapter_limit};
use crate::client::{Client, Settings};
use crate::coding::Coding;
use crate::costs::{Costs, Ledgers};
use crate::error::LostReason;
use crate::journal::Judged;
use crate::observer::Observer;
use crate::policy::{DeclineReason, Policy};
use crate::trainer::Trainer;

/// A round that this client has checked and agrees to.
pub(super) struct Prepared {
    pub(super) participant: Participant,
    pub(super) adapter: Adapter,
    pub(super) mechanism: Mechanism,
    pub(super) coding: Coding,
    /// What releasing the update costs.
    pub(super) costs: Costs,
    /// By which budgets that was judged.
    pub(super) filters: Vec<Judged>,
}

impl<T: Trainer, O: Observer> Client<T, O> {
    /// Fetches what the round consists of and checks it: each digest over the very bytes that will
    /// be used, the protocol's own rules, and the local policy. Cheap checks come first.
    pub(super) async fn prepare(
        &mut self,
        round: RoundId,
        number: RoundNumber,
    ) -> Result<Prepared, Stop> {
        let task = self.config.task;
        if self.journal.has_begun(round) {
            return Err(DeclineReason::BegunBefore.into());
        }
        if self.journal.in_doubt() {
            self.journal.abstain(task, round, number).await?;
            return Err(DeclineReason::TornJournal.into());
        }
        let params = Arc::new(self.params(round, number).await?);
        // Binds the roster that was checked when joining.
        let identity = Arc::clone(&self.config.identity);
        let roster = Arc::clone(&self.roster);
        let trust = self.config.policy.trust;
        let participant = Participant::new(Arc::clone(&params), roster, identity, trust)?;
        let begun = self.journal.rounds_begun(task);
        self.config.policy.check_params(&params, begun)?;

        let mut link = self.link(Some(&params));
        let status = link.status(round, None).await?;
        if status.round != round || status.phase != Stage::Open(PhaseName::AdvertiseKeys) {
            return Err(DeclineReason::UnderWay.into());
        }
        let mechanism = self.mechanism(&params).await?;
        let ledgers = self.journal.ledgers(&self.config.policy);
        self.config.policy.check_mechanism(&mechanism, &ledgers)?;
        let costs = Costs::of(&mechanism);
        let filters = judged(&ledgers, &costs);
        Policy::check_joint_noise(&mechanism, &params)?;
        self.fetch_training(&params).await?;
        let adapter = self.adapter(&params, &mechanism).await?;
        let noise = self.noise(&params, &mechanism).await?;
        let coding = Coding::of(&params, &mechanism, noise)?;
        Ok(Prepared {
            participant,
            adapter,
            mechanism,
            coding,
            costs,
            filters,
        })
    }

    /// The parameters, whose digest must be the round's id.
    async fn params(&mut self, round: RoundId, number: RoundNumber) -> Result<RoundParams, Stop> {
        let path = format!("v1/rounds/{round}/params");
        let bytes = self.link(None).bytes(path, PARAMS_LIMIT).await?;
        let params = RoundParams::decode(&bytes).map_err(DeclineReason::Protocol)?;
        if params.id() != round {
            return Err(conflict("the round's id").into());
        }
        if params.round != number || params.task != self.config.task {
            let said = format!(
                "round {round} was announced as number {number} of task {}, its parameters say \
                 number {} of task {}",
                self.config.task, params.round, params.task
            );
            return Err(LostReason::Misbehaving(said).into());
        }
        Ok(params)
    }

    async fn mechanism(&mut self, params: &RoundParams) -> Result<Mechanism, Stop> {
        if let Some((digest, mechanism)) = &self.settings.mechanism
            && *digest == params.mechanism
        {
            return Ok(*mechanism);
        }
        let path = format!("v1/tasks/{}/mechanism", params.task);
        let bytes = self.link(Some(params)).bytes(path, MECHANISM_LIMIT).await?;
        if MechanismDigest::of(&bytes) != params.mechanism {
            return Err(conflict("the mechanism's digest").into());
        }
        let mechanism: Mechanism = serde_json::from_slice(&bytes)
            .map_err(|e| DeclineReason::MechanismFormat(e.to_string()))?;
        self.settings.mechanism = Some((params.mechanism, mechanism));
        Ok(mechanism)
    }

    async fn fetch_training(&mut self, params: &RoundParams) -> Result<(), Stop> {
        if let Some((digest, _)) = &self.settings.training
            && *digest == params.training
        {
            return Ok(());
        }
        let path = format!("v1/tasks/{}/training", params.task);
        let bytes = self.link(Some(params)).bytes(path, TRAINING_LIMIT).await?;
        if TrainingDigest::of(&bytes) != params.training {
            return Err(conflict("the training settings' digest").into());
        }
        self.settings.training = Some((params.training, bytes));
        Ok(())
    }

    /// The tables of the mechanism's noise, which take up to a second to compute; kept.
    async fn noise(
        &mut self,
        params: &RoundParams,
        mechanism: &Mechanism,
    ) -> Result<Option<Arc<IntegerNoise>>, Stop> {
        let Some((joint, _)) = mechanism.noise.joint() else {
            return Ok(None);
        };
        if let Some((digest, noise)) = &self.settings.noise
            && *digest == params.mechanism
        {
            return Ok(Some(Arc::clone(noise)));
        }
        let refused = DeclineReason::Mechanism;
        let parameters = mechanism.parameters(joint.honest, 1).map_err(refused)?;
        let Some(variance) = parameters.and_then(|p| p.local_variance()) else {
            return Ok(None);
        };
        let noise = off_runtime(move || IntegerNoise::new(joint.sampler, variance)).await?;
        let noise = Arc::new(noise.map_err(refused)?);
        self.settings.noise = Some((params.mechanism, Arc::clone(&noise)));
        Ok(Some(noise))
    }

    async fn adapter(
        &mut self,
        params: &RoundParams,
        mechanism: &Mechanism,
    ) -> Result<Adapter, Stop> {
        let path = format!("v1/rounds/{}/adapter", params.id());
        let vector = params.vector_length();
        let longest = mechanism.rotation.map_or(vector, |layout| {
            usize::try_from(layout.dimension).unwrap_or(usize::MAX)
        });
        let limit = self.config.policy.max_vector_length;
        if longest > limit {
            let offered = longest;
            return Err(DeclineReason::VectorLength { offered, limit }.into());
        }
        let bytes = self
            .link(Some(params))
            .bytes(path, adapter_limit(longest))
            .await?;
        let (digest, adapter) =
            off_runtime(move || (ModelDigest::of(&bytes), Adapter::from_bytes(&bytes))).await?;
        if digest != params.model {
            return Err(conflict("the adapter's digest").into());
        }
        let adapter = adapter.map_err(|e| DeclineReason::Adapter(e.to_string()))?;
        let length = adapter.len();
        let fits = mechanism.check_dimension(length);
        fits.map_err(DeclineReason::Mechanism)?;
        if mechanism.vector_length(length) != vector {
            let adapter = length;
            return Err(DeclineReason::AdapterLength { adapter, vector }.into());
        }
        Ok(adapter)
    }

    /// A line whose requests are made again for as long as the first phase may take, and longer.
    pub(super) fn link(&mut self, params: Option<&RoundParams>) -> Link<'_, O> {
        let phase = params.map_or(0, |p| PhaseName::AdvertiseKeys.deadline_ms(p));
        let phase = Duration::from_millis(phase.into());
        Link {
            http: &self.http,
            observer: &mut self.observer,
            patience: self.config.patience.saturating_add(phase),
        }
    }
}

impl Settings {
    /// The training settings of the round that was prepared last.
    pub(super) fn training(&self) -> &[u8] {
        self.training.as_ref().map_or(&[], |(_, bytes)| bytes)
    }
}

/// The budgets by which a round was judged, each with the order of its filter.
fn judged(ledgers: &Ledgers, costs: &Costs) -> Vec<Judged> {
    let with_order = ledgers.all().filter_map(|(unit, account)| {
        let cost = costs.at(unit)?;
        Some(Judged {
            unit,
            budget: account.ledger.budget(),
            order: account.ledger.order_for(&cost)?,
        })
    });
    with_order.collect()
}

fn conflict(what: &'static str) -> ProtocolError {
    ProtocolError::ViewMismatch { what }
}
