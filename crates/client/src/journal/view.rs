//! A journal as its owner reads it: what was spent, round by round.

use std::path::Path;

use undertone_privacy::{Budget, PrivacyUnit};
use undertone_protocol::id::{MechanismDigest, RoundId, TaskId};

use super::{Entry, Journal, Step};
use crate::costs::{Account, Costs};
use crate::error::ClientError;
use crate::receipt::Receipt;

/// A journal that was read, whether a client is using it or not.
#[derive(Debug)]
pub(crate) struct View(Journal);

/// A round whose cost was spent.
#[derive(Debug)]
pub(crate) struct Spend<'a> {
    pub(crate) task: TaskId,
    pub(crate) round: RoundId,
    pub(crate) number: u32,
    pub(crate) costs: Costs,
    /// None in journals of earlier versions, which have no receipts either.
    pub(crate) mechanism: Option<MechanismDigest>,
    pub(crate) receipts: &'a [Receipt],
    /// Whether a crash cut off what would say that it was spent: it counts all the same.
    pub(crate) presumed: bool,
}

impl View {
    /// Reads the journal of a state directory.
    ///
    /// # Errors
    /// [`ClientError::Journal`], [`ClientError::JournalDamaged`].
    pub(crate) fn read(dir: &Path) -> Result<Self, ClientError> {
        Journal::read(dir).map(Self)
    }

    /// All that was spent, in the order in which rounds were begun.
    pub(crate) fn spends(&self) -> Vec<Spend<'_>> {
        let released = self.0.in_order().filter(|(_, e)| e.is_released());
        released.map(|(round, entry)| spend(round, entry)).collect()
    }

    /// How many rounds were begun and nothing was spent in them.
    pub(crate) fn unspent(&self) -> usize {
        let begun = |e: &&Entry| e.step == Step::Begun && !e.presumed_spent;
        self.0.rounds.values().filter(begun).count()
    }

    /// The budget by which the last round was judged that names one for this unit.
    pub(crate) fn budget(&self, unit: PrivacyUnit) -> Option<Budget> {
        let judged = self.0.in_order().flat_map(|(_, entry)| &entry.filters);
        let last = judged.filter(|judged| judged.unit == unit).last();
        last.map(|judged| judged.budget)
    }

    /// The ledger at one unit, against a budget.
    pub(crate) fn account(&self, unit: PrivacyUnit, budget: Budget) -> Account {
        self.0.account(unit, budget)
    }
}

fn spend(round: RoundId, entry: &Entry) -> Spend<'_> {
    Spend {
        task: entry.task,
        round,
        number: entry.number,
        costs: entry.costs,
        mechanism: entry.mechanism,
        receipts: &entry.receipts,
        presumed: entry.step < Step::Spent,
    }
}
