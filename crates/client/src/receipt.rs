//! Receipts in JSON, as the journal keeps them and exports show them.
//!
//! Specification: chapter 4, "Roster and round parameters", section 4.8.

use serde::{Deserialize, Serialize};
use undertone_privacy::{Event, PrivacyUnit};
use undertone_protocol::ProtocolError;
use undertone_protocol::id::{MechanismDigest, RoundId, RoundNumber, TaskId};
use undertone_protocol::keys::{IdentityKey, IdentityPublicKey};
use undertone_protocol::receipt::{SignedSpend, SpendStatement};

use crate::costs::Costs;
use crate::error::ClientError;

/// A signed statement of what a client spent of one budget in one round.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// The task, 32 hexadecimal digits.
    pub task: String,
    /// The round, 64 hexadecimal digits.
    pub round: String,
    /// Its number.
    pub number: u32,
    /// Digest of the mechanism, 64 hexadecimal digits.
    pub mechanism: String,
    /// The unit of the budget.
    pub unit: PrivacyUnit,
    /// What was spent: an [`Event`] as JSON text, exactly as it was signed; `null` where the update
    /// went out with nothing to bound it.
    pub cost: String,
    /// The signature, 128 hexadecimal digits.
    pub signature: String,
    /// The client's identity key, 64 hexadecimal digits.
    pub key: String,
}

impl Receipt {
    /// The receipt, if its signature verifies under the key that it names.
    ///
    /// # Errors
    /// [`ProtocolError`]: a field cannot be read, or the signature does not verify.
    pub fn verify(&self) -> Result<SignedSpend, ProtocolError> {
        let signed = SignedSpend {
            statement: SpendStatement {
                task: self.task.parse()?,
                round: self.round.parse()?,
                number: RoundNumber(self.number),
                mechanism: self.mechanism.parse()?,
                unit: self.unit.to_string(),
                cost: self.cost.clone(),
            },
            signature: self.signature.parse()?,
            key: self.key.parse()?,
        };
        signed.verify()?;
        Ok(signed)
    }

    /// What was spent; `None` where nothing bounds it.
    ///
    /// # Errors
    /// The text is not an event: what is wrong with it.
    pub fn event(&self) -> Result<Option<Event>, String> {
        serde_json::from_str(&self.cost).map_err(|e| e.to_string())
    }

    /// The key that signed, as it is named.
    pub(crate) fn signer(&self) -> Option<IdentityPublicKey> {
        self.key.parse().ok()
    }
}

impl From<SignedSpend> for Receipt {
    fn from(signed: SignedSpend) -> Self {
        let SpendStatement {
            task,
            round,
            number,
            mechanism,
            unit,
            cost,
        } = signed.statement;
        let client = unit == PrivacyUnit::Client.to_string();
        Self {
            task: task.to_string(),
            round: round.to_string(),
            number: number.0,
            mechanism: mechanism.to_string(),
            unit: if client {
                PrivacyUnit::Client
            } else {
                PrivacyUnit::Example
            },
            cost,
            signature: signed.signature.to_string(),
            key: signed.key.to_string(),
        }
    }
}

/// The receipts of one round: one for each unit at which the mechanism promises anything; where it
/// promises nothing, one for an example that says so.
pub(crate) fn receipts(
    (task, round, number): (TaskId, RoundId, RoundNumber),
    mechanism: MechanismDigest,
    costs: &Costs,
    key: &IdentityKey,
) -> Result<Vec<Receipt>, ClientError> {
    let bare = costs.example.is_none() && costs.client.is_none();
    let units = PrivacyUnit::ALL.into_iter();
    let spent =
        units.filter(|unit| costs.at(*unit).is_some() || (bare && *unit == PrivacyUnit::Example));
    spent
        .map(|unit| {
            let cost = serde_json::to_string(&costs.at(unit));
            let statement = SpendStatement {
                task,
                round,
                number,
                mechanism,
                unit: unit.to_string(),
                cost: cost.map_err(|e| ClientError::Receipt(e.to_string()))?,
            };
            let signed = statement.sign(key);
            let signed = signed.map_err(|e| ClientError::Receipt(e.to_string()))?;
            Ok(Receipt::from(signed))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use undertone_privacy::{NoiseMultiplier, SamplingRate, SubsampledGaussian};
    use undertone_protocol::keys::Secret32;

    use super::*;

    fn cost() -> Event {
        Event::from(SubsampledGaussian {
            sampling_rate: SamplingRate::new(0.1).unwrap(),
            noise_multiplier: NoiseMultiplier::new(1.1).unwrap(),
            steps: 4,
        })
    }

    fn of(costs: &Costs) -> Vec<Receipt> {
        let key = IdentityKey::from_seed(&Secret32::from([1; 32]));
        let which = ([2; 16].into(), [3; 32].into(), RoundNumber(4));
        receipts(which, [5; 32].into(), costs, &key).unwrap()
    }

    /// Spec.
    #[test]
    fn a_receipt_verifies_and_a_changed_one_does_not() {
        let costs = Costs {
            example: Some(cost()),
            client: Some(cost()),
        };
        let all = of(&costs);
        assert_eq!(all.len(), 2);
        for receipt in all {
            let json = serde_json::to_string(&receipt).unwrap();
            let back: Receipt = serde_json::from_str(&json).unwrap();
            assert_eq!(back, receipt);
            back.verify().unwrap();
            assert_eq!(back.event().unwrap(), Some(cost()));
            for (from, to) in [
                ("1.1", "1.2"),
                ("\"number\":4", "\"number\":5"),
                ("0505", "0506"),
                ("0202", "0203"),
                ("0303", "0304"),
            ] {
                let changed = json.replacen(from, to, 1);
                assert_ne!(changed, json, "{from}");
                let changed: Receipt = serde_json::from_str(&changed).unwrap();
                assert!(changed.verify().is_err(), "{from} to {to}");
            }
        }
    }

    #[test]
    fn what_nothing_bounds_has_a_receipt_too() {
        let [receipt] = of(&Costs::default()).try_into().unwrap();
        assert_eq!(
            (receipt.unit, receipt.cost.as_str()),
            (PrivacyUnit::Example, "null")
        );
        receipt.verify().unwrap();
        assert_eq!(receipt.event(), Ok(None));
    }
}
