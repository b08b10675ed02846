//! The audit log: a chain's entries page by page, its signed head, and how to check them without
//! believing this page.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::Html;
use maud::{Markup, html};
use serde::Deserialize;

use super::failure::Failure;
use super::frame::{Frame, Place};
use super::session::Visitor;
use super::words::time;
use super::{Page, PageState, entry, table, task};
use crate::audit::{Chain, signed_head};
use crate::auth::Scope;
use crate::problem::{Problem, ProblemKind};
use crate::store::{AuditEntry, Store};
use undertone_protocol::audit::SignedHead;

/// How many entries a page has.
const SHOWN: u32 = 50;

#[derive(Deserialize)]
pub(super) struct EntriesQuery {
    /// Entries before this one.
    before: Option<u64>,
}

type Asked = Result<Query<EntriesQuery>, QueryRejection>;

/// The chain of a task.
pub(super) async fn of_task<S: Store>(
    State(page): PageState<S>,
    visitor: Visitor,
    Path(id): Path<String>,
    query: Asked,
) -> Result<Html<String>, Failure> {
    visitor.holder().require(Scope::Audit)?;
    let id = task::parse(&id)?;
    let record = page.app.store().task(id).await?.ok_or_else(|| {
        let detail = format!("task {id} is not on this service");
        Problem::new(ProblemKind::UnknownTask, detail)
    })?;
    let title = format!("Audit log: {}", record.name);
    let crumbs = html! {
        nav.crumbs aria-label="Breadcrumb" {
            a href="/" { "Tasks" } " / " a href={ "/tasks/" (id) } { (record.name) }
        }
    };
    let subject = Subject {
        chain: Chain::Task(id),
        path: format!("/tasks/{id}/audit"),
        place: Place::Tasks,
    };
    subject
        .page(&page, &visitor, (&title, &crumbs), query)
        .await
}

/// The chain of the service.
pub(super) async fn of_service<S: Store>(
    State(page): PageState<S>,
    visitor: Visitor,
    query: Asked,
) -> Result<Html<String>, Failure> {
    visitor.holder().require(Scope::Audit)?;
    let subject = Subject {
        chain: Chain::Service,
        path: "/service/audit".to_owned(),
        place: Place::Service,
    };
    let title = "Audit log of the service";
    subject
        .page(&page, &visitor, (title, &html! {}), query)
        .await
}

/// A chain, and where it is shown.
struct Subject {
    chain: Chain,
    path: String,
    place: Place,
}

impl Subject {
    async fn page<S: Store>(
        &self,
        page: &Page<S>,
        visitor: &Visitor,
        (title, crumbs): (&str, &Markup),
        query: Asked,
    ) -> Result<Html<String>, Failure> {
        let before = query.ok().and_then(|Query(query)| query.before);
        let head = signed_head(&page.app, self.chain).await?;
        let length = head.map_or(0, |head| head.statement.head.sequence.saturating_add(1));
        let end = before.map_or(length, |before| before.min(length));
        let start = end.saturating_sub(SHOWN.into());
        let count = u32::try_from(end - start).unwrap_or(SHOWN);
        let mut entries = page
            .app
            .store()
            .audit_entries(self.chain, start, count)
            .await?;
        entries.reverse();
        let content = html! {
            (crumbs)
            h1 { (title) }
            p.under { (length) " entries, the latest first. Each is bound to the one before by its digest." }
            section.card aria-labelledby="entries" {
                h2 #entries { "Entries" }
                (list(&entries))
                (self.pages(start, end, length))
            }
            @if let Some(head) = head {
                section.card { (signed(&head)) }
                section.card { (offline(self.chain)) }
            }
        };
        let frame = Frame {
            title,
            place: self.place,
            events: None,
            visitor,
        };
        Ok(frame.around(&content))
    }

    fn pages(&self, start: u64, end: u64, length: u64) -> Markup {
        if start == 0 && end >= length {
            return html! {};
        }
        html! {
            nav.pages aria-label="Entries" {
                @if start > 0 {
                    a href={ (self.path) "?before=" (start) } rel="next" { "Earlier entries" }
                }
                @if end < length { a href=(self.path) { "Latest entries" } }
            }
        }
    }
}

const COLUMNS: [&str; 4] = ["Entry", "When", "What", "Who"];

fn list(entries: &[AuditEntry]) -> Markup {
    if entries.is_empty() {
        return html! { p.quiet { "There is none." } };
    }
    let rows: Vec<Markup> = entries.iter().map(row).collect();
    table::table("Entries", &COLUMNS, &rows)
}

fn row(stored: &AuditEntry) -> Markup {
    let Some(content) = entry::read(stored) else {
        return html! {
            (table::named("Entry", &html! { (stored.sequence) }))
            (table::text("When", ""))
            (table::cell("What", &html! { "Not written by this version" (entry::stored(stored)) }))
            (table::text("Who", ""))
        };
    };
    let details = entry::details(&content.event);
    html! {
        (table::named("Entry", &html! { (stored.sequence) }))
        (table::cell("When", &time(content.time)))
        (table::cell("What", &html! {
            strong { (entry::title(&content.event)) }
            @if !details.is_empty() { span.under { (details) } }
            (entry::stored(stored))
        }))
        (table::text("Who", &entry::who(&content.actor)))
    }
}

fn signed(signed: &SignedHead) -> Markup {
    let statement = &signed.statement;
    html! {
        h2 { "Signed head" }
        p {
            "The last entry's digest covers all entries before it. Clients remember it, so a "
            "history that is rewritten is noticed by them."
        }
        dl.facts.long {
            div { dt { "Entry" } dd { (statement.head.sequence) } }
            div { dt { "Digest" } dd { code { (statement.head.digest) } } }
            div { dt { "Signed" } dd { (time(statement.time)) } }
            div { dt { "Signature" } dd { code { (signed.signature) } } }
            div { dt { "Audit key" } dd { code { (signed.key) } } }
        }
    }
}

fn offline(chain: Chain) -> Markup {
    html! {
        h2 { "Check it offline" }
        p {
            "This page is rendered by the service that is to be checked. Take the log with you and "
            "check its chain and its signature on a machine that you trust, with the audit key "
            "that you wrote down when the service was set up:"
        }
        pre tabindex="0" {
            "undertone audit export --chain " (chain) " --out audit.jsonl\n"
            "undertone audit verify audit.jsonl --key AUDIT-KEY"
        }
    }
}
