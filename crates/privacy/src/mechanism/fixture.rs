//! One mechanism of each kind, for tests.

use super::{Mechanism, Noise};
use crate::accountant::SubsampledGaussian;
use crate::distributed::{JointNoise, Layout, Sampler};
use crate::units::{NoiseMultiplier, SamplingRate};

pub(crate) fn local() -> Mechanism {
    Mechanism {
        update_clip: 4.0,
        scale: 65536.0,
        rotation: None,
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

pub(crate) fn without_noise() -> Mechanism {
    let noise = Noise::None;
    Mechanism { noise, ..local() }
}

pub(crate) fn joint() -> JointNoise {
    JointNoise {
        sampler: Sampler::Skellam,
        noise_multiplier: NoiseMultiplier::new(2.0).unwrap(),
        honest: 5,
    }
}

pub(crate) fn distributed(noise: Noise) -> Mechanism {
    Mechanism {
        update_clip: 1.0,
        scale: 1024.0,
        rotation: Some(Layout::all(1000)),
        noise,
    }
}

pub(crate) fn by_examples() -> Mechanism {
    distributed(Noise::DistributedDpSgd {
        joint: joint(),
        sampling_rate: SamplingRate::new(0.1).unwrap(),
        contributions: 60,
        divisor: 400.0,
    })
}

pub(crate) fn by_clients() -> Mechanism {
    distributed(Noise::DistributedDpFedAvg {
        joint: joint(),
        divisor: 8.0,
        local: local().noise.local(),
    })
}
