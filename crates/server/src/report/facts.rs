//! What is known of a task's privacy, looked up and computed.

use undertone_privacy::{
    Delta, Epsilon, Mechanism, PrivacyError, PrivacyUnit, RdpAccountant, Releases, View, promise,
    promises,
};
use undertone_protocol::audit::Chain;
use undertone_protocol::id::{MechanismDigest, TrainingDigest};
use undertone_protocol::roster::Roster;

use super::{BudgetState, FORMAT, Figure, Part, Point, PrivacyReport};
use crate::app::App;
use crate::audit::spend::Terms;
use crate::audit::{self, SignedHeadJson};
use crate::error::ServerError;
use crate::store::{Participant, RoundStanding, RoundSummary, Store, StoreError, TaskRecord};

/// How many rounds are asked for at once.
const PAGE: u32 = 500;

/// How many points the course has at most; of more rounds, every so many are left out.
const POINTS: usize = 200;

/// Gathers what is known of a task.
///
/// # Errors
/// [`ServerError::Store`], or a mechanism that cannot be read.
pub(crate) async fn load<S: Store>(
    app: &App<S>,
    task: TaskRecord,
) -> Result<PrivacyReport, ServerError> {
    let store = app.store();
    let mut rounds: Vec<RoundSummary> = Vec::new();
    loop {
        let after = rounds.last().map_or(0, |round| round.number.0);
        let page = store.round_page(task.id, after, PAGE).await?;
        if page.is_empty() {
            break;
        }
        rounds.extend(page);
    }
    rounds.retain(|round| round.standing != RoundStanding::Open);
    let participants = store.participants(task.id).await?;
    let audit = audit::signed_head(app, Chain::Task(task.id)).await?;
    let gathered = Gathered {
        seen: store.releases(task.id).await?,
        made_at: store.now().await?,
        task,
        rounds,
        participants,
        audit: audit.map(Into::into),
    };
    // An accountant takes milliseconds for each mechanism, and there may be many clients.
    tokio::task::spawn_blocking(move || gathered.report()).await?
}

/// What was looked up.
pub(super) struct Gathered {
    pub(super) task: TaskRecord,
    pub(super) rounds: Vec<RoundSummary>,
    pub(super) participants: Vec<Participant>,
    pub(super) seen: Releases,
    pub(super) made_at: u64,
    pub(super) audit: Option<SignedHeadJson>,
}

impl Gathered {
    pub(super) fn report(self) -> Result<PrivacyReport, ServerError> {
        let task = self.task;
        let corrupt = |e: &dyn std::fmt::Display| StoreError::Corrupt(e.to_string());
        let mechanism: Mechanism =
            serde_json::from_slice(&task.mechanism).map_err(|e| corrupt(&e))?;
        let document = serde_json::from_slice(&task.mechanism).map_err(|e| corrupt(&e))?;
        let roster = Roster::decode_own(&task.roster)?;
        let delta = Delta::new(Terms::of(&task.settings).delta)?;
        let costs = Costs::of(&mechanism, delta);
        let planned = Releases {
            inputs: task.settings.rounds.into(),
            sums: task.settings.rounds.into(),
        };
        let budget = task.settings.budget;
        let budget = budget.map(|budget| state(budget, &mechanism, self.seen.inputs));
        let parts = self.participants.iter().map(|participant| Part {
            client: participant.client.0,
            key: roster
                .key(participant.client)
                .map_or_else(|_| String::new(), |key| key.to_string()),
            seen: participant.seen,
            late: participant.late,
            spent: costs.figures(participant.seen),
        });
        let participants = parts.collect();
        let course = course(&self.rounds, &costs);
        Ok(PrivacyReport {
            format: FORMAT.to_owned(),
            made_at_ms: self.made_at,
            task: task.id.to_string(),
            state: task.state(),
            created_at_ms: task.created_at,
            members: roster.len(),
            cohort: task.settings.cohort,
            min_survivors: task.settings.min_survivors,
            rounds_planned: task.settings.rounds,
            rounds_ended: task.rounds_ended,
            seen: self.seen,
            mechanism: document,
            mechanism_digest: MechanismDigest::of(&task.mechanism).to_string(),
            training_digest: TrainingDigest::of(&task.training).to_string(),
            delta: delta.get(),
            promises: promises(&mechanism, self.seen, delta),
            at_the_end: promises(&mechanism, planned, delta),
            budget: budget.transpose()?,
            course,
            participants,
            audit: self.audit,
            assumptions: words(&promise::assumptions(&mechanism)),
            not_covered: words(&promise::not_covered(&mechanism)),
            name: task.name,
        })
    }
}

fn words(sentences: &[&str]) -> Vec<String> {
    sentences.iter().map(|s| (*s).to_owned()).collect()
}

fn state(
    budget: crate::budget::TaskBudget,
    mechanism: &Mechanism,
    taken: u64,
) -> Result<BudgetState, PrivacyError> {
    let cost = promise::cost(mechanism, budget.unit)?;
    let spent = promise::epsilon(&cost, taken, budget.delta).ok();
    let left = |spent: Epsilon| Epsilon::new((budget.epsilon.get() - spent.get()).max(0.0)).ok();
    Ok(BudgetState {
        budget,
        spent,
        remaining: spent.and_then(left),
        rounds_covered: budget.rounds(mechanism)?,
    })
}

/// The cost after each round, a point for each that fits.
fn course(rounds: &[RoundSummary], costs: &Costs) -> Vec<Point> {
    let step = rounds.len().div_ceil(POINTS).max(1);
    let skipped = rounds.len().saturating_sub(1) % step;
    let mut seen = Releases::default();
    let mut points = Vec::new();
    for (at, round) in rounds.iter().enumerate() {
        let finished = round.standing == RoundStanding::Finished;
        seen.inputs += u64::from(round.took_inputs());
        seen.sums += u64::from(finished);
        if at % step == skipped {
            let [_, _, inputs, ..] = round.received.unwrap_or_default();
            points.push(Point {
                round: round.number.0,
                finished,
                inputs,
                after: costs.figures(seen),
            });
        }
    }
    points
}

/// What a round costs, for each unit at which anything is promised.
struct Costs {
    delta: Delta,
    of_round: Vec<(PrivacyUnit, RdpAccountant)>,
}

impl Costs {
    fn of(mechanism: &Mechanism, delta: Delta) -> Self {
        let promised = PrivacyUnit::ALL.into_iter().filter_map(|unit| {
            let mut round = RdpAccountant::new();
            round.compose(&promise::cost(mechanism, unit).ok()?);
            Some((unit, round))
        });
        Self {
            delta,
            of_round: promised.collect(),
        }
    }

    fn figures(&self, seen: Releases) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (unit, round) in &self.of_round {
            for view in View::ALL {
                let all = round.repeated(seen.seen_by(view));
                let epsilon = all.epsilon(self.delta).ok();
                figures.extend(epsilon.map(|epsilon| Figure {
                    unit: *unit,
                    view,
                    epsilon,
                }));
            }
        }
        figures
    }
}
