//! The report as one HTML page: complete as it stands, nothing is loaded from elsewhere.

use maud::{DOCTYPE, Markup, PreEscaped, html};
use undertone_plot::{Colour, OverRounds, PlotError, Series};
use undertone_privacy::{Epsilon, PrivacyUnit, Promise, Says, View};

use super::{PrivacyReport, columns, figure};
use crate::page::words::{counted, time};

const STYLE: &str = include_str!("style.css");

/// Forbids the page to load anything.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

impl PrivacyReport {
    /// The page.
    ///
    /// # Errors
    /// The plot could not be drawn.
    pub fn html(&self) -> Result<String, PlotError> {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    title { "Privacy of " (self.name) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        (self.headline())
                        (self.promise_table())
                        (self.growth()?)
                        (self.mechanism_section())
                        (self.participation())
                        (self.log())
                        (list("What this rests on", &self.assumptions))
                        (list("What is not covered", &self.not_covered))
                    }
                    footer {
                        "Made by " code { "undertone report privacy" } ". Nothing here is loaded from \
                        elsewhere."
                    }
                }
            }
        };
        Ok(page.into_string())
    }

    fn headline(&self) -> Markup {
        let ended = counted(self.rounds_ended, "round");
        html! {
            header {
                p.kicker { "Privacy report" }
                h1 { (self.name) }
                p.lead {
                    "Task " code { (self.task) } ", " (self.state.text()) ": " (ended) " of "
                    (self.rounds_planned) " have ended. Inputs were taken in " (self.seen.inputs)
                    ", sums were published in " (self.seen.sums) "."
                }
                p.quiet { "As of " (time(self.made_at_ms)) "; the task was made " (time(self.created_at_ms)) "." }
                @for warning in self.warnings() { p.warning { (warning) } }
            }
        }
    }

    fn promise_table(&self) -> Markup {
        let row = |now: &Promise| {
            let end = self
                .at_the_end
                .iter()
                .find(|end| (end.unit, end.view) == (now.unit, now.view));
            html! {
                tr {
                    th scope="row" { "Each " (now.unit) }
                    td { (now.view) }
                    @match &now.says {
                        Says::DifferentialPrivacy { rounds, round, total, .. } => {
                            td.n { (round) }
                            td.n { (so_far(*rounds, *total)) }
                            td.n { (end.and_then(Promise::total).map_or_else(|| "no bound".to_owned(), |e| e.to_string())) }
                        }
                        Says::Nothing { reason } => {
                            td colspan="3" { "Nothing is promised: " (reason) "." }
                        }
                    }
                }
            }
        };
        html! {
            section {
                h2 { "What is promised, for whom and against whom" }
                div.scroll {
                    table {
                        thead { tr {
                            th scope="col" { "Hidden" } th scope="col" { "Against" }
                            th.n scope="col" { "\u{3b5} of one round" }
                            th.n scope="col" { "\u{3b5} so far" }
                            th.n scope="col" { "\u{3b5} after all planned rounds" }
                        } }
                        tbody { @for promise in &self.promises { (row(promise)) } }
                    }
                }
                p {
                    "Each \u{3b5} is an upper bound at \u{3b4} " (format!("{:e}", self.delta))
                    ", under " (self.adjacency()) " adjacency, for a client that was in every round \
                    that counts. Accounted by " (self.accountant()) "."
                }
                (self.budget_part())
            }
        }
    }

    fn budget_part(&self) -> Markup {
        html! {
            @match &self.budget {
                None => p { "The task has no budget of its own: as many rounds run as are planned." },
                Some(state) => p {
                    "Budget of the task: \u{3b5} " (state.budget.epsilon) " at \u{3b4} "
                    (state.budget.delta) " for each " (state.budget.unit) ". It covers "
                    (counted(state.rounds_covered, "round")) " in which inputs are taken; "
                    (self.seen.inputs) " were. "
                    @match (state.spent, state.remaining) {
                        (Some(spent), Some(left)) => { "Spent: \u{3b5} " (spent) ". Left: \u{3b5} " (left) "." }
                        _ => { "Nothing bounds what was spent." }
                    }
                    " The service opens no round that would pass it."
                },
            }
        }
    }

    /// ε over the rounds, for each unit and view for which anything is promised.
    fn growth(&self) -> Result<Markup, PlotError> {
        let promised = self.promised();
        if promised.is_empty() || self.course.is_empty() {
            return Ok(html! {});
        }
        let styles = [Colour::First, Colour::Second];
        let line = |(unit, view): &(PrivacyUnit, View)| {
            let point = |p: &super::Point| {
                let epsilon = figure(&p.after, (*unit, *view));
                (f64::from(p.round), epsilon.map_or(f64::NAN, Epsilon::get))
            };
            Series {
                name: format!("each {unit}, against {view}"),
                colour: styles[usize::from(*unit == PrivacyUnit::Client)],
                dashed: *view == View::ModelOnly,
                points: self.course.iter().map(point).collect(),
            }
        };
        let series: Vec<Series> = promised.iter().map(line).collect();
        let all = series
            .iter()
            .flat_map(|line| &line.points)
            .map(|point| point.1);
        let top = all
            .filter(|y| y.is_finite())
            .fold(f64::MIN_POSITIVE, f64::max);
        let last = self.course.last().map_or(0, |point| point.round);
        let description = format!("Epsilon grew to at most {top:.4} by round {last}.");
        let plot = OverRounds {
            title: "Epsilon over rounds",
            description: &description,
            range: 0.0..top * 1.1,
            label: |y| format!("{y:.2}"),
            series: &series,
        };
        let svg = plot.svg()?;
        Ok(html! {
            section {
                h2 { "How it grew" }
                figure { (PreEscaped(svg)) }
                ul.legend {
                    @for ((unit, view), line) in promised.iter().zip(&series) {
                        li.second[*unit == PrivacyUnit::Client].first[*unit == PrivacyUnit::Example].dashed[line.dashed] {
                            "each " (unit) ", against " (view)
                        }
                    }
                }
                details {
                    summary { "The same as a table" }
                    (self.course_table(&promised))
                }
            }
        })
    }

    fn course_table(&self, promised: &[(PrivacyUnit, View)]) -> Markup {
        html! {
            div.scroll { table {
                thead { tr {
                    th scope="col" { "Round" } th scope="col" { "Ended" } th.n scope="col" { "Inputs" }
                    @for (unit, view) in promised { th.n scope="col" { "\u{3b5}, each " (unit) ", against " (view) } }
                } }
                tbody { @for point in &self.course { tr {
                    th scope="row" { (point.round) }
                    td { @if point.finished { "with a sum" } @else { "without one" } }
                    td.n { (point.inputs) }
                    @for pair in promised { td.n { (shown(figure(&point.after, *pair))) } }
                } } }
            } }
        }
    }

    fn mechanism_section(&self) -> Markup {
        html! {
            section {
                h2 { "Mechanism" }
                @match self.mechanism_words() {
                    Some(words) => p { "One round: " (words) "." },
                    None => p { "No mechanism with a promise." },
                }
                dl.facts {
                    div { dt { "Mechanism" } dd { code { (self.mechanism_digest) } } }
                    div { dt { "Training settings" } dd { code { (self.training_digest) } } }
                    div { dt { "Roster" } dd { (counted(u64::try_from(self.members).unwrap_or(u64::MAX), "client")) } }
                    div { dt { "Cohort" } dd { "at most " (self.cohort) ", at least " (self.min_survivors) " in a sum" } }
                }
                details {
                    summary { "The document as clients read it" }
                    pre { (self.mechanism) }
                }
            }
        }
    }

    fn participation(&self) -> Markup {
        let promised = self.promised();
        let absent = self.absent();
        html! {
            section {
                h2 { "Participation" }
                p {
                    "A client's \u{3b5} is for the rounds that it was in. Its own ledger may say more: \
                    it counts what it sent, also where that did not arrive, and what it spent in other tasks."
                }
                @if absent > 0 {
                    p { "No input was taken of " (absent) " of the " (self.members) " clients on the roster." }
                }
                details open[self.participants.len() <= 20] {
                    summary { "Client by client" }
                    div.scroll { table {
                        thead { tr {
                            th scope="col" { "Client" } th scope="col" { "Key" }
                            th.n scope="col" { "Inputs taken" } th.n scope="col" { "In sums" } th.n scope="col" { "Too late" }
                            @for (unit, view) in &promised { th.n scope="col" { "\u{3b5}, each " (unit) ", against " (view) } }
                        } }
                        tbody { @for part in &self.participants { tr {
                            th scope="row" { (part.client) }
                            td { code { (part.key) } }
                            td.n { (part.seen.inputs) } td.n { (part.seen.sums) } td.n { (part.late) }
                            @for pair in &promised { td.n { (shown(figure(&part.spent, *pair))) } }
                        } } }
                    } }
                }
            }
        }
    }

    fn log(&self) -> Markup {
        html! {
            section {
                h2 { "Audit log" }
                @match &self.audit {
                    None => p { "Nothing of this task has been recorded since the service was upgraded." },
                    Some(head) => {
                        p {
                            "Each spend is an entry with the round, the mechanism and the cost, in a chain \
                            whose head is signed: entry " (head.sequence) " at " (time(head.time)) ". "
                            code { "undertone audit verify" } " checks the chain and what it says of privacy."
                        }
                        dl.facts {
                            div { dt { "Head" } dd { code { (head.head.0) } } }
                            div { dt { "Signature" } dd { code { (head.signature.0) } } }
                            div { dt { "Key" } dd { code { (head.key.0) } } }
                        }
                    }
                }
            }
        }
    }

    /// What one round releases, by the first promise.
    pub(super) fn mechanism_words(&self) -> Option<String> {
        let mut words = Vec::new();
        for (unit, view) in columns().filter(|(_, view)| *view == View::Aggregator) {
            let mut all = self.promises.iter();
            let promise = all.find(|p| (p.unit, p.view) == (unit, view));
            if let Some(Says::DifferentialPrivacy { mechanism, .. }) = promise.map(|p| &p.says) {
                words.push(format!("for each {unit}, {mechanism}"));
            }
        }
        (!words.is_empty()).then(|| words.join("; "))
    }

    pub(super) fn adjacency(&self) -> String {
        let said = self
            .promises
            .iter()
            .find_map(|promise| match &promise.says {
                Says::DifferentialPrivacy { adjacency, .. } => Some(adjacency.to_string()),
                Says::Nothing { .. } => None,
            });
        said.unwrap_or_else(|| "no".to_owned())
    }

    pub(super) fn accountant(&self) -> String {
        let said = self
            .promises
            .iter()
            .find_map(|promise| match &promise.says {
                Says::DifferentialPrivacy { accountant, .. } => Some(accountant.clone()),
                Says::Nothing { .. } => None,
            });
        said.unwrap_or_else(|| "none: nothing is promised".to_owned())
    }
}

/// ε of the rounds so far; 0 where nothing was seen, since an accountant rounds up.
pub(super) fn so_far(rounds: u64, total: Epsilon) -> String {
    if rounds == 0 {
        return "0, nothing was seen".to_owned();
    }
    format!("{total}, {}", counted(rounds, "round"))
}

pub(super) fn shown(epsilon: Option<Epsilon>) -> String {
    epsilon.map_or_else(|| "no bound".to_owned(), |epsilon| epsilon.to_string())
}

fn list(title: &str, sentences: &[String]) -> Markup {
    html! {
        section {
            h2 { (title) }
            ul { @for sentence in sentences { li { (sentence) } } }
        }
    }
}
