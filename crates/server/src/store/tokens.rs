//! Admin tokens.

use super::columns::{corrupt, json, number, signed, to_json};
use super::session::{Pools, Row};
use super::{Actor, Result, StoreError, audit};
use crate::audit::{Chain, Event};
use crate::auth::{Scopes, SecretHash, TokenId};

/// A token to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its public part.
    pub id: TokenId,
    /// The hash of its secret.
    pub hash: SecretHash,
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: u64,
    /// When it stops being valid.
    pub expires_at: u64,
}

/// A stored token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its public part.
    pub id: TokenId,
    /// The hash of its secret.
    pub hash: SecretHash,
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: u64,
    /// When it stops being valid.
    pub expires_at: u64,
    /// When it was revoked.
    pub revoked_at: Option<u64>,
    /// When it was last used, to the minute.
    pub used_at: Option<u64>,
}

impl TokenRecord {
    /// Whether it is neither expired nor revoked at `now`.
    pub fn is_valid(&self, now: u64) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }
}

pub(super) async fn create(pools: &Pools, token: &NewToken, actor: Actor) -> Result<()> {
    let mut session = pools.begin().await?;
    let made = session
        .query(
            "INSERT INTO tokens (id, hash, name, scopes, created_at, expires_at) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
        )
        .bind(token.id.as_bytes().as_slice())
        .bind(token.hash.as_bytes().as_slice())
        .bind(token.name.as_str())
        .bind(to_json(&token.scopes)?)
        .bind(signed(token.created_at))
        .bind(signed(token.expires_at))
        .execute()
        .await?;
    if made == 0 {
        return Err(StoreError::Exists(format!("token {}", token.id)));
    }
    let event = Event::TokenMade {
        token: token.id.to_string(),
        name: token.name.clone(),
        scopes: token.scopes.names(),
        expires_at: Some(token.expires_at),
    };
    audit::append(&mut session, Chain::Service, &actor.into(), &event).await?;
    session.commit().await
}

pub(super) async fn one(pools: &Pools, id: TokenId) -> Result<Option<TokenRecord>> {
    let mut session = pools.read().await?;
    let row = session
        .query("SELECT * FROM tokens WHERE id = $1")
        .bind(id.as_bytes().as_slice())
        .row()
        .await?;
    row.as_ref().map(record).transpose()
}

pub(super) async fn all(pools: &Pools) -> Result<Vec<TokenRecord>> {
    let mut session = pools.read().await?;
    let rows = session
        .query("SELECT * FROM tokens ORDER BY made")
        .rows()
        .await?;
    rows.iter().map(record).collect()
}

/// Revokes a token; returns whether it was valid until now. The first revocation stands.
pub(super) async fn revoke(pools: &Pools, id: TokenId, now: u64, actor: Actor) -> Result<bool> {
    let mut session = pools.begin().await?;
    let revoked = session
        .query("UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
        .bind(id.as_bytes().as_slice())
        .bind(signed(now))
        .execute()
        .await?;
    if revoked == 0 {
        session
            .query("SELECT id FROM tokens WHERE id = $1")
            .bind(id.as_bytes().as_slice())
            .row()
            .await?
            .ok_or_else(|| StoreError::Missing(format!("token {id}")))?;
    } else {
        let token = id.to_string();
        let event = Event::TokenRevoked { token };
        audit::append(&mut session, Chain::Service, &actor.into(), &event).await?;
    }
    session.commit().await?;
    Ok(revoked == 1)
}

/// Notes when a token was used; an earlier time changes nothing.
pub(super) async fn used(pools: &Pools, id: TokenId, now: u64) -> Result<()> {
    let mut session = pools.begin().await?;
    session
        .query("UPDATE tokens SET used_at = $2 WHERE id = $1 AND (used_at IS NULL OR used_at < $2)")
        .bind(id.as_bytes().as_slice())
        .bind(signed(now))
        .execute()
        .await?;
    session.commit().await
}

/// A token's public part.
pub(super) fn token_id(row: &Row, column: &str) -> Result<TokenId> {
    let bytes: Vec<u8> = row.get(column)?;
    <[u8; 8]>::try_from(bytes.as_slice())
        .map(TokenId::from)
        .map_err(corrupt)
}

/// The hash of a token's secret.
pub(super) fn hash(row: &Row, column: &str) -> Result<SecretHash> {
    let bytes: Vec<u8> = row.get(column)?;
    <[u8; 32]>::try_from(bytes.as_slice())
        .map(SecretHash::from)
        .map_err(corrupt)
}

/// A token of a row of `tokens`.
pub(super) fn record(row: &Row) -> Result<TokenRecord> {
    Ok(TokenRecord {
        id: token_id(row, "id")?,
        hash: hash(row, "hash")?,
        name: row.get("name")?,
        scopes: json(row, "scopes")?,
        created_at: number(row, "created_at")?,
        expires_at: number(row, "expires_at")?,
        revoked_at: time(row, "revoked_at")?,
        used_at: time(row, "used_at")?,
    })
}

/// A time that may be missing.
pub(super) fn time(row: &Row, column: &str) -> Result<Option<u64>> {
    let time: Option<i64> = row.get(column)?;
    time.map(u64::try_from).transpose().map_err(corrupt)
}
