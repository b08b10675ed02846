//! What the rounds of a task promise: for one example and for a whole client, against the
//! aggregator and against those who see only the models. Four promises, never one figure for all.
//!
//! What is claimed, and what is not:
//!
//! - **Nothing for the choice of the cohort.** The aggregator knows who is in a round. Those who
//!   see only the models do not, but amplification needs a cohort that a trusted party draws at
//!   random: here clients are admitted as they arrive, so there is none for them either.
//! - **Local DP-SGD, for one example**: its client's own noise, before any mask. It does not need
//!   the secure sum, and holds against the aggregator. A sum holds the noise of other clients too,
//!   and so where each takes one step the models would be better protected than one update; but
//!   that rests on the other clients and on the secure sum, and it is not claimed: the figure is
//!   the same for both views.
//! - **Local DP-SGD, for a client**: nothing. Its noise is set to hide one example's gradient.
//! - **Rounds that failed.** Those who see only the models see nothing of a round without a sum.
//!   Against the aggregator each round counts in which an input was taken: that it failed is the
//!   service's own word, and whoever has the shares can take the masks off later.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::accountant::{Event, RdpAccountant, rdp};
use crate::error::PrivacyError;
use crate::mechanism::{Mechanism, Noise};
use crate::statement::{Adjacency, PrivacyStatement, PrivacyUnit, View};
use crate::units::{Delta, Epsilon, SamplingRate};

/// In how many rounds something of a client was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Releases {
    /// Rounds in which inputs were taken, failed ones included.
    pub inputs: u64,
    /// Rounds whose sum was published.
    pub sums: u64,
}

impl Releases {
    /// How many of them count in a view.
    pub const fn seen_by(self, view: View) -> u64 {
        match view {
            View::Aggregator => self.inputs,
            View::ModelOnly => self.sums,
        }
    }
}

/// One of the four promises.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// Whose presence is hidden.
    pub unit: PrivacyUnit,
    /// From whom.
    pub view: View,
    /// What is promised.
    #[serde(flatten)]
    pub says: Says,
}

/// What a promise says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Says {
    /// Differential privacy of all that is seen of these rounds.
    DifferentialPrivacy {
        /// How many rounds count.
        rounds: u64,
        /// ε of one of them alone.
        round: Epsilon,
        /// ε of all of them.
        total: Epsilon,
        /// δ of both.
        delta: Delta,
        /// Which data sets count as neighbours.
        adjacency: Adjacency,
        /// How ε was computed.
        accountant: String,
        /// What one round releases, in words.
        mechanism: String,
    },
    /// Nothing is promised.
    Nothing {
        /// Why.
        reason: String,
    },
}

impl Promise {
    /// ε of all rounds that count, where something is promised.
    pub fn total(&self) -> Option<Epsilon> {
        match &self.says {
            Says::DifferentialPrivacy { total, .. } => Some(*total),
            Says::Nothing { .. } => None,
        }
    }

    /// The promise as a statement, where there is one.
    pub fn statement(&self) -> Option<PrivacyStatement> {
        let Says::DifferentialPrivacy {
            rounds,
            total,
            delta,
            adjacency,
            accountant,
            mechanism,
            ..
        } = &self.says
        else {
            return None;
        };
        Some(PrivacyStatement {
            epsilon: *total,
            delta: *delta,
            adjacency: *adjacency,
            unit: self.unit,
            view: Some(self.view),
            accountant: accountant.clone(),
            mechanism: format!("{rounds} rounds, each {mechanism}"),
        })
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unit, view, says } = self;
        match (says, self.statement()) {
            (_, Some(statement)) => statement.fmt(f),
            (Says::Nothing { reason }, _) => {
                write!(
                    f,
                    "nothing is promised for each {unit}, against {view}: {reason}."
                )
            }
            (Says::DifferentialPrivacy { .. }, None) => Ok(()),
        }
    }
}

