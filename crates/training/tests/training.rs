//! Local training as a client runs it.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "small counts"
)]

use std::sync::Arc;

use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;
use undertone_privacy::AdaptiveClip;
use undertone_training::dpsgd::{Bounds, for_each_clipped};
use undertone_training::{
    Depth, Encoder, LocalTrainer, Model, PrivacyConfig, TextTokenizer, TrainingConfig,
    TrainingError, evaluate, fixture,
};

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

fn model(config: TrainingConfig) -> Arc<Model> {
    Arc::new(Model::new(fixture::encoder().unwrap(), config).unwrap())
}

#[test]
fn training_without_noise_learns_the_task() {
    let config = TrainingConfig {
        local_steps: 120,
        ..fixture::config().without_privacy()
    };
    for config in [config.clone(), config.head_only()] {
        let model = model(config);
        let features = fixture::features(&model, 300, 1).unwrap();
        let test = fixture::features(&model, 200, 2).unwrap();
        let start = model.initial_adapter();
        let before = evaluate(&model, &start, &test).unwrap();
        let mut trainer = LocalTrainer::new(Arc::clone(&model), features, rng(1)).unwrap();
        let mut ticks = 0;
        let update = trainer.train(&start, |done, total| {
            ticks += 1;
            assert_eq!((done, total), (ticks, 120));
        });
        let update = update.unwrap();
        let after = start.with_values(update.delta).unwrap();
        let after = evaluate(&model, &after, &test).unwrap();
        assert_eq!((ticks, update.steps), (120, 120));
        assert!(
            after.accuracy > 0.8 && before.accuracy < 0.65,
            "{before:?} {after:?}"
        );
        assert!(after.auc.unwrap() > 0.9);
    }
}

#[test]
fn the_adapters_are_trained_and_matter() {
    let config = TrainingConfig {
        local_steps: 20,
        ..fixture::config().without_privacy()
    };
    let model = model(config);
    let features = fixture::features(&model, 100, 3).unwrap();
    let start = model.initial_adapter();
    let mut trainer = LocalTrainer::new(Arc::clone(&model), features.clone(), rng(2)).unwrap();
    let update = trainer.train(&start, |_, _| ()).unwrap();
    let trained = start.with_values(update.delta).unwrap();
    for (name, _, values) in trained.tensors() {
        assert!(values.iter().any(|v| v.abs() > 1e-4), "{name} did not move");
    }
    let without: Vec<f32> = trained
        .tensors()
        .flat_map(|(name, _, values)| {
            let keep = f32::from(u8::from(!name.contains("lora")));
            values.iter().map(move |v| v * keep)
        })
        .collect();
    let without = trained.with_values(without).unwrap();
    let loss = |adapter| evaluate(&model, adapter, &features).unwrap().loss;
    assert!((loss(&trained) - loss(&without)).abs() > 1e-4);
}

#[test]
fn the_same_generator_gives_the_same_update_and_another_one_another() {
    let model = fixture::model().unwrap();
    let update = |seed| {
        let features = fixture::features(&model, 60, 4).unwrap();
        let mut trainer = LocalTrainer::new(Arc::clone(&model), features, rng(seed)).unwrap();
        trainer
            .train(&model.initial_adapter(), |_, _| ())
            .unwrap()
            .delta
    };
    assert_eq!(update(5), update(5));
    assert_ne!(update(5), update(6));
}

/// With a sampling rate that draws nobody, an update is noise alone: its deviation is known.
#[test]
fn noise_is_added_to_empty_batches() {
    let mut config = fixture::config();
    config.privacy = Some(PrivacyConfig::new(0.8, 2.0));
    config.sampling_rate = 1e-12;
    config.learning_rate = 1e-11;
    config.momentum = 0.0;
    config.local_steps = 64;
    let model = model(config);
    let features = fixture::features(&model, 50, 6).unwrap();
    let mut trainer = LocalTrainer::new(Arc::clone(&model), features, rng(7)).unwrap();
    let update = trainer.train(&model.initial_adapter(), |_, _| ()).unwrap();
    assert_eq!(update.mean_loss, None);
    // 64 steps of 1e-11 * N(0, 1.6^2) / (1e-12 * 50).
    let expected = 1e-11 * 8.0 * 1.6 / 5e-11;
    let n = update.delta.len() as f64;
    let variance = update
        .delta
        .iter()
        .map(|v| f64::from(*v).powi(2))
        .sum::<f64>()
        / n;
    let ratio = variance / (expected * expected);
    assert!(
        (ratio - 1.0).abs() < 5.0 * (2.0 / n).sqrt(),
        "{ratio} over {n} values"
    );
}

