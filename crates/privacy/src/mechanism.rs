//! The mechanism of a task: how an update is made private and how it is put on the ring.
//!
//! Its JSON bytes, exactly as they are handed out, are what the mechanism digest of the round
//! parameters covers. A client's local policy judges a task by these numbers, and its trainer must
//! refuse training settings that disagree with them.

use serde::{Deserialize, Serialize};

use crate::accountant::SubsampledGaussian;
use crate::error::PrivacyError;

/// How updates are protected beyond the masks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
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
    use super::*;
    use crate::units::{NoiseMultiplier, SamplingRate};

    #[test]
    fn json_round_trips_and_is_strict() {
        let mechanism = Mechanism {
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
        };
        let json = serde_json::to_string(&mechanism).unwrap();
        assert_eq!(serde_json::from_str::<Mechanism>(&json).unwrap(), mechanism);
        mechanism.validate().unwrap();
        assert!(
            Mechanism {
                scale: 0.0,
                ..mechanism
            }
            .validate()
            .is_err()
        );
        let extra = json.replacen('{', "{\"x\":1,", 1);
        assert!(serde_json::from_str::<Mechanism>(&extra).is_err());
    }
}
