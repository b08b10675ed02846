//! What a task is: validated once, when it is made; and the parameters of its rounds.

use undertone_federated::Layout;
use undertone_privacy::{Mechanism, PrivacyUnit, promise};
use undertone_protocol::adapter::Adapter;
use undertone_protocol::id::{MechanismDigest, ModelDigest, RoundNumber, TaskId, TrainingDigest};
use undertone_protocol::params::{
    ParamsFields, PhaseDeadlines, RoundParams, SUITE, Trust, VERSION,
};
use undertone_protocol::roster::Roster;
use undertone_protocol::threshold::{self, Request, Rule, Shape};

use crate::coding;
use crate::error::ServerError;
use crate::store::{GraphShape, NewTask, TaskRecord, TaskSettings};

/// What a task is made of.
#[derive(Debug, Clone)]
pub struct TaskDefinition {
    /// Its name, for people.
    pub name: String,
    /// The signed roster; it binds the task's id.
    pub roster: Roster,
    /// The training settings: opaque to the service, bound by the training digest.
    pub training: Vec<u8>,
    /// The mechanism's document, as clients read it, bound by the mechanism digest. The bytes are
    /// kept: a number written anew may read as its neighbour, and clients compare bit by bit.
    pub mechanism: Vec<u8>,
    /// How rounds are run.
    pub settings: TaskSettings,
    /// The adapter that the first round starts from.
    pub adapter: Adapter,
}

impl TaskDefinition {
    /// Checks that every round of the task could be opened and that no sum can wrap.
    ///
    /// # Errors
    /// [`ServerError::Task`], [`ServerError::Protocol`] or [`ServerError::Privacy`] name the
    /// setting that is refused.
    pub fn check(self, now: u64) -> Result<NewTask, ServerError> {
        let refuse = |reason: String| Err(ServerError::Task(reason));
        let settings = &self.settings;
        check_name(&self.name)?;
        if self.training.len() > LONGEST_TRAINING || self.mechanism.len() > LONGEST_MECHANISM {
            return refuse(format!(
                "training settings may have {LONGEST_TRAINING} bytes, a mechanism \
                 {LONGEST_MECHANISM}: clients read no more"
            ));
        }
        if settings.rounds == 0 {
            return refuse("rounds must be at least 1".into());
        }
        let members = self.roster.len();
        if usize::try_from(settings.cohort).unwrap_or(usize::MAX) > members {
            return refuse(format!(
                "a cohort of {} needs as many clients on the roster; it has {members}",
                settings.cohort
            ));
        }
        if let Some(survivors) = settings.schedule.survivors
            && !(settings.min_survivors..=settings.cohort).contains(&survivors)
        {
            return refuse(format!(
                "schedule.survivors is {survivors}; it must be from min_survivors ({}) to cohort ({})",
                settings.min_survivors, settings.cohort
            ));
        }
        settings.server_optimizer.validate()?;
        if settings.deadlines_ms.contains(&0) {
            return refuse("every phase needs a deadline above 0 ms".into());
        }
        let mechanism: Mechanism = serde_json::from_slice(&self.mechanism)
            .map_err(|e| ServerError::Task(format!("mechanism: {e}")))?;
        mechanism.validate()?;
        let client_level = promise::cost(&mechanism, PrivacyUnit::Client).is_ok();
        layout(&self.adapter)?.check_promise(client_level)?;
        if let Some(budget) = &settings.budget {
            let clients = u64::try_from(members).unwrap_or(u64::MAX);
            budget.check(&mechanism, settings.rounds, clients)?;
        }
        coding::check(&mechanism, settings, self.adapter.len())?;
        let length = mechanism.vector_length(self.adapter.len());
        let task = NewTask {
            id: self.roster.task(),
            name: self.name,
            roster: self.roster.encode()?,
            training: self.training,
            mechanism: self.mechanism,
            settings: self.settings,
            adapter: self.adapter.to_bytes()?,
            created_at: now,
        };
        // A dry run of the first round's parameters: what would fail then fails now.
        let record = TaskView {
            id: task.id,
            roster: &self.roster,
            training: &task.training,
            mechanism: &task.mechanism,
            settings: &task.settings,
        };
        let params = record.round_params(RoundNumber(1), &task.adapter, length, [0; 32])?;
        coding::check_honest(&mechanism, &params)?;
        Ok(task)
    }
}

/// The longest documents that clients read (`undertone-client`).
const LONGEST_TRAINING: usize = 1 << 20;
const LONGEST_MECHANISM: usize = 64 * 1024;

/// The longest name of a task or a token, in characters.
const LONGEST_NAME: usize = 200;

