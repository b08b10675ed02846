//! Enrolment: one-time tokens, and the keys that came with them.

use undertone_protocol::keys::IdentityPublicKey;

use super::columns::{corrupt, number, signed};
use super::session::{Pools, Row, Session};
use super::tokens::{hash, time, token_id};
use super::{Actor, Result, StoreError, audit};
use crate::audit::canonical::Hex;
use crate::audit::{Chain, Event, Invited};
use crate::auth::{SecretHash, TokenId};

/// One-time tokens to be stored, for clients of one list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvitations {
    /// The list that their keys are for: what becomes one roster.
    pub list: String,
    /// The tokens: public part, hash of the secret, and what people call the client.
    pub invited: Vec<(TokenId, SecretHash, String)>,
    /// When they were made.
    pub created_at: u64,
    /// When they stop being valid.
    pub expires_at: u64,
}

/// A client that was invited, and its key once it has enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentRecord {
    /// Its place in the order in which tokens were made.
    pub made: u64,
    /// The public part of its token.
    pub token: TokenId,
    /// Its list.
    pub list: String,
    /// What people call it.
    pub name: String,
    /// When it was invited.
    pub created_at: u64,
    /// When the token stops being valid.
    pub expires_at: u64,
    /// Its key, and when that came.
    pub enrolled: Option<(IdentityPublicKey, u64)>,
}

/// What became of a key that was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnrolOutcome {
    /// It stands on the list.
    Enrolled {
        /// The list.
        list: String,
        /// What the administrator calls the client.
        name: String,
    },
    /// It stood there before, by this token.
    Repeated {
        /// The list.
        list: String,
        /// What the administrator calls the client.
        name: String,
    },
    /// There is no such token, or its secret is another.
    Unknown,
    /// The token has expired.
    Expired,
    /// Another key was enrolled with the token.
    Used,
    /// The key stands on the list by another token.
    KnownKey,
}

pub(super) async fn invite(pools: &Pools, new: &NewInvitations, actor: Actor) -> Result<()> {
    let mut session = pools.begin().await?;
    for (id, hash, name) in &new.invited {
        let made = session
            .query(
                "INSERT INTO enrolment_tokens \
                     (id, hash, grouped, label, created_at, expires_at) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING",
            )
            .bind(id.as_bytes().as_slice())
            .bind(hash.as_bytes().as_slice())
            .bind(new.list.as_str())
            .bind(name.as_str())
            .bind(signed(new.created_at))
            .bind(signed(new.expires_at))
            .execute()
            .await?;
        if made == 0 {
            return Err(StoreError::Exists(format!("enrolment token {id}")));
        }
    }
    let invited = new.invited.iter().map(|(id, _, name)| Invited {
        token: id.to_string(),
        name: name.clone(),
    });
    let event = Event::ClientsInvited {
        list: new.list.clone(),
        invited: invited.collect(),
        expires_at: new.expires_at,
    };
    audit::append(&mut session, Chain::Service, &actor.into(), &event).await?;
    session.commit().await
}

/// Takes up a key. Whoever inserts first has the token: the other finds the row, once it is durable.
pub(super) async fn enrol(
    pools: &Pools,
    (id, secret): (TokenId, SecretHash),
    key: IdentityPublicKey,
    now: u64,
) -> Result<EnrolOutcome> {
    let mut session = pools.begin().await?;
    let token = session
        .query("SELECT hash, grouped, label, expires_at FROM enrolment_tokens WHERE id = $1")
        .bind(id.as_bytes().as_slice())
        .row()
        .await?;
    // An unknown id takes the same steps.
    let stored = token.as_ref().map(|row| hash(row, "hash")).transpose()?;
    let matches = secret == stored.unwrap_or_else(|| SecretHash::from([0; 32]));
    let Some(token) = token.filter(|_| matches) else {
        return Ok(EnrolOutcome::Unknown);
    };
    let (list, name): (String, String) = (token.get("grouped")?, token.get("label")?);
    if now >= number::<u64>(&token, "expires_at")? {
        return Ok(match enrolled(&mut session, id).await? {
            Some(found) if found == key => EnrolOutcome::Repeated { list, name },
            _ => EnrolOutcome::Expired,
        });
    }
    let inserted = session
        .query(
            "INSERT INTO enrolments (token, grouped, key, enrolled_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO NOTHING",
        )
        .bind(id.as_bytes().as_slice())
        .bind(list.as_str())
        .bind(key.as_bytes().as_slice())
        .bind(signed(now))
        .execute()
        .await?;
    if inserted == 0 {
        return Ok(match enrolled(&mut session, id).await? {
            Some(found) if found == key => EnrolOutcome::Repeated { list, name },
            Some(_) => EnrolOutcome::Used,
            None => EnrolOutcome::KnownKey,
        });
    }
    let event = Event::ClientEnrolled {
        list: list.clone(),
        key: Hex(key),
        name: name.clone(),
    };
    audit::append(
        &mut session,
        Chain::Service,
        &Actor::Key(key).into(),
        &event,
    )
    .await?;
    session.commit().await?;
    Ok(EnrolOutcome::Enrolled { list, name })
}

/// The key that was enrolled with a token.
async fn enrolled(session: &mut Session, token: TokenId) -> Result<Option<IdentityPublicKey>> {
    let row = session
        .query("SELECT key FROM enrolments WHERE token = $1")
        .bind(token.as_bytes().as_slice())
        .row()
        .await?;
    row.map(|row| key(&row)).transpose()
}

fn key(row: &Row) -> Result<IdentityPublicKey> {
    let bytes: &[u8] = row.get("key")?;
    <[u8; 32]>::try_from(bytes)
        .map(IdentityPublicKey::from)
        .map_err(corrupt)
}

/// At most `limit` invitations that were made after the one at `after`; of one list, if one is
/// named.
pub(super) async fn page(
    pools: &Pools,
    list: Option<&str>,
    after: u64,
    limit: u32,
) -> Result<Vec<EnrolmentRecord>> {
    let mut session = pools.read().await?;
    let rows = session
        .query(
            "SELECT t.made, t.id, t.grouped, t.label, t.created_at, t.expires_at, e.key, \
                 e.enrolled_at \
             FROM enrolment_tokens t LEFT JOIN enrolments e ON e.token = t.id \
             WHERE t.made > $1 AND (t.grouped = $2 OR $3 = 0) ORDER BY t.made LIMIT $4",
        )
        .bind(signed(after))
        .bind(list.unwrap_or_default())
        .bind(i64::from(list.is_some()))
        .bind(i64::from(limit))
        .rows()
        .await?;
    rows.iter().map(record).collect()
}

fn record(row: &Row) -> Result<EnrolmentRecord> {
    let enrolled_at = time(row, "enrolled_at")?;
    Ok(EnrolmentRecord {
        made: number(row, "made")?,
        token: token_id(row, "id")?,
        list: row.get("grouped")?,
        name: row.get("label")?,
        created_at: number(row, "created_at")?,
        expires_at: number(row, "expires_at")?,
        enrolled: enrolled_at
            .map(|at| Ok::<_, StoreError>((key(row)?, at)))
            .transpose()?,
    })
}
