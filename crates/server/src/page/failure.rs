//! What went wrong, as a page.

use axum::http::header;
use axum::response::{Html, IntoResponse, Redirect, Response};
use maud::html;

use super::frame;
use crate::problem::{Problem, ProblemKind};

/// Why a page is not shown.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody is logged in: the login comes first, and then the page at this path.
    Login {
        /// The path.
        next: String,
    },
    /// What would be a problem of the API.
    Problem(Problem),
}

impl Failure {
    /// A refusal.
    pub(super) fn forbidden(why: impl Into<String>) -> Self {
        Self::Problem(Problem::new(ProblemKind::Forbidden, why))
    }

    /// The same where no page is asked for: nobody follows a redirect then.
    pub(super) fn without_page(self) -> Problem {
        match self {
            Self::Login { .. } => Problem::new(
                ProblemKind::Unauthorized,
                "the session has ended; log in at /login",
            ),
            Self::Problem(problem) => problem,
        }
    }
}

impl<E: Into<Problem>> From<E> for Failure {
    fn from(problem: E) -> Self {
        Self::Problem(problem.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = match self {
            Self::Login { next } if next == "/" => {
                return Redirect::to("/login").into_response();
            }
            Self::Login { next } => {
                return Redirect::to(&format!("/login?next={next}")).into_response();
            }
            Self::Problem(problem) => problem,
        };
        let title = problem.kind().title();
        let Html(page) = frame::bare(
            title,
            &html! {
                h1 { (title) }
                p { (problem.detail()) }
                p { a href="/" { "All tasks" } }
            },
        );
        // Its status, and its note for those who count.
        let mut response = problem.into_response();
        *response.body_mut() = page.into();
        let headers = response.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_TYPE, frame::HTML);
        response
    }
}
