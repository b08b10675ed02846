//! From what training gives to a vector on the ring, and the noise that the mechanism asks for.
//!
//! Specification: chapter 12, "Input encoding".

use std::fmt;
use std::sync::Arc;

use chacha20::ChaCha20Rng;
use undertone_privacy::Mechanism;
use undertone_privacy::distributed::{Contribution, Encoder, IntegerNoise};
use undertone_protocol::encoding::{FixedPoint, rotation_seed};
use undertone_protocol::params::RoundParams;
use undertone_protocol::vector::{Ring, RingVector};
use zeroize::Zeroizing;

use crate::error::ClientError;
use crate::policy::DeclineReason;

/// How this client's input of one round is put on the ring.
#[derive(Debug, Clone)]
pub(crate) enum Coding {
    /// Coordinate by coordinate.
    FixedPoint(FixedPoint),
    /// Rotated first, with integer noise where the mechanism has it.
    Rotated(Rotated),
}

#[derive(Debug, Clone)]
pub(crate) struct Rotated {
    ring: Ring,
    encoder: Encoder,
    noise: Option<Arc<IntegerNoise>>,
}

impl Coding {
    /// The encoding of a round. `noise` are the tables of the mechanism's noise, if it has any.
    pub(crate) fn of(
        params: &RoundParams,
        mechanism: &Mechanism,
        noise: Option<Arc<IntegerNoise>>,
    ) -> Result<Self, DeclineReason> {
        let (ring, clip, scale) = (params.ring(), mechanism.update_clip, mechanism.scale);
        let Some(layout) = mechanism.rotation else {
            let largest = params.rule.max_clients;
            return Ok(Self::FixedPoint(FixedPoint::new(
                ring, clip, scale, largest,
            )?));
        };
        let encoder = Encoder::new(layout, &rotation_seed(params.id()), clip, scale);
        Ok(Self::Rotated(Rotated {
            ring,
            encoder: encoder.map_err(DeclineReason::Mechanism)?,
            noise,
        }))
    }

    /// Encodes an update, `[dimension]`, with this client's share of the noise.
    pub(crate) fn encode(
        &self,
        update: &[f32],
        rng: &mut ChaCha20Rng,
    ) -> Result<RingVector, ClientError> {
        match self {
            Self::FixedPoint(code) => code.encode(update, rng).map_err(ClientError::Update),
            Self::Rotated(rotated) => {
                let mut contribution = Contribution::new(rotated.encoder.clone(), rng);
                contribution.add(update)?;
                Ok(rotated.finish(contribution))
            }
        }
    }

    /// The empty sum of gradients that are encoded one by one.
    pub(crate) fn gradients(&self, rng: ChaCha20Rng) -> Result<GradientSum, ClientError> {
        match self {
            Self::FixedPoint(_) => Err(ClientError::NoGradients),
            Self::Rotated(rotated) => Ok(GradientSum {
                contribution: Contribution::new(rotated.encoder.clone(), rng),
            }),
        }
    }

    /// Adds this client's share of the noise to a sum of gradients.
    pub(crate) fn finish(&self, sum: GradientSum) -> Result<RingVector, ClientError> {
        match self {
            Self::FixedPoint(_) => Err(ClientError::NoGradients),
            Self::Rotated(rotated) => Ok(rotated.finish(sum.contribution)),
        }
    }
}

impl Rotated {
    fn finish<R: rand_core::CryptoRng>(&self, contribution: Contribution<R>) -> RingVector {
        let (integers, _) = contribution.finish(self.noise.as_deref());
        let elements = integers.iter().map(|z| self.ring.element(*z));
        RingVector::from_elements(self.ring, &Zeroizing::new(elements.collect::<Vec<u64>>()))
    }
}

/// The sum of this client's gradients in one round, each encoded by itself as it comes: one vector in
/// memory, however many are added.
pub struct GradientSum {
    contribution: Contribution<ChaCha20Rng>,
}

impl fmt::Debug for GradientSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GradientSum(..)")
    }
}

impl GradientSum {
    /// Adds one example's contribution, `[d]` in the adapter's order: the way that it wants the
    /// values to move, minus the gradient of its loss. It is clipped here, to the mechanism's clip
    /// norm; whatever it is, it moves the sum by no more than that.
    ///
    /// # Errors
    /// It has another length than the adapter, or a value that is not finite; nothing is added then.
    pub fn add(&mut self, contribution: &[f32]) -> Result<(), undertone_privacy::PrivacyError> {
        self.contribution.add(contribution)
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;
    use undertone_privacy::distributed::{Layout, LocalVariance, Sampler};

    use super::*;

    fn rotated(noise: Option<Arc<IntegerNoise>>) -> Rotated {
        Rotated {
            ring: Ring::new(20).unwrap(),
            encoder: Encoder::new(Layout::all(4), &[5; 32], 2.0, 64.0).unwrap(),
            noise,
        }
    }

    fn rng() -> ChaCha20Rng {
        ChaCha20Rng::from_seed([9; 32])
    }

    #[test]
    fn an_update_is_a_sum_of_one() {
        let coding = Coding::Rotated(rotated(None));
        let update = [0.5, -1.0, 0.25, 0.0];
        let encoded = coding.encode(&update, &mut rng()).unwrap();
        let mut sum = coding.gradients(rng()).unwrap();
        sum.add(&update).unwrap();
        assert!(sum.add(&update[1..]).is_err());
        assert!(sum.add(&[f32::NAN; 4]).is_err());
        assert_eq!(coding.finish(sum).unwrap(), encoded);
        assert_eq!(
            format!("{:?}", coding.gradients(rng()).unwrap()),
            "GradientSum(..)"
        );
    }

    #[test]
    fn noise_is_added_to_an_empty_sample_too() {
        let variance = LocalVariance::at_least(1e4).unwrap();
        let noise = IntegerNoise::new(Sampler::Skellam, variance).unwrap();
        let coding = Coding::Rotated(rotated(Some(Arc::new(noise))));
        let empty = coding.finish(coding.gradients(rng()).unwrap()).unwrap();
        assert!(empty.elements().any(|element| element != 0));
    }
}
