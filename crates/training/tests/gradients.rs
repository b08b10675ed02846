//! Per-example gradients: right, uncoupled, clipped, of bounded influence.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "small counts"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use chacha20::ChaCha20Rng;
use proptest::prelude::*;
use rand_core::{Rng, SeedableRng};
use undertone_protocol::adapter::Adapter;
use undertone_training::dpsgd::{Bounds, clipped_gradient_sum, for_each_clipped};
use undertone_training::{
    ClipGroups, Features, LoraConfig, LoraVariant, Model, PrivacyConfig, Projection,
    TrainingConfig, TrainingError, evaluate, fixture,
};

/// Every projection of both layers, so that every backward path is walked.
fn full_config() -> TrainingConfig {
    TrainingConfig {
        lora: Some(LoraConfig {
            layers: 2,
            projections: vec![
                Projection::Query,
                Projection::Key,
                Projection::Value,
                Projection::Output,
            ],
            rank: 2,
            alpha: 4.0,
            seed: 3,
            variant: LoraVariant::Ffa,
        }),
        ..fixture::config()
    }
}

/// The same with A trained as well.
fn plain_config() -> TrainingConfig {
    let mut config = full_config();
    if let Some(lora) = &mut config.lora {
        lora.variant = LoraVariant::Plain;
    }
    config
}

/// A model, an adapter away from zero, and features.
fn setup(config: TrainingConfig, count: usize, seed: u8) -> (Arc<Model>, Adapter, Features) {
    let model = Arc::new(Model::new(fixture::encoder().unwrap(), config).unwrap());
    let features = fixture::features(&model, count, u64::from(seed)).unwrap();
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    let start = model.initial_adapter();
    let values = (0..start.len())
        .map(|_| 0.3 * (f64::from(rng.next_u32()) / f64::from(u32::MAX) - 0.5) as f32)
        .collect();
    (model, start.with_values(values).unwrap(), features)
}

fn bounds(clip: Option<f64>) -> Bounds {
    clip.map_or_else(Bounds::none, |c| Bounds::flat(c).unwrap())
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
}

#[test]
fn every_trainable_value_matches_finite_differences() {
    for config in [full_config(), plain_config(), fixture::config().head_only()] {
        let (model, adapter, features) = setup(config, 6, 11);
        let rows: Vec<usize> = (0..features.len()).collect();
        let sum =
            clipped_gradient_sum(&model, &adapter, &features, &rows, &Bounds::none()).unwrap();
        let loss = |at: usize, step: f32| {
            let mut values = adapter.values().to_vec();
            values[at] += step;
            let moved = adapter.with_values(values).unwrap();
            evaluate(&model, &moved, &features).unwrap().loss * features.len() as f64
        };
        let mut start = 0;
        for (name, _, values) in adapter.tensors() {
            let range = start..start + values.len();
            start = range.end;
            let scale = sum.gradient[range.clone()]
                .iter()
                .fold(0.0_f64, |m, g| m.max(g.abs()));
            assert!(scale > 1e-3, "{name} has a gradient");
            for at in range {
                let slope = (loss(at, 1e-2) - loss(at, -1e-2)) / 2e-2;
                let error = (sum.gradient[at] - slope).abs();
                assert!(
                    error < 0.01 * scale + 2e-4,
                    "{name}: {} {slope}",
                    sum.gradient[at]
                );
            }
        }
        assert_eq!(start, adapter.len());
    }
}

#[test]
fn the_clipped_sum_is_the_loop_over_single_examples() {
    let (model, adapter, features) = setup(plain_config(), 21, 12);
    let rows: Vec<usize> = (0..features.len()).collect();
    for clip in [None, Some(0.5), Some(5.0)] {
        let together =
            clipped_gradient_sum(&model, &adapter, &features, &rows, &bounds(clip)).unwrap();
        let mut looped = vec![0.0; adapter.len()];
        let mut clipped = 0;
        for row in &rows {
            let one = clipped_gradient_sum(&model, &adapter, &features, &[*row], &Bounds::none())
                .unwrap();
            let length = norm(&one.gradient);
            let scale = clip.map_or(1.0, |c| (c / length).min(1.0));
            clipped += usize::from(scale < 1.0);
            looped
                .iter_mut()
                .zip(&one.gradient)
                .for_each(|(t, g)| *t += scale * g);
        }
        assert_eq!(together.totals.clipped, clipped, "clip {clip:?}");
        let error = distance(&together.gradient, &looped);
        assert!(error < 1e-5 * norm(&looped), "clip {clip:?}: {error}");
    }
}

