//! The ledger of one data owner: what was spent, and what still fits.
//!
//! Arithmetic only. Whoever keeps a ledger must make a spend durable *before* anything computed
//! from the data leaves the machine: a crash then costs budget, never privacy.

use serde::{Deserialize, Serialize};

use crate::accountant::{RdpAccountant, SubsampledGaussian};
use crate::error::PrivacyError;
use crate::units::{Delta, Epsilon};

/// The most that a data owner is ready to spend on one data set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// Total ε over all rounds, of all tasks, that touch the data set.
    pub epsilon: Epsilon,
    /// The one δ at which every ε of this ledger is stated.
    pub delta: Delta,
}

/// What was spent on one data set, for one unit of privacy, against its [`Budget`].
///
/// It keeps the mechanisms themselves, equal ones merged, and recomputes the divergences when it
/// is read back: small, legible, and a later accountant can judge the same history.
///
/// JSON readers may be off by one unit in the last place on long decimals unless they are asked
/// to be exact (`serde_json` with `float_roundtrip`). The ε is the same to 15 digits either way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "LedgerRecord", into = "LedgerRecord")]
pub struct Ledger {
    budget: Budget,
    entries: Vec<SubsampledGaussian>,
    spent: RdpAccountant,
}

/// The ledger's stored form.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerRecord {
    budget: Budget,
    entries: Vec<SubsampledGaussian>,
}

impl From<LedgerRecord> for Ledger {
    fn from(record: LedgerRecord) -> Self {
        let mut ledger = Self::new(record.budget);
        for entry in &record.entries {
            ledger.add(entry);
        }
        ledger
    }
}

impl From<Ledger> for LedgerRecord {
    fn from(ledger: Ledger) -> Self {
        Self {
            budget: ledger.budget,
            entries: ledger.entries,
        }
    }
}

impl Ledger {
    /// A ledger on which nothing was spent.
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            entries: Vec::new(),
            spent: RdpAccountant::new(),
        }
    }

    /// The budget.
    pub const fn budget(&self) -> Budget {
        self.budget
    }

    /// All that was recorded, equal mechanisms merged.
    pub fn entries(&self) -> &[SubsampledGaussian] {
        &self.entries
    }

    /// ε spent so far, at the budget's δ.
    ///
    /// # Errors
    /// Something recorded by [`Self::record_past`] has no finite ε.
    pub fn spent(&self) -> Result<Epsilon, PrivacyError> {
        self.spent.epsilon(self.budget.delta)
    }

    /// ε after `next`, at the budget's δ. Not spent plus the cost of `next` alone: composition is
    /// cheaper than that.
    ///
    /// # Errors
    /// Past and next together have no finite ε.
    pub fn spent_after(&self, next: &SubsampledGaussian) -> Result<Epsilon, PrivacyError> {
        let mut after = self.spent.clone();
        after.compose(next);
        after.epsilon(self.budget.delta)
    }

    /// Whether `next` would take the total over the budget. A total that is not finite would.
    pub fn would_exceed(&self, next: &SubsampledGaussian) -> bool {
        !self
            .spent_after(next)
            .is_ok_and(|epsilon| epsilon <= self.budget.epsilon)
    }

    /// The budget's ε less what was spent, 0 when overspent. A figure to show; whether a round
    /// fits is for [`Self::would_exceed`] to say.
    pub fn remaining(&self) -> Epsilon {
        let budget = self.budget.epsilon;
        let left = self
            .spent()
            .map_or(0.0, |spent| (budget.get() - spent.get()).max(0.0));
        // Never fails: finite less finite, and not negative.
        Epsilon::new(left).unwrap_or(budget)
    }

    /// Records `next` if it fits.
    ///
    /// # Errors
    /// It would take the total over the budget, or to no finite ε; nothing is then recorded.
    pub fn spend(&mut self, next: &SubsampledGaussian) -> Result<Epsilon, PrivacyError> {
        let after = self.spent_after(next)?;
        if after > self.budget.epsilon {
            return Err(PrivacyError::BudgetExceeded {
                would_be: after.get(),
                budget: self.budget.epsilon.get(),
            });
        }
        self.add(next);
        Ok(after)
    }

    /// Records a release that has happened already, within the budget or not: data used outside
    /// this ledger, or before it was kept.
    pub fn record_past(&mut self, release: &SubsampledGaussian) {
        self.add(release);
    }

    fn add(&mut self, mechanism: &SubsampledGaussian) {
        if mechanism.steps == 0 {
            return;
        }
        self.spent.compose(mechanism);
        let same = self.entries.iter_mut().find(|entry| {
            entry.sampling_rate == mechanism.sampling_rate
                && entry.noise_multiplier == mechanism.noise_multiplier
        });
        match same {
            Some(entry) => entry.steps = entry.steps.saturating_add(mechanism.steps),
            None => self.entries.push(*mechanism),
        }
    }
}
