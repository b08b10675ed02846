//! What the rounds of a task cost in privacy: the figure with everything that makes it meaningful,
//! and how it grew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use maud::{Markup, PreEscaped, html};
use undertone_privacy::{Delta, Epsilon, PrivacyUnit, Promise, Releases, Says};
use undertone_protocol::id::MechanismDigest;

use super::table;
use super::words::counted;
use crate::audit::Guarantee;
use crate::audit::spend::{self, Terms};
use crate::budget::TaskBudget;
use crate::error::ServerError;
use crate::problem::Problem;
use crate::store::{RoundStanding, RoundSummary, TaskOverview, TaskRecord};
use undertone_plot::{Colour, OverRounds, Series};

/// How many points the plot has at most, beside the last.
const POINTS: usize = 120;

/// How many figures are shown in a table that is not folded.
const SHORT: usize = 8;

/// How many figures are remembered.
const REMEMBERED: usize = 4096;

/// Figures that were computed, by mechanism and number of rounds: each takes a millisecond or so.
#[derive(Debug, Clone, Default)]
pub(super) struct Accounts(Arc<Mutex<HashMap<Account, Guarantee>>>);

/// What a figure is about: the mechanism, the number of rounds, the unit, and the bits of δ.
type Account = (MechanismDigest, u64, PrivacyUnit, u64);

impl Accounts {
    /// What can be said after so many rounds in which inputs were taken, for each number given.
    async fn after(
        &self,
        mechanism: &[u8],
        terms: Terms,
        rounds: Vec<u64>,
    ) -> Result<Vec<Guarantee>, ServerError> {
        let (accounts, mechanism) = (self.clone(), mechanism.to_vec());
        let compute = move || {
            let digest = MechanismDigest::of(&mechanism);
            let of = |count| accounts.one(digest, &mechanism, terms, count);
            rounds.into_iter().map(of).collect()
        };
        Ok(tokio::task::spawn_blocking(compute).await?)
    }

    fn one(
        &self,
        digest: MechanismDigest,
        mechanism: &[u8],
        terms: Terms,
        rounds: u64,
    ) -> Guarantee {
        let locked = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let account = (digest, rounds, terms.unit, terms.delta.to_bits());
        if let Some(known) = locked().get(&account) {
            return known.clone();
        }
        let guarantee = spend::guarantee(mechanism, rounds, terms);
        let mut known = locked();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(account, guarantee.clone());
        guarantee
    }

    /// What the rounds of a task cost so far, and will have cost.
    pub(super) async fn sum(&self, task: &TaskOverview) -> Result<Sum, Problem> {
        let all = u64::from(task.task.rounds_total);
        let terms = Terms::of(&task.settings);
        let figures = self.after(&task.mechanism, terms, vec![task.releases, all]);
        Ok(match figures.await?.as_slice() {
            [now, end] if task.releases > 0 => Sum {
                spent: epsilon(now),
                planned: epsilon(end),
            },
            [_, end] => Sum {
                spent: epsilon(end).map(|_| 0.0),
                planned: epsilon(end),
            },
            _ => Sum {
                spent: None,
                planned: None,
            },
        })
    }
}

/// What the rounds of a task cost, as one figure; nothing where there is no guarantee.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum {
    /// Epsilon so far.
    pub(super) spent: Option<f64>,
    /// Epsilon once all rounds have ended.
    pub(super) planned: Option<f64>,
}

/// What the rounds of a task cost.
#[derive(Debug)]
pub(super) struct Budget {
    /// After the rounds that have ended.
    now: Guarantee,
    /// After all rounds, if inputs are taken in each.
    end: Guarantee,
    /// In how many rounds inputs were taken.
    releases: u64,
    /// How many rounds there are.
    rounds: u32,
    /// Round, and epsilon after it.
    course: Vec<(u32, f64)>,
    /// What all rounds may cost, if that was set.
    #[allow(clippy::struct_field_names, reason = "it is a task's budget")]
    budget: Option<TaskBudget>,
    /// For whom something is promised, and for whom nothing.
    promises: Vec<Promise>,
}

