//! New tokens.

use super::{Scopes, Token, TokenKind};
use crate::error::ServerError;
use crate::store::NewToken;
use crate::task::is_name;

/// A fresh admin token, and what is stored of it.
///
/// # Errors
/// [`ServerError::Token`] says what to wish for instead; [`ServerError::Randomness`].
pub fn issue(
    name: String,
    scopes: Scopes,
    expires_in_s: u64,
    now: u64,
) -> Result<(Token, NewToken), ServerError> {
    if scopes.is_empty() {
        let what = "it needs a scope: read, tasks, enrol, tokens or audit";
        return Err(ServerError::Token(what));
    }
    if !is_name(&name) {
        let what = "its name must have 1 to 200 characters, none of them a control character";
        return Err(ServerError::Token(what));
    }
    if expires_in_s == 0 {
        let what = "it has to be valid for a second at least";
        return Err(ServerError::Token(what));
    }
    let token = Token::draw(TokenKind::Admin)?;
    let new = NewToken {
        id: token.id(),
        hash: token.hash(),
        name,
        scopes,
        created_at: now,
        expires_at: now.saturating_add(expires_in_s.saturating_mul(1000)),
    };
    Ok((token, new))
}
