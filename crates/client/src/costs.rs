//! What a round costs this client, for each unit of privacy.

use undertone_privacy::{Event, Ledger, Mechanism, PrivacyUnit, promise};

/// What releasing an update costs: at each unit, where the mechanism promises anything there.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Costs {
    /// For one example.
    pub(crate) example: Option<Event>,
    /// For the whole client.
    pub(crate) client: Option<Event>,
}

impl Costs {
    /// What one round of a mechanism costs.
    pub(crate) fn of(mechanism: &Mechanism) -> Self {
        let cost = |unit| promise::cost(mechanism, unit).ok();
        Self {
            example: cost(PrivacyUnit::Example),
            client: cost(PrivacyUnit::Client),
        }
    }

    /// The cost at one unit.
    pub(crate) fn at(&self, unit: PrivacyUnit) -> Option<Event> {
        match unit {
            PrivacyUnit::Example => self.example,
            PrivacyUnit::Client => self.client,
        }
    }
}

/// The ledgers of one data set, with the updates that were released outside them.
#[derive(Debug, Clone)]
pub(crate) struct Ledgers {
    /// For one example.
    pub(crate) example: Account,
    /// For the whole client, where its owner set a budget for that.
    pub(crate) client: Option<Account>,
}

/// A ledger, and the updates whose cost at its unit nothing bounds.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    /// What was spent.
    pub(crate) ledger: Ledger,
    /// How many updates were released that promise nothing at this unit.
    pub(crate) unbounded: u32,
}

impl Ledgers {
    /// Each with its unit.
    pub(crate) fn all(&self) -> impl Iterator<Item = (PrivacyUnit, &Account)> {
        let client = self.client.as_ref();
        std::iter::once((PrivacyUnit::Example, &self.example))
            .chain(client.map(|account| (PrivacyUnit::Client, account)))
    }
}
