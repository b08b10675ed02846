//! The mechanism of a task: how an update is made private and how it is put on the ring.
//!
//! Its JSON bytes, exactly as they are handed out, are what the mechanism digest of the round
//! parameters covers. A client's local policy judges a task by these numbers, and its trainer must
//! refuse training settings that disagree with them.
//!
//! Specification: chapter 12, "Input encoding", section 12.1.

use serde::{Deserialize, Deserializer, Serialize};

use crate::accountant::{Event, SubsampledGaussian};
use crate::distributed::{JointNoise, Layout, Parameters, Setup};
use crate::error::PrivacyError;
use crate::units::SamplingRate;

/// How updates are protected beyond the masks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", from = "StrictNoise")]
pub enum Noise {
    /// No noise: the sum itself is exact, and whatever it reveals it reveals.
    None,
    /// Every client runs DP-SGD by itself (Abadi et al., CCS 2016): its update is differentially
    /// private before it is masked. The client samples its own batches, so amplification by
    /// sampling rests on no other party.
    LocalDpSgd {
        /// The largest L2 norm C of one example's gradient.
        clip_norm: f64,
        /// What one round adds to the ledger of a client that takes part in it.
        per_round: SubsampledGaussian,
    },
    /// One step of DP-SGD a round over all clients' data: each client sends the integer sum of its
    /// examples' gradients, each clipped and encoded by itself, over a Poisson sample that it draws
    /// in secret, with its share of the noise.
    #[serde(rename = "distributed-dp-sgd")]
    DistributedDpSgd {
        /// The noise of all honest clients together.
        joint: JointNoise,
        /// q, the probability of each example to be in a round.
        sampling_rate: SamplingRate,
        /// The most examples that one client is expected to take in a round, at least 1: for the
        /// room in the ring. No promise depends on it.
        contributions: u32,
        /// What the sum is divided by, above 0: the expected number of examples in a round.
        divisor: f64,
    },
    /// Each client sends its clipped update, encoded, with its share of the noise: differentially
    /// private for a client as a whole.
    #[serde(rename = "distributed-dp-fedavg")]
    DistributedDpFedAvg {
        /// The noise of all honest clients together.
        joint: JointNoise,
        /// What the sum is divided by, above 0: the expected number of survivors.
        divisor: f64,
        /// DP-SGD of each client by itself below it, for each example.
        local: Option<LocalDpSgd>,
    },
}

/// DP-SGD that a client runs by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalDpSgd {
    /// The largest L2 norm C of one example's gradient, above 0.
    pub clip_norm: f64,
    /// What one round adds to the ledger of a client that takes part in it, for one example.
    pub per_round: SubsampledGaussian,
}

/// What [`Noise`] is read as: serde ignores unknown fields beside a tag that has none of its own.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum StrictNoise {
    None {},
    LocalDpSgd {
        clip_norm: f64,
        per_round: SubsampledGaussian,
    },
    #[serde(rename = "distributed-dp-sgd")]
    DistributedDpSgd {
        joint: JointNoise,
        sampling_rate: SamplingRate,
        contributions: u32,
        divisor: f64,
    },
    #[serde(rename = "distributed-dp-fedavg")]
    DistributedDpFedAvg {
        joint: JointNoise,
        divisor: f64,
        #[serde(default)]
        local: Option<LocalDpSgd>,
    },
}

impl From<StrictNoise> for Noise {
    fn from(noise: StrictNoise) -> Self {
        match noise {
            StrictNoise::None {} => Self::None,
            StrictNoise::LocalDpSgd {
                clip_norm,
                per_round,
            } => Self::LocalDpSgd {
                clip_norm,
                per_round,
            },
            StrictNoise::DistributedDpSgd {
                joint,
                sampling_rate,
                contributions,
                divisor,
            } => Self::DistributedDpSgd {
                joint,
                sampling_rate,
                contributions,
                divisor,
            },
            StrictNoise::DistributedDpFedAvg {
                joint,
                divisor,
                local,
            } => Self::DistributedDpFedAvg {
                joint,
                divisor,
                local,
            },
        }
    }
}

