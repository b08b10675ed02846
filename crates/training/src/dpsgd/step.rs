//! One step: noise, the fixed divisor, momentum.

use rand_core::CryptoRng;
use undertone_privacy::GaussianSource;

use crate::algorithm::Correction;
use crate::config::TrainingConfig;
use crate::error::Result;

/// Plain momentum SGD over the flat trainable values.
pub(crate) struct Optimizer<'a> {
    config: &'a TrainingConfig,
    /// The expected batch size `q n`.
    divisor: f64,
    velocity: Vec<f64>,
}

impl<'a> Optimizer<'a> {
    /// For `examples` local examples and `len` trainable values; momentum starts at zero.
    pub(crate) fn new(config: &'a TrainingConfig, examples: usize, len: usize) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "data sets are far below 2^52")]
        let divisor = config.sampling_rate * examples as f64;
        Self {
            config,
            divisor,
            velocity: vec![0.0; len],
        }
    }

    /// The number of examples that a step draws in expectation, `q n`.
    pub(crate) fn divisor(&self) -> f64 {
        self.divisor
    }

    /// Adds noise to the sum of gradients clipped to `clip_norm` if the task is private, corrects
    /// the gradient as the federated algorithm says, and moves `values` one step.
    ///
    /// The noise is added whatever the sample was, an empty one included.
    pub(crate) fn step<R: CryptoRng>(
        &mut self,
        values: &mut [f32],
        mut sum: Vec<f64>,
        clip_norm: f64,
        correction: &Correction<'_>,
        rng: &mut R,
    ) -> Result<()> {
        if let Some(privacy) = &self.config.privacy {
            let mut noise = vec![0.0; sum.len()];
            let std = privacy.gradient_multiplier()? * clip_norm;
            GaussianSource::new(rng).fill_f64(&mut noise, std)?;
            sum.iter_mut().zip(&noise).for_each(|(s, n)| *s += n);
        }
        for value in &mut sum {
            *value /= self.divisor;
        }
        correction.apply(&mut sum, values)?;
        for ((value, velocity), gradient) in values.iter_mut().zip(&mut self.velocity).zip(&sum) {
            *velocity = self.config.momentum * *velocity + gradient;
            let moved = f64::from(*value) - self.config.learning_rate * *velocity;
            #[allow(clippy::cast_possible_truncation, reason = "values are f32")]
            let moved = moved as f32;
            *value = moved;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PrivacyConfig;
    use crate::fixture;
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    #[test]
    #[allow(clippy::float_cmp, reason = "small dyadic numbers are exact")]
    fn momentum_and_divisor_follow_the_formula() {
        let mut config = fixture::config().without_privacy();
        config.sampling_rate = 0.25;
        config.learning_rate = 0.5;
        config.momentum = 0.5;
        let mut rng = ChaCha20Rng::from_seed([0; 32]);
        let mut optimizer = Optimizer::new(&config, 8, 1);
        let mut values = [1.0];
        let none = Correction::none();
        // Divisor 2: velocities 2, then 0.5 * 2 + 1 = 2; each moves by half of that.
        optimizer
            .step(&mut values, vec![4.0], 1.0, &none, &mut rng)
            .unwrap();
        assert_eq!(values, [0.0]);
        optimizer
            .step(&mut values, vec![2.0], 1.0, &none, &mut rng)
            .unwrap();
        assert_eq!(values, [-1.0]);
    }

    #[test]
    #[allow(clippy::cast_precision_loss)]
    fn noise_has_the_stated_deviation_even_for_an_empty_sample() {
        let mut config = fixture::config();
        config.privacy = Some(PrivacyConfig::new(2.0, 1.5));
        config.sampling_rate = 0.1;
        config.learning_rate = 1.0;
        config.momentum = 0.0;
        let len = 40_000;
        let mut values = vec![0.0; len];
        let none = Correction::none();
        let mut rng = ChaCha20Rng::from_seed([9; 32]);
        let mut optimizer = Optimizer::new(&config, 30, len);
        optimizer
            .step(&mut values, vec![0.0; len], 2.0, &none, &mut rng)
            .unwrap();
        let n = len as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let variance = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n;
        let expected: f64 = 1.5 * 2.0 / 3.0;
        assert!(mean.abs() < 5.0 * expected / n.sqrt(), "{mean}");
        assert!(
            (variance / expected.powi(2) - 1.0).abs() < 5.0 * (2.0 / n).sqrt(),
            "{variance}"
        );
    }
}
