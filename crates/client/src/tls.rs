//! TLS: rustls with ring, chosen here and not through a process-wide default.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};
use rustls_platform_verifier::Verifier;

use crate::error::ClientError;

/// The TLS configuration of a client.
///
/// `roots` are the only trusted authorities where there are any. Otherwise the platform decides,
/// which is asked only where `https` is used: a bare machine without certificates can then still
/// talk to itself.
///
/// # Errors
/// [`ClientError::Tls`] if a root is no certificate, or the platform has none.
pub(crate) fn config(
    roots: &[CertificateDer<'static>],
    https: bool,
) -> Result<ClientConfig, ClientError> {
    let failed = |e: rustls::Error| ClientError::Tls(e.to_string());
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder: ConfigBuilder<ClientConfig, WantsClientCert> = if https && roots.is_empty() {
        let verifier = Verifier::new(provider).map_err(failed)?;
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
    } else {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone()).map_err(failed)?;
        }
        builder.with_root_certificates(store)
    };
    Ok(builder.with_no_client_auth())
}
