//! From what a task wants to a grid: scale, sensitivity, noise, and the chance of a wrap.

use serde::{Deserialize, Serialize};

use super::noise::{LocalVariance, Sampler, delta_of_sampling};
use super::rotation::Layout;
use super::rounding::norm_bound;
use super::tail::{Sum, WRAP_BITS};
use crate::accountant::{DiscreteGaussian, Event, RdpAccountant, Skellam, l1_bound};
use crate::error::PrivacyError;
use crate::units::{Delta, Epsilon, NoiseMultiplier, SamplingRate, Variance};

/// The ring's width where nothing else is asked for, in bits.
pub const DEFAULT_BITS: u8 = 20;

/// Rounding may lengthen the longest vector by this factor at most: the noise that is calibrated to
/// the clip norm would be worth less by as much.
pub const LARGEST_INFLATION: f64 = 1.05;

/// The largest norm of an encoded vector, in grid units.
const LARGEST_RADIUS: f64 = 67_108_864.0;

/// The noise that honest clients add together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JointNoise {
    /// Which.
    pub sampler: Sampler,
    /// Its standard deviation over the clip norm, of all honest clients together.
    pub noise_multiplier: NoiseMultiplier,
    /// The honest clients that are sure to be in the sum, h: at least 1. Each adds 1/h of the
    /// variance, so that neither drop-outs nor corrupt clients without noise lower the promise.
    pub honest: u32,
}

/// What a task wants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setup {
    /// The most clients in one sum, n: at least 1.
    pub clients: u32,
    /// How vectors are rotated, and what is kept of them.
    pub layout: Layout,
    /// The largest L2 norm of a vector that is encoded by itself, above 0.
    pub clip: f64,
    /// Rounds in which no coordinate may wrap, at least 1.
    pub rounds: u32,
    /// The most vectors that a client is expected to add up, at least 1. More only make a wrap
    /// likelier, so that the promise does not depend on it.
    pub contributions: u32,
    /// The noise, if any.
    pub noise: Option<JointNoise>,
}

/// A setup on a grid: all that follows from a scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameters {
    setup: Setup,
    scale: f64,
    l2_squared: u64,
    local_variance: Option<LocalVariance>,
}

fn above_zero(name: &'static str, value: f64) -> Result<f64, PrivacyError> {
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    Err(PrivacyError::OutOfRange {
        name,
        value,
        range: "a finite number above 0",
    })
}

fn at_least_one(name: &'static str, value: u32) -> Result<(), PrivacyError> {
    above_zero(name, value.into()).map(|_| ())
}

impl Setup {
    fn validate(&self) -> Result<(), PrivacyError> {
        self.layout.validate()?;
        above_zero("the clip norm", self.clip)?;
        at_least_one("the number of clients", self.clients)?;
        at_least_one("the number of rounds", self.rounds)?;
        at_least_one("the number of contributions", self.contributions)?;
        let Some(noise) = self.noise else {
            return Ok(());
        };
        noise.noise_multiplier.enough()?;
        at_least_one("the number of honest clients", noise.honest)?;
        if noise.honest > self.clients {
            return Err(PrivacyError::Distributed(format!(
                "{} honest clients cannot be among {}; choose at most as many",
                noise.honest, self.clients
            )));
        }
        Ok(())
    }
}

impl Parameters {
    /// What follows from `scale`, grid units for 1.0.
    ///
    /// # Errors
    /// [`PrivacyError::OutOfRange`] or [`PrivacyError::Distributed`] name what is out of range.
    pub fn new(setup: Setup, scale: f64) -> Result<Self, PrivacyError> {
        setup.validate()?;
        let radius = above_zero("the scale", scale)? * setup.clip;
        if !(radius > 0.0 && radius <= LARGEST_RADIUS) {
            return Err(PrivacyError::OutOfRange {
                name: "the clip norm times the scale",
                value: radius,
                range: "above 0 and at most 2^26; choose a smaller scale",
            });
        }
        let local_variance = match setup.noise {
            Some(noise) => {
                let deviation = noise.noise_multiplier.get() * radius;
                let share = deviation * deviation / f64::from(noise.honest);
                Some(LocalVariance::at_least(share)?)
            }
            None => None,
        };
        Ok(Self {
            setup,
            scale,
            l2_squared: norm_bound(radius, setup.layout.length()),
            local_variance,
        })
    }