/// A name for people: it goes into lists and logs, one line each.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().count() <= LONGEST_NAME && !name.chars().any(char::is_control)
}

fn check_name(name: &str) -> Result<(), ServerError> {
    if is_name(name) {
        return Ok(());
    }
    let reason = "name must have 1 to 200 characters, none of them a control character";
    Err(ServerError::Task(reason.to_owned()))
}

/// Which coordinates of an adapter are the model's, and which an algorithm's.
///
/// # Errors
/// [`ServerError::Federated`] if a tensor has a reserved name that means nothing.
pub fn layout(adapter: &Adapter) -> Result<Layout, ServerError> {
    let tensors = adapter.tensors();
    let tensors = tensors.map(|(name, shape, _)| (name.as_str(), shape.as_slice()));
    Ok(Layout::of(tensors)?)
}

/// The parts of a task that round parameters are made of.
#[derive(Debug)]
pub struct TaskView<'a> {
    /// The task.
    pub id: TaskId,
    /// The roster.
    pub roster: &'a Roster,
    /// The training settings' bytes.
    pub training: &'a [u8],
    /// The mechanism's bytes.
    pub mechanism: &'a [u8],
    /// How rounds are run.
    pub settings: &'a TaskSettings,
}

impl<'a> TaskView<'a> {
    /// The view of a stored task.
    pub fn of(task: &'a TaskRecord, roster: &'a Roster) -> Self {
        Self {
            id: task.id,
            roster,
            training: &task.training,
            mechanism: &task.mechanism,
            settings: &task.settings,
        }
    }

    /// The parameters of one round, which starts from `adapter` and whose vectors have `length`
    /// coordinates.
    ///
    /// # Errors
    /// [`ServerError::Protocol`] if they break a rule, [`ServerError::Task`] if the adapter is
    /// too long.
    pub fn round_params(
        &self,
        round: RoundNumber,
        adapter: &[u8],
        length: usize,
        nonce: [u8; 32],
    ) -> Result<RoundParams, ServerError> {
        let length = u32::try_from(length)
            .map_err(|_| ServerError::Task("the adapter is longer than 2^32 values".into()))?;
        let settings = self.settings;
        let [
            advertise_keys,
            share_keys,
            masked_input,
            consistency_check,
            unmask,
        ] = settings.deadlines_ms;
        let params = RoundParams::new(ParamsFields {
            version: VERSION,
            suite: SUITE,
            task: self.id,
            round,
            nonce,
            length,
            bits: settings.bits,
            rule: self.rule()?,
            roster: self.roster.digest(),
            model: ModelDigest::of(adapter),
            training: TrainingDigest::of(self.training),
            mechanism: MechanismDigest::of(self.mechanism),
            deadlines: PhaseDeadlines {
                advertise_keys,
                share_keys,
                masked_input,
                consistency_check,
                unmask,
            },
        })?;
        params.check_roster(self.roster)?;
        let corrupt = settings.graph.corrupt;
        params.check_trust(self.roster, Trust { corrupt })?;
        Ok(params)
    }

    /// Who masks with whom, and the thresholds: on the ring, chosen for the smallest directory
    /// that a round may start with.
    fn rule(&self) -> Result<Rule, ServerError> {
        let TaskSettings {
            cohort,
            min_survivors,
            graph,
            ..
        } = *self.settings;
        let roster = u32::try_from(self.roster.len()).unwrap_or(u32::MAX);
        let shape = match graph.shape {
            Some(GraphShape::Complete) => Shape::Complete,
            None if cohort <= threshold::AUTO_COMPLETE => Shape::Complete,
            Some(GraphShape::Ring) | None => Shape::Ring,
        };
        let usual = || f64::from(threshold::default_corruptions(roster)) / f64::from(roster.max(1));
        let fraction = graph.corrupt.unwrap_or_else(usual);
        let corrupt = threshold::corruptions(fraction, roster);
        let rule = match shape {
            Shape::Complete => Rule {
                min_clients: min_survivors,
                ..Rule::complete(cohort, corrupt)
            },
            Shape::Ring => {
                let vanished = threshold::corruptions(graph.dropout, cohort);
                let clients = cohort.saturating_sub(vanished).max(min_survivors);
                let request = Request {
                    max_clients: Some(cohort),
                    roster: Some(roster),
                    shape: Some(shape),
                    ..Request::new(clients, fraction, graph.dropout)
                };
                let choice = threshold::choose(&request)
                    .map_err(|refused| ServerError::Task(refused.to_string()))?;
                choice
                    .rule()
                    .ok_or_else(|| ServerError::Task("the ring has no witnesses".into()))?
            }
        };
        Ok(Rule {
            min_survivors,
            ..rule
        })
    }
}
