//! The page of one task.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{Html, Response};
use maud::{Markup, html};
use serde::Deserialize;
use undertone_protocol::id::TaskId;

use super::control::Action;
use super::failure::Failure;
use super::frame::{Frame, Place};
use super::live::{Fragment, Moving, follow, place};
use super::session::Visitor;
use super::view::TaskView;
use super::words::time;
use super::{Page, PageState, past, round, tasks};
use crate::auth::Scope;
use crate::driver::now_ms;
use crate::problem::{Problem, ProblemKind};
use crate::store::Store;

#[derive(Deserialize)]
pub(super) struct PastQuery {
    before: Option<u32>,
}

/// The task of a path.
pub(super) fn parse(id: &str) -> Result<TaskId, Problem> {
    id.parse()
        .map_err(|_| Problem::new(ProblemKind::UnknownTask, format!("`{id}` is no task's id")))
}

/// The page.
pub(super) async fn show<S: Store>(
    State(page): PageState<S>,
    visitor: Visitor,
    Path(id): Path<String>,
    query: Result<Query<PastQuery>, QueryRejection>,
) -> Result<Html<String>, Failure> {
    visitor.holder().require(Scope::Read)?;
    let before = query.ok().and_then(|Query(query)| query.before);
    let view = page.views.task(&page.app, parse(&id)?).await?;
    let path = format!("/tasks/{}", view.task.id);
    let parts = parts(&view, &visitor);
    let past = html! {
        section.card #rounds { (past::show(&path, &view.ended, before)) }
    };
    let events = format!("{path}/events");
    let title = html! {
        nav.crumbs aria-label="Breadcrumb" { a href="/" { "Tasks" } }
        h1 { (view.task.name) }
    };
    let content = html! {
        (title)
        @for part in &parts {
            @match part.0 {
                "status" => {
                    h2.hidden { "Now" }
                    div.now {
                        p.status #status role="status" aria-live="polite" { (part.1) }
                        p.connection #connection role="status" {}
                    }
                }
                "privacy" => { section.card #privacy { (part.1) } }
                // Rounds of an earlier page stay as they are.
                "rounds" => { @if before.is_none() { section.card #rounds { (part.1) } } @else { (past) } }
                _ => { (place(part)) }
            }
        }
    };
    let frame = Frame {
        title: &view.task.name,
        place: Place::Tasks,
        events: before.is_none().then_some(events.as_str()),
        visitor: &visitor,
    };
    Ok(frame.around(&content))
}

/// What changes on it.
pub(super) async fn events<S: Store>(
    State(page): PageState<S>,
    visitor: Result<Visitor, Failure>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    if let Ok(visitor) = &visitor {
        visitor.holder().require(Scope::Read)?;
    }
    follow(page, visitor, OneTask(parse(&id)?))
}

struct OneTask(TaskId);

impl<S: Store> Moving<S> for OneTask {
    async fn parts(&self, page: &Page<S>, visitor: &Visitor) -> Result<Vec<Fragment>, Problem> {
        let view: Arc<TaskView> = page.views.task(&page.app, self.0).await?;
        Ok(parts(&view, visitor))
    }
}

/// The parts of the page, in their order.
fn parts(view: &TaskView, visitor: &Visitor) -> Vec<Fragment> {
    let path = format!("/tasks/{}", view.task.id);
    vec![
        ("summary", summary(view, visitor)),
        ("status", round::headline(view)),
        ("round", round::show(view, now_ms())),
        ("privacy", view.budget.show()),
        ("rounds", past::show(&path, &view.ended, None)),
    ]
}

fn summary(view: &TaskView, visitor: &Visitor) -> Markup {
    let task = &view.task;
    let path = format!("/tasks/{}", task.id);
    let name = format!("{}-{}.safetensors", task.id, task.rounds_ended);
    html! {
        p.under {
            (tasks::state(task.state()))
            " " (task.rounds_ended) " of " (task.settings.rounds) " rounds have ended"
        }
        dl.facts {
            div { dt { "Task" } dd { code { (task.id) } } }
            div { dt { "Cohort" } dd { (task.settings.cohort) " clients" } }
            div { dt { "Made" } dd { (time(task.created_at)) } }
            div { dt { "Adapter" } dd { code { (super::words::short(&task.model)) } } }
        }
        ul.actions {
            @if visitor.may(Scope::Tasks) {
                @for action in Action::of(task.state()) {
                    li {
                        a.button.danger[*action == Action::Cancel]
                            href={ (path) "/control/" (action.text()) } { (action.label()) }
                    }
                }
            }
            li { a.button href={ "/v1/tasks/" (task.id) "/adapter" } download=(name) { "Download adapter" } }
            @if visitor.may(Scope::Audit) {
                li { a.button href={ (path) "/audit" } { "Audit log" } }
            }
        }
    }
}
