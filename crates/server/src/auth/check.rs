//! From the text of a token to its holder.

use std::time::Duration;

use subtle::ConstantTimeEq;

use super::{Scope, Scopes, SecretHash, Token, TokenId, TokenKind};
use crate::problem::{Problem, ProblemKind};
use crate::store::{Actor, Store, TokenRecord};

/// How coarse the time of a token's last use is: not every request is a write.
const USE_GRAIN: Duration = Duration::from_mins(1);

/// Whoever showed a token that is valid now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The token.
    pub token: TokenId,
    /// Its name.
    pub name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// When it expires.
    pub expires_at: u64,
}

impl Holder {
    /// Whom changes are attributed to.
    pub fn actor(&self) -> Actor {
        Actor::Token(self.token)
    }

    /// Whether the token allows `scope`.
    ///
    /// # Errors
    /// [`ProblemKind::Forbidden`].
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.contains(scope) {
            return Ok(());
        }
        Err(Problem::new(
            ProblemKind::Forbidden,
            format!(
                "token {} ({}) does not have the scope `{scope}` that this needs",
                self.token, self.name
            ),
        ))
    }
}

/// Finds the holder of a token at the time `now`. Every refusal reads alike: whoever guesses does
/// not learn whether an id exists.
///
/// # Errors
/// [`ProblemKind::Unauthorized`] if the text is no token, or the token is unknown, wrong, expired
/// or revoked; [`ProblemKind::Unavailable`] if the store fails.
pub async fn authenticate<S: Store>(store: &S, text: &str, now: u64) -> Result<Holder, Problem> {
    let token = Token::parse(TokenKind::Admin, text).map_err(|_| refused())?;
    let record = store.token(token.id()).await?;
    // An unknown id takes the same steps: its hash is one that no secret has been found for.
    let stored = record
        .as_ref()
        .map_or_else(|| SecretHash::from([0; 32]), |record| record.hash);
    let matches = bool::from(token.hash().ct_eq(&stored));
    let Some(record) = record.filter(|record| matches && record.is_valid(now)) else {
        return Err(refused());
    };
    note_use(store, &record, now).await;
    Ok(Holder {
        token: record.id,
        name: record.name,
        scopes: record.scopes,
        expires_at: record.expires_at,
    })
}

/// Notes that the token is in use. That this fails is no reason to refuse the request.
async fn note_use<S: Store>(store: &S, record: &TokenRecord, now: u64) {
    let grain = u64::try_from(USE_GRAIN.as_millis()).unwrap_or(u64::MAX);
    let fresh = record
        .used_at
        .is_some_and(|used| now.saturating_sub(used) < grain);
    if !fresh && let Err(error) = store.token_used(record.id, now).await {
        tracing::warn!(token = %record.id, %error, "the use of a token was not noted");
    }
}

fn refused() -> Problem {
    Problem::new(
        ProblemKind::Unauthorized,
        "a valid token is needed: `Authorization: Bearer ut_...`; it may be wrong, expired or \
         revoked. `undertone token create` makes one",
    )
}
