//! What the rounds of a task cost in privacy, as far as the service can say.
//!
//! The service sees the mechanism that clients agreed to, not whether they followed it, and not how
//! often each took part: it states the cost for a client that was in every round.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use undertone_privacy::{
    Delta, Event as Cost, Mechanism, PrivacyError, PrivacyUnit, Promise, Releases, Says, promise,
    promises,
};

use super::canonical::Decimal;
use super::{Guarantee, Released};
use crate::store::TaskSettings;

/// The δ at which costs are stated where a task has no budget: that of a client's budget unless its
/// owner chose another. The mechanism is stated too, so that any other can be computed.
const DELTA: f64 = 1e-5;

/// For whom, and at which δ, the cost of a task's rounds is stated as one figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Terms {
    pub(crate) unit: PrivacyUnit,
    pub(crate) delta: f64,
}

impl Terms {
    /// Those of the task's budget, if it has one.
    pub(crate) fn of(settings: &TaskSettings) -> Self {
        settings.budget.map_or(
            Self {
                unit: PrivacyUnit::Example,
                delta: DELTA,
            },
            |budget| Self {
                unit: budget.unit,
                delta: budget.delta.get(),
            },
        )
    }
}

/// What one round costs at one unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UnitCost {
    /// The unit.
    pub unit: PrivacyUnit,
    /// The accountant's event.
    pub event: Value,
}

/// What one round costs at each unit at which the mechanism promises anything.
pub(crate) fn costs(mechanism: &[u8]) -> Result<Vec<UnitCost>, serde_json::Error> {
    let Ok(mechanism) = serde_json::from_slice::<Mechanism>(mechanism) else {
        return Ok(Vec::new());
    };
    let promised = PrivacyUnit::ALL.into_iter().filter_map(|unit| {
        let cost = promise::cost(&mechanism, unit).ok()?;
        Some((unit, cost))
    });
    promised
        .map(|(unit, cost)| {
            let event = serde_json::to_value(cost)?;
            Ok(UnitCost { unit, event })
        })
        .collect()
}

/// The four promises of a task's rounds so far; none where its mechanism cannot be read.
pub(crate) fn promised(mechanism: &[u8], seen: Releases, terms: Terms) -> Vec<Promise> {
    let mechanism = serde_json::from_slice::<Mechanism>(mechanism);
    match (mechanism, Delta::new(terms.delta)) {
        (Ok(mechanism), Ok(delta)) => promises(&mechanism, seen, delta),
        _ => Vec::new(),
    }
}

/// ε of so many rounds of an event as an audit entry holds it; none where it is no event, or
/// nothing bounds it.
pub(crate) fn recomputed(event: &Value, rounds: u64, delta: f64) -> Option<f64> {
    let cost: Cost = serde_json::from_value(numbers(event)).ok()?;
    let epsilon = promise::epsilon(&cost, rounds, Delta::new(delta).ok()?);
    epsilon.ok().map(undertone_privacy::Epsilon::get)
}

/// An event with numbers where canonical JSON has them as texts.
fn numbers(event: &Value) -> Value {
    match event {
        Value::Object(fields) => {
            let read = |(name, value): (&String, &Value)| {
                let number = value.as_str().and_then(|text| text.parse::<f64>().ok());
                let number = number.and_then(serde_json::Number::from_f64);
                (name.clone(), number.map_or(value.clone(), Value::Number))
            };
            Value::Object(fields.iter().map(read).collect())
        }
        other => other.clone(),
    }
}

/// The guarantee after `rounds` rounds in which inputs were taken, the last one included: that
/// against the aggregator, for the unit of the terms.
pub(crate) fn guarantee(mechanism: &[u8], rounds: u64, terms: Terms) -> Guarantee {
    let none = |reason: String| Guarantee::None { reason };
    let mechanism: Mechanism = match serde_json::from_slice(mechanism) {
        Ok(mechanism) => mechanism,
        Err(error) => return none(format!("the mechanism cannot be read: {error}")),
    };
    stated(&mechanism, rounds, terms).unwrap_or_else(|error| match error {
        PrivacyError::NoPromise { reason, .. } => none(reason.to_owned()),
        other => none(other.to_string()),
    })
}

