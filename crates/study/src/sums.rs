//! Sums over clients on the ring, as a service unmasks them: encoded, noised, reduced modulo 2^b.

use rand_core::CryptoRng;
use undertone_privacy::distributed::{
    Contribution, Encoder, IntegerNoise, JointNoise, Parameters, Sampler, Setup,
    noise_multiplier_within,
};
use undertone_privacy::{Delta, Epsilon, NoiseMultiplier, SamplingRate};

use crate::error::StudyError;

/// A grid in a ring, with its noise.
pub(crate) struct Sums {
    parameters: Parameters,
    bits: u8,
    noise: Option<IntegerNoise>,
}

impl Sums {
    /// The largest scale that fits in `bits`.
    pub(crate) fn new(setup: Setup, bits: u8) -> Result<Self, StudyError> {
        let parameters = Parameters::largest(setup, bits)?;
        parameters.check(bits)?;
        let noise = match (setup.noise, parameters.local_variance()) {
            (Some(joint), Some(variance)) => Some(IntegerNoise::new(joint.sampler, variance)?),
            _ => None,
        };
        Ok(Self {
            parameters,
            bits,
            noise,
        })
    }

    /// The least Skellam noise of `honest` clients, and its grid, with which `setup.rounds` sums stay
    /// within `target`.
    pub(crate) fn within(
        target: (Epsilon, Delta),
        (sampling_rate, honest): (SamplingRate, u32),
        setup: Setup,
        bits: u8,
    ) -> Result<Self, StudyError> {
        let with = |noise_multiplier| Setup {
            noise: Some(JointNoise {
                sampler: Sampler::Skellam,
                noise_multiplier,
                honest,
            }),
            ..setup
        };
        let any = with(NoiseMultiplier::new(1.0)?);
        let steps = (sampling_rate, u64::from(setup.rounds));
        let noise = noise_multiplier_within(target, steps, &any, bits)?;
        Self::new(with(noise), bits)
    }

    pub(crate) const fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Bytes of one client's packed vector.
    pub(crate) fn bytes(&self) -> u64 {
        let length = self.parameters.setup().layout.length();
        (u64::from(length) * u64::from(self.bits)).div_ceil(8)
    }

    /// A round with rotation signs from `rng`, as a service's rounds have each their own.
    pub(crate) fn round<R: CryptoRng>(&self, rng: &mut R) -> Result<Round<'_>, StudyError> {
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let setup = self.parameters.setup();
        let encoder = Encoder::new(setup.layout, &seed, setup.clip, self.parameters.scale())?;
        let length = usize::try_from(setup.layout.length()).unwrap_or(usize::MAX);
        Ok(Round {
            sums: self,
            encoder,
            sum: vec![0; length],
        })
    }
}

/// One round's sum.
pub(crate) struct Round<'a> {
    sums: &'a Sums,
    encoder: Encoder,
    sum: Vec<i64>,
}

impl Round<'_> {
    /// An empty contribution of one client.
    pub(crate) fn client<R: CryptoRng>(&self, rng: R) -> Contribution<R> {
        Contribution::new(self.encoder.clone(), rng)
    }

    /// Adds a client's contribution with its noise.
    pub(crate) fn add<R: CryptoRng>(&mut self, contribution: Contribution<R>) {
        let (integers, _) = contribution.finish(self.sums.noise.as_ref());
        for (sum, z) in self.sum.iter_mut().zip(integers.iter()) {
            *sum = sum.wrapping_add(*z);
        }
    }

    /// The decoded sum over `divisor`, wrapped as the ring wraps.
    pub(crate) fn mean(self, divisor: f64) -> Vec<f64> {
        let spare = 64 - u32::from(self.sums.bits);
        let wrapped: Vec<i64> = self.sum.iter().map(|z| (z << spare) >> spare).collect();
        self.encoder.decode(&wrapped, divisor)
    }
}

#[cfg(test)]
mod tests {
    use undertone_privacy::distributed::Layout;

    use super::*;
    use crate::seeds::generator;

    #[test]
    fn a_sum_without_noise_is_the_sum() {
        let setup = Setup {
            clients: 3,
            layout: Layout::all(5),
            clip: 2.0,
            rounds: 1,
            contributions: 1,
            noise: None,
        };
        let sums = Sums::new(setup, 16).unwrap();
        assert_eq!(sums.bytes(), 16);
        let mut round = sums.round(&mut generator(1, 0)).unwrap();
        for client in 1..=3 {
            let mut contribution = round.client(generator(1, client));
            contribution.add(&[1.0, -0.5, 0.0, 0.25, 1.0]).unwrap();
            round.add(contribution);
        }
        let unit = 1.0 / sums.parameters().scale();
        for (found, expected) in round.mean(3.0).iter().zip([1.0, -0.5, 0.0, 0.25, 1.0]) {
            assert!((found - expected).abs() < 8.0_f64.sqrt() * unit, "{found}");
        }
    }
}
