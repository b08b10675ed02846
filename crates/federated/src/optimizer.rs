//! The server's optimiser: it takes the mean update of a round for a gradient.
//!
//! `FedAvg` with a rate, and the adaptive ones of Reddi et al., "Adaptive federated optimization",
//! ICLR 2021, algorithm 2. As there, the second moment starts at `tau` squared and nothing corrects
//! the bias of the first rounds.

use serde::{Deserialize, Serialize};

use crate::error::{FederatedError, same_length};

/// How the server moves the model by the mean update D of a round.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ServerOptimizer {
    /// x + rate D (`McMahan` et al., AISTATS 2017; rate 1 is plain averaging).
    FedAvg {
        /// The rate, above 0.
        learning_rate: f64,
    },
    /// Moments as in Adam: v' = b2 v + (1 - b2) D^2.
    FedAdam(Adaptive),
    /// Moments as in Yogi: v' = v - (1 - b2) D^2 sign(v - D^2), which shrinks more slowly.
    FedYogi(Adaptive),
}

/// Settings of an adaptive optimiser: m' = b1 m + (1 - b1) D, and x + rate m' / (sqrt(v') + tau).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adaptive {
    /// The rate, above 0.
    pub learning_rate: f64,
    /// Decay b1 of the first moment, at least 0 and below 1.
    #[serde(default = "beta1")]
    pub beta1: f64,
    /// Decay b2 of the second moment, at least 0 and below 1.
    #[serde(default = "beta2")]
    pub beta2: f64,
    /// The degree of adaptivity: the larger, the more like momentum; above 0.
    #[serde(default = "tau")]
    pub tau: f64,
}

const fn beta1() -> f64 {
    0.9
}

const fn beta2() -> f64 {
    0.99
}

const fn tau() -> f64 {
    1e-3
}

impl Adaptive {
    /// With the decays and the adaptivity of the paper: 0.9, 0.99, 0.001.
    pub const fn new(learning_rate: f64) -> Self {
        Self {
            learning_rate,
            beta1: beta1(),
            beta2: beta2(),
            tau: tau(),
        }
    }
}

/// First and second moment of each coordinate, `[d]` each; `f32` as they are stored, so that a
/// server that starts again has what it had.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Moments {
    /// m.
    pub first: Vec<f32>,
    /// v.
    pub second: Vec<f32>,
}

impl Moments {
    /// As stored: all of m, then all of v, little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let values = self.first.iter().chain(&self.second);
        values.flat_map(|value| value.to_le_bytes()).collect()
    }

    /// The other way round of [`Moments::to_bytes`].
    ///
    /// # Errors
    /// [`FederatedError::Length`] if the bytes are not two halves of `f32`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FederatedError> {
        same_length(bytes.len().next_multiple_of(8), bytes.len())?;
        let (values, _) = bytes.as_chunks::<4>();
        let (first, second) = values.split_at(values.len() / 2);
        let read = |values: &[[u8; 4]]| values.iter().copied().map(f32::from_le_bytes).collect();
        Ok(Self {
            first: read(first),
            second: read(second),
        })
    }
}

impl Default for ServerOptimizer {
    /// Plain averaging.
    fn default() -> Self {
        Self::FedAvg { learning_rate: 1.0 }
    }
}