fn stated(mechanism: &Mechanism, rounds: u64, terms: Terms) -> Result<Guarantee, PrivacyError> {
    let (unit, delta) = (terms.unit, Delta::new(terms.delta)?);
    let seen = Releases {
        inputs: rounds,
        sums: 0,
    };
    // Once more for the error, which a promise has in words only.
    promise::cost(mechanism, unit)?;
    let of_unit = promises(mechanism, seen, delta);
    let of_unit = of_unit.into_iter().find(|promise| promise.unit == unit);
    let released = |epsilon: undertone_privacy::Epsilon| Released {
        epsilon: Decimal(epsilon.get()),
        delta: Decimal(delta.get()),
    };
    match of_unit.map(|promise| promise.says) {
        Some(Says::DifferentialPrivacy {
            round,
            total,
            adjacency,
            accountant,
            mechanism,
            ..
        }) => Ok(Guarantee::DifferentialPrivacy {
            round: released(round),
            total: released(total),
            adjacency: adjacency.to_string(),
            unit: unit.to_string(),
            accountant,
            mechanism,
        }),
        Some(Says::Nothing { reason }) => Ok(Guarantee::None { reason }),
        None => Err(PrivacyError::NothingReleased),
    }
}

#[cfg(test)]
mod tests {
    use undertone_privacy::{
        Budget, Epsilon, Ledger, Noise, NoiseMultiplier, SamplingRate, SubsampledGaussian,
    };

    use super::*;
    use crate::audit::canonical;

    const TERMS: Terms = Terms {
        unit: PrivacyUnit::Example,
        delta: DELTA,
    };

    fn mechanism(noise: Noise) -> Vec<u8> {
        let mechanism = Mechanism {
            update_clip: 1.0,
            scale: 1.0,
            rotation: None,
            noise,
        };
        serde_json::to_vec(&mechanism).unwrap()
    }

    /// The service composes as the ledger of a client does.
    #[test]
    fn the_total_is_what_a_clients_ledger_says() {
        let per_round = SubsampledGaussian {
            sampling_rate: SamplingRate::new(0.1).unwrap(),
            noise_multiplier: NoiseMultiplier::new(1.1).unwrap(),
            steps: 4,
        };
        let noise = Noise::LocalDpSgd {
            clip_norm: 1.0,
            per_round,
        };
        let mut ledger = Ledger::new(Budget {
            epsilon: Epsilon::new(8.0).unwrap(),
            delta: Delta::new(DELTA).unwrap(),
        });
        for rounds in 1..=5 {
            ledger.record_past(&per_round);
            let Guarantee::DifferentialPrivacy { round, total, .. } =
                guarantee(&mechanism(noise), rounds, TERMS)
            else {
                panic!("no guarantee");
            };
            let expected = ledger.spent().unwrap().get();
            assert!((total.epsilon.0 - expected).abs() < 1e-12 * expected);
            assert!(rounds == 1 || round.epsilon.0 < total.epsilon.0);
            // And the entry's own cost, read back, says the same.
            let costs = canonical::to_string(&costs(&mechanism(noise)).unwrap()).unwrap();
            let costs: Vec<UnitCost> = serde_json::from_str(&costs).unwrap();
            let [cost] = costs.as_slice() else {
                panic!("{costs:?}");
            };
            let again = recomputed(&cost.event, rounds, DELTA).unwrap();
            assert!((again - total.epsilon.0).abs() < 1e-12 * again);
        }
    }

    #[test]
    fn at_a_unit_without_a_promise_there_is_no_guarantee() {
        let noise = Noise::LocalDpSgd {
            clip_norm: 1.0,
            per_round: SubsampledGaussian {
                sampling_rate: SamplingRate::new(0.1).unwrap(),
                noise_multiplier: NoiseMultiplier::new(1.1).unwrap(),
                steps: 4,
            },
        };
        let terms = Terms {
            unit: PrivacyUnit::Client,
            ..TERMS
        };
        let Guarantee::None { reason } = guarantee(&mechanism(noise), 1, terms) else {
            panic!("a guarantee for a client");
        };
        assert!(reason.contains("not a whole client"), "{reason}");
    }

    #[test]
    fn nothing_is_claimed_where_nothing_holds() {
        for mechanism in [mechanism(Noise::None), b"mechanism".to_vec()] {
            assert!(matches!(
                guarantee(&mechanism, 1, TERMS),
                Guarantee::None { .. }
            ));
        }
    }
}