/// What one round costs at a unit.
///
/// # Errors
/// [`PrivacyError::NoPromise`] says why the mechanism promises nothing for it.
pub fn cost(mechanism: &Mechanism, unit: PrivacyUnit) -> Result<Event, PrivacyError> {
    let nothing = |reason| Err(PrivacyError::NoPromise { unit, reason });
    match (&mechanism.noise, unit) {
        (Noise::None, _) => nothing("it adds no noise, and the sums reveal what they reveal"),
        (Noise::LocalDpSgd { per_round, .. }, PrivacyUnit::Example) => Ok((*per_round).into()),
        (Noise::LocalDpSgd { .. }, PrivacyUnit::Client) => nothing(
            "the noise of local DP-SGD is set to hide one example's gradient, not a whole client",
        ),
        (
            Noise::DistributedDpSgd {
                joint,
                sampling_rate,
                ..
            },
            PrivacyUnit::Example,
        ) => mechanism.joint_event(*joint, *sampling_rate, 1),
        (Noise::DistributedDpSgd { .. }, PrivacyUnit::Client) => nothing(
            "the noise is set to hide one example's gradient; a client adds up many of them",
        ),
        // Its update moves from one clipped vector to another: twice the norm. Where the client
        // runs DP-SGD by itself as well, that is what is claimed: it rests on nobody else.
        (
            Noise::DistributedDpFedAvg {
                local: Some(local), ..
            },
            PrivacyUnit::Example,
        ) => Ok(local.per_round.into()),
        (Noise::DistributedDpFedAvg { joint, .. }, PrivacyUnit::Example) => {
            mechanism.joint_event(*joint, every_round(), 2)
        }
        (Noise::DistributedDpFedAvg { joint, .. }, PrivacyUnit::Client) => {
            mechanism.joint_event(*joint, every_round(), 1)
        }
    }
}

/// No amplification: the aggregator knows who is in a round.
fn every_round() -> SamplingRate {
    SamplingRate::ONE
}

/// The four promises of a task whose rounds were seen so often, at one δ: those of a client that
/// was in every one of them and followed the mechanism. One that was in fewer spent less.
pub fn promises(mechanism: &Mechanism, seen: Releases, delta: Delta) -> Vec<Promise> {
    let pairs = PrivacyUnit::ALL
        .into_iter()
        .flat_map(|unit| View::ALL.map(|view| (unit, view)));
    pairs
        .map(|(unit, view)| Promise {
            unit,
            view,
            says: says(mechanism, unit, seen.seen_by(view), delta),
        })
        .collect()
}

fn says(mechanism: &Mechanism, unit: PrivacyUnit, rounds: u64, delta: Delta) -> Says {
    let stated = cost(mechanism, unit).and_then(|cost| {
        Ok(Says::DifferentialPrivacy {
            rounds,
            round: epsilon(&cost, 1, delta)?,
            total: epsilon(&cost, rounds, delta)?,
            delta,
            adjacency: Adjacency::AddOrRemoveOne,
            accountant: rdp::NAME.to_owned(),
            mechanism: cost.to_string(),
        })
    });
    stated.unwrap_or_else(|error| Says::Nothing {
        reason: match error {
            PrivacyError::NoPromise { reason, .. } => reason.to_owned(),
            other => other.to_string(),
        },
    })
}

/// ε of so many rounds, the least over all orders: what they cost where neither their number nor
/// their mechanism follows from what they released.
///
/// # Errors
/// No order gives a finite ε.
pub fn epsilon(per_round: &Event, rounds: u64, delta: Delta) -> Result<Epsilon, PrivacyError> {
    let mut accountant = RdpAccountant::new();
    accountant.compose(&per_round.with_steps(per_round.steps().saturating_mul(rounds)));
    accountant.epsilon(delta)
}

/// What noise that clients add together rests on.
const DISTRIBUTED: [&str; 3] = [
    "The noise is counted in the sum, not in one client's input: the promise needs the masks, and \
     as many honest clients among the survivors as the mechanism says; what others add, or do not, \
     is not counted.",
    "Noise is added in integers, drawn from its exact distribution up to a distance in total \
     variation of 2^-96 a coordinate, which is below any delta in use.",
    "A round that nobody can unmask any more still costs what it would have revealed.",
];

