//! What a client is told when it joins.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use undertone_protocol::id::TaskId;
use undertone_protocol::keys::{IdentityKey, IdentityPublicKey};

use crate::error::ClientError;
use crate::policy::Policy;
use crate::tls::TlsConfig;

/// How a client joins one task.
#[derive(Debug, Clone)]
pub struct JoinConfig {
    /// The server's address: `https://host[:port][/path]`. Plain `http` is for loopback hosts,
    /// unless [`allow_plain_http`](Self::allow_plain_http) is set.
    pub server: String,
    /// The task.
    pub task: TaskId,
    /// This client's long-term key, which the roster lists.
    pub identity: Arc<IdentityKey>,
    /// The pinned key of the task authority, which signed the roster. It must reach this client
    /// by another way than through the server.
    pub authority: IdentityPublicKey,
    /// The key that signs the service's audit log. Without it, the key of the first head that
    /// this client sees is taken for it, and held to from then on.
    pub audit_key: Option<IdentityPublicKey>,
    /// What this client agrees to.
    pub policy: Policy,
    /// How many examples the data set has, where that is known: the budget's δ must be below one
    /// over it.
    pub examples: Option<u64>,
    /// Where the journal is kept: the budget spent and the rounds begun. One directory for each
    /// data set, used by one process at a time. Whoever loses it loses count of the budget.
    pub state_dir: PathBuf,
    /// Whether plain `http` may leave this machine. Masked inputs stay masked and messages stay
    /// signed without TLS, but anyone on the way can make rounds fail.
    pub allow_plain_http: bool,
    /// How the server is known, and what is shown to it.
    pub tls: TlsConfig,
    /// How long to go on trying to reach a server that does not answer: beyond a phase's own time
    /// within a round, in all between rounds.
    pub patience: Duration,
}

impl JoinConfig {
    /// A configuration with the defaults: https only but for loopback, the platform's certificate
    /// authorities, two minutes of patience.
    pub fn new(
        server: impl Into<String>,
        task: TaskId,
        identity: Arc<IdentityKey>,
        authority: IdentityPublicKey,
        policy: Policy,
        state_dir: impl Into<PathBuf>,
    ) -> Self {
        Self {
            server: server.into(),
            task,
            identity,
            authority,
            audit_key: None,
            policy,
            examples: None,
            state_dir: state_dir.into(),
            allow_plain_http: false,
            tls: TlsConfig::default(),
            patience: Duration::from_mins(2),
        }
    }

    /// The server's address, checked.
    pub(crate) fn server_url(&self) -> Result<Url, ClientError> {
        server_url(&self.server, self.allow_plain_http)
    }
}

/// The address of a server, checked.
///
/// # Errors
/// [`ClientError::ServerUrl`].
pub(crate) fn server_url(server: &str, allow_plain_http: bool) -> Result<Url, ClientError> {
    let refuse = |reason: &str| ClientError::ServerUrl {
        url: server.to_owned(),
        reason: reason.to_owned(),
    };
    let url = Url::parse(server).map_err(|e| refuse(&e.to_string()))?;
    let has_user = !url.username().is_empty() || url.password().is_some();
    if has_user || url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("it may have a host, a port and a path only"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_plain_http || is_loopback(&url) => Ok(url),
        "http" => Err(refuse(
            "plain http leaves this machine; use https, or set allow_plain_http",
        )),
        _ => Err(refuse("use https://, or http:// on a loopback host")),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use undertone_privacy::{Budget, Delta, Epsilon};
    use undertone_protocol::keys::Secret32;

    use super::*;

    fn config(server: &str) -> JoinConfig {
        let budget = Budget {
            epsilon: Epsilon::new(1.0).unwrap(),
            delta: Delta::new(1e-5).unwrap(),
        };
        let identity = IdentityKey::from_seed(&Secret32::from([1; 32]));
        let authority = identity.public();
        let policy = Policy::new(budget).unwrap();
        let task = TaskId::from([1; 16]);
        JoinConfig::new(server, task, Arc::new(identity), authority, policy, "state")
    }

    /// Spec.
    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in [
            "https://aggregator.example/undertone/",
            "http://localhost:8080",
            "http://127.0.0.1:8080",
            "http://127.9.9.9",
            "http://[::1]:8080",
        ] {
            assert!(config(good).server_url().is_ok(), "{good}");
        }
        for bad in [
            "http://aggregator.example",
            "http://10.0.0.1",
            "http://[2001:db8::1]",
            "http://localhost.example",
            "http://127.0.0.1.example",
            "ftp://127.0.0.1",
            "https://user@aggregator.example",
            "https://aggregator.example/?a=b",
            "aggregator.example",
        ] {
            assert!(
                matches!(config(bad).server_url(), Err(ClientError::ServerUrl { .. })),
                "{bad}"
            );
        }
        let mut allowed = config("http://aggregator.example");
        allowed.allow_plain_http = true;
        assert!(allowed.server_url().is_ok());
    }

    /// Spec.
    #[test]
    fn secrets_are_not_printed() {
        let text = format!("{:?}", config("https://aggregator.example"));
        assert!(
            !text.contains("1, 1, 1") && !text.contains("010101010101010101010101010101010101")
        );
    }
}