impl ServerOptimizer {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`FederatedError::Setting`] names the setting and what it may be.
    pub fn validate(&self) -> Result<(), FederatedError> {
        let refuse = |name, value, range| Err(FederatedError::Setting { name, value, range });
        let positive = |name, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                refuse(name, value, "above 0")
            }
        };
        match *self {
            Self::FedAvg { learning_rate } => {
                positive("server_optimizer.learning_rate", learning_rate)
            }
            Self::FedAdam(adaptive) | Self::FedYogi(adaptive) => {
                positive("server_optimizer.learning_rate", adaptive.learning_rate)?;
                positive("server_optimizer.tau", adaptive.tau)?;
                let decays = [
                    ("server_optimizer.beta1", adaptive.beta1),
                    ("server_optimizer.beta2", adaptive.beta2),
                ];
                for (name, value) in decays {
                    if !(0.0..1.0).contains(&value) {
                        return refuse(name, value, "at least 0 and below 1");
                    }
                }
                Ok(())
            }
        }
    }

    /// The moments before the first round, for `length` coordinates; none for `FedAvg`.
    pub fn start(&self, length: usize) -> Moments {
        match self {
            Self::FedAvg { .. } => Moments::default(),
            Self::FedAdam(adaptive) | Self::FedYogi(adaptive) => Moments {
                first: vec![0.0; length],
                second: vec![narrow(adaptive.tau.powi(2)); length],
            },
        }
    }

    /// How many moments there are for `length` coordinates.
    pub const fn moments(&self, length: usize) -> usize {
        match self {
            Self::FedAvg { .. } => 0,
            Self::FedAdam(_) | Self::FedYogi(_) => length,
        }
    }

    /// Moves `values` by the mean update, both `[d]`; the moments move on.
    ///
    /// # Errors
    /// [`FederatedError::Length`] if the lengths differ.
    pub fn step(
        &self,
        values: &mut [f32],
        update: &[f64],
        moments: &mut Moments,
    ) -> Result<(), FederatedError> {
        same_length(values.len(), update.len())?;
        let count = self.moments(values.len());
        same_length(count, moments.first.len())?;
        same_length(count, moments.second.len())?;
        let (adaptive, yogi) = match *self {
            Self::FedAvg { learning_rate } => {
                for (value, update) in values.iter_mut().zip(update) {
                    *value = narrow(f64::from(*value) + learning_rate * update);
                }
                return Ok(());
            }
            Self::FedAdam(adaptive) => (adaptive, false),
            Self::FedYogi(adaptive) => (adaptive, true),
        };
        let moments = moments.first.iter_mut().zip(&mut moments.second);
        for ((value, update), (first, second)) in values.iter_mut().zip(update).zip(moments) {
            let m = adaptive.beta1 * f64::from(*first) + (1.0 - adaptive.beta1) * update;
            let (v, square) = (f64::from(*second), update.powi(2));
            let v = if yogi {
                v - (1.0 - adaptive.beta2) * square * sign(v - square)
            } else {
                adaptive.beta2 * v + (1.0 - adaptive.beta2) * square
            };
            (*first, *second) = (narrow(m), narrow(v));
            let step = adaptive.learning_rate * m / (v.max(0.0).sqrt() + adaptive.tau);
            *value = narrow(f64::from(*value) + step);
        }
        Ok(())
    }
}

