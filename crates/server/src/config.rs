//! What an operator can set. Every field has a default that serves one machine well.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::driver::DriverSettings;
use crate::retention::RetentionSettings;
use crate::telemetry::{LogSettings, MetricsSettings, OtelSettings};
use crate::upload::UploadSettings;

/// The settings of one process of the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Database of the service: `sqlite:PATH` or `postgres://USER@HOST/NAME`.
    pub database: String,
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The audit log.
    pub audit: AuditSettings,
    /// How rounds are driven.
    pub driver: DriverSettings,
    /// Logs.
    pub log: LogSettings,
    /// Where metrics are served.
    pub metrics: MetricsSettings,
    /// Where traces are sent.
    pub otel: OtelSettings,
    /// How long things are kept.
    pub retention: RetentionSettings,
    /// How masked inputs are taken in.
    pub upload: UploadSettings,
}

/// The settings of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSettings {
    /// The file with the key that signs heads (64 hexadecimal digits, as `undertone identity new`
    /// writes it). All processes of a service need the same key. Without a file the key is made at
    /// the first start and kept in the database, where whoever can rewrite the log has it too.
    pub key_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            database: "sqlite:undertone.db".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8470)),
            audit: AuditSettings::default(),
            driver: DriverSettings::default(),
            log: LogSettings::default(),
            metrics: MetricsSettings::default(),
            otel: OtelSettings::default(),
            retention: RetentionSettings::default(),
            upload: UploadSettings::default(),
        }
    }
}
