//! Who looks at the page: a cookie, and what it is worth.
//!
//! The cookie holds 32 random bytes; the database has their SHA-256, and every request looks it up,
//! so that a session ends at once when its token is revoked. Over TLS its name begins with
//! `__Host-`, by which browsers take it from this host alone and over TLS alone.
//!
//! What changes something is a form with a token of the session in it, which another site cannot
//! know, sent from this site by what the browser says.

use std::sync::Arc;

use axum::Form;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum_extra::extract::CookieJar;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Page;
use super::failure::Failure;
use crate::auth::{Holder, Scope, SecretHash};
use crate::driver::now_ms;
use crate::error::ServerError;
use crate::problem::{Problem, ProblemKind};
use crate::store::Store;

/// A cookie of the page.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jar {
    secure: &'static str,
    plain: &'static str,
}

/// The one that a login is remembered by.
pub(super) const SESSION: Jar = Jar {
    secure: "__Host-undertone",
    plain: "undertone",
};

/// The one that a login form goes with, before there is a session.
pub(super) const LOGIN: Jar = Jar {
    secure: "__Host-undertone-login",
    plain: "undertone-login",
};

impl Jar {
    /// The secret that the browser sent.
    pub(super) fn read(self, headers: &HeaderMap) -> Option<Secret> {
        let cookies = CookieJar::from_headers(headers);
        let plain = || {
            cookies
                .get(self.plain)
                .filter(|_| asked_on_loopback(headers))
        };
        let cookie = cookies.get(self.secure).or_else(plain)?;
        Secret::parse(cookie.value())
    }

    /// What makes the browser keep a secret for so many seconds; 0 makes it forget.
    pub(super) fn keep(self, secret: &Secret, seconds: u64, over_tls: bool) -> HeaderValue {
        let (name, secure) = if over_tls {
            (self.secure, "; Secure")
        } else {
            (self.plain, "")
        };
        let value = secret.reveal();
        let text = Zeroizing::new(format!(
            "{name}={}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}",
            value.as_str()
        ));
        let header = HeaderValue::from_str(&text);
        let mut header = header.unwrap_or(HeaderValue::from_static(""));
        header.set_sensitive(true);
        header
    }
}

/// What a browser holds.
#[derive(Clone)]
pub(super) struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    pub(super) fn draw() -> Result<Self, ServerError> {
        let mut bytes = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes)?;
        Ok(Self(bytes))
    }

    fn parse(digits: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, &mut *bytes).ok()?;
        Some(Self(bytes))
    }

    fn reveal(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(*self.0))
    }

    /// What the database keeps.
    pub(super) fn hash(&self) -> SecretHash {
        let digest: [u8; 32] = Sha256::digest(*self.0).into();
        SecretHash::from(digest)
    }

    /// What forms of the session hold. It tells nothing of the secret, and is not its hash.
    pub(super) fn form_token(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(b"undertone page form\0");
        hasher.update(*self.0);
        hex::encode(hasher.finalize())
    }

    /// Checks what a form held.
    pub(super) fn check_form(&self, token: &str) -> Result<(), Failure> {
        let expected = self.form_token();
        if bool::from(expected.as_bytes().ct_eq(token.as_bytes())) {
            return Ok(());
        }
        Err(Failure::forbidden(
            "the form is not of this session; load the page again and repeat",
        ))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Whoever is logged in.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    secret: Secret,
    holder: Holder,
}

impl Visitor {
    /// The holder of the token that they logged in with.
    pub(super) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Whether their token has a scope.
    pub(super) fn may(&self, scope: Scope) -> bool {
        self.holder.scopes.contains(scope)
    }

    /// What their forms hold.
    pub(super) fn form_token(&self) -> String {
        self.secret.form_token()
    }

    /// The session's name in the database.
    pub(super) fn session(&self) -> SecretHash {
        self.secret.hash()
    }

    /// Looks a session up.
    pub(super) async fn find<S: Store>(store: &S, secret: Secret) -> Result<Option<Self>, Problem> {
        let session = store.page_session(secret.hash()).await?;
        let valid = session.filter(|session| session.is_valid(now_ms()));
        Ok(valid.map(|session| Self {
            secret,
            holder: Holder {
                token: session.token.id,
                name: session.token.name,
                scopes: session.token.scopes,
                expires_at: session.token.expires_at,
            },
        }))
    }

    /// Whether the session still stands.
    pub(super) async fn stands<S: Store>(&self, store: &S) -> Result<bool, Problem> {
        let session = store.page_session(self.session()).await?;
        Ok(session.is_some_and(|session| session.is_valid(now_ms())))
    }
}

impl<S: Store> FromRequestParts<Arc<Page<S>>> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, page: &Arc<Page<S>>) -> Result<Self, Failure> {
        let login = || Failure::Login {
            next: parts.uri.path().to_owned(),
        };
        let secret = SESSION.read(&parts.headers).ok_or_else(login)?;
        let visitor = Self::find(page.app.store(), secret).await?;
        visitor.ok_or_else(login)
    }
}

/// Whoever is logged in and sent a form of theirs. There is no other way to make one, so a handler
/// that takes it is guarded.
#[derive(Debug)]
pub(super) struct Confirmed(pub(super) Visitor);

#[derive(Deserialize)]
struct ConfirmedForm {
    csrf: String,
}

impl<S: Store> FromRequest<Arc<Page<S>>> for Confirmed {
    type Rejection = Failure;

