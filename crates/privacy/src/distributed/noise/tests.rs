#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and weights of a test"
)]

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};

use super::*;

fn variance(units: u64) -> LocalVariance {
    LocalVariance(units)
}

/// Variances of one and of several tables; 4e7 is that of 48 clients at 20 bits.
const VARIANCES: [u64; 5] = [
    32_768,
    655_360,
    65_536 * 6_000,
    65_536 * 2_000_000 + 12_345,
    65_536 * 40_000_000,
];

/// The mixture is the distribution itself: its parts, put together again, give back all weights.
#[test]
fn the_parts_of_a_mixture_add_up_to_the_distribution() {
    for units in &VARIANCES[2..] {
        for weights in [
            distribution::skellam(*units),
            distribution::discrete_gaussian(32_768, *units),
        ] {
            let mixture = Mixture::new(&weights, variance(*units)).unwrap();
            let (near, far) = (mixture.near as u128, mixture.far as u128);
            let base = (u128::from(*units) << 16) / ((1 + near * near) * (1 + far * far));
            let base = distribution::discrete_gaussian(1 << 31, base as u64);
            let all = distribution::convolved(&base, mixture.near as usize);
            let all = distribution::convolved(&all, mixture.far as usize);
            let rest = rest(&weights, &all, mixture.chance).unwrap();
            let mut distance = 0_u128;
            for x in 0..rest.len().max(weights.len()) {
                let of = |w: &[u128]| w.get(x).copied().unwrap_or(0);
                let mixed = of(&all) - (of(&all) >> mixture.chance) + of(&rest);
                distance += mixed.abs_diff(of(&weights)) * if x == 0 { 1 } else { 2 };
            }
            // In units of 2^-128; what is claimed is 2^32 of them.
            assert!(distance < 1 << 28, "{units}: {distance}");
            // The rest is rare: ε is near 1/(4V) for Skellam noise, less for the other.
            let expected = (4.0 * *units as f64 / 65536.0).log2() - 2.0;
            let chance = f64::from(mixture.chance);
            assert!(chance > expected.min(24.0), "{units}: {chance}");
            assert!(mixture.base.len() < 400, "{}", mixture.base.len());
            // The rest has weight ε.
            let weight: u128 = rest[0] + 2 * rest[1..].iter().sum::<u128>();
            let full = (weight as f64) * chance.exp2() / 2_f64.powi(128);
            assert!((full - 1.0).abs() < 1e-9, "{full}");
        }
    }
}

#[test]
fn moments_are_those_of_the_distribution() {
    const N: usize = 400_000;
    for (seed, units) in (0..).zip(VARIANCES) {
        for sampler in [Sampler::Skellam, Sampler::DiscreteGaussian] {
            let noise = IntegerNoise::new(sampler, variance(units)).unwrap();
            let mut values = vec![0; N];
            noise.add_to(&mut values, &mut ChaCha20Rng::from_seed([seed; 32]));
            let n = N as f64;
            let v = units as f64 / 65536.0;
            let moment = |k: i32| values.iter().map(|x| (*x as f64).powi(k)).sum::<f64>() / n;
            // Fourth moment 3V² (+ V for Skellam noise).
            let fourth = 3.0 * v * v + v;
            assert!(moment(1).abs() < 5.0 * (v / n).sqrt(), "{sampler} {units}");
            let found = moment(2);
            let error = 5.0 * ((fourth - v * v) / n).sqrt();
            assert!((found - v).abs() < error, "{sampler} {units}: {found}");
        }
    }
}

/// A batch that needs the rest often, so that its way is taken too.
#[test]
fn draws_from_the_rest_are_placed_once_each() {
    let units = 65_536 * 6_000;
    let weights = distribution::skellam(units);
    let mut mixture = Mixture::new(&weights, variance(units)).unwrap();
    mixture.chance = 8;
    let mut rng = ChaCha20Rng::from_seed([3; 32]);
    let rests: Vec<i64> = (1..=100).map(|i| i * 1_000_000).collect();
    let mut values = vec![0; 5_000];
    let mut taken = 0;
    each(&mut values, &mut rng, |bytes, choice| {
        mixture.sample(bytes, choice, &rests, &mut taken)
    });
    let placed: Vec<i64> = values.into_iter().filter(|v| *v >= 1_000_000).collect();
    assert_eq!(placed, rests[..taken as usize]);
    // 5000/256 = 19.5 expected, deviation 4.4.
    assert!((2..42).contains(&taken), "{taken}");
}

#[test]
fn a_batch_has_places_enough() {
    // ε = 2^-16: one is expected; Poisson's tail is below 2^-120 from 33 or 34 on.
    assert!((31..36).contains(&places(16)), "{}", places(16));
    assert!(places(30) < 12 && places(40) < 8);
    assert!(places(8) > 256);
}

#[test]
fn variances_are_rounded_up_and_bounded() {
    assert_eq!(LocalVariance::at_least(1.0).unwrap(), variance(65_536));
    assert_eq!(
        LocalVariance::at_least(1.0 + 1e-9).unwrap(),
        variance(65_537)
    );
    for bad in [0.0, -1.0, 0.06, 1.1e9, f64::NAN, f64::INFINITY] {
        assert!(LocalVariance::at_least(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_sampling_adds_to_delta_is_negligible_and_counted() {
    let added = delta_of_sampling(5.3, 48, 1 << 20, 100);
    assert!(added > 1e-18 && added < 1e-16, "{added}");
    assert!(delta_of_sampling(5.3, 96, 1 << 20, 100) > 1.9 * added);
}

#[test]
fn debug_output_hides_the_tables() {
    let noise = IntegerNoise::new(Sampler::Skellam, variance(65_536)).unwrap();
    let expected = format!("IntegerNoise({} thresholds)", noise.thresholds());
    assert_eq!(format!("{noise:?}"), expected);
}
