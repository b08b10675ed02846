//! Encoding and decoding: from a vector to integers and from their sum back to the vector's values.

use core::fmt;
use std::sync::Arc;

use rand_core::CryptoRng;
use zeroize::Zeroizing;

use super::noise::IntegerNoise;
use super::rotation::{Layout, Rotation};
use super::rounding;
use crate::error::PrivacyError;

/// One round's encoding of vectors.
#[derive(Clone)]
pub struct Encoder {
    rotation: Arc<Rotation>,
    clip: f64,
    scale: f64,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("layout", &self.rotation.layout())
            .field("clip", &self.clip)
            .field("scale", &self.scale)
            .finish()
    }
}

impl Encoder {
    /// The encoding with the public randomness `seed` of a round; `clip` is the largest L2 norm of
    /// what is sent, `scale` the grid units for 1.0.
    ///
    /// # Errors
    /// The layout is out of range.
    pub fn new(
        layout: Layout,
        seed: &[u8; 32],
        clip: f64,
        scale: f64,
    ) -> Result<Self, PrivacyError> {
        Ok(Self {
            rotation: Arc::new(Rotation::new(layout, seed)?),
            clip,
            scale,
        })
    }

    /// Rotates `values`, `[dimension]`, keeps what is sent of them, clips that, and rounds it to
    /// integers, `[length]`, whose squared norm is at most
    /// [`Parameters::l2_squared`](super::Parameters::l2_squared).
    ///
    /// # Errors
    /// [`PrivacyError::Distributed`] if `values` has another length or a value is not finite.
    pub fn encode<R: CryptoRng>(
        &self,
        values: &[f32],
        rng: &mut R,
    ) -> Result<Zeroizing<Vec<i64>>, PrivacyError> {
        let dimension = self.rotation.layout().dimension;
        if u32::try_from(values.len()) != Ok(dimension) {
            return Err(PrivacyError::Distributed(format!(
                "a vector of {} values cannot be encoded as one of {dimension}",
                values.len()
            )));
        }
        rounding::round(&self.rotation.forward(values), (self.clip, self.scale), rng)
    }

    /// Values, `[dimension]`, from the integers of a sum, `[length]`, and one divisor for all: a
    /// number that does not depend on the data, such as the expected number of contributions.
    #[expect(
        clippy::cast_precision_loss,
        reason = "beyond 2^53 grid units, 1e-16 relative"
    )]
    pub fn decode(&self, sum: &[i64], divisor: f64) -> Vec<f64> {
        let unit = self.scale * divisor;
        let coordinates: Vec<f64> = sum.iter().map(|z| *z as f64 / unit).collect();
        self.rotation.inverse(&coordinates)
    }

    /// The layout.
    pub fn layout(&self) -> Layout {
        self.rotation.layout()
    }
}

/// The sum of one client's encoded vectors, and then its noise. Holds one vector, however many are
/// added.
pub struct Contribution<R> {
    encoder: Encoder,
    sum: Zeroizing<Vec<i64>>,
    vectors: u64,
    rng: R,
}

impl<R> fmt::Debug for Contribution<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // How large a secret sample was is private, too.
        f.debug_struct("Contribution").finish_non_exhaustive()
    }
}

impl<R: CryptoRng> Contribution<R> {
    /// The empty sum. `rng` rounds and makes the noise; it must be seeded by the operating system.
    pub fn new(encoder: Encoder, rng: R) -> Self {
        let length = usize::try_from(encoder.layout().length()).unwrap_or(usize::MAX);
        Self {
            encoder,
            sum: Zeroizing::new(vec![0; length]),
            vectors: 0,
            rng,
        }
    }

    /// Encodes one vector, `[dimension]`, by itself and adds it. Under example-level privacy that is
    /// one example's gradient: whatever it is, it changes the sum by no more than the bound.
    ///
    /// # Errors
    /// As [`Encoder::encode`]; the sum is then unchanged.
    pub fn add(&mut self, values: &[f32]) -> Result<(), PrivacyError> {
        let encoded = self.encoder.encode(values, &mut self.rng)?;
        for (sum, z) in self.sum.iter_mut().zip(encoded.iter()) {
            *sum = sum.wrapping_add(*z);
        }
        self.vectors += 1;
        Ok(())
    }

    /// How many vectors were added. Secret where they are a secret sample.
    pub const fn vectors(&self) -> u64 {
        self.vectors
    }

    /// Adds the noise, also to an empty sum, and gives the integers out with the generator.
    pub fn finish(mut self, noise: Option<&IntegerNoise>) -> (Zeroizing<Vec<i64>>, R) {
        if let Some(noise) = noise {
            noise.add_to(&mut self.sum, &mut self.rng);
        }
        (self.sum, self.rng)
    }
}

#[cfg(test)]
mod tests {
    use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
    use proptest::prelude::*;

