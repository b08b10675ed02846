//! Checking a log: that nothing in it was changed, moved, left out or cut off, and that what it says
//! of privacy adds up.
//!
//! What it cannot show is a log that was written anew as a whole with the service's own key. For
//! that, compare with a head that someone remembers.
//!
//! Specification: chapter 19, "Audit log", section 19.7.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use undertone_protocol::audit::{Chain, Follower, Head, SignedHead, content_digest};
use undertone_protocol::keys::IdentityPublicKey;

use super::canonical::{self, Hex};
use super::export::Record;
use super::spending::Spending;
use crate::store::AuditEntry;

/// The first thing that is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A line of an export cannot be read.
    #[error("the line cannot be read: {0}")]
    Line(String),
    /// An entry is not what its place demands.
    #[error("chain {chain}, entry {sequence}: {what}")]
    Entry {
        /// The chain.
        chain: Chain,
        /// The entry's number.
        sequence: u64,
        /// What is wrong.
        what: String,
    },
    /// The head of a chain is wrong or missing.
    #[error("the head of chain {chain}: {what}")]
    Head {
        /// The chain.
        chain: Chain,
        /// What is wrong.
        what: String,
    },
    /// The parts of an export do not fit together.
    #[error("{0}")]
    Order(String),
}

/// What was found of a chain in which nothing is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChainReport {
    /// The chain.
    pub chain: String,
    /// How many entries it has.
    pub entries: u64,
    /// The digest of the last one.
    pub head: Hex<undertone_protocol::id::Digest>,
    /// The key that signed it; none where the head is the database's own.
    pub key: Option<Hex<IdentityPublicKey>>,
}

/// Checks records in the order of an export.
#[derive(Debug, Default)]
pub struct Verifier {
    /// The key that must have signed; else the first that is seen.
    key: Option<IdentityPublicKey>,
    /// Heads from elsewhere, by chain and number.
    remembered: BTreeMap<(Chain, u64), Head>,
    /// The chains to come.
    expected: Option<Vec<Chain>>,
    complete: bool,
    open: Option<(Chain, Follower)>,
    /// What the open chain says of spends.
    spending: Spending,
    /// Tasks that the service's chain tells of.
    tasks: BTreeSet<String>,
    reports: Vec<ChainReport>,
}

impl Verifier {
    /// A verifier that takes the first key that it sees for the service's.
    pub fn new() -> Self {
        Self::default()
    }

    /// Demands this key.
    pub fn demand_key(&mut self, key: IdentityPublicKey) {
        self.key = Some(key);
    }