#[test]
fn an_example_does_not_depend_on_its_neighbours() {
    let (model, adapter, features) = setup(full_config(), 8, 13);
    let all = |rows: &[usize]| {
        clipped_gradient_sum(&model, &adapter, &features, rows, &Bounds::none())
            .unwrap()
            .gradient
    };
    let pair: Vec<f64> = all(&[2])
        .iter()
        .zip(all(&[5]))
        .map(|(a, b)| a + b)
        .collect();
    assert!(distance(&all(&[2, 5]), &pair) < 1e-5 * norm(&pair));
}

#[test]
fn an_empty_sample_sums_to_zero() {
    let (model, adapter, features) = setup(full_config(), 2, 14);
    let sum = clipped_gradient_sum(&model, &adapter, &features, &[], &bounds(Some(1.0))).unwrap();
    assert_eq!(
        (norm(&sum.gradient), sum.totals.loss, sum.totals.clipped),
        (0.0, 0.0, 0)
    );
}

/// What item by item backward passes give, in micro-batches: for every tensor of every example.
#[test]
fn micro_batches_give_the_gradients_of_single_examples() {
    for config in [full_config(), plain_config(), fixture::config().head_only()] {
        let (model, adapter, features) = setup(config, 19, 18);
        let rows: Vec<usize> = (0..19).collect();
        let none = Bounds::none();
        let mut together: Vec<Vec<f32>> = Vec::new();
        for_each_clipped(&model, &adapter, &features, &rows, &none, |batch| {
            together.extend(batch.rows().map(<[f32]>::to_vec));
            Ok::<(), TrainingError>(())
        })
        .unwrap();
        for (row, together) in together.iter().enumerate() {
            let alone = clipped_gradient_sum(&model, &adapter, &features, &[row], &none).unwrap();
            let mut start = 0;
            for (name, _, values) in adapter.tensors() {
                let range = start..start + values.len();
                start = range.end;
                let alone = &alone.gradient[range.clone()];
                let batched: Vec<f64> = together[range].iter().copied().map(f64::from).collect();
                assert!(norm(alone) > 1e-4, "{name} of example {row} has a gradient");
                let error = distance(alone, &batched) / norm(alone);
                assert!(error < 1e-4, "{name} of example {row}: {error}");
            }
        }
    }
}

/// Per layer and per tensor: each group within its share, and as a loop would have it.
#[test]
fn groups_of_tensors_are_clipped_apart() {
    let (model, adapter, features) = setup(plain_config(), 10, 19);
    let rows: Vec<usize> = (0..10).collect();
    for (groups, count) in [(ClipGroups::PerLayer, 3.0), (ClipGroups::PerTensor, 18.0)] {
        let privacy = PrivacyConfig {
            groups,
            ..PrivacyConfig::new(1.2, 1.0)
        };
        let bounds = Bounds::of(Some(&privacy), &adapter).unwrap();
        assert!((bounds.sensitivity().unwrap() - 1.2).abs() < 1e-12);
        let share = 1.2 / f64::sqrt(count);
        let key = |name: &str| match groups {
            ClipGroups::PerTensor => name.to_owned(),
            _ if name.starts_with("encoder") => name[..15].to_owned(),
            _ => "head".to_owned(),
        };
        let squares = |gradient: &[f64]| {
            let mut squares = BTreeMap::<String, f64>::new();
            let mut rest = gradient;
            for (name, _, values) in adapter.tensors() {
                let (head, tail) = rest.split_at(values.len());
                *squares.entry(key(name)).or_default() += norm(head).powi(2);
                rest = tail;
            }
            squares
        };
        let (mut cut, mut kept) = (0, 0);
        for row in rows.iter().copied() {
            let sum = |bounds| {
                clipped_gradient_sum(&model, &adapter, &features, &[row], bounds)
                    .unwrap()
                    .gradient
            };
            let (raw, clipped) = (sum(&Bounds::none()), sum(&bounds));
            for (group, square) in squares(&raw) {
                let after = squares(&clipped)[&group].sqrt();
                let expected = square.sqrt().min(share);
                assert!((after - expected).abs() < 1e-5 * share, "{group}: {after}");
                cut += usize::from(square.sqrt() > share);
                kept += usize::from(square.sqrt() <= share);
            }
        }
        assert!(cut > 0 && kept > 0, "both cases occur: {cut} {kept}");
    }
}