#[test]
fn a_trainer_is_send() {
    fn is_send<T: Send>() {}
    is_send::<LocalTrainer<ChaCha20Rng>>();
    is_send::<Arc<Model>>();
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let full = fixture::model().unwrap();
    let head = model(fixture::config().head_only());
    assert_eq!(
        (full.depth(), head.depth()),
        (Depth::Layer(1), Depth::Pooled)
    );
    let features = fixture::features(&full, 10, 8).unwrap();
    let wrong = evaluate(&head, &head.initial_adapter(), &features);
    assert!(matches!(wrong, Err(TrainingError::Features(_))));
    let wrong = evaluate(&full, &head.initial_adapter(), &features);
    assert!(matches!(wrong, Err(TrainingError::AdapterMismatch(_))));
    let nobody = features.select(&[]).unwrap();
    let wrong = LocalTrainer::new(full, nobody, rng(0));
    assert!(matches!(wrong, Err(TrainingError::NoData(_))));
}

#[test]
fn the_fixture_loads_from_files() {
    let folder = tempfile::tempdir().unwrap();
    fixture::write(folder.path()).unwrap();
    let loaded = Encoder::load(folder.path()).unwrap();
    assert_eq!(loaded.digest(), fixture::encoder().unwrap().digest());
    let tokenizer = TextTokenizer::load(&folder.path().join("tokenizer.json")).unwrap();
    let (texts, _) = fixture::texts(5, 1);
    let (ids, _) = fixture::examples(5, 1).unwrap();
    assert_eq!(tokenizer.encode(&texts, fixture::LENGTH).unwrap(), ids);
    assert!(matches!(
        Encoder::load(&folder.path().join("no")),
        Err(TrainingError::File { .. })
    ));
}

/// With next to no movement of the model, the clip norm settles at the median of the norms.
#[test]
fn an_adaptive_clip_norm_finds_the_median() {
    let mut config = fixture::config();
    config.privacy = Some(PrivacyConfig {
        adaptive: Some(AdaptiveClip {
            target_quantile: 0.5,
            learning_rate: 0.5,
            bit_noise: 2.0,
        }),
        ..PrivacyConfig::new(60.0, 0.5)
    });
    config.learning_rate = 1e-9;
    config.local_steps = 30;
    let model = model(config);
    let features = fixture::features(&model, 80, 9).unwrap();
    let start = model.initial_adapter();
    let rows: Vec<usize> = (0..80).collect();
    let mut norms = Vec::new();
    let none = Bounds::none();
    for_each_clipped(&model, &start, &features, &rows, &none, |batch| {
        let norm = |row: &[f32]| {
            row.iter()
                .map(|g| f64::from(*g).powi(2))
                .sum::<f64>()
                .sqrt()
        };
        norms.extend(batch.rows().map(norm));
        Ok::<(), TrainingError>(())
    })
    .unwrap();
    norms.sort_unstable_by(f64::total_cmp);
    let mut trainer = LocalTrainer::new(model, features, rng(10)).unwrap();
    assert_eq!(trainer.clip_norm(), Some(60.0));
    trainer.train(&start, |_, _| ()).unwrap();
    trainer.train(&start, |_, _| ()).unwrap();
    let found = trainer.clip_norm().unwrap();
    // Between the deciles around the median; from 60 it is far to go.
    assert!(
        found > 0.9 * norms[32] && found < 1.1 * norms[48],
        "{found} {norms:?}"
    );
}