    /// Demands that a chain holds a head that someone remembers.
    pub fn demand_head(&mut self, chain: Chain, head: Head) {
        self.remembered.insert((chain, head.sequence), head);
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// [`Fault`]: what is wrong with it; checking ends there.
    pub fn take(&mut self, record: &Record) -> Result<(), Fault> {
        match record {
            Record::Manifest { chains, complete } => self.manifest(chains, *complete),
            Record::Entry { chain, entry } => self.entry(*chain, entry),
            Record::Head(signed) => self.signed_head(signed),
        }
    }

    fn manifest(&mut self, chains: &[Chain], complete: bool) -> Result<(), Fault> {
        if self.expected.is_some() {
            return Err(Fault::Order("the first line stands there twice".into()));
        }
        let distinct: BTreeSet<_> = chains.iter().collect();
        if distinct.len() != chains.len() {
            return Err(Fault::Order("the first line names a chain twice".into()));
        }
        self.complete = complete;
        self.expected = Some(chains.to_vec());
        Ok(())
    }

    /// The follower of a chain that is due now.
    fn follower(&mut self, chain: Chain) -> Result<&mut Follower, Fault> {
        if self.open.is_none() {
            let expected = self.expected.as_ref().ok_or_else(|| {
                Fault::Order("the first line, which names the chains, is missing".into())
            })?;
            if expected.get(self.reports.len()) != Some(&chain) {
                let text = format!("chain {chain} is not due here by the first line");
                return Err(Fault::Order(text));
            }
            self.open = Some((chain, Follower::start(chain)));
            self.spending = Spending::default();
        }
        match &mut self.open {
            Some((open, follower)) if *open == chain => Ok(follower),
            Some((open, _)) => Err(Fault::Head {
                chain: *open,
                what: format!("it is missing before chain {chain}"),
            }),
            None => Err(Fault::Order("no chain is open".into())),
        }
    }

    fn entry(&mut self, chain: Chain, entry: &AuditEntry) -> Result<(), Fault> {
        let sequence = entry.sequence;
        let fault = |what: String| Fault::Entry {
            chain,
            sequence,
            what,
        };
        let follower = self.follower(chain)?;
        let due = follower.next_sequence();
        if sequence != due {
            return Err(fault(format!("entry {due} should stand here")));
        }
        let head = follower.follow(content_digest(entry.content.as_bytes()));
        if head.digest != entry.digest {
            let what = "its digest does not follow from its content and the entry before it";
            return Err(fault(what.into()));
        }
        let content: Option<Value> = serde_json::from_str(&entry.content).ok();
        let content = content.filter(|content| {
            canonical::to_string(content).is_ok_and(|text| text == entry.content)
        });
        let content = content.ok_or_else(|| fault("its content is not canonical JSON".into()))?;
        if let Some(remembered) = self.remembered.remove(&(chain, sequence))
            && remembered.digest != head.digest
        {
            return Err(fault(format!(
                "someone remembers it with digest {}, here it is {}: history was rewritten",
                remembered.digest, head.digest
            )));
        }
        if chain != Chain::Service {
            self.spending.take(&content["event"]).map_err(fault)?;
        }
        if chain == Chain::Service && content["event"]["kind"] == "task-created" {
            self.tasks
                .extend(content["event"]["task"].as_str().map(str::to_owned));
        }
        Ok(())
    }

    fn signed_head(&mut self, signed: &SignedHead) -> Result<(), Fault> {
        let chain = signed.statement.chain;
        let fault = |what: String| Fault::Head { chain, what };
        signed
            .verify()
            .map_err(|_| fault("its signature does not verify".into()))?;
        let key = *self.key.get_or_insert(signed.key);
        if key != signed.key {
            let what = format!("it is signed by key {}, not by {key}", signed.key);
            return Err(fault(what));
        }
        self.head(chain, signed.statement.head, Some(signed.key))
    }

    /// Ends a chain whose head the database states without a signature.
    ///
    /// # Errors
    /// [`Fault`]: it is not where the entries lead.
    pub fn stored_head(&mut self, chain: Chain, head: Head) -> Result<(), Fault> {
        self.head(chain, head, None)
    }

    fn head(
        &mut self,
        chain: Chain,
        head: Head,
        key: Option<IdentityPublicKey>,
    ) -> Result<(), Fault> {
        let fault = |what: String| Fault::Head { chain, what };
        let found = self.follower(chain)?.head();
        let Some(found) = found else {
            return Err(fault("the chain has no entries".into()));
        };
        if found != head {
            return Err(fault(format!(
                "it names entry {} with digest {}; the entries lead to {} with {}",
                head.sequence, head.digest, found.sequence, found.digest
            )));
        }
        let beyond = self.remembered.range((chain, 0)..=(chain, u64::MAX)).next();
        if let Some((_, remembered)) = beyond {
            return Err(fault(format!(
                "someone remembers entry {}, the chain ends at {}: history was cut off",
                remembered.sequence, head.sequence
            )));
        }
        self.open = None;
        self.reports.push(ChainReport {
            chain: chain.to_string(),
            entries: head.sequence.saturating_add(1),
            head: Hex(head.digest),
            key: key.map(Hex),
        });
        Ok(())
    }

    /// Ends the check; says what was found.
    ///
    /// # Errors
    /// [`Fault`]: something is missing at the end.
    pub fn finish(self) -> Result<Vec<ChainReport>, Fault> {
        if let Some((chain, _)) = self.open {
            let what = "it is missing: the log ends before it".into();
            return Err(Fault::Head { chain, what });
        }
        let expected = self.expected.unwrap_or_default();
        if let Some(chain) = expected.get(self.reports.len()) {
            let text = format!("chain {chain} is missing: the log ends before it");
            return Err(Fault::Order(text));
        }
        if let Some(((chain, _), _)) = self.remembered.first_key_value() {
            let what = "someone remembers it, and there is no such chain here".into();
            let chain = *chain;
            return Err(Fault::Head { chain, what });
        }
        let there: BTreeSet<_> = self.reports.iter().map(|report| &report.chain).collect();
        let gone = self.tasks.iter().find(|task| !there.contains(task));
        if let Some(task) = gone.filter(|_| self.complete) {
            let text = format!(
                "chain {task} is missing: the service's chain tells of that task's creation"
            );
            return Err(Fault::Order(text));
        }
        Ok(self.reports)
    }
}
