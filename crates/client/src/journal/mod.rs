//! The journal: what this client did in which round, on disk before it is done.
//!
//! It upholds two promises across crashes. A client answers Unmask at most once a round: where it
//! began a round and was restarted, the secrets are gone and it abstains. And no privacy budget is
//! forgotten: a round's cost is on disk before the masked input leaves.
//!
//! The file holds JSON lines, appended and synchronised one by one, and is locked while it is in
//! use. A line that a crash cut off is tolerated, conservatively: what it would have said was not
//! yet done, but the last round begun counts as spent all the same, and the next round on offer
//! is not taken, since the lost line may have begun it.
//!
//! Specification: chapter 4, "Roster and round parameters", section 4.7.

mod record;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use undertone_privacy::budget::StoredEvent;
use undertone_privacy::{Budget, Ledger, PrivacyUnit};
use undertone_protocol::id::{MechanismDigest, RoundId, RoundNumber, TaskId};

pub(crate) use self::record::Judged;
use self::record::{Chain, Hex, Record};
pub(crate) use self::view::{Spend, View};
use crate::costs::{Account, Costs, Ledgers};
use crate::error::ClientError;
use crate::policy::Policy;
use crate::receipt::Receipt;

const FILE: &str = "journal.jsonl";

/// How far this client has come in one round, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Abstained,
    Begun,
    Spent,
    Signed,
    Answered,
}

/// What is known of one round.
#[derive(Debug)]
struct Entry {
    /// Its place in the order in which rounds were begun.
    place: usize,
    task: TaskId,
    number: u32,
    costs: Costs,
    mechanism: Option<MechanismDigest>,
    filters: Vec<Judged>,
    receipts: Vec<Receipt>,
    step: Step,
    /// Whether the cost counts although the record of it may be what a crash cut off.
    presumed_spent: bool,
}

impl Entry {
    fn is_released(&self) -> bool {
        self.step >= Step::Spent || self.presumed_spent
    }
}

/// A round that is about to be begun.
#[derive(Debug, Clone)]
pub(crate) struct Beginning {
    pub(crate) task: TaskId,
    pub(crate) round: RoundId,
    pub(crate) number: RoundNumber,
    /// What releasing the update will cost.
    pub(crate) costs: Costs,
    pub(crate) mechanism: MechanismDigest,
    /// By which budgets it was judged.
    pub(crate) filters: Vec<Judged>,
}

/// An open, locked journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    /// Shared with the thread that writes; the lock is released when both are done with it.
    file: Arc<File>,
    chain: Chain,
    rounds: BTreeMap<RoundId, Entry>,
    last_begun: Option<RoundId>,
    in_doubt: bool,
}