impl Noise {
    /// The noise that clients add together, and the most vectors that each of them adds up.
    pub const fn joint(&self) -> Option<(JointNoise, u32)> {
        match self {
            Self::None | Self::LocalDpSgd { .. } => None,
            Self::DistributedDpSgd {
                joint,
                contributions,
                ..
            } => Some((*joint, *contributions)),
            Self::DistributedDpFedAvg { joint, .. } => Some((*joint, 1)),
        }
    }

    /// DP-SGD that each client runs by itself, if it does.
    pub const fn local(&self) -> Option<LocalDpSgd> {
        match self {
            Self::LocalDpSgd {
                clip_norm,
                per_round,
            } => Some(LocalDpSgd {
                clip_norm: *clip_norm,
                per_round: *per_round,
            }),
            Self::DistributedDpFedAvg { local, .. } => *local,
            Self::None | Self::DistributedDpSgd { .. } => None,
        }
    }
}

/// The mechanism of a task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mechanism {
    /// The largest L2 norm of what is encoded by itself: a whole update or, under
    /// [`Noise::DistributedDpSgd`], one example's gradient; where it is rotated and not all of it is
    /// sent, of what is sent. A longer one is scaled down.
    pub update_clip: f64,
    /// Ring units per unit of the update: the resolution of the fixed-point encoding.
    pub scale: f64,
    /// How vectors are rotated before they are rounded, and how much of them is sent; if it is left
    /// out, they are not. Distributed noise needs it.
    #[serde(
        default,
        deserialize_with = "layout",
        skip_serializing_if = "Option::is_none"
    )]
    pub rotation: Option<Layout>,
    /// How updates are protected beyond the masks.
    pub noise: Noise,
}

/// A layout; null is none.
fn layout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Layout>, D::Error> {
    Layout::deserialize(deserializer).map(Some)
}

impl Mechanism {
    /// What one round of DP-SGD that each client runs by itself costs; `None` where none does.
    pub const fn per_round(&self) -> Option<&SubsampledGaussian> {
        match &self.noise {
            Noise::LocalDpSgd { per_round, .. } => Some(per_round),
            Noise::DistributedDpFedAvg {
                local: Some(local), ..
            } => Some(&local.per_round),
            _ => None,
        }
    }

