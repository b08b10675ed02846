//! What can be shown to an auditor of a task's privacy: figures with everything that makes them
//! meaningful, who was in how many sums, what is assumed and what is not covered. Material for a
//! data protection impact assessment.
//!
//! | idea | module |
//! |---|---|
//! | what is known, from the store | `facts` |
//! | the page | [`html`](PrivacyReport::html) |
//! | the same as a document | [`markdown`](PrivacyReport::markdown) |

mod facts;
mod html;
mod markdown;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use undertone_privacy::{Epsilon, PrivacyUnit, Promise, Releases, View};

pub(crate) use self::facts::load;
use crate::audit::SignedHeadJson;
use crate::budget::TaskBudget;
use crate::page::words::counted;
use crate::store::TaskState;

/// The format of [`PrivacyReport`].
pub const FORMAT: &str = "undertone-privacy-report-1";

/// What is known of the privacy of one task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrivacyReport {
    /// Always `undertone-privacy-report-1`.
    pub format: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub made_at_ms: u64,
    /// The task's id.
    pub task: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: TaskState,
    /// When it was made.
    pub created_at_ms: u64,
    /// How many clients the roster lists.
    pub members: usize,
    /// How many clients a round has at most.
    pub cohort: u32,
    /// The fewest clients that a sum is over.
    pub min_survivors: u32,
    /// How many rounds are planned, failed ones included.
    pub rounds_planned: u32,
    /// How many have ended.
    pub rounds_ended: u32,
    /// In how many of these inputs were taken, and sums published.
    pub seen: Releases,
    /// The mechanism's document.
    pub mechanism: serde_json::Value,
    /// Its digest, which every round binds.
    pub mechanism_digest: String,
    /// The training settings' digest.
    pub training_digest: String,
    /// The δ at which every ε here is stated.
    pub delta: f64,
    /// What is promised for the rounds so far.
    pub promises: Vec<Promise>,
    /// What will be promised if inputs are taken, and a sum published, in every planned round.
    pub at_the_end: Vec<Promise>,
    /// What all rounds may cost, if that was set.
    pub budget: Option<BudgetState>,
    /// How the cost grew.
    pub course: Vec<Point>,
    /// Who was in how many rounds.
    pub participants: Vec<Part>,
    /// The signed head of the task's audit log, at this moment.
    pub audit: Option<SignedHeadJson>,
    /// What the promises rest on.
    pub assumptions: Vec<String>,
    /// What no promise covers.
    pub not_covered: Vec<String>,
}

/// A task's budget, and what is left of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BudgetState {
    /// The budget.
    #[serde(flatten)]
    pub budget: TaskBudget,
    /// ε spent against it; none where nothing bounds it.
    pub spent: Option<Epsilon>,
    /// ε left.
    pub remaining: Option<Epsilon>,
    /// How many rounds it covers, of those in which inputs are taken.
    pub rounds_covered: u64,
}

/// ε for one unit and view.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Whose presence is hidden.
    pub unit: PrivacyUnit,
    /// From whom.
    pub view: View,
    /// ε.
    pub epsilon: Epsilon,
}

/// The cost after one round, for a client that was in each of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The round.
    pub round: u32,
    /// Whether it ended with a sum.
    pub finished: bool,
    /// How many clients' inputs were taken.
    pub inputs: u32,
    /// ε after it, where something is promised.
    pub after: Vec<Figure>,
}

/// One client's part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Its roster index.
    pub client: u32,
    /// Its public key.
    pub key: String,
    /// In how many rounds its input was taken, and in how many sums it is.
    pub seen: Releases,
    /// How many of its messages came too late.
    pub late: u64,
    /// What it spent, where something is promised.
    pub spent: Vec<Figure>,
}

/// The words for a unit and a view, in the order of all tables.
fn columns() -> impl Iterator<Item = (PrivacyUnit, View)> {
    PrivacyUnit::ALL
        .into_iter()
        .flat_map(|unit| View::ALL.map(|view| (unit, view)))
}

/// The figure of a unit and a view.
fn figure(of: &[Figure], (unit, view): (PrivacyUnit, View)) -> Option<Epsilon> {
    let of_both = of.iter().find(|f| (f.unit, f.view) == (unit, view));
    of_both.map(|figure| figure.epsilon)
}

impl PrivacyReport {
    /// The units and views for which something is promised.
    fn promised(&self) -> Vec<(PrivacyUnit, View)> {
        let promised = |(unit, view)| {
            let mut all = self.promises.iter();
            all.any(|p| (p.unit, p.view) == (unit, view) && p.total().is_some())
        };
        columns().filter(|pair| promised(*pair)).collect()
    }

    /// Clients of the roster of which no input was taken.
    fn absent(&self) -> usize {
        let there = self.participants.iter().filter(|p| p.seen.inputs > 0);
        self.members.saturating_sub(there.count())
    }

    /// What does not fit together and a reader should know, one sentence each.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53 members")]
        let members = self.members.max(1) as f64;
        if self.delta * members >= 1.0 {
            warnings.push(format!(
                "Delta {:e} is not below one over the number of clients ({}): for a client it \
                 promises nothing.",
                self.delta, self.members
            ));
        }
        if self.seen.inputs > self.seen.sums {
            warnings.push(format!(
                "{} failed after inputs had been taken. Against the aggregator that counts: that a \
                 round failed is the service's own word.",
                counted(self.seen.inputs - self.seen.sums, "round")
            ));
        }
        warnings
    }
}
