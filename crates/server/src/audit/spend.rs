//! What the rounds of a task cost in privacy, as far as the service can say.
//!
//! The service sees the mechanism that clients agreed to, not whether they followed it, and not how
//! often each took part: it states the cost for a client that was in every round.

use undertone_privacy::{
    Adjacency, Delta, Mechanism, PrivacyError, PrivacyStatement, PrivacyUnit, SubsampledGaussian,
};

use super::canonical::Decimal;
use super::{Guarantee, Released};

/// The δ at which costs are stated: that of a client's budget unless its owner chose another. The
/// mechanism is stated too, so that any other can be computed.
const DELTA: f64 = 1e-5;

/// The guarantee after `rounds` rounds in which inputs were taken, the last one included.
pub(crate) fn guarantee(mechanism: &[u8], rounds: u64) -> Guarantee {
    let none = |reason: String| Guarantee::None { reason };
    let mechanism: Mechanism = match serde_json::from_slice(mechanism) {
        Ok(mechanism) => mechanism,
        Err(error) => return none(format!("the mechanism cannot be read: {error}")),
    };
    let Some(per_round) = mechanism.per_round() else {
        return none("the mechanism adds no noise; the sums reveal what they reveal".into());
    };
    stated(per_round, rounds).unwrap_or_else(|error| none(error.to_string()))
}

fn stated(per_round: &SubsampledGaussian, rounds: u64) -> Result<Guarantee, PrivacyError> {
    let delta = Delta::new(DELTA)?;
    let state = |times: u64| {
        let mechanism = SubsampledGaussian {
            steps: per_round.steps.saturating_mul(times),
            ..*per_round
        };
        PrivacyStatement::from_rdp(&mechanism, delta, PrivacyUnit::Example)
    };
    let released = |statement: &PrivacyStatement| Released {
        epsilon: Decimal(statement.epsilon.get()),
        delta: Decimal(statement.delta.get()),
    };
    let (one, all) = (state(1)?, state(rounds)?);
    Ok(Guarantee::DifferentialPrivacy {
        round: released(&one),
        total: released(&all),
        adjacency: Adjacency::AddOrRemoveOne.to_string(),
        unit: PrivacyUnit::Example.to_string(),
        accountant: all.accountant,
        mechanism: one.mechanism,
    })
}

#[cfg(test)]
mod tests {
    use undertone_privacy::{Budget, Epsilon, Ledger, Noise, NoiseMultiplier, SamplingRate};

    use super::*;

    fn mechanism(noise: Noise) -> Vec<u8> {
        let mechanism = Mechanism {
            update_clip: 1.0,
            scale: 1.0,
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
                guarantee(&mechanism(noise), rounds)
            else {
                panic!("no guarantee");
            };
            let expected = ledger.spent().unwrap().get();
            assert!((total.epsilon.0 - expected).abs() < 1e-12 * expected);
            assert!(rounds == 1 || round.epsilon.0 < total.epsilon.0);
        }
    }

    #[test]
    fn nothing_is_claimed_where_nothing_holds() {
        for mechanism in [mechanism(Noise::None), b"mechanism".to_vec()] {
            assert!(matches!(guarantee(&mechanism, 1), Guarantee::None { .. }));
        }
    }
}