    /// The parameters with the largest scale that `bits` bits hold: the finer the grid, the less
    /// rounding costs.
    ///
    /// # Errors
    /// [`PrivacyError::Distributed`] if no scale fits; whatever [`Self::check`] says of the largest
    /// is not an error here.
    pub fn largest(setup: Setup, bits: u8) -> Result<Self, PrivacyError> {
        setup.validate()?;
        let fits = |radius: f64| {
            Self::new(setup, radius / setup.clip).is_ok_and(|p| p.log2_wrap(bits) <= -WRAP_BITS)
        };
        // Too small a scale fails as well, since there is a least variance: from above.
        let (mut low, mut high) = (LARGEST_RADIUS, 2.0 * LARGEST_RADIUS);
        while low > 1e-3 && !fits(low) {
            (low, high) = (low / 2.0, low);
        }
        if !fits(low) {
            return Err(PrivacyError::Distributed(format!(
                "no scale fits in {bits} bits; choose more bits, fewer clients or less noise"
            )));
        }
        for _ in 0..40 {
            let middle = 0.5 * (low + high);
            if fits(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        Self::new(setup, low / setup.clip)
    }

    /// Refuses a grid so coarse that rounding lengthens vectors by more than 5 %, and a ring in
    /// which a coordinate of the sum may wrap with probability above 2^-40.
    ///
    /// # Errors
    /// [`PrivacyError::Distributed`] says what to choose.
    pub fn check(&self, bits: u8) -> Result<(), PrivacyError> {
        let wrap = self.log2_wrap(bits);
        if wrap > -WRAP_BITS {
            return Err(PrivacyError::Distributed(format!(
                "a coordinate of the sum may wrap in {bits} bits with probability 2^{wrap:.0}; {}",
                match self.fewest_bits(bits) {
                    Some(needed) => format!("choose {needed} bits or a smaller scale"),
                    None => "choose a smaller scale".to_owned(),
                }
            )));
        }
        if self.setup.noise.is_some() && self.inflation() > LARGEST_INFLATION {
            return Err(PrivacyError::Distributed(format!(
                "at scale {} rounding lengthens vectors by {:.1} %, and noise is worth less by as \
                 much; {}",
                self.scale,
                100.0 * (self.inflation() - 1.0),
                match self.bits_that_suffice(bits) {
                    Some(needed) => format!(
                        "choose a larger scale, which needs at least {needed} bits for this noise"
                    ),
                    None => "choose fewer coordinates or less noise".to_owned(),
                }
            )));
        }
        Ok(())
    }

    /// The fewest bits above `bits` in which this scale does not wrap.
    fn fewest_bits(&self, bits: u8) -> Option<u8> {
        (bits + 1..=64).find(|b| self.log2_wrap(*b) <= -WRAP_BITS)
    }

    /// The fewest bits, at least `bits`, whose largest scale passes.
    fn bits_that_suffice(&self, bits: u8) -> Option<u8> {
        (bits..=40).find(|b| {
            Self::largest(self.setup, *b).is_ok_and(|p| p.inflation() <= LARGEST_INFLATION)
        })
    }

    /// What the task wants.
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Grid units for 1.0.
    pub const fn scale(&self) -> f64 {
        self.scale
    }

    /// The largest squared norm of an encoded vector, in grid units.
    pub const fn l2_squared(&self) -> u64 {
        self.l2_squared
    }

    /// The noise of each client in each coordinate; `None` without noise.
    pub const fn local_variance(&self) -> Option<LocalVariance> {
        self.local_variance
    }

    /// Variance of the noise of all honest clients in each coordinate, in squared grid units; 0
    /// without noise.
    pub fn honest_variance(&self) -> f64 {
        let honest = self.setup.noise.map_or(0, |noise| noise.honest);
        self.local_variance.map_or(0.0, LocalVariance::get) * f64::from(honest)
    }

    /// The longest encoded vector over the longest vector: what rounding costs.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a ratio to be shown and compared"
    )]
    pub fn inflation(&self) -> f64 {
        (self.l2_squared as f64).sqrt() / (self.setup.clip * self.scale)
    }

    /// An upper bound of log2 of the chance that any coordinate of the sum wraps in any round.
    ///
    /// It assumes that the signs of the rotation do not depend on the data, at most `clients` ·
    /// `contributions` vectors, all in the same direction, and the noise of all `clients`.
    pub fn log2_wrap(&self, bits: u8) -> f64 {
        let Setup {
            clients,
            layout,
            clip,
            rounds,
            contributions,
            noise,
        } = self.setup;
        let (clients, vectors) = (
            f64::from(clients),
            f64::from(clients) * f64::from(contributions),
        );
        let norm = vectors * clip * self.scale;
        let sum = Sum {
            signal: norm * norm / f64::from(layout.block()),
            rounding: vectors,
            noise: clients * self.local_variance.map_or(0.0, LocalVariance::get),
            sampler: noise.map_or(Sampler::DiscreteGaussian, |noise| noise.sampler),
            coordinates: f64::from(layout.length()) * f64::from(rounds),
        };
        sum.log2_wrap(bits)
    }

