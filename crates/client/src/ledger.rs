//! The ledger of one data set, for its owner and for an auditor: what was promised, what was spent,
//! what is left, and whether the receipts say the same.
//!
//! It is read from the journal in the client's state directory, whether a client is using that or
//! not. An [`Export`] holds the receipts without the journal. A client may leave receipts out of
//! one: whoever is to rely on it compares its rounds with the service's audit log and the lists of
//! survivors, which name the rounds that the client was in.
//!
//! Specification: chapter 4, "Roster and round parameters", section 4.8.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use undertone_privacy::accountant::rdp;
use undertone_privacy::{Adjacency, Budget, Epsilon, Event, Ledger, PrivacyUnit};
use undertone_protocol::keys::IdentityPublicKey;

use crate::costs::Account;
use crate::error::ClientError;
use crate::journal::{Spend, View};
pub use crate::receipt::Receipt;

/// The format of [`Export`].
const FORMAT: &str = "undertone-ledger-1";

/// What was spent for one unit of privacy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitAccount {
    /// Whose presence is hidden.
    pub unit: PrivacyUnit,
    /// The budget by which the last round was judged; none in journals of earlier versions, which
    /// do not hold it.
    pub budget: Option<Budget>,
    /// ε spent so far; none where no bound is finite, or where updates went out that nothing
    /// bounds.
    pub epsilon: Option<Epsilon>,
    /// The δ of that ε.
    pub delta: undertone_privacy::Delta,
    /// What is left of the budget.
    pub remaining: Option<Epsilon>,
    /// In how many rounds something was spent for this unit.
    pub rounds: usize,
    /// How many updates went out that nothing bounds at this unit.
    pub unbounded: u32,
    /// The Rényi order of the filter.
    pub order: Option<f64>,
    /// Which data sets count as neighbours.
    pub adjacency: Adjacency,
    /// How ε was computed.
    pub accountant: String,
    /// What was released, each mechanism with its number of steps.
    pub released: Vec<Event>,
}

/// One round in which something was spent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpendLine {
    /// The task.
    pub task: String,
    /// The round.
    pub round: String,
    /// Its number.
    pub number: u32,
    /// Digest of the mechanism; none in journals of earlier versions.
    pub mechanism: Option<String>,
    /// What it cost for an example.
    pub example: Option<Event>,
    /// What it cost for the client.
    pub client: Option<Event>,
    /// How many receipts there are.
    pub receipts: usize,
    /// Whether a crash cut off what would say that it was spent: it counts all the same.
    pub presumed: bool,
}

/// A ledger as it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LedgerReport {
    /// What was spent, by unit.
    pub units: Vec<UnitAccount>,
    /// The same, round by round.
    pub spends: Vec<SpendLine>,
    /// How many rounds were begun in which nothing was spent.
    pub begun_only: usize,
}

/// Reads the ledger of a state directory. `usual` stands in for the budget where the journal does
/// not say it, and for its δ.
///
/// # Errors
/// [`ClientError::Journal`], [`ClientError::JournalDamaged`].
pub fn read(state_dir: &Path, usual: Budget) -> Result<LedgerReport, ClientError> {
    let view = View::read(state_dir)?;
    Ok(LedgerReport {
        units: units(&view, usual),
        spends: view.spends().iter().map(line).collect(),
        begun_only: view.unspent(),
    })
}

fn line(spend: &Spend<'_>) -> SpendLine {
    SpendLine {
        task: spend.task.to_string(),
        round: spend.round.to_string(),
        number: spend.number,
        mechanism: spend.mechanism.map(|digest| digest.to_string()),
        example: spend.costs.example,
        client: spend.costs.client,
        receipts: spend.receipts.len(),
        presumed: spend.presumed,
    }
}

