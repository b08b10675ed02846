//! The ledger of one data owner: what was spent, and what still fits.
//!
//! A ledger is a privacy [filter](crate::filter): its Rényi order is fixed by the first spend, so
//! that mechanisms may be chosen by what earlier ones released: whatever is chosen, the budget is
//! kept. The ε that it states on the way is one for a course of spends that is taken as given: the
//! least over all orders while everything was one mechanism, and that of its own order from then on.
//!
//! Arithmetic only. Whoever keeps a ledger must make a spend durable *before* anything computed
//! from the data leaves the machine: a crash then costs budget, never privacy.

use serde::{Deserialize, Serialize};

use crate::accountant::{Event, RdpAccountant, SubsampledGaussian};
use crate::error::PrivacyError;
use crate::filter::Filter;
use crate::statement::PrivacyUnit;
use crate::units::{Delta, Epsilon};

/// The most that a data owner is ready to spend on one data set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Total ε over all rounds, of all tasks, that touch the data set.
    pub epsilon: Epsilon,
    /// The one δ at which every ε of this ledger is stated.
    pub delta: Delta,
}

impl Budget {
    /// Checks that the budget means something: an ε of 0 allows nothing, and a δ of one over the
    /// number of units or more is kept by a mechanism that publishes one of them.
    ///
    /// `units` is how many units (examples, or clients) there are, where that is known.
    ///
    /// # Errors
    /// [`PrivacyError::NothingAllowed`], [`PrivacyError::DeltaTooLarge`].
    pub fn check(&self, unit: PrivacyUnit, units: Option<u64>) -> Result<(), PrivacyError> {
        if self.epsilon.get() <= 0.0 {
            return Err(PrivacyError::NothingAllowed);
        }
        match units {
            Some(units) => check_delta(self.delta, unit, units),
            None => Ok(()),
        }
    }
}

/// Checks that δ is below one over the number of units: a mechanism that publishes one of `units`
/// records at random, and nothing else, is (0, 1/`units`)-differentially private.
///
/// # Errors
/// [`PrivacyError::DeltaTooLarge`] says what to choose.
pub fn check_delta(delta: Delta, unit: PrivacyUnit, units: u64) -> Result<(), PrivacyError> {
    #[expect(
        clippy::cast_precision_loss,
        reason = "beyond 2^53 records, 1e-16 relative"
    )]
    let count = units.max(1) as f64;
    if delta.get() * count >= 1.0 {
        return Err(PrivacyError::DeltaTooLarge {
            delta: delta.get(),
            unit,
            units,
            at_most: 0.1 / count,
        });
    }
    Ok(())
}

/// What was spent on one data set, for one unit of privacy, against its [`Budget`].
///
/// It keeps the mechanisms themselves, equal ones merged, and recomputes the divergences when it
/// is read back: small, legible, and a later accountant can judge the same history.
///
/// JSON readers may be off by one unit in the last place on long decimals unless they are asked
/// to be exact (`serde_json` with `float_roundtrip`). The ε is the same to 15 digits either way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "LedgerRecord", into = "LedgerRecord")]
pub struct Ledger {
    budget: Budget,
    entries: Vec<Event>,
    filter: Option<Filter>,
}

/// An event as it is read back: ledgers and journals of earlier versions hold the parameters of the
/// subsampled Gaussian mechanism, without a `kind`. Written, it is an [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "AnyEvent", into = "Event")]
pub struct StoredEvent(pub Event);

#[derive(Deserialize)]
#[serde(untagged)]
enum AnyEvent {
    Tagged(Event),
    Bare(SubsampledGaussian),
}

impl From<AnyEvent> for StoredEvent {
    fn from(event: AnyEvent) -> Self {
        match event {
            AnyEvent::Tagged(event) => Self(event),
            AnyEvent::Bare(gaussian) => Self(gaussian.into()),
        }
    }
}

impl From<StoredEvent> for Event {
    fn from(stored: StoredEvent) -> Self {
        stored.0
    }
}

/// The ledger's stored form. Those of earlier versions have no order: it then follows from the
/// first entry, as it does for the first spend of a new one.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LedgerRecord {
    budget: Budget,
    entries: Vec<StoredEvent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order: Option<f64>,
}

impl TryFrom<LedgerRecord> for Ledger {
    type Error = PrivacyError;

    fn try_from(record: LedgerRecord) -> Result<Self, PrivacyError> {
        let mut ledger = match record.order {
            Some(order) => Self::at_order(record.budget, order)?,
            None => Self::new(record.budget),
        };
        for entry in record.entries {
            ledger.add(entry.0);
        }
        Ok(ledger)
    }
}