    /// Checks the ranges, and that distributed noise has a rotation.
    ///
    /// # Errors
    /// [`PrivacyError`] names the value, and says what to choose.
    pub fn validate(&self) -> Result<(), PrivacyError> {
        let positive = |name: &'static str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                Err(PrivacyError::Mechanism { name, value })
            }
        };
        positive("update_clip", self.update_clip)?;
        positive("scale", self.scale)?;
        if let Some(layout) = self.rotation {
            layout.validate()?;
        }
        if let Some(local) = self.noise.local() {
            positive("clip_norm", local.clip_norm)?;
            local.per_round.noise_multiplier.enough()?;
        }
        if let Noise::DistributedDpSgd { divisor, .. }
        | Noise::DistributedDpFedAvg { divisor, .. } = self.noise
        {
            positive("divisor", divisor)?;
        }
        let Some((joint, _)) = self.noise.joint() else {
            return Ok(());
        };
        if self.rotation.is_none() {
            return Err(PrivacyError::Distributed(
                "distributed noise needs a rotation; add `rotation` with the adapter's dimension"
                    .to_owned(),
            ));
        }
        self.parameters(joint.honest, 1).map(|_| ())
    }

    /// The number of coordinates that are sent of an adapter of `dimension` values.
    pub fn vector_length(&self, dimension: usize) -> usize {
        self.rotation.map_or(dimension, |layout| {
            usize::try_from(layout.length()).unwrap_or(usize::MAX)
        })
    }

    /// Whether vectors of so many values can be encoded.
    ///
    /// # Errors
    /// [`PrivacyError::Distributed`] names both numbers.
    pub fn check_dimension(&self, dimension: usize) -> Result<(), PrivacyError> {
        match self.rotation {
            Some(layout) if usize::try_from(layout.dimension) != Ok(dimension) => {
                Err(PrivacyError::Distributed(format!(
                    "the rotation is for {} values and the adapter has {dimension}; set \
                     `rotation.dimension` to that",
                    layout.dimension
                )))
            }
            _ => Ok(()),
        }
    }

    /// What follows from the grid of a rotated encoding, for sums of at most `clients` clients in
    /// `rounds` rounds; `None` without a rotation.
    ///
    /// # Errors
    /// [`PrivacyError`] names what is out of range.
    pub fn parameters(
        &self,
        clients: u32,
        rounds: u32,
    ) -> Result<Option<Parameters>, PrivacyError> {
        let Some(layout) = self.rotation else {
            return Ok(None);
        };
        let joint = self.noise.joint();
        let setup = Setup {
            clients,
            layout,
            clip: self.update_clip,
            rounds,
            contributions: joint.map_or(1, |(_, contributions)| contributions),
            noise: joint.map(|(joint, _)| joint),
        };
        Parameters::new(setup, self.scale).map(Some)
    }

    /// What one round of distributed noise releases: `moves` is 1 under adding or removing one
    /// encoded vector, 2 under replacing one by another.
    ///
    /// # Errors
    /// [`PrivacyError`] names what is out of range.
    pub(crate) fn joint_event(
        &self,
        joint: JointNoise,
        sampling_rate: SamplingRate,
        moves: u64,
    ) -> Result<Event, PrivacyError> {
        let parameters = self.parameters(joint.honest, 1)?;
        let event = parameters.map(|p| p.event(sampling_rate, 1, moves));
        event
            .transpose()?
            .flatten()
            .ok_or_else(|| PrivacyError::Distributed("distributed noise needs a rotation".into()))
    }

    /// What a sum over so many survivors is divided by. Under distributed noise it does not depend
    /// on them: how many there are would be data, too.
    pub fn divisor(&self, survivors: u32) -> f64 {
        match self.noise {
            Noise::DistributedDpSgd { divisor, .. }
            | Noise::DistributedDpFedAvg { divisor, .. } => divisor,
            Noise::None | Noise::LocalDpSgd { .. } => f64::from(survivors.max(1)),
        }
    }
}

