//! The mechanism of a task: how an update is made private and how it is put on the ring.
//!
//! Its JSON bytes, exactly as they are handed out, are what the mechanism digest of the round
//! parameters covers. A client's local policy judges a task by these numbers, and its trainer must
//! refuse training settings that disagree with them.
//!
//! Specification: chapter 12, "Input encoding", section 12.1.

use serde::{Deserialize, Serialize};

use crate::accountant::SubsampledGaussian;
use crate::error::PrivacyError;

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
        }
    }
}

/// The mechanism of a task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mechanism {
    /// The largest L2 norm of a whole update; a longer one is scaled down before it is encoded.
    pub update_clip: f64,
    /// Ring units per unit of the update: the resolution of the fixed-point encoding.
    pub scale: f64,
    /// How updates are protected beyond the masks.
    pub noise: Noise,
}

impl Mechanism {
    /// What one round adds to a client's ledger; `None` without noise.
    pub fn per_round(&self) -> Option<&SubsampledGaussian> {
        match &self.noise {
            Noise::None => None,
            Noise::LocalDpSgd { per_round, .. } => Some(per_round),
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// [`PrivacyError::Mechanism`] names the value.
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
        match self.noise {
            Noise::None => Ok(()),
            Noise::LocalDpSgd { clip_norm, .. } => positive("clip_norm", clip_norm),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::units::{NoiseMultiplier, SamplingRate};

    fn mechanism() -> Mechanism {
        Mechanism {
            update_clip: 4.0,
            scale: 65536.0,
            noise: Noise::LocalDpSgd {
                clip_norm: 1.0,
                per_round: SubsampledGaussian {
                    sampling_rate: SamplingRate::new(0.1).unwrap(),
                    noise_multiplier: NoiseMultiplier::new(1.1).unwrap(),
                    steps: 4,
                },
            },
        }
    }

    fn without_noise() -> Mechanism {
        let noise = Noise::None;
        Mechanism {
            noise,
            ..mechanism()
        }
    }

    /// Whether a client takes it: it reads, and its numbers are in range.
    fn passes(json: &Value) -> bool {
        serde_json::from_value::<Mechanism>(json.clone()).is_ok_and(|m| m.validate().is_ok())
    }

    #[test]
    fn json_round_trips() {
        for mechanism in [mechanism(), without_noise()] {
            let json = serde_json::to_string(&mechanism).unwrap();
            assert_eq!(serde_json::from_str::<Mechanism>(&json).unwrap(), mechanism);
            mechanism.validate().unwrap();
        }
    }

    /// Spec.
    #[test]
    fn a_missing_and_an_unknown_field_are_refused_at_every_level() {
        for mechanism in [mechanism(), without_noise()] {
            let good = serde_json::to_value(mechanism).unwrap();
            assert!(passes(&good));
            for level in ["", "/noise", "/noise/per_round"] {
                let Some(fields) = good.pointer(level).and_then(Value::as_object) else {
                    continue;
                };
                for name in fields.keys() {
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
            ("/noise/per_round/noise_multiplier", &[0.0, -1.0]),
            ("/noise/per_round/steps", &[-1.0, 1.5]),
        ];
        for (field, values) in cases {
            for value in values.iter().map(|value| Value::from(*value)) {
                let mut bad = serde_json::to_value(mechanism()).unwrap();
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
}
