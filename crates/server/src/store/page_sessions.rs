//! Sessions of the operators' page. Each belongs to an admin token, and is worth nothing once that
//! is revoked or has expired.

use super::columns::{number, signed};
use super::session::{Pools, Session};
use super::tokens::{record, token_id};
use super::{Actor, Result, TokenRecord, audit};
use crate::audit::{AdminOutcome, Chain, Event};
use crate::auth::{SecretHash, TokenId};

/// A session to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPageSession {
    /// The hash of what the browser holds.
    pub hash: SecretHash,
    /// The token that it was opened with.
    pub token: TokenId,
    /// When it was opened.
    pub created_at: u64,
    /// When it ends at the latest.
    pub expires_at: u64,
}

/// A stored session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageSession {
    /// The token that it was opened with, as it stands now.
    pub token: TokenRecord,
    /// When it ends at the latest.
    pub expires_at: u64,
}

impl PageSession {
    /// Whether neither it nor its token has come to an end at `now`.
    pub fn is_valid(&self, now: u64) -> bool {
        now < self.expires_at && self.token.is_valid(now)
    }
}

/// Stores a session, and removes those that have ended: nobody else comes by to do it.
pub(super) async fn open(pools: &Pools, new: &NewPageSession) -> Result<()> {
    let mut session = pools.begin().await?;
    session
        .query("DELETE FROM page_sessions WHERE expires_at <= $1")
        .bind(signed(new.created_at))
        .execute()
        .await?;
    // It is there already if this is the second try of a commit that broke off.
    let opened = session
        .query(
            "INSERT INTO page_sessions (hash, token, created_at, expires_at) \
             VALUES ($1, $2, $3, $4) ON CONFLICT (hash) DO NOTHING",
        )
        .bind(new.hash.as_bytes().as_slice())
        .bind(new.token.as_bytes().as_slice())
        .bind(signed(new.created_at))
        .bind(signed(new.expires_at))
        .execute()
        .await?;
    if opened == 1 {
        note(&mut session, "POST /login", new.token).await?;
    }
    session.commit().await
}

pub(super) async fn one(pools: &Pools, hash: SecretHash) -> Result<Option<PageSession>> {
    let mut session = pools.read().await?;
    let row = session
        .query(
            "SELECT tokens.*, page_sessions.expires_at AS session_expires_at \
             FROM page_sessions JOIN tokens ON tokens.id = page_sessions.token \
             WHERE page_sessions.hash = $1",
        )
        .bind(hash.as_bytes().as_slice())
        .row()
        .await?;
    row.map(|row| {
        Ok(PageSession {
            token: record(&row)?,
            expires_at: number(&row, "session_expires_at")?,
        })
    })
    .transpose()
}

/// Ends a session; one that is not there has ended already.
pub(super) async fn close(pools: &Pools, hash: SecretHash) -> Result<()> {
    let mut session = pools.begin().await?;
    let closed = session
        .query("DELETE FROM page_sessions WHERE hash = $1 RETURNING token")
        .bind(hash.as_bytes().as_slice())
        .row()
        .await?;
    if let Some(row) = closed {
        note(&mut session, "POST /logout", token_id(&row, "token")?).await?;
    }
    session.commit().await
}

async fn note(session: &mut Session, action: &str, token: TokenId) -> Result<()> {
    let event = Event::Admin {
        action: action.to_owned(),
        outcome: AdminOutcome::Done,
        detail: None,
    };
    let actor = Actor::Token(token).into();
    audit::append(session, Chain::Service, &actor, &event).await?;
    Ok(())
}
