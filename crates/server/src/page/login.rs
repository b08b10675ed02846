//! Logging in with an admin token, and out.

use axum::Form;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::session::{Confirmed, LOGIN, SESSION, Secret, Visitor, from_this_site, over_tls};
use super::{Page, PageState, frame};
use crate::auth::authenticate;
use crate::driver::now_ms;
use crate::problem::{Problem, ProblemKind, Refused};
use crate::store::{NewPageSession, Store};

/// How long a session lasts at most, in seconds: a working day.
const LASTS: u64 = 12 * 60 * 60;

/// How long a login form is good for, in seconds.
const FORM_LASTS: u64 = 60 * 60;

#[derive(Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// The form.
pub(super) async fn form<S: Store>(
    State(page): PageState<S>,
    headers: HeaderMap,
    query: Result<Query<Next>, QueryRejection>,
) -> Result<Response, Failure> {
    let next = query.map(|Query(query)| query.next).unwrap_or_default();
    if let Some(secret) = SESSION.read(&headers)
        && Visitor::find(page.app.store(), secret).await?.is_some()
    {
        return Ok(Redirect::to(path_of(&next)).into_response());
    }
    show(&page, &headers, &next, None)
}

/// What the form sends.
#[derive(Deserialize)]
pub(super) struct LoginForm {
    csrf: String,
    #[serde(default)]
    next: String,
    token: Token,
}

/// Wiped when it is dropped, and never printed.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Token(Zeroizing<String>);

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// Checks the token and opens a session.
pub(super) async fn open<S: Store>(
    State(page): PageState<S>,
    headers: HeaderMap,
    form: Result<Form<LoginForm>, FormRejection>,
) -> Result<Response, Failure> {
    let Form(form) = form.map_err(|e| Problem::new(ProblemKind::BadRequest, e.body_text()))?;
    from_this_site(&headers)?;
    let Some(before) = LOGIN.read(&headers) else {
        return Err(Failure::forbidden(
            "the browser did not keep the cookie of the login form: the form is too old, or this \
             is plain HTTP. Use HTTPS; without it this page works on the service's own machine only",
        ));
    };
    before.check_form(&form.csrf)?;
    let store = page.app.store();
    let now = now_ms();
    let holder = match authenticate(store, form.token.0.trim(), now).await {
        Err(problem) if problem.kind() == ProblemKind::Unauthorized => {
            return show(&page, &headers, &form.next, Some(problem.kind()));
        }
        other => other?,
    };
    let token = store.token(holder.token).await?;
    let ends = token.map_or(now, |token| token.expires_at);
    let secret = Secret::draw()?;
    let expires_at = ends.min(now.saturating_add(LASTS * 1000));
    let session = NewPageSession {
        hash: secret.hash(),
        token: holder.token,
        created_at: now,
        expires_at: expires_at.max(now),
    };
    store.open_page_session(&session).await?;
    tracing::info!(token = %holder.token, "logged in to the page");
    let seconds = expires_at.saturating_sub(now) / 1000;
    let over_tls = over_tls(&page, &headers);
    let cookies = AppendHeaders([
        (header::SET_COOKIE, SESSION.keep(&secret, seconds, over_tls)),
        (header::SET_COOKIE, LOGIN.keep(&before, 0, over_tls)),
    ]);
    Ok((cookies, Redirect::to(path_of(&form.next))).into_response())
}

/// Ends the session.
pub(super) async fn close<S: Store>(
    State(page): PageState<S>,
    headers: HeaderMap,
    Confirmed(visitor): Confirmed,
) -> Result<Response, Failure> {
    page.app
        .store()
        .close_page_session(visitor.session())
        .await?;
    let gone = Secret::draw()?;
    let cookie = SESSION.keep(&gone, 0, over_tls(&page, &headers));
    let cookie = [(header::SET_COOKIE, cookie)];
    Ok((cookie, Redirect::to("/login")).into_response())
}

/// Where to go after the login: to a page of ours, whatever the address said.
fn path_of(next: &str) -> &str {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ours = next.starts_with('/')
        && next.split('/').skip(1).all(|part| part.chars().all(word))
        && !next.starts_with("//");
    if ours { next } else { "/" }
}

/// Shows the form, and why the one before was refused.
fn show<S: Store>(
    page: &Page<S>,
    headers: &HeaderMap,
    next: &str,
    refused: Option<ProblemKind>,
) -> Result<Response, Failure> {
    let secret = match LOGIN.read(headers) {
        Some(secret) => secret,
        None => Secret::draw()?,
    };
    let cookie = [(
        header::SET_COOKIE,
        LOGIN.keep(&secret, FORM_LASTS, over_tls(page, headers)),
    )];
    let form = fields(&secret.form_token(), path_of(next), refused.is_some());
    let form = frame::bare("Log in", &form);
    let status = refused.map_or(StatusCode::OK, ProblemKind::status);
    let mut response = (status, cookie, form).into_response();
    if let Some(kind) = refused {
        let signer = None;
        response.extensions_mut().insert(Refused { kind, signer });
    }
    Ok(response)
}

fn fields(csrf: &str, next: &str, refused: bool) -> Markup {
    html! {
        h1 { "Log in" }
        form.login method="post" action="/login" {
            input type="hidden" name="csrf" value=(csrf);
            input type="hidden" name="next" value=(next);
            @if refused {
                p.refused #refused role="alert" {
                    "This token is not valid here: it may be mistyped, expired or revoked."
                }
            }
            label for="token" { "Admin token" }
            input #token type="password" name="token" required autofocus
                autocomplete="current-password" autocapitalize="off" spellcheck="false"
                aria-describedby={ "hint" @if refused { " refused" } }
                aria-invalid=[refused.then_some("true")];
            p.hint #hint {
                "It begins with " code { "ut_" } ". " code { "undertone token create" }
                " makes one; its scopes say what you can do here."
            }
            button.primary type="submit" { "Log in" }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_a_page_of_ours() {
        for path in ["/", "/tasks/00ff", "/tasks/00ff/audit", "/service/audit"] {
            assert_eq!(path_of(path), path);
        }
        for elsewhere in [
            "",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/a?b",
            "/a\r\nb",
            "evil",
        ] {
            assert_eq!(path_of(elsewhere), "/", "{elsewhere}");
        }
    }
}
