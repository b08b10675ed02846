//! One line of the journal.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use undertone_privacy::budget::StoredEvent;
use undertone_privacy::{Budget, PrivacyUnit};
use undertone_protocol::id::{MechanismDigest, RoundId, TaskId};

use crate::receipt::Receipt;

/// What is recorded, each time before the thing itself is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Record {
    /// Keys are about to be advertised.
    Begun {
        task: Hex<TaskId>,
        round: Hex<RoundId>,
        number: u32,
        /// What releasing the update will cost for an example; nothing for a mechanism without
        /// noise. (Its name is from the time before there were two units.)
        cost: Option<StoredEvent>,
        /// What it will cost for the whole client, where the mechanism promises anything there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_cost: Option<StoredEvent>,
        /// The mechanism; none in journals of earlier versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mechanism: Option<Hex<MechanismDigest>>,
        /// By which budgets the round was judged.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        filters: Vec<Judged>,
    },
    /// The masked input is about to be sent: the cost is spent. With the receipts in the same line:
    /// both are there, or neither.
    Spent {
        round: Hex<RoundId>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        receipts: Vec<Receipt>,
    },
    /// The statement is about to be sent.
    Signed { round: Hex<RoundId> },
    /// Shares are about to be revealed.
    Answered { round: Hex<RoundId> },
    /// The round is not taken, although it is not known to have been begun.
    Abstained {
        task: Hex<TaskId>,
        round: Hex<RoundId>,
        number: u32,
    },
    /// A line was found cut off here when the journal was opened, and removed.
    Torn,
}

/// The budget by which a round was judged, and the Rényi order of its filter. The order that stood
/// at the first spend is the one for ever: it must not follow from what was released.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Judged {
    pub(crate) unit: PrivacyUnit,
    pub(crate) budget: Budget,
    pub(crate) order: f64,
}

/// An identifier as hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hex<T>(pub(super) T);

impl<T: std::fmt::Display> Serialize for Hex<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: std::str::FromStr<Err: std::fmt::Display>> Deserialize<'de> for Hex<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// The running digest of a journal: it makes a changed, missing or moved line show. It is no
/// protection from someone who may write the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain([u8; 16]);

impl Chain {
    /// The digest of no lines.
    pub(super) const START: Self = Self([0; 16]);

    fn next(self, json: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(self.0)
            .chain_update(json)
            .finalize();
        let mut next = [0; 16];
        next.iter_mut()
            .zip(digest)
            .for_each(|(to, from)| *to = from);
        Self(next)
    }
}

const HEAD: &str = r#"{"chain":""#;
const MIDDLE: &str = r#"","record":"#;

/// Writes one line, its newline included, and moves the chain on.
pub(super) fn write(chain: &mut Chain, record: &Record) -> Result<String, serde_json::Error> {
    Ok(chained(chain, &serde_json::to_string(record)?))
}

/// The line of a record's text, its newline included.
pub(super) fn chained(chain: &mut Chain, json: &str) -> String {
    *chain = chain.next(json);
    format!("{HEAD}{}{MIDDLE}{json}}}\n", hex::encode(chain.0))
}

/// Reads one line, without its newline, and moves the chain on. The digest covers the record's
/// text as it stands, so that no number has to survive being read and written again.
pub(super) fn read(chain: &mut Chain, line: &str) -> Result<Record, String> {
    let (digits, json) = line
        .strip_prefix(HEAD)
        .and_then(|rest| rest.split_once(MIDDLE))
        .and_then(|(digits, rest)| Some((digits, rest.strip_suffix('}')?)))
        .ok_or("it is not a journal line")?;
    let next = chain.next(json);
    if digits != hex::encode(next.0) {
        return Err(
            "its digest does not match: it was changed, or lines before it are gone".into(),
        );
    }
    *chain = next;
    serde_json::from_str(json).map_err(|e| e.to_string())
}
