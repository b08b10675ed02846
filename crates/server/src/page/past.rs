//! Rounds that have ended.

use maud::{Markup, html};
use undertone_protocol::aggregator::PhaseName;

use super::words::{span, time};
use super::{round, table};
use crate::store::{RoundStanding, RoundSummary};

/// How many rounds are shown at a time.
const SHOWN: usize = 25;

/// The section's content: the latest rounds with numbers below `before`, the last one first.
pub(super) fn show(path: &str, ended: &[RoundSummary], before: Option<u32>) -> Markup {
    let shown: Vec<&RoundSummary> = ended
        .iter()
        .rev()
        .skip_while(|round| before.is_some_and(|before| round.number.0 >= before))
        .take(SHOWN)
        .collect();
    let rows: Vec<Markup> = shown.iter().map(|round| row(round)).collect();
    let earlier = shown.last().map(|round| round.number.0).filter(|n| *n > 1);
    html! {
        h2 { "Past rounds" }
        @if shown.is_empty() {
            p.quiet { "None has ended yet." }
        } @else {
            (table::table("Past rounds", &COLUMNS, &rows))
            @if earlier.is_some() || before.is_some() {
                nav.pages aria-label="Past rounds" {
                    @if let Some(earlier) = earlier {
                        a href={ (path) "?before=" (earlier) "#rounds" } rel="next" {
                            "Earlier rounds"
                        }
                    }
                    @if before.is_some() { a href={ (path) "#rounds" } { "Latest rounds" } }
                }
            }
        }
    }
}

const COLUMNS: [&str; 6] = [
    "Round",
    "Outcome",
    "Survivors",
    "Dropped out",
    "Took",
    "Ended",
];

fn row(round: &RoundSummary) -> Markup {
    let took = round
        .ended_at
        .map(|ended| ended.saturating_sub(round.opened_at));
    let lost = round.dropouts();
    let [_, _, masked, ..] = round.received.unwrap_or_default();
    let finished = round.standing == RoundStanding::Finished;
    html! {
        (table::head(&html! { "Round " (round.number) }))
        (table::cell("Outcome", &outcome(round.standing, round.phase, round.reason.as_deref())))
        (table::text("Survivors", &if finished { masked.to_string() } else { "\u{2013}".to_owned() }))
        (table::cell("Dropped out", &lost.map_or(html! { "\u{2013}" }, |lost| round::lost_text(&lost))))
        (table::text("Took", &took.map_or_else(|| "\u{2013}".to_owned(), span)))
        (table::cell("Ended", &round.ended_at.map_or(html! {}, time)))
    }
}

/// How a round ended.
pub(super) fn outcome(standing: RoundStanding, phase: PhaseName, reason: Option<&str>) -> Markup {
    html! {
        @match standing {
            RoundStanding::Finished => { span.badge.good { "finished" } }
            RoundStanding::Open => { span.badge { "open" } }
            RoundStanding::Failed => {
                span.badge.bad { "failed" }
                " in " (round::name(phase))
                @if let Some(reason) = reason { ": " (reason) }
            }
        }
    }
}
