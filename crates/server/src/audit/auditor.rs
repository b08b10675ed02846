//! What a running service needs of the audit log: its key, and the counts of what it refused.

use std::sync::Arc;

use tokio::sync::OnceCell;
use undertone_protocol::audit::{Chain, SignedHead};
use undertone_protocol::keys::IdentityKey;

use super::canonical::Hex;
use super::refusals::Refusals;
use super::{Actor, Event, signer};
use crate::app::App;
use crate::config::Settings;
use crate::error::ServerError;
use crate::store::Store;

/// The audit state of one process.
#[derive(Debug, Default)]
pub(crate) struct Auditor {
    key: OnceCell<IdentityKey>,
    refusals: Refusals,
}

impl Auditor {
    /// What was refused since the last entry.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The key, loaded once.
    async fn key<S: Store>(
        &self,
        store: &S,
        settings: &Settings,
    ) -> Result<&IdentityKey, ServerError> {
        let file = settings.audit.key_file.as_deref();
        self.key.get_or_try_init(|| signer::key(store, file)).await
    }
}

/// The head of a chain, signed now; `None` if the chain has no entry.
pub(crate) async fn signed_head<S: Store>(
    app: &App<S>,
    chain: Chain,
) -> Result<Option<SignedHead>, ServerError> {
    let Some(head) = app.store().audit_head(chain).await? else {
        return Ok(None);
    };
    let key = app.audit().key(app.store(), app.settings()).await?;
    signer::sign(key, chain, head).map(Some)
}

/// Loads the key and records that this process starts, and with which settings.
///
/// # Errors
/// [`ServerError::AuditKey`] if the key file cannot be used, [`ServerError::Store`].
pub(crate) async fn start<S: Store>(app: &Arc<App<S>>) -> Result<(), ServerError> {
    let key = app.audit().key(app.store(), app.settings()).await?;
    let event = Event::ServiceStarted {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: public(app.settings()),
        audit_key: Hex(key.public()),
    };
    let actor = Actor::this_process();
    app.store()
        .append_audit(Chain::Service, &actor, &event)
        .await?;
    Ok(())
}

/// The settings without what an address of a database may hold: user, password, options.
fn public(settings: &Settings) -> serde_json::Value {
    let mut json = serde_json::to_value(settings).unwrap_or_default();
    if let Some(database) = json.get_mut("database") {
        let kind = settings
            .database
            .expose()
            .split(':')
            .next()
            .unwrap_or_default();
        *database = kind.into();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_recorded() {
        let settings = Settings {
            database: "postgres://undertone:hunter2@db.internal/undertone?x=hunter2".into(),
            ..Settings::default()
        };
        let json = public(&settings).to_string();
        assert!(json.contains("\"postgres\"") && !json.contains("hunter2"));
    }
}
