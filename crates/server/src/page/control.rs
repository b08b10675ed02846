//! Pausing, resuming and cancelling a task: asked for, then done.

use axum::extract::{Path, State};
use axum::response::{Html, Redirect};
use maud::html;

use super::PageState;
use super::failure::Failure;
use super::frame::{Frame, Place};
use super::session::{Confirmed, Visitor};
use super::task::parse;
use crate::api;
use crate::auth::Scope;
use crate::problem::{Problem, ProblemKind};
use crate::store::{Store, TaskControl, TaskState};

/// What can be done with a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Pause,
    Resume,
    Cancel,
}

impl Action {
    const ALL: [Self; 3] = [Self::Pause, Self::Resume, Self::Cancel];

    /// What can be done with a task that stands so.
    pub(super) const fn of(state: TaskState) -> &'static [Self] {
        match state {
            TaskState::Running => &[Self::Pause, Self::Cancel],
            TaskState::Paused => &[Self::Resume, Self::Cancel],
            TaskState::Finished | TaskState::Cancelled | TaskState::Exhausted => &[],
        }
    }

    /// Its name in paths.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
        }
    }

    /// What stands on its button.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Pause => "Pause task",
            Self::Resume => "Resume task",
            Self::Cancel => "Cancel task",
        }
    }

    const fn control(self) -> TaskControl {
        match self {
            Self::Pause => TaskControl::Paused,
            Self::Resume => TaskControl::Run,
            Self::Cancel => TaskControl::Cancelled,
        }
    }

    const fn consequence(self) -> &'static str {
        match self {
            Self::Pause => {
                "No round opens until the task is resumed. A round that is open goes on to its end."
            }
            Self::Resume => "The next round opens as soon as it may.",
            Self::Cancel => {
                "The open round fails, no round opens any more, and the task cannot be resumed. \
                 What clients spent in privacy stays spent."
            }
        }
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        let found = Self::ALL.into_iter().find(|action| action.text() == text);
        found.ok_or_else(|| {
            let detail = format!("`{text}` is nothing that can be done with a task");
            Problem::new(ProblemKind::NotFound, detail)
        })
    }
}

/// Asks whether it is meant.
pub(super) async fn ask<S: Store>(
    State(page): PageState<S>,
    visitor: Visitor,
    Path((id, action)): Path<(String, String)>,
) -> Result<Html<String>, Failure> {
    visitor.holder().require(Scope::Read)?;
    visitor.holder().require(Scope::Tasks)?;
    let action = Action::parse(&action)?;
    let view = page.views.task(&page.app, parse(&id)?).await?;
    let path = format!("/tasks/{}", view.task.id);
    let title = format!("{}: {}", action.label(), view.task.name);
    let content = html! {
        nav.crumbs aria-label="Breadcrumb" {
            a href="/" { "Tasks" } " / " a href=(path) { (view.task.name) }
        }
        h1 { (action.label()) "?" }
        p { strong { (view.task.name) } " (" code { (view.task.id) } ")" }
        p { (action.consequence()) }
        form.confirm method="post" action={ (path) "/control/" (action.text()) } {
            input type="hidden" name="csrf" value=(visitor.form_token());
            button.primary.danger[action == Action::Cancel] type="submit" { (action.label()) }
            a.button href=(path) { "Leave it as it is" }
        }
    };
    let frame = Frame {
        title: &title,
        place: Place::Tasks,
        events: None,
        visitor: &visitor,
    };
    Ok(frame.around(&content))
}

/// Does it.
pub(super) async fn set<S: Store>(
    State(page): PageState<S>,
    Path((id, action)): Path<(String, String)>,
    Confirmed(visitor): Confirmed,
) -> Result<Redirect, Failure> {
    visitor.holder().require(Scope::Tasks)?;
    let (task, action) = (parse(&id)?, Action::parse(&action)?);
    let actor = visitor.holder().actor();
    api::control_task(&page.app, task, action.control(), actor).await?;
    page.views.forget(task).await;
    Ok(Redirect::to(&format!("/tasks/{task}")))
}
