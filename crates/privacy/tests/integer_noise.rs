//! Integer noise against exact probabilities (mpmath) and another library's sampler (`OpenDP`).

#![expect(
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    reason = "test helpers; counts are small"
)]

use chacha20::{ChaCha20Rng, rand_core::SeedableRng};
use serde::Deserialize;
use undertone_privacy::distributed::{IntegerNoise, LocalVariance, Sampler};

#[derive(Deserialize)]
struct Exact {
    sampler: Sampler,
    variance_65536ths: u64,
    edges: Vec<i64>,
    probabilities: Vec<f64>,
}

fn exact() -> Vec<Exact> {
    serde_json::from_str(include_str!("vectors/noise_exact.json")).unwrap()
}

fn draw(sampler: Sampler, units: u64, count: usize, seed: u8) -> Vec<i64> {
    let variance = LocalVariance::at_least(units as f64 / 65536.0).unwrap();
    let noise = IntegerNoise::new(sampler, variance).unwrap();
    let mut values = vec![0; count];
    noise.add_to(&mut values, &mut ChaCha20Rng::from_seed([seed; 32]));
    values
}

/// A bound that a chi-square variable with `freedom` degrees passes once in a million (Laurent and
/// Massart 2000, Lemma 1).
fn unlikely(freedom: f64) -> f64 {
    let t = 1e6_f64.ln();
    freedom + 2.0 * (freedom * t).sqrt() + 2.0 * t
}

/// The statistic and its degrees of freedom; intervals of small expectation are taken together.
fn chi_square(case: &Exact, values: &[i64]) -> (f64, f64) {
    let mut counts = vec![0_u32; case.probabilities.len()];
    for value in values {
        counts[case.edges.partition_point(|edge| edge <= value)] += 1;
    }
    let (mut statistic, mut freedom) = (0.0, -1.0);
    let (mut expected, mut found) = (0.0, 0.0);
    for (p, count) in case.probabilities.iter().zip(&counts) {
        expected += values.len() as f64 * p;
        found += f64::from(*count);
        if expected >= 10.0 {
            statistic += (found - expected).powi(2) / expected;
            freedom += 1.0;
            (expected, found) = (0.0, 0.0);
        }
    }
    (statistic, freedom)
}

/// Spec.
#[test]
fn chi_square_against_exact_probabilities() {
    let cases = exact();
    assert_eq!(cases.len(), 10);
    for (seed, case) in (1..).zip(&cases) {
        let values = draw(case.sampler, case.variance_65536ths, 500_000, seed);
        let (statistic, freedom) = chi_square(case, &values);
        assert!(freedom >= 4.0, "{freedom}");
        let name = format!("{} {}", case.sampler, case.variance_65536ths);
        assert!(
            statistic < unlikely(freedom),
            "{name}: {statistic} of {freedom}"
        );
    }
}

/// The test above can fail: noise of a variance two per cent off does.
#[test]
fn a_wrong_variance_is_noticed() {
    let case = &exact()[4];
    let values = draw(case.sampler, case.variance_65536ths / 100 * 98, 500_000, 77);
    let (statistic, freedom) = chi_square(case, &values);
    assert!(statistic > unlikely(freedom), "{statistic} of {freedom}");
}

#[derive(Deserialize)]
struct OpenDp {
    cases: Vec<Histogram>,
}

#[derive(Deserialize)]
struct Histogram {
    variance_65536ths: u64,
    draws: usize,
    width: i64,
    #[serde(rename = "histogram")]
    intervals: Vec<(i64, u32)>,
}

/// Two samples, one distribution: ours against `OpenDP`'s exact discrete Gaussian.
#[test]
fn two_samples_agree_with_opendp() {
    let document: OpenDp = serde_json::from_str(include_str!("vectors/noise_opendp.json")).unwrap();
    for (seed, case) in (20..).zip(&document.cases) {
        let ours = draw(
            Sampler::DiscreteGaussian,
            case.variance_65536ths,
            case.draws,
            seed,
        );
        let (mut statistic, mut freedom) = (0.0, -1.0);
        let (mut a, mut b) = (0.0, 0.0);
        for (interval, theirs) in &case.intervals {
            let inside = |v: &&i64| v.div_euclid(case.width) == *interval;
            a += ours.iter().filter(inside).count() as f64;
            b += f64::from(*theirs);
            if a + b >= 20.0 {
                statistic += (a - b).powi(2) / (a + b);
                freedom += 1.0;
                (a, b) = (0.0, 0.0);
            }
        }
        assert!(freedom >= 10.0, "{freedom}");
        assert!(statistic < unlikely(freedom), "{statistic} of {freedom}");
    }
}