#[cfg(test)]
pub(crate) mod fixture;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::fixture::{by_clients, by_examples, local as mechanism, without_noise};
    use super::*;

    fn all() -> [Mechanism; 5] {
        let compressed = Mechanism {
            rotation: Some(Layout {
                dimension: 1000,
                kept: Some(100),
            }),
            ..mechanism()
        };
        [
            mechanism(),
            without_noise(),
            by_examples(),
            by_clients(),
            compressed,
        ]
    }

    /// Whether a client takes it: it reads, and its numbers are in range.
    fn passes(json: &Value) -> bool {
        serde_json::from_value::<Mechanism>(json.clone()).is_ok_and(|m| m.validate().is_ok())
    }

    #[test]
    fn json_round_trips() {
        for mechanism in all() {
            let json = serde_json::to_string(&mechanism).unwrap();
            assert_eq!(serde_json::from_str::<Mechanism>(&json).unwrap(), mechanism);
            mechanism.validate().unwrap();
        }
    }

    /// Spec.
    #[test]
    fn a_missing_and_an_unknown_field_are_refused_at_every_level() {
        for mechanism in all() {
            let good = serde_json::to_value(mechanism).unwrap();
            assert!(passes(&good));
            for level in [
                "",
                "/noise",
                "/noise/per_round",
                "/noise/joint",
                "/noise/local",
                "/noise/local/per_round",
                "/rotation",
            ] {
                let Some(fields) = good.pointer(level).and_then(Value::as_object) else {
                    continue;
                };
                for name in fields.keys() {
                    // May be left out; distributed noise needs its rotation.
                    let optional = ["kept", "local"].contains(&name.as_str());
                    if optional || (name == "rotation" && mechanism.noise.joint().is_none()) {
                        continue;
                    }
                    let mut bad = good.clone();
                    let fields = bad.pointer_mut(level).and_then(Value::as_object_mut);
                    fields.unwrap().remove(name);
                    assert!(!passes(&bad), "{bad}");
                }
                let mut bad = good.clone();
                bad.pointer_mut(level).unwrap()["more"] = 1.into();
                assert!(!passes(&bad), "{bad}");
            }
        }
    }

    /// Spec.
    #[test]
    fn values_out_of_range_are_refused() {
        let cases: [(&str, &[f64]); 6] = [
            ("/update_clip", &[0.0, -1.0]),
            ("/scale", &[0.0, -1.0]),
            ("/noise/clip_norm", &[0.0, -1.0]),
            ("/noise/per_round/sampling_rate", &[-0.1, 1.1]),
            ("/noise/per_round/noise_multiplier", &[0.009, 0.0, -1.0]),
            ("/noise/per_round/steps", &[-1.0, 1.5]),
        ];
        for (field, values) in cases {
            for value in values.iter().map(|value| Value::from(*value)) {
                let mut bad = serde_json::to_value(mechanism()).unwrap();
                *bad.pointer_mut(field).unwrap() = value;
                assert!(!passes(&bad), "{bad}");
            }
        }
        let distributed: [(&Mechanism, &str, &[f64]); 9] = [
            (&by_examples(), "/noise/divisor", &[0.0, -1.0]),
            (&by_examples(), "/noise/contributions", &[0.0, -1.0, 1.5]),
            (&by_examples(), "/noise/sampling_rate", &[-0.1, 1.1]),
            (&by_examples(), "/noise/joint/honest", &[0.0, -1.0]),
            (
                &by_examples(),
                "/noise/joint/noise_multiplier",
                &[0.009, 0.0, 1e9],
            ),
            (&by_examples(), "/scale", &[1e-3, 1e9]),
            (&by_clients(), "/noise/divisor", &[0.0]),
            (&by_clients(), "/rotation/dimension", &[0.0, 1e9]),
            (&by_clients(), "/rotation/kept", &[0.0, 1025.0]),
        ];
        for (mechanism, field, values) in distributed {
            for value in values.iter().map(|value| Value::from(*value)) {
                let mut bad = serde_json::to_value(mechanism).unwrap();
                *bad.pointer_mut(field).unwrap() = value;
                assert!(!passes(&bad), "{bad}");
            }
        }
        for large in ["1e999", "NaN", "Infinity", "\"4\"", "null"] {
            let json = serde_json::to_string(&mechanism()).unwrap();
            let bad = json.replacen("4.0", large, 1);
            assert!(serde_json::from_str::<Mechanism>(&bad).is_err(), "{bad}");
        }
        let mut bad = serde_json::to_value(mechanism()).unwrap();
        bad["noise"]["kind"] = "laplace".into();
        assert!(!passes(&bad));
    }

    /// Spec.
    #[test]
    fn an_unknown_sampler_and_a_missing_rotation_are_refused() {
        let mut bad = serde_json::to_value(by_clients()).unwrap();
        bad["noise"]["joint"]["sampler"] = "binomial".into();
        assert!(!passes(&bad));
        let bare = Mechanism {
            rotation: None,
            ..by_clients()
        };
        let refused = bare.validate().unwrap_err().to_string();
        assert!(refused.contains("needs a rotation"), "{refused}");
    }

    #[test]
    fn vectors_have_the_rotations_length_and_divisors_are_fixed() {
        assert_eq!(mechanism().vector_length(1000), 1000);
        assert_eq!(by_clients().vector_length(1000), 1024);
        assert_eq!(all()[4].vector_length(1000), 100);
        assert!(by_clients().check_dimension(1000).is_ok());
        assert!(by_clients().check_dimension(999).is_err());
        assert!(mechanism().check_dimension(999).is_ok());
        let divisors = all().map(|m| m.divisor(7).to_bits());
        let expected = [7.0_f64, 7.0, 400.0, 8.0, 7.0].map(f64::to_bits);
        assert_eq!(divisors, expected);
    }
}
