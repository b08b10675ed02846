//! The log as a file: one JSON object a line, each in canonical form.
//!
//! The first line names the chains. Then come, chain after chain, all entries, and the signed head.
//! Every byte of a line is determined by what it says, so a reader that writes it again and compares
//! finds any change that a lenient parser would pass over.
//!
//! Specification: chapter 19, "Audit log", section 19.7.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use undertone_protocol::audit::{Chain, SignedHead};
use undertone_protocol::id::Digest;

use super::canonical::{self, Hex};
use super::{Fault, SignedHeadJson};
use crate::store::AuditEntry;

/// The format's name, in the first line.
const FORMAT: &str = "undertone-audit-1";

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub enum Record {
    /// The first line.
    Manifest {
        /// The chains that follow, in this order.
        chains: Vec<Chain>,
        /// Whether these are all chains of the service.
        complete: bool,
    },
    /// An entry.
    Entry {
        /// Its chain.
        chain: Chain,
        /// What is stored.
        entry: AuditEntry,
    },
    /// The head of the chain whose entries came before.
    Head(SignedHead),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestLine {
    chains: Vec<String>,
    complete: bool,
    format: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryLine {
    chain: String,
    content: Value,
    digest: Hex<Digest>,
    sequence: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadLine {
    signed_head: SignedHeadJson,
}

impl Record {
    /// The first line of an export of the chains that were asked for, or of all where none was.
    pub fn manifest(all: &[Chain], asked: &[Chain]) -> Self {
        let chains = if asked.is_empty() { all } else { asked };
        Self::Manifest {
            complete: all.iter().all(|chain| chains.contains(chain)),
            chains: chains.to_vec(),
        }
    }

    /// The line, without its newline.
    ///
    /// # Errors
    /// None in practice: all of it has a JSON form.
    pub fn to_line(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::Manifest { chains, complete } => canonical::to_string(&ManifestLine {
                chains: chains.iter().map(ToString::to_string).collect(),
                complete: *complete,
                format: FORMAT.to_owned(),
            }),
            Self::Entry { chain, entry } => canonical::to_string(&EntryLine {
                chain: chain.to_string(),
                content: embedded(&entry.content),
                digest: Hex(entry.digest),
                sequence: entry.sequence,
            }),
            Self::Head(signed) => canonical::to_string(&HeadLine {
                signed_head: (*signed).into(),
            }),
        }
    }

    /// Reads a line, without its newline.
    ///
    /// # Errors
    /// [`Fault::Line`] if it is none of these, or not in canonical form.
    pub fn from_line(line: &str) -> Result<Self, Fault> {
        let record = parse(line).map_err(Fault::Line)?;
        let again = record.to_line().map_err(|e| Fault::Line(e.to_string()))?;
        if again != line {
            let detail = "it is not in canonical form, as this log is written".to_owned();
            return Err(Fault::Line(detail));
        }
        Ok(record)
    }
}

/// Content as a part of a line: as it is, if it is canonical, and else as a string, so that what is
/// stored is exported whatever it is.
fn embedded(content: &str) -> Value {
    let parsed: Option<Value> = serde_json::from_str(content).ok();
    match parsed {
        Some(value @ Value::Object(_))
            if canonical::to_string(&value).is_ok_and(|text| text == content) =>
        {
            value
        }
        _ => Value::String(content.to_owned()),
    }
}

fn parse(line: &str) -> Result<Record, String> {
    let text = |error: serde_json::Error| error.to_string();
    let bad = |error: undertone_protocol::ProtocolError| error.to_string();
    let value: Value = serde_json::from_str(line).map_err(text)?;
    if value.get("format").is_some() {
        let line: ManifestLine = serde_json::from_value(value).map_err(text)?;
        if line.format != FORMAT {
            return Err(format!("the format is `{}`, not `{FORMAT}`", line.format));
        }
        let chains = line.chains.iter().map(|name| name.parse());
        return Ok(Record::Manifest {
            chains: chains.collect::<Result<_, _>>().map_err(bad)?,
            complete: line.complete,
        });
    }
    if value.get("signed_head").is_some() {
        let line: HeadLine = serde_json::from_value(value).map_err(text)?;
        let signed = SignedHead::try_from(&line.signed_head).map_err(bad)?;
        return Ok(Record::Head(signed));
    }
    let line: EntryLine = serde_json::from_value(value).map_err(text)?;
    let content = match &line.content {
        Value::String(raw) => raw.clone(),
        value => canonical::to_string(value).map_err(text)?,
    };
    Ok(Record::Entry {
        chain: line.chain.parse().map_err(bad)?,
        entry: AuditEntry {
            sequence: line.sequence,
            content,
            digest: line.digest.0,
        },
    })
}
