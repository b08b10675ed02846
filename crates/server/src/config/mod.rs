//! What an operator can set. Every setting has a default that serves one machine well.
//!
//! A setting is written once, in a `settings!` block of its section: name, type, default
//! and meaning. From that come the structure, the table in `docs/configuration.md`, what
//! `undertone serve --print-config` prints, and what a file, the environment and flags may set.

mod error;
mod load;
mod secret;
mod section;
mod show;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub use self::error::ConfigError;
pub use self::load::{DEFAULT_FILE, Loaded, Origin, PREFIX, Sources};
pub use self::secret::SecretUrl;
pub(crate) use self::section::settings;
pub use self::section::{Row, Section};
pub use self::show::markdown;

use crate::driver::DriverSettings;
use crate::net::{LimitSettings, ShutdownSettings, TlsSettings};
use crate::retention::RetentionSettings;
use crate::telemetry::{LogSettings, MetricsSettings, OtelSettings};
use crate::upload::UploadSettings;

settings! {
    /// The settings of one process of the service.
    pub struct Settings {
        /// Database of the service: `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/NAME`.
        database: SecretUrl = "sqlite:undertone.db".into(),
        /// Bring the database's schema up to date at the start. Without it an old schema is an
        /// error, until `undertone migrate` was run.
        migrate_on_start: bool = true,
        /// Address and port to listen on; port 0 takes a free one.
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 8470)),
    }
    sections {
        /// The audit log.
        audit: AuditSettings,
        /// How rounds are driven.
        driver: DriverSettings,
        /// What one sender, and all together, may ask of the service.
        limits: LimitSettings,
        /// Logs.
        log: LogSettings,
        /// Where metrics are served.
        metrics: MetricsSettings,
        /// Where traces are sent.
        otel: OtelSettings,
        /// How long things are kept.
        retention: RetentionSettings,
        /// How the service stops.
        shutdown: ShutdownSettings,
        /// TLS.
        tls: TlsSettings,
        /// How masked inputs are taken in.
        upload: UploadSettings,
    }
}

settings! {
    /// The settings of the audit log.
    pub struct AuditSettings {
        /// The file with the key that signs heads (64 hexadecimal digits, as `undertone identity
        /// new` writes it). All processes of a service need the same key. Without a file the key
        /// is made at the first start and kept in the database, where whoever can rewrite the log
        /// has it too.
        key_file: Option<PathBuf> = None,
    }
}

impl Settings {
    /// Whether the settings fit each other: the name of one that does not, and why.
    ///
    /// # Errors
    /// The setting's name, and what to do.
    fn check(&self) -> Result<(), (&'static str, String)> {
        self.driver.check()?;
        self.retention.check()?;
        self.limits.check()?;
        self.tls.check()?;
        self.upload.check()?;
        self.otel.check()
    }
}

#[cfg(test)]
mod tests;