/// What the promises rest on, one sentence each.
pub fn assumptions(mechanism: &Mechanism) -> Vec<&'static str> {
    let mut all = vec![
        "Each client follows the mechanism that it agreed to: the service sees masked updates, and \
         can tell neither the noise nor the sampling of any.",
        "Figures are those of a client that was in every round that counts; one that was in fewer \
         spent less, and its own ledger knows.",
        "No amplification is claimed for the choice of the cohort: the aggregator knows who is in \
         a round, and clients are admitted as they arrive, not drawn at random by a trusted party.",
    ];
    match mechanism.noise {
        Noise::None => {}
        Noise::LocalDpSgd { .. } => all.extend([
            "Each client samples its batches at random by itself (Poisson sampling), and nobody \
             else learns which examples are in them.",
            "The promise for an example needs neither the masks nor other clients: it holds for \
             the update by itself. Noise of other clients in the same sum is not counted.",
        ]),
        Noise::DistributedDpSgd { .. } => {
            all.extend(DISTRIBUTED);
            all.push(
                "Each client samples its examples at random by itself (Poisson sampling), and \
                 nobody else learns which, or how many, are in a sum.",
            );
        }
        Noise::DistributedDpFedAvg { .. } => all.extend(DISTRIBUTED),
    }
    all
}

/// What no promise covers, one sentence each.
pub fn not_covered(mechanism: &Mechanism) -> Vec<&'static str> {
    let mut all = NOT_COVERED.to_vec();
    // Noise in the secure sum is drawn in integers.
    if mechanism.noise.local().is_some() {
        all.push(
            "How many examples a client has: it divides its noisy sums by its expected batch, which \
             follows from that number. The promise is for a given number, about what an example \
             says and not that there is one; epsilon is the same.",
        );
        all.push(
            "Samples of the noise that a client adds by itself are drawn with floating-point \
             numbers, hardened against known attacks and not proven.",
        );
    }
    all
}

