//! Reals to ring and back: fixed point with stochastic rounding.
//!
//! Specification: chapter 12, "Input encoding", sections 12.2 and 12.3.

use rand_core::Rng;
use zeroize::Zeroizing;

use crate::codec::{self, Label};
use crate::error::ProtocolError;
use crate::id::RoundId;
use crate::vector::{Ring, RingVector};

/// The public randomness with which a round's vectors are rotated, where its mechanism asks for that:
/// the same for all clients, and fixed only when the round is, after their data.
pub fn rotation_seed(round: RoundId) -> [u8; 32] {
    *codec::hash(Label::Rotation, &[round.as_bytes()]).as_bytes()
}

/// A fixed-point encoding that cannot overflow: a configuration whose sum could wrap is refused
/// when it is made.
///
/// An input is clipped to L2 norm `clip`, multiplied by `scale` and rounded stochastically, so
/// that its expectation is exact. Each coordinate is then at most ceil(clip x scale) in size, and
/// the sum of `clients` of them must stay inside [-2^(b-1), 2^(b-1)).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FixedPoint {
    ring: Ring,
    clip: f64,
    scale: f64,
}

impl FixedPoint {
    /// The encoding for sums of at most `clients` inputs.
    ///
    /// # Errors
    /// [`ProtocolError::Params`] if a number is not positive and finite, or if a sum could wrap;
    /// the message names the smallest b that fits.
    pub fn new(ring: Ring, clip: f64, scale: f64, clients: u32) -> Result<Self, ProtocolError> {
        let refuse = |reason: String| Err(ProtocolError::Params(reason));
        if !(clip.is_finite() && clip > 0.0 && scale.is_finite() && scale > 0.0 && clients > 0) {
            return refuse("clip, scale and the number of clients must be positive".into());
        }
        let largest_sum = (clip * scale).ceil() * f64::from(clients);
        let limit = 2_f64.powi(i32::from(ring.bits()).saturating_sub(1));
        if largest_sum >= limit {
            let needed = largest_sum.log2().floor() + 2.0;
            return refuse(format!(
                "a sum of {clients} inputs of norm {clip} at scale {scale} can wrap in {} bits; \
                 use b = {needed} or a smaller scale",
                ring.bits()
            ));
        }
        Ok(Self { ring, clip, scale })
    }

    /// Encodes one input. Values must be finite.
    ///
    /// # Errors
    /// [`ProtocolError::Params`] if a value is not finite.
    pub fn encode(&self, input: &[f32], rng: &mut impl Rng) -> Result<RingVector, ProtocolError> {
        if input.iter().any(|v| !v.is_finite()) {
            return Err(ProtocolError::Params("an input value is not finite".into()));
        }
        let norm = input
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            .sqrt();
        let shrink = if norm > self.clip {
            self.clip / norm
        } else {
            1.0
        };
        // Rounding errors of the product must not push a coordinate over its bound.
        let bound = (self.clip * self.scale).ceil();
        let elements: Zeroizing<Vec<u64>> = input
            .iter()
            .map(|v| {
                let exact = f64::from(*v) * shrink * self.scale;
                let floor = exact.floor();
                let up = uniform(rng) < exact - floor;
                let rounded = (if up { floor + 1.0 } else { floor }).clamp(-bound, bound);
                self.ring.element(truncate(rounded))
            })
            .collect::<Vec<_>>()
            .into();
        Ok(RingVector::from_elements(self.ring, &elements))
    }

    /// Decodes a sum and divides it by `count`.
    pub fn decode_mean(&self, sum: &RingVector, count: u32) -> Vec<f64> {
        let divisor = self.scale * f64::from(count.max(1));
        sum.elements()
            .map(|element| widen(self.ring.centred(element)) / divisor)
            .collect()
    }

    /// The clip norm C of an input.
    pub fn clip(&self) -> f64 {
        self.clip
    }
}

/// Uniform in [0, 1) with 53 bits.
fn uniform(rng: &mut impl Rng) -> f64 {
    widen((rng.next_u64() >> 11).cast_signed()) / 9_007_199_254_740_992.0
}

/// An integral float inside the range of `i64`, as checked by [`FixedPoint::new`].
#[allow(clippy::as_conversions, clippy::cast_possible_truncation)]
fn truncate(value: f64) -> i64 {
    value as i64
}

#[allow(clippy::as_conversions, clippy::cast_precision_loss)]
fn widen(value: i64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use chacha20::ChaCha20Rng;
    use chacha20::rand_core::SeedableRng;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decoded_mean_is_close(seed in any::<u64>(), inputs in proptest::collection::vec(proptest::array::uniform8(-1.0_f32..1.0), 1..20)) {
            let count = u32::try_from(inputs.len()).unwrap();
            let ring = Ring::new(32).unwrap();
            let code = FixedPoint::new(ring, 3.0, 65536.0, count).unwrap();
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let mut sum = RingVector::zeros(ring, 8);
            for input in &inputs {
                sum.add(&code.encode(input, &mut rng).unwrap()).unwrap();
            }
            for (i, mean) in code.decode_mean(&sum, count).into_iter().enumerate() {
                let exact: f64 = inputs.iter().map(|x| f64::from(x[i])).sum::<f64>() / f64::from(count);
                prop_assert!((mean - exact).abs() <= 1.0 / 65536.0, "{mean} {exact}");
            }
        }
    }

    /// Spec.
    #[test]
    fn the_clip_holds_and_rounding_is_unbiased() {
        let ring = Ring::new(32).unwrap();
        let code = FixedPoint::new(ring, 1.0, 8.0, 4000).unwrap();
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let clipped = code.encode(&[30.0, 40.0], &mut rng).unwrap();
        let mean = code.decode_mean(&clipped, 1);
        assert!((mean[0] - 0.6).abs() <= 0.125 && (mean[1] - 0.8).abs() <= 0.125);
        let mut sum = RingVector::zeros(ring, 1);
        for _ in 0..4000 {
            sum.add(&code.encode(&[0.3], &mut rng).unwrap()).unwrap();
        }
        // Standard error 0.125 sqrt(0.24 / 4000) = 0.001; five of them.
        assert!((code.decode_mean(&sum, 4000)[0] - 0.3).abs() < 0.005);
    }

    /// Spec.
    #[test]
    fn a_sum_that_could_wrap_is_refused() {
        let ring = Ring::new(16).unwrap();
        assert!(FixedPoint::new(ring, 1.0, 2730.0, 12).is_ok());
        let refused = FixedPoint::new(ring, 1.0, 2731.0, 12).unwrap_err();
        assert!(refused.to_string().contains("use b = 17"), "{refused}");
        assert!(FixedPoint::new(ring, f64::NAN, 1.0, 1).is_err());
        let code = FixedPoint::new(ring, 1.0, 1.0, 1).unwrap();
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut rng = ChaCha20Rng::seed_from_u64(0);
            assert!(code.encode(&[0.5, value], &mut rng).is_err(), "{value}");
        }
    }
}