/// The example's account always, the client's where its owner ever set a budget for that or a
/// mechanism promised anything there.
fn units(view: &View, usual: Budget) -> Vec<UnitAccount> {
    let spends = view.spends();
    let spent_at = |unit: PrivacyUnit| spends.iter().filter(|s| s.costs.at(unit).is_some()).count();
    let shown = PrivacyUnit::ALL.into_iter().filter(|unit| {
        *unit == PrivacyUnit::Example || view.budget(*unit).is_some() || spent_at(*unit) > 0
    });
    shown
        .map(|unit| {
            let budget = view.budget(unit);
            let account = view.account(unit, budget.unwrap_or(usual));
            stated(unit, budget, &account, spent_at(unit))
        })
        .collect()
}

fn stated(
    unit: PrivacyUnit,
    budget: Option<Budget>,
    account: &Account,
    rounds: usize,
) -> UnitAccount {
    let Account { ledger, unbounded } = account;
    UnitAccount {
        unit,
        budget,
        epsilon: ledger.spent().ok().filter(|_| *unbounded == 0),
        delta: ledger.budget().delta,
        remaining: budget.map(|_| ledger.remaining()),
        rounds,
        unbounded: *unbounded,
        order: ledger.order(),
        adjacency: Adjacency::AddOrRemoveOne,
        accountant: rdp::NAME.to_owned(),
        released: ledger.entries().to_vec(),
    }
}

/// What a check of receipts found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// How many receipts verify.
    pub receipts: usize,
    /// The key that signed them, 64 hexadecimal digits.
    pub key: Option<String>,
    /// What is no fault, and should be known.
    pub notes: Vec<String>,
    /// What is wrong.
    pub faults: Vec<String>,
}

impl Checked {
    /// Whether nothing is wrong.
    pub fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    /// Checks one receipt's signature, and that all are of one key.
    fn take(&mut self, receipt: &Receipt, expected: Option<IdentityPublicKey>) {
        let name = format!("round {} ({})", receipt.number, receipt.round);
        if let Err(error) = receipt.verify() {
            self.faults.push(format!("the receipt of {name}: {error}"));
            return;
        }
        let expected = expected.map(|key| key.to_string()).or(self.key.clone());
        match expected {
            Some(key) if Some(&key) != receipt.signer().map(|k| k.to_string()).as_ref() => {
                let found = &receipt.key;
                self.faults.push(format!(
                    "the receipt of {name} is signed by {found}, not by {key}"
                ));
                return;
            }
            _ => self.key = Some(receipt.key.clone()),
        }
        if let Err(error) = receipt.event() {
            self.faults
                .push(format!("the cost in the receipt of {name}: {error}"));
            return;
        }
        self.receipts += 1;
    }
}

/// Checks the receipts of a state directory: that there is one for each spend, that it says what
/// the journal says, and that its signature verifies, under `key` if one is given.
///
/// # Errors
/// [`ClientError::Journal`], [`ClientError::JournalDamaged`].
pub fn verify(state_dir: &Path, key: Option<IdentityPublicKey>) -> Result<Checked, ClientError> {
    let view = View::read(state_dir)?;
    let mut checked = Checked::default();
    for spend in view.spends() {
        compare(&spend, &mut checked);
        for receipt in spend.receipts {
            checked.take(receipt, key);
        }
    }
    Ok(checked)
}

/// Whether a round's receipts say what the journal says of it.
fn compare(spend: &Spend<'_>, checked: &mut Checked) {
    let name = format!("round {} ({})", spend.number, spend.round);
    if spend.presumed {
        let what = "counts as spent since a crash cut the journal off there, and has no receipt";
        checked.notes.push(format!("{name} {what}"));
        return;
    }
    let Some(mechanism) = spend.mechanism else {
        let what = "was recorded by a version that made no receipts";
        checked.notes.push(format!("{name} {what}"));
        return;
    };
    let bare = spend.costs.example.is_none() && spend.costs.client.is_none();
    for unit in PrivacyUnit::ALL {
        let cost = spend.costs.at(unit);
        let wanted = cost.is_some() || (bare && unit == PrivacyUnit::Example);
        let mut of_unit = spend.receipts.iter().filter(|r| r.unit == unit);
        let (receipt, more) = (of_unit.next(), of_unit.next());
        let Some(receipt) = receipt.filter(|_| more.is_none()) else {
            if wanted || more.is_some() {
                let what = format!("{name} has not one receipt for each {unit}");
                checked.faults.push(what);
            }
            continue;
        };
        let same = receipt.task == spend.task.to_string()
            && receipt.round == spend.round.to_string()
            && receipt.number == spend.number
            && receipt.mechanism == mechanism.to_string()
            && receipt.event().is_ok_and(|event| event == cost);
        if !same || !wanted {
            let what = format!("the receipt of {name} says something else than the journal");
            checked.faults.push(what);
        }
    }
}