const NOT_COVERED: [&str; 5] = [
    "Who takes part, when, and from which network address, is visible to the service.",
    "That a service learns sums only is a computational promise: it holds as long as the \
     cryptography does, and fewer clients than assumed work with the service. Differential \
     privacy of a client's own noise does not depend on it.",
    "A sum over a group reveals what it reveals about the group as a whole: differential privacy \
     hides a member, not what all members have in common.",
    "Records that several clients hold, or that one person left with one client many times, are \
     several units.",
    "Files on a client's machine, what its operator sees, and what is done with the model later.",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::rounding::norm_bound;
    use crate::mechanism::fixture::{by_clients, by_examples, distributed, joint, local};
    use crate::units::SamplingRate;

    fn delta() -> Delta {
        Delta::new(1e-5).unwrap()
    }

    fn of(all: &[Promise], unit: PrivacyUnit, view: View) -> &Promise {
        let mut of = all.iter().filter(|p| (p.unit, p.view) == (unit, view));
        let one = of.next().unwrap();
        assert!(of.next().is_none());
        one
    }

    #[test]
    fn four_promises_are_shown_apart() {
        let seen = Releases { inputs: 5, sums: 3 };
        let all = promises(&local(), seen, delta());
        assert_eq!(all.len(), 4);
        let aggregator = of(&all, PrivacyUnit::Example, View::Aggregator);
        let model = of(&all, PrivacyUnit::Example, View::ModelOnly);
        // A round that failed after inputs were taken counts against the aggregator alone.
        assert!(model.total().unwrap() < aggregator.total().unwrap());
        let five = epsilon(&cost(&local(), PrivacyUnit::Example).unwrap(), 5, delta());
        assert_eq!(aggregator.total(), five.ok());
        let said = aggregator.to_string();
        assert!(
            said.contains("for each example, against the aggregator, add-or-remove"),
            "{said}"
        );
        assert!(
            said.contains("5 rounds, each 4 steps of the Poisson"),
            "{said}"
        );
        for view in View::ALL {
            let client = of(&all, PrivacyUnit::Client, view);
            assert_eq!((client.total(), client.statement()), (None, None));
            let said = client.to_string();
            assert!(
                said.starts_with("nothing is promised for each client, against "),
                "{said}"
            );
            assert!(said.contains("not a whole client"), "{said}");
        }
    }

    /// With the same rounds seen, neither view is promised more than the other for local noise.
    #[test]
    fn no_amplification_is_claimed_for_the_models() {
        let seen = Releases { inputs: 4, sums: 4 };
        let all = promises(&local(), seen, delta());
        let of = |view| of(&all, PrivacyUnit::Example, view).total();
        assert_eq!(of(View::Aggregator), of(View::ModelOnly));
    }

    #[test]
    fn without_noise_nothing_is_promised() {
        let bare = Mechanism {
            noise: Noise::None,
            ..local()
        };
        for promise in promises(&bare, Releases { inputs: 1, sums: 1 }, delta()) {
            let Says::Nothing { reason } = promise.says else {
                panic!("a promise without noise");
            };
            assert!(reason.contains("no noise"), "{reason}");
        }
        assert!(assumptions(&bare).len() < assumptions(&local()).len());
    }

    /// Distributed noise is calibrated to what is encoded by itself: an example, or a client. An
    /// example inside a client's update moves it by twice as much.
    ///
    /// Spec.
    #[test]
    fn distributed_noise_promises_at_its_own_unit() {
        let by_examples = by_examples();
        let (example, client) = (PrivacyUnit::Example, PrivacyUnit::Client);
        let event = cost(&by_examples, example).unwrap();
        let Event::Skellam(skellam) = event else {
            panic!("{event}");
        };
        assert_eq!(skellam.sampling_rate, SamplingRate::new(0.1).unwrap());
        // A fifth each, rounded up to a multiple of 1/65536.
        let variance = skellam.variance.get() - 4.0 * 1024.0 * 1024.0;
        assert!((0.0..5.0 / 65536.0).contains(&variance), "{variance}");
        assert_eq!(skellam.dimension, 1024);
        assert_eq!(skellam.l2_squared, norm_bound(1024.0, 1024));
        assert!(cost(&by_examples, client).is_err());
        let fedavg = |local| {
            let divisor = 8.0;
            distributed(Noise::DistributedDpFedAvg {
                joint: joint(),
                divisor,
                local,
            })
        };
        let (of_example, of_client) = (cost(&fedavg(None), example), cost(&fedavg(None), client));
        let (of_example, of_client) = (of_example.unwrap(), of_client.unwrap());
        assert!((of_client.noise_multiplier() / of_example.noise_multiplier() - 2.0).abs() < 1e-12);
        assert!(of_client.noise_multiplier() <= 2.0 && of_client.noise_multiplier() > 1.98);
        // With DP-SGD below it the example's promise is that.
        let both = fedavg(local().noise.local());
        assert_eq!(cost(&both, example), cost(&local(), example));
        assert_eq!(cost(&both, client), Ok(of_client));
        assert!(assumptions(&both).len() > 3);
    }

    /// Integer noise is exact, and distributed mechanisms divide by a fixed number; only what a client
    /// draws by itself is in floating point, and divided by its own batch.
    #[test]
    fn what_local_noise_does_not_cover_is_named_where_it_is_used() {
        for what in ["floating-point", "How many examples"] {
            let named = |mechanism: &Mechanism| {
                not_covered(mechanism)
                    .iter()
                    .any(|sentence| sentence.contains(what))
            };
            assert!(named(&local()) && !named(&by_examples()) && named(&by_clients()));
        }
    }

    #[test]
    fn promises_survive_json() {
        let all = promises(&local(), Releases { inputs: 2, sums: 0 }, delta());
        let json = serde_json::to_value(&all).unwrap();
        assert_eq!(json[0]["kind"], "differential-privacy");
        assert_eq!(json[0]["unit"], "example");
        assert_eq!(json[1]["view"], "model_only");
        assert_eq!(json[1]["rounds"], 0);
        assert_eq!(json[2]["kind"], "nothing");
        assert_eq!(serde_json::from_value::<Vec<Promise>>(json).unwrap(), all);
    }
}
