//! The list of tasks, the youngest first: it is what an operator comes for.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{Html, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::budget::{self, Sum};
use super::failure::Failure;
use super::frame::{Frame, Place};
use super::live::{Fragment, Moving, follow, place};
use super::session::Visitor;
use super::view::ListView;
use super::words::counted;
use super::{Page, PageState, round, table};
use crate::auth::Scope;
use crate::problem::Problem;
use crate::store::{EndedRound, RoundStanding, Store, TaskOverview, TaskState};

#[derive(Deserialize)]
pub(super) struct TasksQuery {
    before: Option<u64>,
}

/// The page.
pub(super) async fn show<S: Store>(
    State(page): PageState<S>,
    visitor: Visitor,
    query: Result<Query<TasksQuery>, QueryRejection>,
) -> Result<Html<String>, Failure> {
    visitor.holder().require(Scope::Read)?;
    let before = query.ok().and_then(|Query(query)| query.before);
    let list = match before {
        Some(before) => list(&page.views.list_before(&page.app, before).await?, true),
        None => list(&*page.views.list(&page.app).await?, false),
    };
    let content = html! {
        div.now {
            h1 { "Tasks" }
            p.connection #connection role="status" {}
        }
        (place(&("tasks", list)))
    };
    let frame = Frame {
        title: "Tasks",
        place: Place::Tasks,
        // Earlier tasks stay as they are.
        events: before.is_none().then_some("/events"),
        visitor: &visitor,
    };
    Ok(frame.around(&content))
}

/// What changes on it.
pub(super) async fn events<S: Store>(
    State(page): PageState<S>,
    visitor: Result<Visitor, Failure>,
) -> Result<Response, Problem> {
    if let Ok(visitor) = &visitor {
        visitor.holder().require(Scope::Read)?;
    }
    follow(page, visitor, AllTasks)
}

struct AllTasks;

impl<S: Store> Moving<S> for AllTasks {
    async fn parts(&self, page: &Page<S>, _: &Visitor) -> Result<Vec<Fragment>, Problem> {
        let view = page.views.list(&page.app).await?;
        Ok(vec![("tasks", list(&view, false))])
    }
}

fn list(view: &ListView, earlier: bool) -> Markup {
    if view.tasks.is_empty() {
        return html! {
            p { "There is no task here. " code { "undertone task create" } " makes one." }
        };
    }
    let rows: Vec<Markup> = view.tasks.iter().map(row).collect();
    html! {
        (table::table("Tasks", &COLUMNS, &rows))
        @if view.earlier.is_some() || earlier {
            nav.pages aria-label="Tasks" {
                @if let Some(before) = view.earlier {
                    a href={ "/?before=" (before) } rel="next" { "Earlier tasks" }
                }
                @if earlier { a href="/" { "Latest tasks" } }
            }
        }
    }
}

const COLUMNS: [&str; 5] = ["Task", "State", "Rounds", "Last result", "Privacy spent"];

fn row((overview, sum): &(TaskOverview, Sum)) -> Markup {
    let task = &overview.task;
    html! {
        (table::head(&html! {
            a href={ "/tasks/" (task.id) } { (task.name) }
            code.under { (task.id) }
        }))
        (table::cell("State", &state(task.state)))
        (table::cell("Rounds", &html! {
            (task.rounds_ended) " of " (task.rounds_total)
            @if let Some((number, phase)) = overview.open {
                span.under { "round " (number) ": " (round::name(phase)) }
            }
        }))
        (table::cell("Last result", &overview.last.as_ref().map_or(html! { "none yet" }, last)))
        (table::cell("Privacy spent", &spent(*sum)))
    }
}

fn last(round: &EndedRound) -> Markup {
    let [_, _, masked, ..] = round.received.unwrap_or_default();
    html! {
        @match round.standing {
            RoundStanding::Finished => {
                span.badge.good { "finished" }
                span.under { "round " (round.number) ", " (counted(masked, "survivor")) }
            }
            RoundStanding::Open => { "open" }
            RoundStanding::Failed => {
                span.badge.bad { "failed" }
                span.under {
                    "round " (round.number)
                    @if let Some(reason) = &round.reason { ": " (reason) }
                }
            }
        }
    }
}

fn spent(sum: Sum) -> Markup {
    html! {
        @match (sum.spent, sum.planned) {
            (Some(spent), Some(planned)) => {
                "\u{3b5} " (budget::shown(spent))
                span.under { "of " (budget::shown(planned)) " at the end" }
            }
            _ => { span.quiet { "no guarantee" } }
        }
    }
}

/// A task's state, in a word that also has a colour.
pub(super) fn state(state: TaskState) -> Markup {
    let class = match state {
        TaskState::Running => "good",
        TaskState::Paused => "held",
        TaskState::Finished => "done",
        TaskState::Cancelled | TaskState::Exhausted => "bad",
    };
    html! { span class={ "badge " (class) } { (state.text()) } }
}