    /// What `steps` sums release under adding or removing one encoded vector, or with `moves` 2
    /// under replacing one by another; `None` without noise.
    ///
    /// # Errors
    /// The variance is out of range, which it is not for parameters that exist.
    pub fn event(
        &self,
        sampling_rate: SamplingRate,
        steps: u64,
        moves: u64,
    ) -> Result<Option<Event>, PrivacyError> {
        let Some(JointNoise {
            sampler, honest, ..
        }) = self.setup.noise
        else {
            return Ok(None);
        };
        let variance = Variance::new(self.honest_variance())?;
        let dimension = u64::from(self.setup.layout.length());
        let l2_squared = self.l2_squared.saturating_mul(moves * moves);
        let l1 = l1_bound(l2_squared, dimension);
        Ok(Some(match sampler {
            Sampler::Skellam => Event::Skellam(Skellam {
                sampling_rate,
                steps,
                variance,
                l2_squared,
                l1,
                dimension,
            }),
            Sampler::DiscreteGaussian => Event::DiscreteGaussian(DiscreteGaussian {
                sampling_rate,
                steps,
                variance,
                clients: honest,
                l2_squared,
                l1,
                dimension,
            }),
        }))
    }

    /// ε of `steps` sums at `delta` under adding or removing one encoded vector, by the RDP
    /// accountant; what inexact sampling adds to δ is taken off `delta` first.
    ///
    /// # Errors
    /// [`PrivacyError::NoFiniteEpsilon`], or `delta` is too small for the sampler.
    pub fn epsilon(
        &self,
        sampling_rate: SamplingRate,
        steps: u64,
        delta: Delta,
    ) -> Result<Epsilon, PrivacyError> {
        let mut accountant = RdpAccountant::new();
        let honest = self.setup.noise.map_or(0, |noise| noise.honest);
        match self.event(sampling_rate, steps, 1)? {
            Some(event) => accountant.compose(&event),
            None => return Err(PrivacyError::NoFiniteEpsilon { delta: delta.get() }),
        }
        let before = accountant.epsilon(delta)?.get();
        let coordinates = u64::from(self.setup.layout.length());
        // A little more δ for the sampler than this ε asks for: the ε that follows is a little more.
        let sampling = delta_of_sampling(before + 0.1, honest, coordinates, steps);
        let epsilon = accountant.epsilon(Delta::new(delta.get() - sampling)?)?;
        if epsilon.get() > before + 0.1 {
            return Err(PrivacyError::Delta(delta.get()));
        }
        Ok(epsilon)
    }
}