impl Journal {
    /// Opens or creates the journal of a state directory and locks it.
    ///
    /// # Errors
    /// [`ClientError::StateDirInUse`], [`ClientError::Journal`], [`ClientError::JournalDamaged`].
    pub(crate) fn open(dir: &Path) -> Result<Self, ClientError> {
        let path = dir.join(FILE);
        let io = |source| ClientError::Journal {
            path: path.clone(),
            source,
        };
        fs::create_dir_all(dir).map_err(io)?;
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ClientError::StateDirInUse { path }),
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        sync_directory(dir).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let mut journal = Self::of(path.clone(), file);
        let (whole, torn) = journal.replay(bytes)?;
        if torn {
            journal.mend(whole).map_err(io)?;
        }
        Ok(journal)
    }

    /// Reads a journal as it stands, without locking or mending it: a client may be writing it.
    /// What follows the last whole line is left out.
    fn read(dir: &Path) -> Result<Self, ClientError> {
        let path = dir.join(FILE);
        let io = |source| ClientError::Journal {
            path: path.clone(),
            source,
        };
        let mut file = File::open(&path).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let mut journal = Self::of(path.clone(), file);
        journal.replay(bytes)?;
        Ok(journal)
    }

    fn of(path: PathBuf, file: File) -> Self {
        Self {
            path,
            file: Arc::new(file),
            chain: Chain::START,
            rounds: BTreeMap::new(),
            last_begun: None,
            in_doubt: false,
        }
    }

    /// Takes all whole lines in; returns how many bytes they are, and whether more follow.
    fn replay(&mut self, mut bytes: Vec<u8>) -> Result<(usize, bool), ClientError> {
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let torn = whole < bytes.len();
        bytes.truncate(whole);
        let path = self.path.clone();
        let damaged = |line: usize, detail: String| ClientError::JournalDamaged {
            path: path.clone(),
            line,
            detail,
        };
        let text = String::from_utf8(bytes).map_err(|e| {
            let before = e.as_bytes().iter().take(e.utf8_error().valid_up_to());
            let line = before.filter(|b| **b == b'\n').count().saturating_add(1);
            damaged(line, "it is not text".to_owned())
        })?;
        for (number, line) in (1..).zip(text.lines()) {
            let record = record::read(&mut self.chain, line).map_err(|e| damaged(number, e))?;
            self.apply(&record)
                .map_err(|e| damaged(number, e.to_string()))?;
        }
        Ok((whole, torn))
    }

    /// Removes a line that was cut off, and records that there was one.
    fn mend(&mut self, whole: usize) -> io::Result<()> {
        let length = u64::try_from(whole).map_err(io::Error::other)?;
        self.file.set_len(length)?;
        (&*self.file).seek(io::SeekFrom::End(0))?;
        let line = record::write(&mut self.chain, &Record::Torn)?;
        (&*self.file).write_all(line.as_bytes())?;
        self.file.sync_all()?;
        self.torn();
        Ok(())
    }

    fn torn(&mut self) {
        self.in_doubt = true;
        if let Some(entry) = self.last_begun.and_then(|r| self.rounds.get_mut(&r)) {
            entry.presumed_spent = true;
        }
    }

    /// Takes a record into the state.
    ///
    /// # Errors
    /// [`ClientError::Step`] if the round has come that far already, or not far enough.
    fn apply(&mut self, record: &Record) -> Result<(), ClientError> {
        match record {
            Record::Torn => {
                self.torn();
                Ok(())
            }
            Record::Begun {
                task,
                round,
                number,
                cost,
                client_cost,
                mechanism,
                filters,
            } => {
                let costs = Costs {
                    example: cost.map(Into::into),
                    client: client_cost.map(Into::into),
                };
                let entry = Entry {
                    costs,
                    mechanism: mechanism.map(|digest| digest.0),
                    filters: filters.clone(),
                    step: Step::Begun,
                    ..Self::entry(task.0, *number)
                };
                self.enter(round.0, entry)?;
                self.last_begun = Some(round.0);
                Ok(())
            }
            Record::Abstained {
                task,
                round,
                number,
            } => self.enter(round.0, Self::entry(task.0, *number)),
            Record::Spent { round, receipts } => {
                self.step(round.0, Step::Begun, Step::Spent, "spend")?;
                if let Some(entry) = self.rounds.get_mut(&round.0) {
                    entry.receipts.clone_from(receipts);
                }
                Ok(())
            }
            Record::Signed { round } => self.step(round.0, Step::Spent, Step::Signed, "sign"),
            Record::Answered { round } => {
                self.step(round.0, Step::Signed, Step::Answered, "answer")
            }
        }
    }

    /// A round that is not taken.
    fn entry(task: TaskId, number: u32) -> Entry {
        Entry {
            place: 0,
            task,
            number,
            costs: Costs::default(),
            mechanism: None,
            filters: Vec::new(),
            receipts: Vec::new(),
            step: Step::Abstained,
            presumed_spent: false,
        }
    }

    fn enter(&mut self, round: RoundId, entry: Entry) -> Result<(), ClientError> {
        if self.rounds.contains_key(&round) {
            let step = "begin";
            return Err(ClientError::Step { round, step });
        }
        let place = self.rounds.len();
        self.rounds.insert(round, Entry { place, ..entry });
        self.in_doubt = false;
        Ok(())
    }

    fn step(
        &mut self,
        round: RoundId,
        from: Step,
        to: Step,
        step: &'static str,
    ) -> Result<(), ClientError> {
        match self.rounds.get_mut(&round) {
            Some(entry) if entry.step == from => {
                entry.step = to;
                Ok(())
            }
            _ => Err(ClientError::Step { round, step }),
        }
    }

    /// Records durably, or fails. The state moves first: after a failure, or where the caller is
    /// dropped before the disk is done, this round's step can't be taken again.
    async fn append(&mut self, record: Record) -> Result<(), ClientError> {
        self.apply(&record)?;
        let io = |source| ClientError::Journal {
            path: self.path.clone(),
            source,
        };
        let line = record::write(&mut self.chain, &record).map_err(|e| io(e.into()))?;
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || {
            (&*file).write_all(line.as_bytes())?;
            file.sync_data()
        })
        .await
        .map_err(|_| ClientError::CutOff)?
        .map_err(io)
    }

    /// Records that keys of this round are about to be advertised.
    ///
    /// # Errors
    /// [`ClientError::Step`] if that was recorded before; [`ClientError::Journal`].
    pub(crate) async fn begin(&mut self, beginning: Beginning) -> Result<(), ClientError> {
        let Beginning {
            task,
            round,
            number,
            costs,
            mechanism,
            filters,
        } = beginning;
        self.append(Record::Begun {
            task: Hex(task),
            round: Hex(round),
            number: number.0,
            cost: costs.example.map(StoredEvent),
            client_cost: costs.client.map(StoredEvent),
            mechanism: Some(Hex(mechanism)),
            filters,
        })
        .await
    }

    /// Records that this round is not taken, now or later. Ends a doubt.
    ///
    /// # Errors
    /// [`ClientError::Step`] if the round was begun; [`ClientError::Journal`].
    pub(crate) async fn abstain(
        &mut self,
        task: TaskId,
        round: RoundId,
        number: RoundNumber,
    ) -> Result<(), ClientError> {
        self.append(Record::Abstained {
            task: Hex(task),
            round: Hex(round),
            number: number.0,
        })
        .await
    }

    /// Records that the round's cost is spent, with the receipts for it: the masked input is about
    /// to be sent.
    ///
    /// # Errors
    /// [`ClientError::Step`] unless the round was begun and no more; [`ClientError::Journal`].
    pub(crate) async fn spend(
        &mut self,
        round: RoundId,
        receipts: Vec<Receipt>,
    ) -> Result<(), ClientError> {
        let round = Hex(round);
        self.append(Record::Spent { round, receipts }).await
    }

    /// Records that the round's statement is about to be sent.
    ///
    /// # Errors
    /// [`ClientError::Step`] unless the input was sent and no more; [`ClientError::Journal`].
    pub(crate) async fn sign(&mut self, round: RoundId) -> Result<(), ClientError> {
        self.append(Record::Signed { round: Hex(round) }).await
    }

    /// Records that shares are about to be revealed.
    ///
    /// # Errors
    /// [`ClientError::Step`] unless the statement was sent and no more; [`ClientError::Journal`].
    pub(crate) async fn answer(&mut self, round: RoundId) -> Result<(), ClientError> {
        self.append(Record::Answered { round: Hex(round) }).await
    }

    /// Whether this client has begun this round, in this process or an earlier one, or has
    /// abstained from it.
    pub(crate) fn has_begun(&self, round: RoundId) -> bool {
        self.rounds.contains_key(&round)
    }

    /// Whether the journal's last line was cut off and no round was begun since.
    pub(crate) fn in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// How many rounds of a task were begun.
    pub(crate) fn rounds_begun(&self, task: TaskId) -> u32 {
        let begun = |e: &&Entry| e.task == task && e.step >= Step::Begun;
        let count = self.rounds.values().filter(begun).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// The ledgers of all that was spent, against the budgets of a policy.
    pub(crate) fn ledgers(&self, policy: &Policy) -> Ledgers {
        let account = |unit, budget| self.account(unit, budget);
        Ledgers {
            example: account(PrivacyUnit::Example, policy.budget),
            client: policy
                .client_budget
                .map(|budget| account(PrivacyUnit::Client, budget)),
        }
    }

    /// The ledger at one unit. Its order is the one that stood at the first spend.
    fn account(&self, unit: PrivacyUnit, budget: Budget) -> Account {
        let released = self.in_order().filter(|(_, entry)| entry.is_released());
        let released: Vec<&Entry> = released.map(|(_, entry)| entry).collect();
        let first = released.iter().find(|e| e.costs.at(unit).is_some());
        let order = first.and_then(|e| e.filters.iter().find(|judged| judged.unit == unit));
        let mut ledger = order
            .and_then(|judged| Ledger::at_order(budget, judged.order).ok())
            .unwrap_or_else(|| Ledger::new(budget));
        let mut unbounded = 0_u32;
        for entry in released {
            match entry.costs.at(unit) {
                Some(cost) => ledger.record_past(&cost),
                None => unbounded = unbounded.saturating_add(1),
            }
        }
        Account { ledger, unbounded }
    }

    /// All rounds in the order in which they were begun.
    fn in_order(&self) -> impl Iterator<Item = (RoundId, &Entry)> {
        let mut all: Vec<_> = self.rounds.iter().map(|(id, e)| (*id, e)).collect();
        all.sort_by_key(|(_, entry)| entry.place);
        all.into_iter()
    }
}

/// Makes a file's entry in its directory durable.
pub(crate) fn sync_directory(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}
