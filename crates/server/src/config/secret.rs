//! An address that may hold a password, which is never shown.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

/// What stands in a password's place.
const HIDDEN: &str = "***";

/// An address that may hold a password: printed, logged and serialised without it.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct SecretUrl(Zeroizing<String>);

impl SecretUrl {
    /// The whole address, for whoever connects to it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretUrl {
    fn from(url: String) -> Self {
        Self(Zeroizing::new(url))
    }
}

impl From<&str> for SecretUrl {
    fn from(url: &str) -> Self {
        url.to_owned().into()
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&without_secrets(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An address without its password. The user of a database is its name and stays; elsewhere what
/// stands before the `@` may be a token.
fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (place, query) = match rest.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (rest, None),
    };
    let place = match place.rsplit_once('@') {
        None => place.to_owned(),
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{user}:{HIDDEN}@{host}"),
            None if scheme.starts_with("postgres") => format!("{user}@{host}"),
            None => format!("{HIDDEN}@{host}"),
        },
    };
    let query = query.map_or_else(String::new, |query| {
        let parts = query.split('&').map(|part| match part.split_once('=') {
            Some((key, _)) if is_secret(key) => format!("{key}={HIDDEN}"),
            _ => part.to_owned(),
        });
        format!("?{}", parts.collect::<Vec<_>>().join("&"))
    });
    format!("{scheme}://{place}{query}")
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["pass", "token", "secret", "key"]
        .iter()
        .any(|word| key.contains(word) && key != "sslkey")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown() {
        for (url, shown) in [
            ("sqlite:undertone.db", "sqlite:undertone.db"),
            ("postgres://me@db/x", "postgres://me@db/x"),
            (
                "postgres://me:s3cret@db:5432/x",
                "postgres://me:***@db:5432/x",
            ),
            ("postgres://me:s3@cret@db/x", "postgres://me:***@db/x"),
            (
                "postgres://db/x?user=me&password=s3cret&sslmode=require&sslkey=/k",
                "postgres://db/x?user=me&password=***&sslmode=require&sslkey=/k",
            ),
            (
                "https://s3cret@collector:4318",
                "https://***@collector:4318",
            ),
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
        ] {
            let url = SecretUrl::from(url);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("{shown:?}"));
            assert_eq!(serde_json::to_value(&url).unwrap(), shown);
        }
    }
}