    use super::super::noise::{LocalVariance, Sampler};
    use super::super::rounding::{norm_bound, square_norm};
    use super::*;

    fn rng(seed: u64) -> ChaCha20Rng {
        ChaCha20Rng::seed_from_u64(seed)
    }

    proptest! {
        /// Without noise the decoded sum differs from the plain one by rounding alone: each of m
        /// vectors by at most 1 a coordinate, so by at most m·sqrt(length) grid units in norm.
        #[test]
        fn decode_of_the_sum_is_close_to_the_plain_sum(
            vectors in proptest::collection::vec(proptest::array::uniform9(-1_f32..1.0), 1..12),
            scale in 1_f64..1e6, seed in any::<u64>()
        ) {
            let encoder = Encoder::new(Layout::all(9), &[seed as u8; 32], 4.0, scale).unwrap();
            let mut contribution = Contribution::new(encoder.clone(), rng(seed));
            for vector in &vectors {
                contribution.add(vector).unwrap();
            }
            prop_assert_eq!(contribution.vectors(), vectors.len() as u64);
            let (sum, _) = contribution.finish(None);
            let decoded = encoder.decode(&sum, 1.0);
            let error = decoded.iter().enumerate().map(|(i, found)| {
                let plain: f64 = vectors.iter().map(|v| f64::from(v[i])).sum();
                (found - plain).powi(2)
            }).sum::<f64>().sqrt();
            let allowed = vectors.len() as f64 * 4.0 / scale;
            prop_assert!(error <= allowed * 1.001 + 1e-9, "{error} {allowed}");
        }

        /// Spec.
        #[test]
        fn no_vector_passes_the_bound(
            vector in proptest::collection::vec(any::<f32>(), 33),
            kept in proptest::option::of(1..64_u32), clip in 1e-3_f64..1e3, seed in any::<u64>()
        ) {
            let layout = Layout { dimension: 33, kept };
            let encoder = Encoder::new(layout, &[3; 32], clip, 50.0 / clip).unwrap();
            match encoder.encode(&vector, &mut rng(seed)) {
                Ok(encoded) => {
                    prop_assert_eq!(encoded.len(), layout.length() as usize);
                    let bound = norm_bound(clip * (50.0 / clip), layout.length());
                    prop_assert!(square_norm(&encoded) <= bound.into());
                }
                Err(_) => prop_assert!(vector.iter().any(|v| !v.is_finite())),
            }
        }
    }

    #[test]
    fn longer_vectors_are_clipped_not_refused() {
        let encoder = Encoder::new(Layout::all(2), &[1; 32], 1.0, 1e6).unwrap();
        let encoded = encoder.encode(&[30.0, 40.0], &mut rng(1)).unwrap();
        let decoded = encoder.decode(&encoded, 1.0);
        assert!((decoded[0] - 0.6).abs() < 1e-5 && (decoded[1] - 0.8).abs() < 1e-5);
        assert!(encoder.encode(&[1.0], &mut rng(1)).is_err());
        assert!(encoder.encode(&[1.0, f32::NAN], &mut rng(1)).is_err());
    }

    /// The noise of the sum of clients has the honest variance, an empty sample has its noise too.
    ///
    /// Spec.
    #[test]
    fn noise_is_added_once_a_client() {
        let dimension = 1 << 14;
        let encoder = Encoder::new(Layout::all(dimension), &[1; 32], 1.0, 100.0).unwrap();
        let variance = LocalVariance::at_least(400.0).unwrap();
        let noise = IntegerNoise::new(Sampler::Skellam, variance).unwrap();
        let mut sum = vec![0_i64; dimension as usize];
        for client in 0..5 {
            let contribution = Contribution::new(encoder.clone(), rng(client));
            let (own, _) = contribution.finish(Some(&noise));
            sum.iter_mut().zip(own.iter()).for_each(|(s, z)| *s += z);
        }
        let found = sum.iter().map(|z| (*z as f64).powi(2)).sum::<f64>() / f64::from(dimension);
        // Five standard errors: 2000 · sqrt(2 / 16384) each.
        assert!((found - 2000.0).abs() < 5.0 * 22.1, "{found}");
    }

    /// Spec.
    #[test]
    fn secrets_are_erased_and_not_shown() {
        fn erased<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        let encoder = Encoder::new(Layout::all(3), &[1; 32], 1.0, 100.0).unwrap();
        let encoded = encoder.encode(&[0.5, 0.25, -0.5], &mut rng(1)).unwrap();
        erased(&encoded);
        let mut contribution = Contribution::new(encoder, rng(2));
        contribution.add(&[0.5, 0.25, -0.5]).unwrap();
        assert_eq!(format!("{contribution:?}"), "Contribution { .. }");
        erased(&contribution.finish(None).0);
    }
}
