//! Who may do what: bearer tokens with scopes.
//!
//! A token is `ut_<id>_<secret>`. The store holds the SHA-256 of the secret, the scopes and the
//! expiry; every request looks it up, so that expiry and revocation take effect at once. The
//! secret is 32 random bytes: a slow password hash would protect nothing more.
//!
//! A handler that takes [`Admin<R>`] cannot be reached without the right `R`.

mod check;
mod extract;
mod issue;
mod scope;
mod token;

pub use check::{Holder, authenticate};
pub use extract::{Admin, Right, rights};
pub use issue::issue;
pub use scope::{Scope, Scopes, UnknownScope};
pub use token::{BadToken, SecretHash, Token, TokenId, TokenKind};
