//! Certificates: loaded from files, and loaded anew when the files change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use metrics::{counter, gauge};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::expiry::not_after;
use super::{ClientAuth, TlsSettings};
use crate::error::ServerError;
use crate::telemetry::name;

/// The contents of the files.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

/// A TLS configuration that follows its files.
pub(super) struct Tls {
    settings: TlsSettings,
    files: Files,
    config: RustlsConfig,
}

impl Tls {
    /// Loads the files, if TLS is on.
    ///
    /// # Errors
    /// [`ServerError::Tls`] if one of them cannot be used.
    pub(super) fn load(settings: &TlsSettings) -> Result<Option<Self>, ServerError> {
        let Some(files) = Files::read(settings)? else {
            return Ok(None);
        };
        let config = files.config(settings)?;
        Ok(Some(Self {
            settings: settings.clone(),
            files,
            config: RustlsConfig::from_config(config),
        }))
    }

    /// What connections are taken with; a later reload is seen by it.
    pub(super) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Loads the files anew whenever they change, and on SIGHUP; a pair that cannot be used is
    /// logged, and the one before stays.
    pub(super) async fn follow(mut self) {
        let every = Duration::from_secs(self.settings.reload_s.max(1));
        let mut hangup = Hangup::new();
        loop {
            let asked = tokio::time::timeout(every, hangup.next()).await.is_ok();
            self.reload(asked);
        }
    }

    fn reload(&mut self, asked: bool) {
        let loaded = Files::read(&self.settings).and_then(|files| {
            let files = files.filter(|files| asked || *files != self.files);
            let with = |files: Files| Ok((files.config(&self.settings)?, files));
            files.map(with).transpose()
        });
        match loaded {
            Ok(None) => {}
            Ok(Some((config, files))) => {
                self.config.reload_from_config(config);
                self.files = files;
                tracing::info!("the certificate was loaded anew");
            }
            Err(error) => {
                // While files are replaced one after the other this may happen once.
                counter!(name::TLS_RELOAD_FAILURES).increment(1);
                tracing::error!(%error, "the certificate was not loaded anew; the old one stays");
            }
        }
    }
}

impl Files {
    fn read(settings: &TlsSettings) -> Result<Option<Self>, ServerError> {
        let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else {
            return Ok(None);
        };
        Ok(Some(Self {
            certificate: read(certificate)?,
            key: Zeroizing::new(read(key)?),
            client_ca: settings.client_ca.as_deref().map(read).transpose()?,
        }))
    }

    /// The TLS configuration, and a note of when the certificate expires.
    fn config(&self, settings: &TlsSettings) -> Result<Arc<ServerConfig>, ServerError> {
        let named = |path: &Option<PathBuf>| path.clone().unwrap_or_default();
        let chain = certificates(&named(&settings.certificate), &self.certificate)?;
        let key_file = named(&settings.key);
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|e| refused(&key_file, &format!("it holds no private key: {e}")))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|e| ServerError::Tls(e.to_string()))?;
        let builder = match (&settings.client_ca, &self.client_ca) {
            (Some(path), Some(pem)) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(path, pem)? {
                    roots.add(root).map_err(|e| refused(path, &e.to_string()))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match settings.client_auth {
                    ClientAuth::Required => verifier,
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                };
                let verifier = verifier
                    .build()
                    .map_err(|e| refused(path, &e.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let expires = chain.first().and_then(not_after);
        let pin = chain.first().and_then(pin);
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|e| refused(&key_file, &format!("it does not fit the certificate: {e}")))?;
        if let Some(pin) = pin {
            tracing::info!(pin, "TLS; clients may pin this key");
        }
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if let Some(expires) = expires {
            #[allow(
                clippy::cast_precision_loss,
                reason = "seconds of a date are far below 2^53"
            )]
            gauge!(name::TLS_EXPIRES).set(expires as f64);
        }
        Ok(Arc::new(config))
    }
}

/// The SHA-256 of a certificate's key, as clients pin it.
fn pin(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = rustls::server::ParsedCertificate::try_from(certificate).ok()?;
    let digest = Sha256::digest(certificate.subject_public_key_info().as_ref());
    Some(format!("sha256/{}", STANDARD.encode(digest)))
}

fn read(path: &Path) -> Result<Vec<u8>, ServerError> {
    fs::read(path).map_err(|e| refused(path, &e.to_string()))
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ServerError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|e| refused(path, &e.to_string()))?;
    if all.is_empty() {
        return Err(refused(path, "it holds no certificate in PEM"));
    }
    Ok(all)
}

fn refused(path: &Path, reason: &str) -> ServerError {
    ServerError::Tls(format!("{} cannot be used: {reason}", path.display()))
}

/// SIGHUP, as it comes; never where there is none.
pub(super) struct Hangup(#[cfg(unix)] Option<tokio::signal::unix::Signal>);

impl Hangup {
    #[cfg(unix)]
    pub(super) fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self(signal(SignalKind::hangup()).ok())
    }

    #[cfg(unix)]
    pub(super) async fn next(&mut self) {
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }

    #[cfg(not(unix))]
    pub(super) fn new() -> Self {
        Self()
    }

    #[cfg(not(unix))]
    pub(super) async fn next(&mut self) {
        std::future::pending::<()>().await;
    }
}
