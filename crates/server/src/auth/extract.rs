//! The extractor that guards handlers.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::{Holder, Scope, authenticate};
use crate::app::App;
use crate::driver::now_ms;
use crate::problem::Problem;
use crate::store::Store;

/// A right that a handler needs, as a type.
pub trait Right: Send + Sync + 'static {
    /// The scope that gives it.
    const SCOPE: Scope;
}

/// The rights, one a scope.
pub mod rights {
    use super::{Right, Scope};

    macro_rules! rights {
        ($($(#[$doc:meta])* $name:ident;)*) => {
            $(
                $(#[$doc])*
                #[derive(Debug, Clone, Copy)]
                pub enum $name {}

                impl Right for $name {
                    const SCOPE: Scope = Scope::$name;
                }
            )*
        };
    }

    rights! {
        /// To see tasks, rounds, results and adapters.
        Read;
        /// To make, pause, resume and cancel tasks.
        Tasks;
        /// To make enrolment tokens, and to see who enrolled.
        Enrol;
        /// To make, see and revoke tokens.
        Tokens;
        /// To see the contents of the audit log.
        Audit;
    }
}

/// Whoever makes this request has the right `R`. There is no other way to make one, so a handler
/// that takes it is guarded.
#[derive(Debug)]
pub struct Admin<R: Right> {
    holder: Holder,
    right: PhantomData<R>,
}

impl<R: Right> Admin<R> {
    /// Who it is.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }
}

impl<R: Right, S: Store> FromRequestParts<Arc<App<S>>> for Admin<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App<S>>) -> Result<Self, Problem> {
        let holder = authenticate(app.store(), bearer(parts), now_ms()).await?;
        holder.require(R::SCOPE)?;
        let right = PhantomData;
        Ok(Self { holder, right })
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750, section 2.1); nothing if there is
/// none. The scheme's case does not matter (RFC 9110, section 11.1).
fn bearer(parts: &Parts) -> &str {
    let header = parts.headers.get(AUTHORIZATION);
    let text = header.and_then(|value| value.to_str().ok()).unwrap_or("");
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    }
}