/// The receipts of a data set with what they sum up to, for an auditor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Always `undertone-ledger-1`.
    pub format: String,
    /// What was spent, by unit.
    pub units: Vec<UnitAccount>,
    /// The receipts, in the order in which rounds were begun.
    pub receipts: Vec<Receipt>,
    /// Rounds that count in `units` and have no receipt: recorded by an earlier version, or cut off
    /// by a crash.
    pub without_receipt: usize,
}

/// Reads the receipts of a state directory; `usual` as for [`read`].
///
/// # Errors
/// [`ClientError::Journal`], [`ClientError::JournalDamaged`].
pub fn export(state_dir: &Path, usual: Budget) -> Result<Export, ClientError> {
    let view = View::read(state_dir)?;
    let spends = view.spends();
    Ok(Export {
        format: FORMAT.to_owned(),
        units: units(&view, usual),
        receipts: spends.iter().flat_map(|s| s.receipts).cloned().collect(),
        without_receipt: spends.iter().filter(|s| s.receipts.is_empty()).count(),
    })
}

impl Export {
    /// Checks every receipt, that none stands twice, and that what is stated is not less than what
    /// they sum up to.
    pub fn verify(&self, key: Option<IdentityPublicKey>) -> Checked {
        let mut checked = Checked::default();
        if self.format != FORMAT {
            let what = format!("the format is {}, not {FORMAT}", self.format);
            checked.faults.push(what);
        }
        let mut seen = BTreeSet::new();
        for receipt in &self.receipts {
            checked.take(receipt, key);
            if !seen.insert((&receipt.round, receipt.unit)) {
                let (round, unit) = (&receipt.round, receipt.unit);
                let what = format!("round {round} has two receipts for each {unit}");
                checked.faults.push(what);
            }
        }
        if self.without_receipt > 0 {
            let what = format!("{} rounds have no receipt", self.without_receipt);
            checked.notes.push(what);
        }
        for account in &self.units {
            if let Some(fault) = understated(account, &self.receipts) {
                checked.faults.push(fault);
            }
        }
        checked
    }
}

/// What is wrong with a stated sum, if it is below that of the receipts.
fn understated(account: &UnitAccount, receipts: &[Receipt]) -> Option<String> {
    let unit = account.unit;
    let budget = Budget {
        // Where none is stated the size does not matter: only the sum is asked for.
        epsilon: account
            .budget
            .map_or(Epsilon::new(1.0).ok()?, |b| b.epsilon),
        delta: account.delta,
    };
    let mut ledger = match account.order {
        Some(order) => Ledger::at_order(budget, order).ok()?,
        None => Ledger::new(budget),
    };
    let mut unbounded = 0;
    for receipt in receipts.iter().filter(|receipt| receipt.unit == unit) {
        match receipt.event() {
            Ok(Some(event)) => ledger.record_past(&event),
            Ok(None) => unbounded += 1,
            Err(_) => {}
        }
    }
    let stated = account.epsilon?.get();
    if unbounded > 0 {
        return Some(format!(
            "epsilon {stated} is stated for each {unit}, and nothing bounds it"
        ));
    }
    let least = ledger.spent().map_or(f64::INFINITY, Epsilon::get);
    let nothing = ledger.entries().is_empty();
    // Decimals may be read off by one unit in the last place.
    (!nothing && stated < least * (1.0 - 1e-9)).then(|| {
        format!("epsilon {stated} is stated for each {unit}, and the receipts sum up to {least}")
    })
}
