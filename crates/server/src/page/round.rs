//! The round that is open: its phases, with what came and what is still awaited.

use maud::{Markup, html};
use undertone_protocol::aggregator::PhaseName;

use super::view::{OpenRound, PhaseView, TaskView};
use super::words::{counted, span};
use crate::store::TaskState;

/// How a phase of the open round stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Closed,
    Open,
    Waiting,
}

impl Standing {
    const fn text(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Waiting => "waiting",
        }
    }
}

/// A phase's name as the specification writes it.
pub(super) const fn name(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::AdvertiseKeys => "AdvertiseKeys",
        PhaseName::ShareKeys => "ShareKeys",
        PhaseName::MaskedInput => "MaskedInput",
        PhaseName::ConsistencyCheck => "ConsistencyCheck",
        PhaseName::Unmask => "Unmask",
    }
}

/// What clients do in it.
const fn purpose(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::AdvertiseKeys => "Clients send the public keys of this round.",
        PhaseName::ShareKeys => "Clients seal shares of their secrets for each other.",
        PhaseName::MaskedInput => "Masked updates are added up.",
        PhaseName::ConsistencyCheck => "Witnesses sign whom they saw survive.",
        PhaseName::Unmask => "Survivors send shares that take the masks off the sum.",
    }
}

/// One line that changes with the phase and not with every message: it is read aloud.
pub(super) fn headline(view: &TaskView) -> Markup {
    let state = view.task.state();
    html! {
        @if let Some(round) = &view.open {
            "Round " (round.number) " of " (view.task.settings.rounds) ": "
            (name(round.phase)) " is open."
            @if state == TaskState::Paused { " The task is paused: no round opens after this one." }
        } @else {
            "No round is open. "
            (match state {
                TaskState::Running => "The next one opens as soon as it may.",
                TaskState::Paused => "The task is paused.",
                TaskState::Finished => "All rounds have ended.",
                TaskState::Cancelled => "The task was cancelled.",
                TaskState::Exhausted => "The task was stopped: its privacy budget covers no further round.",
            })
        }
    }
}

/// The phases and what they add up to.
pub(super) fn show(view: &TaskView, now: u64) -> Markup {
    let Some(round) = &view.open else {
        return html! {};
    };
    html! {
        ol.phases {
            @for phase in &round.phases { (phase_line(round, phase, now)) }
        }
        dl.facts {
            div { dt { "Open for" } dd { (span(whole_seconds(now.saturating_sub(round.opened_at)))) } }
            div { dt { "Survivors" } dd { (survivors(round, view.task.settings.min_survivors)) } }
            div { dt { "Dropped out" } dd { (dropouts(round)) } }
        }
    }
}

fn standing(round: &OpenRound, phase: PhaseName) -> Standing {
    match phase.cmp(&round.phase) {
        std::cmp::Ordering::Less => Standing::Closed,
        std::cmp::Ordering::Equal => Standing::Open,
        std::cmp::Ordering::Greater => Standing::Waiting,
    }
}

fn phase_line(round: &OpenRound, phase: &PhaseView, now: u64) -> Markup {
    let standing = standing(round, phase.name);
    let current = (standing == Standing::Open).then_some("step");
    html! {
        li class=(standing.text()) data-phase=(phase.name.text()) aria-current=[current] {
            div.what {
                strong { (name(phase.name)) }
                span.state { (standing.text()) }
            }
            p.purpose { (purpose(phase.name)) }
            (counts(phase, standing))
            (time(round, phase, standing, now))
        }
    }
}

/// How many messages came, of how many.
fn counts(phase: &PhaseView, standing: Standing) -> Markup {
    if standing == Standing::Waiting {
        return html! { p.count { "not open yet" } };
    }
    let expected = phase.expected.filter(|expected| *expected > 0);
    html! {
        p.count {
            b { (phase.received) }
            @if let Some(expected) = expected { " of " (expected) }
            " received"
        }
        @if let Some(expected) = expected {
            progress max=(expected) value=(phase.received.min(expected))
                aria-label={ (name(phase.name)) " messages received" } {}
        }
    }
}

/// How much time is left, or what became of it.
fn time(round: &OpenRound, phase: &PhaseView, standing: Standing, now: u64) -> Markup {
    let missing = phase
        .expected
        .map_or(0, |expected| expected.saturating_sub(phase.received));
    html! {
        p.time {
            @match standing {
                Standing::Waiting => { "at most " (span(phase.allowed)) " once it opens" }
                Standing::Open if now >= round.deadline => { "deadline passed, closing" }
                Standing::Open => {
                    "closes in " (span(whole_seconds(round.deadline.saturating_sub(now)))) " at the latest"
                }
                Standing::Closed if missing == 0 => { "complete" }
                Standing::Closed if phase.name == PhaseName::AdvertiseKeys => {
                    (counted(missing, "place")) " not taken"
                }
                Standing::Closed => { (counted(missing, "client")) " did not answer" }
            }
        }
    }
}

/// What ticks is shown in seconds.
const fn whole_seconds(ms: u64) -> u64 {
    ms / 1000 * 1000
}

/// Who is in the sum, once that is settled.
fn survivors(round: &OpenRound, least: u32) -> Markup {
    let masked = round
        .phases
        .iter()
        .find(|phase| phase.name == PhaseName::MaskedInput)
        .map_or(0, |phase| phase.received);
    let settled = round.phase > PhaseName::MaskedInput;
    html! {
        @if settled { (masked) } @else { (masked) " so far" }
        " (at least " (least) " needed)"
    }
}

/// Who vanished before which phase closed. Witnesses are a part of the survivors only, so one that
/// does not answer has not dropped out by that.
fn dropouts(round: &OpenRound) -> Markup {
    let lost: Vec<(PhaseName, u32)> = round
        .phases
        .iter()
        .filter(|phase| {
            standing(round, phase.name) == Standing::Closed
                && !matches!(
                    phase.name,
                    PhaseName::AdvertiseKeys | PhaseName::ConsistencyCheck
                )
        })
        .map(|phase| {
            let expected = phase.expected.unwrap_or(phase.received);
            (phase.name, expected.saturating_sub(phase.received))
        })
        .collect();
    lost_text(&lost)
}

/// How many vanished, and in which phases.
pub(super) fn lost_text(lost: &[(PhaseName, u32)]) -> Markup {
    let total: u32 = lost.iter().map(|lost| lost.1).sum();
    let parts: Vec<String> = lost
        .iter()
        .filter(|lost| lost.1 > 0)
        .map(|(phase, count)| format!("{count} in {}", name(*phase)))
        .collect();
    html! {
        (total)
        @if !parts.is_empty() { " (" (parts.join(", ")) ")" }
    }
}