impl From<Ledger> for LedgerRecord {
    fn from(ledger: Ledger) -> Self {
        Self {
            order: ledger.order(),
            budget: ledger.budget,
            entries: ledger.entries.into_iter().map(StoredEvent).collect(),
        }
    }
}

impl Ledger {
    /// A ledger on which nothing was spent. Its order is fixed by the first spend.
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            entries: Vec::new(),
            filter: None,
        }
    }

    /// A ledger on which nothing was spent, whose filter has this Rényi order: one that is read
    /// back, and had its order fixed by a first spend long ago.
    ///
    /// # Errors
    /// `order` is not a finite number above 1.
    pub fn at_order(budget: Budget, order: f64) -> Result<Self, PrivacyError> {
        Ok(Self {
            filter: Some(Filter::at_order(budget, order)?),
            ..Self::new(budget)
        })
    }

    /// The budget.
    pub const fn budget(&self) -> Budget {
        self.budget
    }

    /// All that was recorded, equal mechanisms merged, in the order of their first appearance.
    pub fn entries(&self) -> &[Event] {
        &self.entries
    }

    /// The Rényi order of the filter; `None` before anything was spent.
    pub fn order(&self) -> Option<f64> {
        self.filter.map(|filter| filter.order())
    }

    /// The Rényi order that the filter has, or will have once `next` is the first spend.
    pub fn order_for<E: Copy + Into<Event>>(&self, next: &E) -> Option<f64> {
        let filter = self.filter_for(next).ok()?;
        Some(filter.order())
    }

    /// ε spent so far, at the budget's δ: the least over all orders while there is one mechanism,
    /// and at the filter's order where there are several.
    ///
    /// # Errors
    /// Something recorded by [`Self::record_past`] has no finite ε.
    pub fn spent(&self) -> Result<Epsilon, PrivacyError> {
        if let (Some(filter), 2..) = (&self.filter, self.entries.len()) {
            return filter.epsilon();
        }
        // Computed here, not kept: it takes milliseconds for each mechanism, and a journal that is
        // read back records one release after the other.
        let mut spent = RdpAccountant::new();
        self.entries.iter().for_each(|entry| spent.compose(entry));
        spent.epsilon(self.budget.delta)
    }

    /// ε after `next`, at the budget's δ. Not spent plus the cost of `next` alone: composition is
    /// cheaper than that.
    ///
    /// # Errors
    /// Past and next together have no finite ε.
    pub fn spent_after<E: Copy + Into<Event>>(&self, next: &E) -> Result<Epsilon, PrivacyError> {
        let mut after = self.clone();
        after.add((*next).into());
        after.spent()
    }

    /// Whether `next` would take the total over the budget. A total that is not finite would.
    pub fn would_exceed<E: Copy + Into<Event>>(&self, next: &E) -> bool {
        match self.filter_for(next) {
            Ok(filter) => !filter.admits(next),
            // It releases nothing.
            Err(_) => false,
        }
    }

    /// How many rounds of `next` still fit, if no other mechanism comes between; `u64::MAX` where
    /// it releases nothing.
    pub fn rounds_left<E: Copy + Into<Event>>(&self, next: &E) -> u64 {
        self.filter_for(next)
            .map_or(u64::MAX, |filter| filter.rounds_left(next))
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
    pub fn spend<E: Copy + Into<Event>>(&mut self, next: &E) -> Result<Epsilon, PrivacyError> {
        let after = self.spent_after(next)?;
        if self.would_exceed(next) {
            return Err(PrivacyError::BudgetExceeded {
                would_be: after.get(),
                budget: self.budget.epsilon.get(),
            });
        }
        self.add((*next).into());
        Ok(after)
    }

    /// Records a release that has happened already, within the budget or not: data used outside
    /// this ledger, or before it was kept.
    pub fn record_past<E: Copy + Into<Event>>(&mut self, release: &E) {
        self.add((*release).into());
    }

    fn filter_for<E: Copy + Into<Event>>(&self, next: &E) -> Result<Filter, PrivacyError> {
        match self.filter {
            Some(filter) => Ok(filter),
            None => Filter::for_rounds_of(self.budget, next),
        }
    }

    fn add(&mut self, event: Event) {
        if event.steps() == 0 {
            return;
        }
        if let Ok(mut filter) = self.filter_for(&event) {
            filter.record_past(&event);
            self.filter = Some(filter);
        }
        let mut same = self.entries.iter_mut();
        match same.find(|entry| entry.is_same_mechanism(&event)) {
            Some(entry) => {
                *entry = entry.with_steps(entry.steps().saturating_add(event.steps()));
            }
            None => self.entries.push(event),
        }
    }
}