    async fn from_request(request: Request, page: &Arc<Page<S>>) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, page).await?;
        from_this_site(&parts.headers)?;
        let request = Request::from_parts(parts, body);
        let form = Form::<ConfirmedForm>::from_request(request, page).await;
        let Form(form) = form.map_err(|e| Problem::new(ProblemKind::BadRequest, e.body_text()))?;
        visitor.secret.check_form(&form.csrf)?;
        Ok(Self(visitor))
    }
}

/// Refuses what the browser says another site sent.
pub(super) fn from_this_site(headers: &HeaderMap) -> Result<(), Failure> {
    let ours = match (text(headers, "sec-fetch-site"), origin(headers)) {
        // Behind a proxy the host may have another name here than in the browser.
        (Some(site), _) => site == "same-origin",
        (None, Some((_, host))) => text(headers, "host") == Some(host),
        // No browser.
        (None, None) => text(headers, "origin").is_none(),
    };
    if ours {
        return Ok(());
    }
    Err(Failure::forbidden("the form was sent by another site"))
}

/// Whether cookies go over TLS alone: all but those for a browser that asks a service on its own
/// machine, which can do without.
pub(super) fn over_tls<S: Store>(page: &Page<S>, headers: &HeaderMap) -> bool {
    page.app.settings().tls.is_on() || !plain_on_loopback(headers)
}

fn plain_on_loopback(headers: &HeaderMap) -> bool {
    match (origin(headers), text(headers, "origin")) {
        (Some((scheme, host)), _) => scheme == "http" && is_loopback(host),
        // An origin that says nothing.
        (None, Some(_)) => false,
        (None, None) => asked_on_loopback(headers),
    }
}

fn asked_on_loopback(headers: &HeaderMap) -> bool {
    text(headers, "host").is_some_and(is_loopback)
}

/// Whether a host, with or without a port, is this machine.
fn is_loopback(host: &str) -> bool {
    let uri: Option<Uri> = format!("http://{host}/").parse().ok();
    let Some(name) = uri.as_ref().and_then(Uri::host) else {
        return false;
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let address: Option<std::net::IpAddr> = name.parse().ok();
    name.eq_ignore_ascii_case("localhost") || address.is_some_and(|address| address.is_loopback())
}

/// Scheme and host of the page that a form was on.
fn origin(headers: &HeaderMap) -> Option<(&str, &str)> {
    text(headers, header::ORIGIN.as_str())?.split_once("://")
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                let name = axum::http::HeaderName::from_static(name);
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect()
    }

    #[test]
    fn only_loopback_does_without_tls() {
        for (host, plain) in [
            ("localhost:8470", true),
            ("127.0.0.1", true),
            ("127.9.9.9:80", true),
            ("[::1]:8470", true),
            ("undertone.example", false),
            ("localhost.example", false),
            ("127.0.0.1.example:8470", false),
            ("10.0.0.1:8470", false),
            ("", false),
        ] {
            let secret = Secret::draw().unwrap();
            let headers = headers(&[("host", host)]);
            let cookie = SESSION.keep(&secret, 60, !plain_on_loopback(&headers));
            let cookie = cookie.to_str().unwrap();
            assert_eq!(!cookie.contains("; Secure"), plain, "{host}: {cookie}");
            assert_eq!(cookie.starts_with("undertone="), plain, "{host}: {cookie}");
            assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
        }
        // A proxy that has TLS and names this service by its own address.
        let proxied = headers(&[
            ("host", "127.0.0.1"),
            ("origin", "https://undertone.example"),
        ]);
        assert!(!plain_on_loopback(&proxied));
        assert!(!plain_on_loopback(&headers(&[
            ("host", "127.0.0.1"),
            ("origin", "null")
        ])));
    }

    #[test]
    fn a_plain_cookie_counts_on_loopback_only() {
        let secret = Secret::draw().unwrap();
        let digits = secret.reveal();
        for (host, name, counts) in [
            ("localhost", "undertone", true),
            ("undertone.example", "undertone", false),
            ("undertone.example", "__Host-undertone", true),
            ("localhost", "__Host-undertone", true),
        ] {
            let cookie = format!("{name}={}", digits.as_str());
            let read = SESSION.read(&headers(&[("host", host), ("cookie", &cookie)]));
            assert_eq!(read.is_some(), counts, "{host} {name}");
        }
    }

    #[test]
    fn other_sites_are_refused() {
        for (pairs, ours) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (
                &[("host", "a.example"), ("origin", "https://a.example")],
                true,
            ),
            (
                &[("host", "a.example"), ("origin", "https://b.example")],
                false,
            ),
            (&[("host", "a.example"), ("origin", "null")], false),
        ] {
            assert_eq!(from_this_site(&headers(pairs)).is_ok(), ours, "{pairs:?}");
        }
    }

    #[test]
    fn forms_hold_the_token_of_their_session() {
        let (one, other) = (Secret::draw().unwrap(), Secret::draw().unwrap());
        assert!(one.check_form(&one.form_token()).is_ok());
        for wrong in [other.form_token(), String::new(), one.reveal().to_string()] {
            assert!(one.check_form(&wrong).is_err());
        }
        let hash = hex::encode(one.hash().as_bytes());
        assert_ne!(one.form_token(), hash);
        assert!(!format!("{one:?}").contains(one.reveal().as_str()));
    }
}
