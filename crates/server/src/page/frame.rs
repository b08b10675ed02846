//! What every page has around it.

use axum::http::HeaderValue;
use axum::response::Html;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets::{ICON, SCRIPT, STYLE};
use super::session::Visitor;
use crate::auth::Scope;

/// The type of a page.
pub(super) const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// How long a browser without JavaScript waits before it loads a page that moves again, in seconds.
const REFRESH: &str = "10";

/// Where a page belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Under the tasks.
    Tasks,
    /// The service's own audit log.
    Service,
}

/// A page for someone who is logged in.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// What it is about.
    pub(super) title: &'a str,
    /// Where it belongs.
    pub(super) place: Place,
    /// Where its news come from, if there are any.
    pub(super) events: Option<&'a str>,
    /// Who looks at it.
    pub(super) visitor: &'a Visitor,
}

impl Frame<'_> {
    /// The whole page.
    pub(super) fn around(&self, content: &Markup) -> Html<String> {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                (head(self.title, self.events.is_some()))
                body {
                    a.skip href="#content" { "Skip to the content" }
                    header.top {
                        div.wide {
                            (brand())
                            (self.places())
                            (self.who())
                        }
                    }
                    main #content tabindex="-1" data-events=[self.events] {
                        (content)
                    }
                    (foot())
                }
            }
        };
        Html(page.into_string())
    }

    fn places(&self) -> Markup {
        let current = |place| (self.place == place).then_some("page");
        html! {
            nav aria-label="Main" {
                ul {
                    li { a href="/" aria-current=[current(Place::Tasks)] { "Tasks" } }
                    @if self.visitor.may(Scope::Audit) {
                        li {
                            a href="/service/audit" aria-current=[current(Place::Service)] {
                                "Service log"
                            }
                        }
                    }
                    li { a href="/docs/" { "API" } }
                }
            }
        }
    }

    fn who(&self) -> Markup {
        html! {
            form.who method="post" action="/logout" {
                input type="hidden" name="csrf" value=(self.visitor.form_token());
                span title={ "Token " (self.visitor.holder().token) } {
                    (self.visitor.holder().name)
                }
                button type="submit" { "Log out" }
            }
        }
    }
}

/// A page for anyone.
pub(super) fn bare(title: &str, content: &Markup) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(title, false))
            body.bare {
                header.top { div.wide { (brand()) } }
                main #content { (content) }
                (foot())
            }
        }
    };
    Html(page.into_string())
}

fn head(title: &str, moves: bool) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " \u{b7} Undertone" }
            link rel="icon" type="image/svg+xml" href=(ICON.path);
            link rel="stylesheet" href=(STYLE.path);
            @if moves {
                noscript { meta http-equiv="refresh" content=(REFRESH); }
                script src=(SCRIPT.path) defer {}
            }
        }
    }
}

fn brand() -> Markup {
    // The mark says nothing that the name beside it does not; inside a page it needs no namespace.
    let mark = include_str!("icon.svg").replacen(
        "xmlns=\"http://www.w3.org/2000/svg\"",
        "aria-hidden=\"true\"",
        1,
    );
    html! { a.brand href="/" { (PreEscaped(mark)) "Undertone" } }
}

fn foot() -> Markup {
    html! {
        footer { "Undertone " (env!("CARGO_PKG_VERSION")) ". The service learns only sums." }
    }
}
