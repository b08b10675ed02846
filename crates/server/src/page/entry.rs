//! An entry of the audit log in words.

use maud::{Markup, html};

use super::budget;
use super::words::{counted, short, utc};
use crate::audit::{Actor, AdminOutcome, Closed, Content, Event, Guarantee, Refusal, Revealed};
use crate::store::AuditEntry;

/// Who did what, when; nothing if the entry is not one that this version writes.
pub(super) fn read(entry: &AuditEntry) -> Option<Content> {
    serde_json::from_str(&entry.content).ok()
}

/// Who did it.
pub(super) fn who(actor: &Actor) -> String {
    match actor {
        Actor::Service { process } => format!("service, process {process}"),
        Actor::CommandLine { process } => format!("command line, process {process}"),
        Actor::Token { id } => format!("token {id}"),
        Actor::Key { key } => format!("key {}", short(&key.0)),
        Actor::Client { index } => format!("client {index}"),
        Actor::Retention => "retention".to_owned(),
        Actor::Unknown => "nobody known".to_owned(),
    }
}

/// What happened, in a few words.
pub(super) fn title(event: &Event) -> &'static str {
    match event {
        Event::TaskCreated { .. } => "Task made",
        Event::TaskPaused { .. } => "Task paused",
        Event::TaskResumed {} => "Task resumed",
        Event::TaskCancelled { .. } => "Task cancelled",
        Event::TaskFinished { .. } => "Task finished",
        Event::RoundOpened { .. } => "Round opened",
        Event::PhaseClosed { .. } => "Phase closed",
        Event::UnmaskBegun { .. } => "Unmasking begun",
        Event::RoundFinished { .. } => "Round finished",
        Event::RoundFailed { .. } => "Round failed",
        Event::ClientBarred { .. } => "Client barred",
        Event::PrivacySpent { .. } => "Privacy spent",
        Event::BudgetExhausted { .. } => "Budget exhausted",
        Event::MessagesRefused { .. } => "Requests refused",
        Event::Admin { .. } => "Administrator's request",
        Event::TokenMade { .. } => "Token made",
        Event::TokenRevoked { .. } => "Token revoked",
        Event::ClientsInvited { .. } => "Clients invited",
        Event::ClientEnrolled { .. } => "Client enrolled",
        Event::Erased { .. } => "Data erased",
        Event::ServiceStarted { .. } => "Service started",
    }
}

/// What there is to say of it.
pub(super) fn details(event: &Event) -> String {
    match event {
        Event::TaskCreated { task, name, .. } => format!("{name} ({})", task.0),
        Event::TaskPaused { reason } | Event::TaskCancelled { reason } => {
            reason.clone().unwrap_or_default()
        }
        Event::TaskResumed {} => String::new(),
        Event::TaskFinished { rounds } => counted(*rounds, "round"),
        Event::RoundOpened { number, .. } => format!("round {number}"),
        Event::PhaseClosed {
            phase,
            received,
            why,
            ..
        } => closed(phase, *received, *why),
        Event::UnmaskBegun { round } => format!("round {}", short(&round.0)),
        Event::ClientBarred { client, .. } => format!("client {client}"),
        Event::Admin {
            action,
            outcome,
            detail,
        } => admin(action, *outcome, detail.as_deref()),
        Event::TokenMade {
            token,
            name,
            scopes,
            expires_at,
        } => {
            let until = expires_at.map_or_else(
                || "without end".to_owned(),
                |at| format!("until {}", utc(at)),
            );
            format!("{name} ({token}): {}, {until}", scopes.join(", "))
        }
        Event::TokenRevoked { token } => token.clone(),
        Event::ClientsInvited { list, invited, .. } => {
            let invited = u64::try_from(invited.len()).unwrap_or(u64::MAX);
            format!("{}, for {list}", counted(invited, "client"))
        }
        Event::ClientEnrolled { list, name, .. } => format!("{name}, for {list}"),
        Event::Erased { what, rows, .. } => format!("{what}: {}", counted(*rows, "row")),
        Event::ServiceStarted { version, .. } => format!("version {version}"),
        Event::RoundFinished { .. }
        | Event::RoundFailed { .. }
        | Event::PrivacySpent { .. }
        | Event::BudgetExhausted { .. }
        | Event::MessagesRefused { .. } => of_round(event),
    }
}

