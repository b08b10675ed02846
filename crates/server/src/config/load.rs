//! Settings from a file, the environment and flags: what comes later goes before what came
//! earlier, setting by setting, and every one remembers where it came from.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{ConfigError, Row, Section, Settings};

/// The file that is read if it is there and no other is named.
pub const DEFAULT_FILE: &str = "/etc/undertone/undertone.toml";

/// What names of environment variables begin with.
pub const PREFIX: &str = "UNDERTONE__";

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A settings file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Environment(name) => write!(f, "the environment variable {name}"),
            Self::Flag(flag) => write!(f, "the flag {flag}"),
        }
    }
}

/// What settings are read from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A file that must be there; without one, [`DEFAULT_FILE`] if it is.
    pub file: Option<PathBuf>,
    /// Environment variables; those that begin with [`PREFIX`] are looked at.
    pub environment: Vec<(String, String)>,
    /// Flag, setting and value.
    pub flags: Vec<(String, String, String)>,
}

/// The settings, and where each comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The origin of every setting that is not at its default.
    pub origins: BTreeMap<String, Origin>,
}

/// A value as it was given.
enum Given {
    /// With a type of its own.
    Typed(Value),
    /// As text, of the type that the setting has.
    Text(String),
}

impl Sources {
    /// What this process finds in its environment.
    #[must_use]
    pub fn with_process_environment(mut self) -> Self {
        // What is no Unicode names no setting, and is no value of one.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((
                name.into_string().ok()?,
                value.to_string_lossy().into_owned(),
            ))
        };
        self.environment = std::env::vars_os().filter_map(text).collect();
        self
    }

    /// Reads and checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`]: the first setting that cannot be used, with its origin.
    pub fn load(&self) -> Result<Loaded, ConfigError> {
        let rows = Settings::rows();
        let defaults = serde_json::to_value(Settings::default());
        let mut merged = defaults.unwrap_or_default();
        let mut settings = Settings::default();
        let mut origins = BTreeMap::new();
        let all = self.in_file()?.into_iter();
        let all = all.chain(self.in_environment()).chain(self.in_flags());
        // One by one, so that what does not fit is known by its name. The text of a secret is never
        // taken from `merged`: it hides them.
        let mut given_values = BTreeMap::new();
        for (name, origin, given) in all {
            if !rows.iter().any(|row| row.name == name) {
                let known = known(&rows, &name);
                return Err(ConfigError::Unknown {
                    name,
                    origin,
                    known,
                });
            }
            let candidates = match given {
                Given::Typed(value) => vec![value],
                Given::Text(text) => typed(text, at(&mut merged, &name)),
            };
            let mut refused = None;
            for value in candidates {
                given_values.insert(name.clone(), value);
                for (name, value) in &given_values {
                    *at(&mut merged, name) = value.clone();
                }
                match serde_json::from_value(merged.clone()) {
                    Ok(read) => {
                        (settings, refused) = (read, None);
                        break;
                    }
                    Err(error) => refused = refused.or(Some(error.to_string())),
                }
            }
            if let Some(reason) = refused {
                return Err(ConfigError::Refused {
                    name,
                    origin,
                    reason,
                });
            }
            origins.insert(name, origin);
        }
        if let Err((name, reason)) = settings.check() {
            let name = name.to_owned();
            return Err(match origins.remove(&name) {
                Some(origin) => ConfigError::Refused {
                    name,
                    origin,
                    reason,
                },
                None => ConfigError::Missing { name, reason },
            });
        }
        Ok(Loaded { settings, origins })
    }

    fn in_file(&self) -> Result<Vec<(String, Origin, Given)>, ConfigError> {
        let path = self.file.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if self.file.is_none() && error.kind() == io::ErrorKind::NotFound => {
                return Ok(Vec::new());
            }
            Err(source) => {
                let path = path.to_owned();
                return Err(ConfigError::Read { path, source });
            }
        };
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            ConfigError::Syntax {
                path: path.to_owned(),
                line: before.unwrap_or("").matches('\n').count() + 1,
                reason: error.message().replace('\n', " "),
            }
        })?;
        let mut leaves = Vec::new();
        flatten("", &toml::Value::Table(table), &mut leaves);
        let origin = Origin::File(path.to_owned());
        let leaf = |(name, value)| (name, origin.clone(), Given::Typed(value));
        Ok(leaves.into_iter().map(leaf).collect())
    }

    fn in_environment(&self) -> impl Iterator<Item = (String, Origin, Given)> {
        self.environment.iter().filter_map(|(variable, text)| {
            let name = variable.strip_prefix(PREFIX)?;
            let name = name.replace("__", ".").to_ascii_lowercase();
            let origin = Origin::Environment(variable.clone());
            Some((name, origin, Given::Text(text.clone())))
        })
    }

    fn in_flags(&self) -> impl Iterator<Item = (String, Origin, Given)> {
        self.flags.iter().map(|(flag, name, text)| {
            let origin = Origin::Flag(flag.clone());
            (name.clone(), origin, Given::Text(text.clone()))
        })
    }
}

/// The place of a setting.
pub(super) fn at<'a>(settings: &'a mut Value, name: &str) -> &'a mut Value {
    name.split('.')
        .fold(settings, |value, part| &mut value[part])
}

/// Names and values of all settings in a file. A table without any is a name too: it may be one
/// that is misspelt.
fn flatten(name: &str, value: &toml::Value, leaves: &mut Vec<(String, Value)>) {
    match value {
        toml::Value::Table(table) if name.is_empty() || !table.is_empty() => {
            for (key, value) in table {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                flatten(&name, value, leaves);
            }
        }
        toml::Value::Table(_) if is_section(name) => {}
        leaf => {
            let value = serde_json::to_value(leaf).unwrap_or_default();
            leaves.push((name.to_owned(), value));
        }
    }
}

fn is_section(name: &str) -> bool {
    let prefix = format!("{name}.");
    Settings::rows()
        .iter()
        .any(|row| row.name.starts_with(&prefix))
}

/// Text as a value of the type that the setting has now; where none is known, as what it may be.
/// What does not parse stays text, and is refused as such.
fn typed(text: String, now: &Value) -> Vec<Value> {
    let parsed = serde_json::from_str::<Value>(&text).ok();
    let scalar = parsed.filter(|value| value.is_boolean() || value.is_number());
    match now {
        Value::Bool(_) | Value::Number(_) => vec![scalar.unwrap_or(Value::String(text))],
        Value::Array(_) => {
            let parts = text.split(',').map(str::trim);
            vec![parts.filter(|part| !part.is_empty()).collect()]
        }
        Value::Null => [Some(Value::String(text)), scalar]
            .into_iter()
            .flatten()
            .collect(),
        _ => vec![Value::String(text)],
    }
}

/// Which settings there are that come near a name.
fn known(rows: &[Row], name: &str) -> String {
    let section = name.split_once('.').map_or("", |(section, _)| section);
    let names = |section: &str| {
        let within = rows
            .iter()
            .filter_map(|row| match row.name.split_once('.') {
                Some((of, rest)) if of == section => Some(rest),
                None if section.is_empty() => Some(row.name.as_str()),
                _ => None,
            });
        within.collect::<Vec<_>>().join(", ")
    };
    let inside = names(section);
    if !section.is_empty() && !inside.is_empty() {
        return format!("`{section}` has {inside}");
    }
    let mut sections: Vec<&str> = rows
        .iter()
        .filter_map(|row| Some(row.name.split_once('.')?.0))
        .collect();
    sections.dedup();
    format!(
        "there are {}, and the sections {}",
        names(""),
        sections.join(", ")
    )
}