impl Budget {
    /// The budget of a task, from its rounds that have ended.
    pub(super) async fn load(
        accounts: &Accounts,
        task: &TaskRecord,
        ended: &[RoundSummary],
    ) -> Result<Self, Problem> {
        let rounds = task.settings.rounds;
        let course = releases(ended);
        let taken = course.last().map_or(0, |last| last.1);
        let shown: Vec<(u32, u64)> = thinned(&course);
        let mut wanted: Vec<u64> = shown.iter().map(|point| point.1).collect();
        wanted.extend([taken, rounds.into()]);
        let terms = Terms::of(&task.settings);
        let mut figures = accounts.after(&task.mechanism, terms, wanted).await?;
        let none = || Guarantee::None {
            reason: "nothing was computed".to_owned(),
        };
        let end = figures.pop().unwrap_or_else(none);
        let now = figures.pop().unwrap_or_else(none);
        let course = shown.iter().zip(&figures).filter_map(|(point, figure)| {
            let spent = if point.1 == 0 {
                Some(0.0)
            } else {
                epsilon(figure)
            };
            spent.map(|spent| (point.0, spent))
        });
        let finished = |round: &&RoundSummary| round.standing == RoundStanding::Finished;
        let seen = Releases {
            inputs: taken,
            sums: u64::try_from(ended.iter().filter(finished).count()).unwrap_or(u64::MAX),
        };
        let mechanism = task.mechanism.clone();
        let compute = move || spend::promised(&mechanism, seen, terms);
        let promises = tokio::task::spawn_blocking(compute).await;
        Ok(Self {
            course: course.collect(),
            now,
            end,
            releases: taken,
            rounds,
            budget: task.settings.budget,
            promises: promises.map_err(ServerError::from)?,
        })
    }

    /// The section's content.
    pub(super) fn show(&self) -> Markup {
        html! {
            h2 { "Privacy budget" }
            @match (&self.now, &self.end) {
                (Guarantee::None { reason }, _) | (_, Guarantee::None { reason }) => {
                    p { strong { "No differential privacy can be stated: " } (reason) "." }
                }
                (Guarantee::DifferentialPrivacy { .. }, Guarantee::DifferentialPrivacy { .. }) => {
                    (self.figures())
                    (self.plot())
                    (self.meaning())
                }
            }
            (self.apart())
        }
    }

    /// The four promises, each for itself.
    fn apart(&self) -> Markup {
        let row = |promise: &Promise| {
            let (unit, view) = (promise.unit.to_string(), promise.view.to_string());
            let said = match &promise.says {
                Says::DifferentialPrivacy { rounds: 0, .. } => "nothing was seen yet".to_owned(),
                Says::DifferentialPrivacy { rounds, total, .. } => {
                    format!("\u{3b5} {total} after {}", counted(*rounds, "round"))
                }
                Says::Nothing { reason } => format!("nothing is promised: {reason}"),
            };
            html! {
                (table::head(&html! { "Each " (unit) }))
                (table::text("Against", &view))
                (table::text("So far", &said))
            }
        };
        let rows: Vec<Markup> = self.promises.iter().map(row).collect();
        html! {
            @if !rows.is_empty() {
                details {
                    summary { "For whom, and against whom" }
                    (table::table("Promises", &["Hidden", "Against", "So far"], &rows))
                }
            }
        }
    }

    fn spent(&self) -> f64 {
        // Nothing was released: the accountant is not asked, which rounds up.
        if self.releases == 0 {
            return 0.0;
        }
        epsilon(&self.now).unwrap_or(f64::NAN)
    }

    fn figures(&self) -> Markup {
        let planned = epsilon(&self.end).unwrap_or(f64::NAN);
        let rounds = u64::from(self.rounds);
        html! {
            dl.figures {
                div {
                    dt { "Spent so far" }
                    dd { b { (shown(self.spent())) } span { "\u{3b5} after " (counted(self.releases, "round")) } }
                }
                div {
                    dt { "At the end" }
                    dd { b { (shown(planned)) } span { "\u{3b5} after all " (counted(rounds, "round")) } }
                }
                @if let Some(budget) = &self.budget {
                    div {
                        dt { "Budget" }
                        dd { b { (budget.epsilon) } span { "\u{3b5}; the task stops before it is passed" } }
                    }
                }
                @if let Guarantee::DifferentialPrivacy { round, total, .. } = &self.end {
                    div {
                        dt { "One round alone" }
                        dd { b { (shown(round.epsilon.0)) } span { "\u{3b5}" } }
                    }
                    div {
                        dt { "\u{3b4}" }
                        dd { b { (delta(total.delta.0)) } span { "at which \u{3b5} is stated" } }
                    }
                }
            }
        }
    }

