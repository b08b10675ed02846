//! How the sum of a round becomes a mean update, and whether a task's sums fit in its ring.

use undertone_privacy::Mechanism;
use undertone_privacy::distributed::Encoder;
use undertone_protocol::encoding::{FixedPoint, rotation_seed};
use undertone_protocol::params::RoundParams;
use undertone_protocol::vector::{Ring, RingVector};

use crate::error::ServerError;
use crate::store::TaskSettings;

/// The encoding coordinate by coordinate.
fn fixed_point(mechanism: &Mechanism, settings: &TaskSettings) -> Result<FixedPoint, ServerError> {
    Ok(FixedPoint::new(
        Ring::new(settings.bits)?,
        mechanism.update_clip,
        mechanism.scale,
        settings.cohort,
    )?)
}

/// Checks that a task's mechanism is for its adapter of `dimension` values, and that its sums fit
/// in its ring: without a rotation always, with one up to a probability of 2^-40 over all rounds.
///
/// # Errors
/// [`ServerError::Protocol`] or [`ServerError::Privacy`] say what to choose.
pub fn check(
    mechanism: &Mechanism,
    settings: &TaskSettings,
    dimension: usize,
) -> Result<(), ServerError> {
    mechanism.check_dimension(dimension)?;
    match mechanism.parameters(settings.cohort, settings.rounds)? {
        Some(parameters) => Ok(parameters.check(Ring::new(settings.bits)?.bits())?),
        None => fixed_point(mechanism, settings).map(|_| ()),
    }
}

/// Checks that noise is counted for no more honest clients than a round guarantees.
///
/// # Errors
/// [`ServerError::Task`] names both numbers.
pub fn check_honest(mechanism: &Mechanism, params: &RoundParams) -> Result<(), ServerError> {
    let rule = params.rule;
    let guaranteed = rule.honest_survivors();
    match mechanism.noise.joint() {
        Some((joint, _)) if joint.honest > guaranteed => Err(ServerError::Task(format!(
            "the mechanism counts the noise of {} honest clients; of {} survivors at least, {} may \
             be corrupt, so that {guaranteed} are sure to add theirs: lower noise.joint.honest, or \
             raise min_survivors",
            joint.honest, rule.min_survivors, rule.corrupt
        ))),
        _ => Ok(()),
    }
}

/// The mean update of a round, in the adapter's order, from its whole sum.
///
/// # Errors
/// As [`check`].
pub fn mean_update(
    mechanism: &Mechanism,
    settings: &TaskSettings,
    params: &RoundParams,
    (sum, survivors): (&RingVector, u32),
) -> Result<Vec<f64>, ServerError> {
    let mut decoding = Decoding::new(mechanism, settings, params, survivors)?;
    decoding.take(sum);
    Ok(decoding.finish())
}

/// Turns a sum into the mean update, chunk by chunk.
#[derive(Debug)]
pub(crate) struct Decoding {
    ring: Ring,
    divisor: f64,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Each coordinate by itself: the update so far.
    FixedPoint(FixedPoint, Vec<f64>),
    /// Rotated back once all are there: the integers so far.
    Rotated(Box<Encoder>, Vec<i64>),
}

impl Decoding {
    /// For a round with so many survivors.
    pub(crate) fn new(
        mechanism: &Mechanism,
        settings: &TaskSettings,
        params: &RoundParams,
        survivors: u32,
    ) -> Result<Self, ServerError> {
        let length = params.vector_length();
        let way = match mechanism.rotation {
            None => Way::FixedPoint(
                fixed_point(mechanism, settings)?,
                Vec::with_capacity(length),
            ),
            Some(layout) => {
                let (seed, clip) = (rotation_seed(params.id()), mechanism.update_clip);
                let encoder = Encoder::new(layout, &seed, clip, mechanism.scale)?;
                Way::Rotated(Box::new(encoder), Vec::with_capacity(length))
            }
        };
        Ok(Self {
            ring: params.ring(),
            divisor: mechanism.divisor(survivors),
            way,
        })
    }

    /// Takes the next chunk of the sum.
    pub(crate) fn take(&mut self, chunk: &RingVector) {
        match &mut self.way {
            Way::FixedPoint(code, mean) => {
                let divisor = self.divisor;
                mean.extend(code.decode_mean(chunk, 1).iter().map(|v| v / divisor));
            }
            Way::Rotated(_, integers) => {
                integers.extend(chunk.elements().map(|element| self.ring.centred(element)));
            }
        }
    }

    /// The mean update in the adapter's order, once all chunks are taken.
    pub(crate) fn finish(self) -> Vec<f64> {
        match self.way {
            Way::FixedPoint(_, mean) => mean,
            Way::Rotated(encoder, integers) => encoder.decode(&integers, self.divisor),
        }
    }
}

#[cfg(test)]
mod tests {
    use undertone_privacy::distributed::{JointNoise, Layout, Sampler};
    use undertone_privacy::{Noise, NoiseMultiplier};

    use super::*;

    fn settings(bits: u8, rounds: u32) -> TaskSettings {
        serde_json::from_value(serde_json::json!({
            "rounds": rounds, "cohort": 64, "min_survivors": 48, "bits": bits,
            "server_learning_rate": 1.0, "deadlines_ms": [1, 1, 1, 1, 1]
        }))
        .unwrap()
    }

    fn mechanism(scale: f64) -> Mechanism {
        Mechanism {
            update_clip: 1.0,
            scale,
            rotation: Some(Layout::all(1 << 20)),
            noise: Noise::DistributedDpFedAvg {
                joint: JointNoise {
                    sampler: Sampler::Skellam,
                    noise_multiplier: NoiseMultiplier::new(10.0).unwrap(),
                    honest: 48,
                },
                divisor: 60.0,
                local: None,
            },
        }
    }

    /// The chance of a wrap counts for all rounds together.
    ///
    /// Spec.
    #[test]
    fn sums_that_may_wrap_are_refused() {
        let judge = |scale, bits, rounds| {
            let answer = check(&mechanism(scale), &settings(bits, rounds), 1 << 20);
            answer.map_err(|e| e.to_string())
        };
        assert_eq!(judge(4600.0, 20, 100), Ok(()));
        assert_eq!(judge(4850.0, 20, 1), Ok(()));
        let refused = judge(4850.0, 20, 100).unwrap_err();
        assert!(refused.contains("choose 21 bits"), "{refused}");
        let refused = judge(1100.0, 18, 100).unwrap_err();
        assert!(
            refused.contains("rounding lengthens vectors by 1"),
            "{refused}"
        );
        let other = check(&mechanism(4600.0), &settings(20, 1), 1000).unwrap_err();
        assert!(
            other.to_string().contains("`rotation.dimension`"),
            "{other}"
        );
    }
}
