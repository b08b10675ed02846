//! The clip norm of one client's steps, fixed or adaptive.

use rand_core::CryptoRng;
use undertone_privacy::GaussianSource;
use undertone_protocol::adapter::Adapter;

use super::clip::Bounds;
use crate::config::{PrivacyConfig, TrainingConfig};
use crate::error::Result;

/// What gradients are clipped to in the next step.
#[derive(Clone, Debug)]
pub(crate) struct Clip(Option<PrivacyConfig>);

impl Clip {
    /// The configured norm.
    pub(crate) fn new(config: &TrainingConfig) -> Self {
        Self(config.privacy)
    }

    /// The norm; `None` without privacy.
    pub(crate) fn norm(&self) -> Option<f64> {
        self.0.map(|privacy| privacy.clip_norm)
    }

    pub(crate) fn bounds(&self, adapter: &Adapter) -> Result<Bounds> {
        Bounds::of(self.0.as_ref(), adapter)
    }

    /// After a step: `within` and `clipped` examples of a sample of `expected` in expectation.
    ///
    /// The sum of the bits gets its own noise, whatever the sample was, an empty one included; the
    /// gradients' noise was enlarged to pay for it.
    pub(crate) fn adapt<R: CryptoRng>(
        &mut self,
        within: usize,
        clipped: usize,
        expected: f64,
        rng: &mut R,
    ) -> Result<()> {
        let Some(privacy) = &mut self.0 else {
            return Ok(());
        };
        let Some(adaptive) = privacy.adaptive else {
            return Ok(());
        };
        #[allow(clippy::cast_precision_loss, reason = "samples are far below 2^52")]
        let mut centred = [0.5 * (within as f64 - clipped as f64)];
        let mut noise = [0.0];
        GaussianSource::new(rng).fill_f64(&mut noise, adaptive.bit_noise)?;
        centred[0] += noise[0];
        privacy.clip_norm = adaptive.next(privacy.clip_norm, centred[0], expected);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use rand_core::{Rng, SeedableRng};
    use undertone_privacy::AdaptiveClip;

    use super::*;
    use crate::fixture;

    fn clip(bit_noise: f64) -> Clip {
        let mut config = fixture::config();
        config.privacy = Some(PrivacyConfig {
            adaptive: Some(AdaptiveClip {
                target_quantile: 0.5,
                learning_rate: 0.2,
                bit_noise,
            }),
            ..PrivacyConfig::new(2.0, 0.5)
        });
        Clip::new(&config)
    }

    /// Where an example is missing, the sum of bits has noise all the same: its deviation shows in
    /// the logarithm of the norm, 0.2 * `bit_noise` / expected.
    #[test]
    #[allow(clippy::cast_precision_loss)]
    fn the_bits_have_the_stated_noise() {
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        let runs = 4000;
        let mut squares = 0.0;
        for _ in 0..runs {
            let mut clip = clip(3.0);
            // Six within of ten expected, four less than that: the centred sum is 1.
            clip.adapt(4, 2, 10.0, &mut rng).unwrap();
            let moved = (clip.norm().unwrap() / 2.0).ln() + 0.2 * 0.1;
            squares += (moved / 0.06_f64).powi(2);
        }
        let variance = squares / f64::from(runs);
        assert!(
            (variance - 1.0).abs() < 5.0 * (2.0 / f64::from(runs)).sqrt(),
            "{variance}"
        );
    }

    #[test]
    fn a_fixed_norm_stays_and_draws_no_noise() {
        let mut fixed = Clip::new(&fixture::config());
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        fixed.adapt(0, 9, 10.0, &mut rng).unwrap();
        assert_eq!(fixed.norm(), Some(1.0));
        let mut untouched = ChaCha20Rng::from_seed([4; 32]);
        assert_eq!(rng.next_u64(), untouched.next_u64());
        let open = Clip::new(&fixture::config().without_privacy());
        assert_eq!(open.norm(), None);
    }
}