/// -1, 0 or 1: unlike `f64::signum`, 0 of 0.
fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "adapters and their moments are f32"
)]
pub(crate) fn narrow(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn adaptive(learning_rate: f64, beta1: f64, beta2: f64, tau: f64) -> Adaptive {
        Adaptive {
            learning_rate,
            beta1,
            beta2,
            tau,
        }
    }

    fn close(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((f64::from(*a) - b).abs() < 1e-6, "{found:?} {expected:?}");
        }
    }

    /// rate 1, b1 = 1/2, b2 = 3/4, tau = 1/2, so v starts at 1/4; updates 1 and then -1.
    ///
    /// Round 1: m = 1/2, v = 3/16 + 1/4 = 7/16, x = 0.5 / (sqrt(0.4375) + 0.5) = 0.430501.
    /// Round 2: m = 1/4 - 1/2 = -1/4, v = 21/64 + 1/4 = 37/64,
    ///          x = 0.430501 - 0.25 / (0.760345 + 0.5) = 0.232142.
    #[test]
    fn fed_adam_by_hand() {
        let optimizer = ServerOptimizer::FedAdam(adaptive(1.0, 0.5, 0.75, 0.5));
        let (mut x, mut moments) = (vec![0.0], optimizer.start(1));
        assert_eq!(moments.second, [0.25]);
        optimizer.step(&mut x, &[1.0], &mut moments).unwrap();
        close(&x, &[0.430_501]);
        assert_eq!((moments.first[0], moments.second[0]), (0.5, 0.4375));
        optimizer.step(&mut x, &[-1.0], &mut moments).unwrap();
        close(&x, &[0.232_142]);
        assert_eq!((moments.first[0], moments.second[0]), (-0.25, 0.578_125));
    }

    /// The same settings; updates 1 and then 1/4, on two sides of v.
    ///
    /// Round 1: v - 1 < 0, so v = 1/4 + 1/4 = 1/2; x = 0.5 / (0.707107 + 0.5) = 0.414214.
    /// Round 2: m = 1/4 + 1/8 = 3/8; v - 1/16 > 0, so v = 1/2 - 1/64 = 31/64,
    ///          x = 0.414214 + 0.375 / (0.695971 + 0.5) = 0.727767.
    #[test]
    fn fed_yogi_by_hand() {
        let optimizer = ServerOptimizer::FedYogi(adaptive(1.0, 0.5, 0.75, 0.5));
        let (mut x, mut moments) = (vec![0.0], optimizer.start(1));
        optimizer.step(&mut x, &[1.0], &mut moments).unwrap();
        close(&x, &[0.414_214]);
        optimizer.step(&mut x, &[0.25], &mut moments).unwrap();
        close(&x, &[0.727_767]);
        assert_eq!((moments.first[0], moments.second[0]), (0.375, 0.484_375));
    }

    #[test]
    fn settings_read_from_toml_like_json_with_the_papers_defaults() {
        let read = |json| serde_json::from_str::<ServerOptimizer>(json);
        let adam = read(r#"{"kind": "fed-adam", "learning_rate": 0.01}"#).unwrap();
        assert_eq!(adam, ServerOptimizer::FedAdam(Adaptive::new(0.01)));
        adam.validate().unwrap();
        assert!(read(r#"{"kind": "fed-adam", "learning_rate": 0.01, "more": 1}"#).is_err());
        assert!(read(r#"{"kind": "fed-avg"}"#).is_err());
        for broken in [
            r#"{"kind": "fed-avg", "learning_rate": 0.0}"#,
            r#"{"kind": "fed-adam", "learning_rate": 0.1, "beta1": 1.0}"#,
            r#"{"kind": "fed-yogi", "learning_rate": 0.1, "beta2": -0.1}"#,
            r#"{"kind": "fed-yogi", "learning_rate": 0.1, "tau": 0.0}"#,
        ] {
            let refused = read(broken).unwrap().validate().unwrap_err().to_string();
            assert!(refused.contains("it must be"), "{refused}");
        }
    }

    #[test]
    fn moments_are_stored_bit_by_bit() {
        let moments = Moments {
            first: vec![0.1, -0.0],
            second: vec![f32::MIN_POSITIVE, 3.0],
        };
        let bytes = moments.to_bytes();
        assert_eq!(bytes.len(), 16);
        let back = Moments::from_bytes(&bytes).unwrap();
        assert_eq!(back.to_bytes(), bytes);
        assert_eq!(back, moments);
        assert!(Moments::from_bytes(&bytes[..12]).is_err());
        assert_eq!(Moments::from_bytes(&[]).unwrap(), Moments::default());
    }

    #[test]
    fn unlike_lengths_are_refused() {
        let optimizer = ServerOptimizer::FedAdam(Adaptive::new(1.0));
        let mut moments = optimizer.start(2);
        assert!(
            optimizer
                .step(&mut [0.0; 2], &[0.0; 3], &mut moments)
                .is_err()
        );
        assert!(
            optimizer
                .step(&mut [0.0; 3], &[0.0; 3], &mut moments)
                .is_err()
        );
    }

    proptest! {
        /// With tau so large that v does not matter, and no memory, `FedAdam` is `FedAvg`.
        #[test]
        fn a_large_tau_makes_it_averaging(updates in proptest::collection::vec(-1.0..1.0_f64, 1..20)) {
            let tau = 1e6;
            let adam = ServerOptimizer::FedAdam(adaptive(2.0 * tau, 0.0, 0.0, tau));
            let average = ServerOptimizer::FedAvg { learning_rate: 1.0 };
            let (mut a, mut b) = (vec![0.0; updates.len()], vec![0.0; updates.len()]);
            // sqrt(v) + tau is tau, up to one part in a million: v is the square of the update.
            adam.step(&mut a, &updates, &mut adam.start(updates.len())).unwrap();
            average.step(&mut b, &updates, &mut Moments::default()).unwrap();
            for (a, b) in a.iter().zip(&b) {
                prop_assert!((a - 2.0 * b).abs() < 1e-5, "{} {}", a, b);
            }
        }

        /// Neither moves a coordinate further than the rate times the largest |m| / sqrt(v) there
        /// can be in one step from rest: (1 - b1) / sqrt(1 - b2).
        #[test]
        fn a_first_step_is_bounded_whatever_the_update(update in -1e6..1e6_f64) {
            for optimizer in [ServerOptimizer::FedAdam(Adaptive::new(0.1)), ServerOptimizer::FedYogi(Adaptive::new(0.1))] {
                let mut x = [0.0_f32];
                optimizer.step(&mut x, &[update], &mut optimizer.start(1)).unwrap();
                prop_assert!(f64::from(x[0].abs()) <= 0.1 * 0.1 / 0.01_f64.sqrt() * (1.0 + 1e-6));
                prop_assert!(update.abs() < 1e-3 || x[0].signum() == narrow(update).signum());
            }
        }
    }
}
