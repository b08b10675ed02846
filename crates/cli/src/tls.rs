//! How commands know the server, and show themselves to it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use undertone_client::{ClientCertificate, Pin, TlsConfig, certificates};
use zeroize::Zeroizing;

use crate::error::CliError;

#[derive(Debug, Args)]
pub(crate) struct TlsArgs {
    /// Authorities to trust instead of the system's (PEM)
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// The server's key, as the service logs it; again for a next one. Without --root it alone
    /// says which server it is
    #[arg(long, value_name = "sha256/BASE64")]
    pin: Vec<Pin>,
    /// Certificate to show to the server (PEM)
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// The key of --client-certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
}

impl TlsArgs {
    pub(crate) fn config(&self) -> Result<TlsConfig, CliError> {
        let read = |path: &PathBuf| fs::read(path).map_err(CliError::read(path));
        let roots = match &self.root {
            Some(path) => certificates(&read(path)?)?,
            None => Vec::new(),
        };
        let certificate = match (&self.client_certificate, &self.client_key) {
            (Some(certificate), Some(key)) => {
                let key = Zeroizing::new(read(key)?);
                let own = ClientCertificate::from_pem(&read(certificate)?, &key)?;
                Some(Arc::new(own))
            }
            _ => None,
        };
        Ok(TlsConfig {
            roots,
            pins: self.pin.clone(),
            certificate,
        })
    }
}
