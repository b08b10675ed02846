//! What an operator can set of connections, TLS and the stop.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Network;
use crate::config::settings;

settings! {
    /// What one sender, and all together, may ask of the service.
    pub struct LimitSettings {
        /// The most connections at once; others are closed at once.
        connections: u32 = 20_000,
        /// The most connections at once from one address (of IPv6, from one /64).
        connections_per_address: u32 = 512,
        /// Proxies, as networks such as `10.0.0.0/8`: of a request from one of them, the last
        /// address in `X-Forwarded-For` that is no proxy counts. Without that header a proxy is
        /// not limited itself, as it speaks for many.
        trusted_proxies: Vec<Network> = vec![Network::LOOPBACK_V4, Network::LOOPBACK_V6],
        /// The requests a second from one address, on average; more get `rate-limited`.
        requests_per_second: u32 = 100,
        /// The requests from one address that may come at once.
        request_burst: u32 = 1000,
        /// The messages a second of one client of a task, on average, counted once its signature
        /// has been verified.
        client_messages_per_second: u32 = 20,
        /// The messages of one client of a task that may come at once.
        client_message_burst: u32 = 200,
        /// How long the head of a request may take to come, in seconds, and how long a connection
        /// may be idle between two requests.
        head_s: u64 = 30,
        /// The most bytes of a request's head, at least 8192. As it is read in pieces, up to twice
        /// that may get through.
        head_bytes: usize = 32 * 1024,
        /// The most header fields of a request.
        head_fields: usize = 64,
        /// How long a request may take, in seconds, more than the longest poll (30). Messages of
        /// clients have limits of their own, in `upload`.
        request_s: u64 = 60,
        /// How long a client may read nothing of an answer, in seconds.
        stall_s: u64 = 30,
    }
}

settings! {
    /// TLS, by rustls: versions 1.2 and 1.3.
    pub struct TlsSettings {
        /// The file with the certificate and those between it and a root (PEM). With it the service
        /// speaks TLS only. It is loaded anew when it changes, and on SIGHUP.
        certificate: Option<PathBuf> = None,
        /// The file with the certificate's private key (PEM).
        key: Option<PathBuf> = None,
        /// The file with the authorities (PEM) that clients' certificates must come from.
        client_ca: Option<PathBuf> = None,
        /// Whether a client must show such a certificate: `required` or `optional`.
        client_auth: ClientAuth = ClientAuth::Required,
        /// How often the files are looked at for changes, in seconds.
        reload_s: u64 = 10,
    }
}

/// Whether clients show a certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// Who shows none is turned away.
    #[default]
    Required,
    /// Who shows one must show a good one.
    Optional,
}

settings! {
    /// How the service stops on SIGTERM and SIGINT; a second signal ends it at once.
    pub struct ShutdownSettings {
        /// How long `/readyz` answers 503 before no more connections are taken, in seconds, so that
        /// a load balancer sees it. The default is for a service without one.
        drain_s: u64 = 0,
        /// How long open requests may then take, in seconds.
        grace_s: u64 = 30,
    }
}

impl LimitSettings {
    /// What is wrong, if anything is: the setting, and what to do.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let head_bytes = u64::try_from(self.head_bytes).unwrap_or(u64::MAX);
        let head_fields = u64::try_from(self.head_fields).unwrap_or(u64::MAX);
        for (name, value, least) in [
            ("limits.connections", self.connections.into(), 1),
            (
                "limits.connections_per_address",
                self.connections_per_address.into(),
                1,
            ),
            (
                "limits.requests_per_second",
                self.requests_per_second.into(),
                1,
            ),
            ("limits.request_burst", self.request_burst.into(), 1),
            (
                "limits.client_messages_per_second",
                self.client_messages_per_second.into(),
                1,
            ),
            (
                "limits.client_message_burst",
                self.client_message_burst.into(),
                1,
            ),
            ("limits.head_s", self.head_s, 1),
            ("limits.head_bytes", head_bytes, 8192),
            ("limits.head_fields", head_fields, 16),
            // A long poll is held for 30 s, and is no slow request.
            ("limits.request_s", self.request_s, 35),
            ("limits.stall_s", self.stall_s, 1),
        ] {
            if value < least {
                return Err((name, format!("it is {value}; set it to at least {least}")));
            }
        }
        Ok(())
    }

    pub(super) fn head(&self) -> Duration {
        Duration::from_secs(self.head_s)
    }

    pub(super) fn stall(&self) -> Duration {
        Duration::from_secs(self.stall_s)
    }

    pub(super) fn request(&self) -> Duration {
        Duration::from_secs(self.request_s)
    }

    /// Whether an address is that of a proxy whose word counts.
    pub(super) fn trusts(&self, address: std::net::IpAddr) -> bool {
        self.trusted_proxies.iter().any(|n| n.contains(address))
    }
}

impl TlsSettings {
    /// What is wrong, if anything is: the setting, and what to do.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let wrong = |name, reason: &str| Err((name, reason.to_owned()));
        match (&self.certificate, &self.key, &self.client_ca) {
            (Some(_), None, _) => wrong("tls.key", "tls.certificate needs it; name the key's file"),
            (None, Some(_), _) => wrong("tls.certificate", "tls.key needs it; name its file"),
            (None, None, Some(_)) => wrong(
                "tls.certificate",
                "tls.client_ca needs it: clients show certificates over TLS only",
            ),
            _ if self.reload_s == 0 => wrong("tls.reload_s", "it is 0; set it to at least 1"),
            _ => Ok(()),
        }
    }

    /// Whether the service speaks TLS.
    pub fn is_on(&self) -> bool {
        self.certificate.is_some()
    }
}

impl ShutdownSettings {
    pub(super) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_s)
    }

    pub(super) fn grace(&self) -> Duration {
        Duration::from_secs(self.grace_s)
    }
}
