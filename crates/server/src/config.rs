//! What an operator can set. Every field has a default that serves one machine well.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// The settings of one process of the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Database of the service: `sqlite:PATH` or `postgres://USER@HOST/NAME`.
    pub database: String,
    /// Address and port to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            database: "sqlite:undertone.db".to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8470)),
        }
    }
}