/// The least noise multiplier, to three digits and rounded up, at which `steps` sums stay within
/// `target` at `delta`, each with the largest scale that `bits` hold.
///
/// # Errors
/// [`PrivacyError::TargetOutOfReach`], or the setup is refused.
pub fn noise_multiplier_within(
    (target, delta): (Epsilon, Delta),
    (sampling_rate, steps): (SamplingRate, u64),
    setup: &Setup,
    bits: u8,
) -> Result<NoiseMultiplier, PrivacyError> {
    const LARGEST: f64 = 1e4;
    setup.validate()?;
    let Some(noise) = setup.noise else {
        return Err(PrivacyError::NothingToCalibrate);
    };
    let with = |multiplier: f64| {
        let noise_multiplier = NoiseMultiplier::new(multiplier)?;
        let noise = Some(JointNoise {
            noise_multiplier,
            ..noise
        });
        Parameters::largest(Setup { noise, ..*setup }, bits)?.epsilon(sampling_rate, steps, delta)
    };
    let within = |multiplier: f64| with(multiplier).is_ok_and(|epsilon| epsilon <= target);
    if !within(LARGEST) && !within(100.0) {
        return Err(PrivacyError::TargetOutOfReach {
            target: target.get(),
            largest: LARGEST,
        });
    }
    let (mut low, mut high) = (
        NoiseMultiplier::LEAST.get(),
        if within(100.0) { 100.0 } else { LARGEST },
    );
    while high / low > 1.0005 {
        let middle = (low * high).sqrt();
        if within(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    // Up to the third digit; ε falls as the multiplier grows.
    let digit = 10_f64.powf(high.log10().floor() - 3.0);
    NoiseMultiplier::new((high / digit).ceil() * digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(dimension: u32, clients: u32, honest: u32, multiplier: f64) -> Setup {
        Setup {
            clients,
            layout: Layout::all(dimension),
            clip: 1.0,
            rounds: 100,
            contributions: 1,
            noise: Some(JointNoise {
                sampler: Sampler::Skellam,
                noise_multiplier: NoiseMultiplier::new(multiplier).unwrap(),
                honest,
            }),
        }
    }

    fn epsilon(parameters: &Parameters) -> f64 {
        let (every, delta) = (SamplingRate::new(1.0).unwrap(), Delta::new(1e-6).unwrap());
        parameters.epsilon(every, 100, delta).unwrap().get()
    }

    /// 2^20 values, 64 clients of which 48 are honest and survive, 100 rounds: 5.22 with continuous
    /// Gaussian noise.
    #[test]
    fn twenty_bits_cost_little_and_eighteen_too_much() {
        let setup = setup(1 << 20, 64, 48, 10.0);
        let wide = Parameters::largest(setup, 20).unwrap();
        wide.check(20).unwrap();
        let narrow = Parameters::largest(setup, 18).unwrap();
        let refused = narrow.check(18).unwrap_err().to_string();
        assert!(refused.contains("at least 19 bits"), "{refused}");
        assert!((epsilon(&wide) - 5.26).abs() < 0.005, "{}", epsilon(&wide));
        assert!(
            (epsilon(&narrow) - 5.79).abs() < 0.02,
            "{}",
            epsilon(&narrow)
        );
    }

    #[test]
    fn discrete_gaussian_and_skellam_agree() {
        let skellam = setup(4096, 64, 48, 10.0);
        let discrete = Setup {
            noise: skellam.noise.map(|noise| JointNoise {
                sampler: Sampler::DiscreteGaussian,
                ..noise
            }),
            ..skellam
        };
        let a = epsilon(&Parameters::largest(skellam, 20).unwrap());
        let b = epsilon(&Parameters::largest(discrete, 20).unwrap());
        assert!((a / b - 1.0).abs() < 1e-4, "{a} {b}");
    }

    #[test]
    fn the_scale_is_the_largest_that_does_not_wrap() {
        for bits in [12, 16, 20] {
            let parameters = Parameters::largest(setup(1000, 20, 12, 2.0), bits).unwrap();
            assert!(parameters.log2_wrap(bits) <= -WRAP_BITS);
            assert!(parameters.log2_wrap(bits) > -WRAP_BITS - 0.1, "{bits}");
            let finer = Parameters::new(*parameters.setup(), parameters.scale() * 1.01).unwrap();
            let refused = finer.check(bits).unwrap_err().to_string();
            assert!(
                refused.contains(&format!("choose {} bits", bits + 1)),
                "{refused}"
            );
        }
    }

    #[test]
    fn noise_is_shared_by_the_honest_and_never_less_than_wanted() {
        let parameters = Parameters::new(setup(100, 10, 4, 3.0), 64.0).unwrap();
        assert_eq!(parameters.honest_variance(), 9.0 * 4096.0);
        assert_eq!(parameters.local_variance().unwrap().get(), 9.0 * 1024.0);
        let odd = Parameters::new(setup(100, 10, 7, 3.0), 64.0).unwrap();
        assert!(odd.honest_variance() >= 9.0 * 4096.0);
        assert!(odd.honest_variance() < 9.0 * 4096.0 + 7.0 / 65536.0);
    }

    #[test]
    fn calibration_reaches_its_target() {
        let target = Epsilon::new(5.26).unwrap();
        let delta = Delta::new(1e-6).unwrap();
        let every = SamplingRate::new(1.0).unwrap();
        let setup = setup(1 << 20, 64, 48, 1.0);
        let found = noise_multiplier_within((target, delta), (every, 100), &setup, 20).unwrap();
        assert!((found.get() - 10.0).abs() < 0.05, "{found}");
        let impossible = (Epsilon::new(0.0).unwrap(), delta);
        assert!(noise_multiplier_within(impossible, (every, 100), &setup, 20).is_err());
    }

    #[test]
    fn meaningless_settings_are_refused() {
        let good = setup(100, 10, 4, 1.0);
        let bad: [fn(&mut Setup); 8] = [
            |s| s.clients = 0,
            |s| s.rounds = 0,
            |s| s.clip = 0.0,
            |s| s.clip = f64::NAN,
            |s| s.contributions = 0,
            |s| s.layout.dimension = 0,
            |s| s.noise.as_mut().unwrap().honest = 0,
            |s| s.noise.as_mut().unwrap().honest = 11,
        ];
        for (i, change) in bad.iter().enumerate() {
            let mut setup = good;
            change(&mut setup);
            assert!(Parameters::new(setup, 16.0).is_err(), "case {i}");
            assert!(Parameters::largest(setup, 20).is_err(), "case {i}");
        }
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(Parameters::new(good, scale).is_err(), "{scale}");
        }
        // Noise of 10 clients with 8 bits: the grid would be coarser than the noise.
        assert!(Parameters::largest(setup(1 << 20, 1000, 900, 10.0), 8).is_err());
    }
}