    fn plot(&self) -> Markup {
        if self.course.is_empty() {
            return html! { p.quiet { "No round has ended yet." } };
        }
        let planned = epsilon(&self.end).unwrap_or(0.0);
        let last = self.course.last().map_or(0, |point| point.0);
        let points: Vec<(f64, f64)> = self.course.iter().map(|p| (f64::from(p.0), p.1)).collect();
        let level = vec![(0.7, planned), (f64::from(last.max(2)), planned)];
        let description = format!(
            "Epsilon grew to {} by round {last}; it will be {} at the end.",
            shown(self.spent()),
            shown(planned)
        );
        let series = [
            Series {
                name: "spent".to_owned(),
                colour: Colour::First,
                dashed: false,
                points,
            },
            Series {
                name: "at the end".to_owned(),
                colour: Colour::Second,
                dashed: true,
                points: level,
            },
        ];
        let plot = OverRounds {
            title: "Privacy spent over rounds",
            description: &description,
            range: 0.0..(planned * 1.1).max(f64::MIN_POSITIVE),
            label: tick,
            series: &series,
        };
        let short = self.course.len() <= SHORT;
        html! {
            div.course {
                figure {
                    figcaption { "Spent (\u{3b5}) after each round" }
                    @match plot.svg() {
                        Ok(svg) => { (PreEscaped(svg)) }
                        Err(error) => { p { (error) } }
                    }
                    ul.legend {
                        li.first { "spent so far" }
                        li.second.dashed { "after all rounds" }
                    }
                }
                details open[short] {
                    summary { "The same figures as a table" }
                    (self.course_table())
                }
            }
        }
    }

    fn course_table(&self) -> Markup {
        let row = |(round, spent): &(u32, f64)| {
            html! {
                (table::head(&html! { "Round " (round) }))
                (table::text("Spent (\u{3b5})", &shown(*spent)))
            }
        };
        let rows: Vec<Markup> = self.course.iter().map(row).collect();
        table::table(
            "Privacy spent over rounds",
            &["After", "Spent (\u{3b5})"],
            &rows,
        )
    }

    /// What the figure is, in words.
    fn meaning(&self) -> Markup {
        let Guarantee::DifferentialPrivacy {
            adjacency,
            unit,
            accountant,
            mechanism,
            ..
        } = &self.end
        else {
            return html! {};
        };
        html! {
            details {
                summary { "What this figure says" }
                p {
                    "(\u{3b5}, \u{3b4})-differential privacy for each " (unit) ", under "
                    (adjacency) " adjacency, of everything that was released in the rounds in "
                    "which inputs were taken, failed ones included. It is what a client spent that "
                    "took part in each of them; one that missed rounds spent less, and its own "
                    "ledger knows."
                }
                p {
                    "One round: " (mechanism) ". Accounted by " (accountant) ". The service knows "
                    "the mechanism that clients agreed to, not whether they follow it."
                }
            }
        }
    }
}

/// In how many rounds inputs had been taken after each round.
fn releases(ended: &[RoundSummary]) -> Vec<(u32, u64)> {
    let mut taken = 0;
    let after = |round: &RoundSummary| {
        taken += u64::from(round.took_inputs());
        (round.number.0, taken)
    };
    ended.iter().map(after).collect()
}

/// Not more points than a plot has room for, the last one among them.
fn thinned(course: &[(u32, u64)]) -> Vec<(u32, u64)> {
    let step = course.len().div_ceil(POINTS).max(1);
    let skipped = course.len().saturating_sub(1) % step;
    course.iter().skip(skipped).step_by(step).copied().collect()
}

/// The epsilon of a guarantee.
fn epsilon(guarantee: &Guarantee) -> Option<f64> {
    match guarantee {
        Guarantee::None { .. } => None,
        Guarantee::DifferentialPrivacy { total, .. } => Some(total.epsilon.0),
    }
}

/// An epsilon, rounded up as everywhere.
pub(super) fn shown(epsilon: f64) -> String {
    Epsilon::new(epsilon).map_or_else(|_| "?".to_owned(), |epsilon| epsilon.to_string())
}

fn delta(delta: f64) -> String {
    Delta::new(delta).map_or_else(|_| "?".to_owned(), |delta| delta.to_string())
}

/// The label of a tick: as many decimals as a small number needs.
fn tick(value: f64) -> String {
    let text = if value < 0.1 {
        format!("{value:.4}")
    } else {
        format!("{value:.2}")
    };
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_courses_are_thinned_and_keep_their_end() {
        for length in [0_u32, 1, 2, 119, 120, 121, 1000, 4097] {
            let course: Vec<(u32, u64)> = (1..=length).map(|n| (n, u64::from(n))).collect();
            let thin = thinned(&course);
            assert!(thin.len() <= POINTS, "{length}: {}", thin.len());
            assert_eq!(thin.last(), course.last());
            if length <= 120 {
                assert_eq!(thin, course);
            }
        }
    }

    #[test]
    fn ticks_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.05, "0.05"),
            (2.0, "2"),
            (1.25, "1.25"),
            (10.0, "10"),
        ] {
            assert_eq!(tick(value), text);
        }
    }
}
