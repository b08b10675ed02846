//! TLS: rustls with ring, chosen here and not through a process-wide default. Which server is the
//! right one is decided by certificate authorities, by pinned keys, or by both.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

use crate::error::ClientError;

/// How a client knows its server, and shows itself to it.
#[derive(Debug, Clone, Default)]
pub struct TlsConfig {
    /// The certificate authorities to trust instead of the platform's. Empty: the platform's.
    pub roots: Vec<CertificateDer<'static>>,
    /// The keys that the server may have. With pins and without roots, no authority is asked: the
    /// key alone says which server it is, whatever name and dates its certificate has. With both,
    /// both must agree.
    pub pins: Vec<Pin>,
    /// What this client shows to a server that asks for a certificate (mutual TLS).
    pub certificate: Option<Arc<ClientCertificate>>,
}

/// The SHA-256 of a server's public key (its `SubjectPublicKeyInfo`), written as `sha256/BASE64`. A
/// certificate that is renewed with the same key keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

impl Pin {
    /// The pin of a certificate's key.
    ///
    /// # Errors
    /// [`ClientError::Tls`] if it is no certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, ClientError> {
        key_of(certificate).map_err(|e| ClientError::Tls(e.to_string()))
    }
}

fn key_of(certificate: &CertificateDer<'_>) -> Result<Pin, rustls::Error> {
    let key = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    Ok(Pin(Sha256::digest(key.as_ref()).into()))
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pin({self})")
    }
}

/// Text that is no pin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pin is written as sha256/ and 44 characters of base64, as `undertone pin` prints it")]
pub struct BadPin;

impl FromStr for Pin {
    type Err = BadPin;

    fn from_str(text: &str) -> Result<Self, BadPin> {
        let digest = text.strip_prefix("sha256/").ok_or(BadPin)?;
        // Other programs write two slashes.
        let digest = digest.strip_prefix('/').unwrap_or(digest);
        let digest = STANDARD.decode(digest).map_err(|_| BadPin)?;
        Ok(Self(digest.try_into().map_err(|_| BadPin)?))
    }
}

/// A certificate with its private key, for mutual TLS.
pub struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl ClientCertificate {
    /// Reads the certificate, with those between it and its root, and its key.
    ///
    /// # Errors
    /// [`ClientError::Tls`] if either is not there.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, ClientError> {
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|e| ClientError::Tls(format!("the key of the client's certificate: {e}")))?;
        let chain = certificates(certificate)?;
        Ok(Self { chain, key })
    }
}

impl Drop for ClientCertificate {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").finish_non_exhaustive()
    }
}

/// All certificates in some PEM.
///
/// # Errors
/// [`ClientError::Tls`] if there is none.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|e| ClientError::Tls(format!("a certificate cannot be read: {e}")))?;
    if all.is_empty() {
        let reason = "there is no certificate in PEM where one should be";
        return Err(ClientError::Tls(reason.to_owned()));
    }
    Ok(all)
}

/// The TLS configuration of a client.
///
/// The platform's authorities are asked for only where `https` is used and nothing else is given: a
/// bare machine without certificates can then still talk to itself.
///
/// # Errors
/// [`ClientError::Tls`] if a root is no certificate, or the platform has none, or the client's
/// certificate does not fit its key.
pub(crate) fn config(tls: &TlsConfig, https: bool) -> Result<ClientConfig, ClientError> {
    let failed = |e: rustls::Error| ClientError::Tls(e.to_string());
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let mut roots = RootCertStore::empty();
    for root in &tls.roots {
        roots.add(root.clone()).map_err(failed)?;
    }
    let custom: Option<Arc<dyn ServerCertVerifier>> = if !tls.pins.is_empty() {
        Some(Arc::new(Pinned::new(tls, roots.clone(), provider)?))
    } else if https && tls.roots.is_empty() {
        Some(Arc::new(Verifier::new(provider).map_err(failed)?))
    } else {
        None
    };
    let builder: ConfigBuilder<ClientConfig, WantsClientCert> = match custom {
        Some(verifier) => builder
            .dangerous()
            .with_custom_certificate_verifier(verifier),
        None => builder.with_root_certificates(roots),
    };
    match &tls.certificate {
        None => Ok(builder.with_no_client_auth()),
        Some(own) => {
            let (chain, key) = (own.chain.clone(), own.key.clone_key());
            builder.with_client_auth_cert(chain, key).map_err(failed)
        }
    }
}

/// Takes a server whose key is pinned, and that the authorities agree to, where there are any.
#[derive(Debug)]
struct Pinned {
    pins: Vec<Pin>,
    authorities: Option<Arc<dyn ServerCertVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn new(
        tls: &TlsConfig,
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, ClientError> {
        let authorities = if roots.is_empty() {
            None
        } else {
            let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
                Arc::new(roots),
                Arc::clone(&provider),
            );
            let verifier = verifier
                .build()
                .map_err(|e| ClientError::Tls(e.to_string()))?;
            Some(verifier as Arc<dyn ServerCertVerifier>)
        };
        Ok(Self {
            pins: tls.pins.clone(),
            authorities,
            provider,
        })
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = key_of(end_entity)?;
        if !self.pins.contains(&found) {
            let reason = format!("the certificate's key is {found}, which is not pinned");
            return Err(rustls::Error::General(reason));
        }
        match &self.authorities {
            None => Ok(ServerCertVerified::assertion()),
            Some(authorities) => authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_read_back_and_nothing_else_does() {
        let fresh = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pin = Pin::of(fresh.cert.der()).unwrap();
        assert_eq!(pin.to_string().parse(), Ok(pin));
        let digest = pin.to_string()["sha256/".len()..].to_owned();
        assert_eq!(format!("sha256//{digest}").parse(), Ok(pin));
        for bad in ["", "sha256/", "sha1/AAAA", "sha256/AAAA", &digest] {
            assert_eq!(bad.parse::<Pin>(), Err(BadPin), "{bad}");
        }
        assert!(Pin::of(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }

    /// Spec.
    #[test]
    fn a_private_key_is_not_printed() {
        let fresh = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pem = |what: &str, der: &[u8]| {
            let text = STANDARD.encode(der);
            format!("-----BEGIN {what}-----\n{text}\n-----END {what}-----\n")
        };
        let certificate = pem("CERTIFICATE", fresh.cert.der());
        let key = pem("PRIVATE KEY", &fresh.signing_key.serialize_der());
        let own = ClientCertificate::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let tls = TlsConfig {
            certificate: Some(Arc::new(own)),
            ..TlsConfig::default()
        };
        assert!(format!("{tls:?}").contains("ClientCertificate { .. }"));
        assert!(config(&tls, false).is_ok());
        assert!(ClientCertificate::from_pem(key.as_bytes(), certificate.as_bytes()).is_err());
    }
}