/// The sink sees, in order, what the sum is made of; micro-batches change nothing.
#[test]
fn examples_are_handed_out_one_by_one() {
    let (model, adapter, features) = setup(full_config(), 21, 16);
    let rows: Vec<usize> = (0..21).rev().collect();
    for clip in [None, Some(0.5), Some(3.0)] {
        let bounds = bounds(clip);
        let mut examples: Vec<Vec<f64>> = Vec::new();
        let mut within = Vec::new();
        let totals = for_each_clipped(&model, &adapter, &features, &rows, &bounds, |batch| {
            assert_eq!(batch.dimension, adapter.len());
            examples.extend(
                batch
                    .rows()
                    .map(|r| r.iter().copied().map(f64::from).collect()),
            );
            within.extend_from_slice(batch.within);
            Ok::<(), TrainingError>(())
        })
        .unwrap();
        assert_eq!((examples.len(), within.len()), (21, 21));
        for ((row, example), within) in rows.iter().zip(&examples).zip(&within) {
            let alone = clipped_gradient_sum(&model, &adapter, &features, &[*row], &bounds);
            let alone = alone.unwrap();
            assert_eq!(alone.totals.clipped == 0, *within);
            let length = norm(&alone.gradient);
            assert!(
                distance(&alone.gradient, example) < 1e-5 * length,
                "row {row}"
            );
            assert!(
                clip.is_none_or(|c| norm(example) <= c),
                "row {row} {clip:?}"
            );
        }
        let sum = clipped_gradient_sum(&model, &adapter, &features, &rows, &bounds).unwrap();
        assert_eq!(totals.clipped, sum.totals.clipped);
        assert!((totals.loss - sum.totals.loss).abs() < 1e-12 * sum.totals.loss);
        if clip == Some(3.0) {
            assert!(
                (1..21).contains(&totals.clipped),
                "{totals:?} has both cases"
            );
        }
    }
}

#[test]
fn an_error_of_the_sink_ends_the_computation() {
    let (model, adapter, features) = setup(full_config(), 21, 17);
    let rows: Vec<usize> = (0..21).collect();
    let mut calls = 0;
    let stopped = for_each_clipped(&model, &adapter, &features, &rows, &Bounds::none(), |_| {
        calls += 1;
        Err(TrainingError::NoData("enough".to_owned()))
    });
    assert!(matches!(stopped, Err(TrainingError::NoData(_))));
    assert_eq!(calls, 1);
}

#[test]
fn selecting_a_share_keeps_its_examples() {
    let (model, adapter, features) = setup(full_config(), 9, 15);
    let share = features.select(&[7, 1, 4]).unwrap();
    let a = clipped_gradient_sum(&model, &adapter, &features, &[7, 4], &Bounds::none()).unwrap();
    let b = clipped_gradient_sum(&model, &adapter, &share, &[0, 2], &Bounds::none()).unwrap();
    assert_eq!(a, b);
    assert!(features.select(&[9]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn one_example_moves_the_clipped_sum_by_at_most_the_norm(
        seed: u8, clip in 0.01_f64..3.0, left_out in 0_usize..12,
    ) {
        let (model, adapter, features) = setup(full_config(), 12, seed);
        let rows: Vec<usize> = (0..12).collect();
        let fewer: Vec<usize> = rows.iter().copied().filter(|r| *r != left_out).collect();
        let sum = |rows: &[usize]| {
            clipped_gradient_sum(&model, &adapter, &features, rows, &bounds(Some(clip))).unwrap().gradient
        };
        let moved = distance(&sum(&rows), &sum(&fewer));
        prop_assert!(moved <= clip * (1.0 + 1e-5), "{} over {}", moved, clip);
    }
}
