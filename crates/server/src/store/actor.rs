//! Who made a change.

use std::fmt;

use undertone_protocol::keys::IdentityPublicKey;

use crate::auth::TokenId;

/// Whom a change is attributed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// The service itself: its driver and its jobs.
    Service,
    /// Whoever can open the database: the command line on the service's own machine.
    Database,
    /// The holder of an admin token.
    Token(TokenId),
    /// The owner of an identity key, which signed the request.
    Key(IdentityPublicKey),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service => f.write_str("the service"),
            Self::Database => f.write_str("the database's owner"),
            Self::Token(id) => write!(f, "token {id}"),
            Self::Key(key) => write!(f, "key {key}"),
        }
    }
}