/// What there is to say of a round, or of what was refused in it.
fn of_round(event: &Event) -> String {
    match event {
        Event::RoundFinished {
            number, survivors, ..
        } => format!("round {number}, {}", counted(*survivors, "survivor")),
        Event::RoundFailed {
            number,
            phase,
            reason,
            culprit,
            ..
        } => {
            let at_fault = culprit.map(|client| format!("; client {client} is at fault"));
            format!(
                "round {number}, in {phase}: {reason}{}",
                at_fault.unwrap_or_default()
            )
        }
        Event::PrivacySpent {
            revealed,
            clients,
            guarantee,
            ..
        } => spent(*revealed, *clients, guarantee),
        Event::BudgetExhausted {
            rounds, guarantee, ..
        } => {
            let rounds = counted(*rounds, "round");
            format!("after {rounds} with inputs; {}", figure(guarantee))
        }
        Event::MessagesRefused {
            refused, others, ..
        } => refusals(refused, *others),
        _ => String::new(),
    }
}

fn closed(phase: &str, received: u32, why: Closed) -> String {
    let why = match why {
        Closed::Count => "all were there",
        Closed::Deadline => "its time was up",
    };
    format!("{phase}: {} received, {why}", counted(received, "message"))
}

fn spent(revealed: Revealed, clients: u32, guarantee: &Guarantee) -> String {
    let left = match revealed {
        Revealed::Nothing => "nothing left the clients",
        Revealed::MaskedInputs => "masked inputs were taken",
        Revealed::UnmaskShares => "shares were taken, no sum was published",
        Revealed::Sum => "the sum was published",
    };
    let (clients, figure) = (counted(clients, "client"), figure(guarantee));
    format!("{left}, of {clients}; {figure}")
}

fn figure(guarantee: &Guarantee) -> String {
    match guarantee {
        Guarantee::None { reason } => format!("no guarantee: {reason}"),
        Guarantee::DifferentialPrivacy { total, .. } => format!(
            "\u{3b5} {} at \u{3b4} {:e} so far",
            budget::shown(total.epsilon.0),
            total.delta.0
        ),
    }
}

fn refusals(refused: &[Refusal], others: u64) -> String {
    let listed = refused.iter().map(|refusal| {
        let client = refusal.client.map(|index| format!(" from client {index}"));
        let phase = refusal.phase.as_ref().map(|phase| format!(" in {phase}"));
        format!(
            "{} \u{d7} {}{}{}",
            refusal.count,
            refusal.problem,
            phase.unwrap_or_default(),
            client.unwrap_or_default()
        )
    });
    let more = (others > 0).then(|| format!("{others} more"));
    listed.chain(more).collect::<Vec<_>>().join("; ")
}

fn admin(action: &str, outcome: AdminOutcome, detail: Option<&str>) -> String {
    let outcome = match outcome {
        AdminOutcome::Done => "done",
        AdminOutcome::Denied => "denied",
        AdminOutcome::Failed => "failed",
    };
    let detail = detail.map(|detail| format!(" ({detail})"));
    format!("{action}: {outcome}{}", detail.unwrap_or_default())
}

/// The entry as it is stored: what its digest covers.
pub(super) fn stored(entry: &AuditEntry) -> Markup {
    html! {
        details {
            summary { "As stored" span.hidden { ", entry " (entry.sequence) } }
            pre.stored tabindex="0" { (entry.content) }
            p { "Digest " code { (entry.digest) } }
        }
    }
}
