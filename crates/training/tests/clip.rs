//! A clip norm of whole updates that follows a quantile, in a whole federated training.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

use std::sync::Arc;

use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;
use undertone_protocol::adapter::Adapter;
use undertone_training::simulation::{Aggregation, Run, train_federated};
use undertone_training::{
    ClientClip, Features, LocalTrainer, Model, TrainingConfig, TrainingError, fixture,
};

const CLIENTS: usize = 4;

fn clip(initial: f64) -> ClientClip {
    ClientClip {
        initial,
        target_quantile: 0.5,
        learning_rate: 0.4,
        bit_weight: 0.5,
    }
}

fn model(clip: Option<ClientClip>) -> Arc<Model> {
    let mut config = TrainingConfig {
        local_steps: 2,
        ..fixture::config().without_privacy()
    };
    config.federated.clip = clip;
    Arc::new(Model::new(fixture::encoder().unwrap(), config).unwrap())
}

fn shares(model: &Model) -> Vec<Features> {
    let all = fixture::features(model, 80, 3).unwrap();
    let rows: Vec<usize> = (0..80).collect();
    let shares = rows.chunks(80 / CLIENTS);
    shares.map(|rows| all.select(rows).unwrap()).collect()
}

fn generator(client: usize) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([u8::try_from(client).unwrap(); 32])
}

fn train(model: &Arc<Model>, rounds: u32) -> Adapter {
    let run = Run {
        rounds,
        in_sum: |_, _| true,
    };
    let clients = shares(model);
    let plain = Aggregation::default();
    train_federated(model, plain, &clients, &run, generator, |_, _| ()).unwrap()
}

fn tensor<'a>(adapter: &'a Adapter, wanted: &str) -> &'a [f32] {
    let mut tensors = adapter.tensors();
    tensors.find(|(name, ..)| *name == wanted).unwrap().2
}

/// While everybody is within, nothing is cut off: training is that without a clip norm, and the
/// norm falls by exp(-0.4 x 0.5) a round.
#[test]
fn a_wide_norm_changes_nothing_but_itself() {
    let (clipped, open) = (train(&model(Some(clip(1000.0))), 3), train(&model(None), 3));
    for (name, _, values) in open.tensors() {
        for (a, b) in tensor(&clipped, name).iter().zip(values) {
            assert!((a - b).abs() < 1e-5, "{name}: {a} {b}");
        }
    }
    let norm = f64::from(tensor(&clipped, "undertone.clip")[0]);
    assert!(
        (norm / (1000.0 * (-0.6_f64).exp()) - 1.0).abs() < 1e-5,
        "{norm}"
    );
}

/// From far too small a norm it grows into the middle of the clients' own norms.
#[test]
fn the_norm_finds_the_clients() {
    let model = model(Some(clip(0.05)));
    let end = train(&model, 30);
    let norm = f64::from(tensor(&end, "undertone.clip")[0]);
    let mut norms: Vec<f64> = shares(&model)
        .into_iter()
        .enumerate()
        .map(|(client, share)| {
            // An update is sent in units of the norm, so with a huge norm it can be read off.
            let wide = self::model(Some(clip(1e5)));
            let mut tensors: std::collections::BTreeMap<_, _> = end
                .tensors()
                .map(|(name, shape, values)| (name.clone(), (shape.clone(), values.to_vec())))
                .collect();
            let rule = clip(1e5).tensor().to_vec();
            tensors.insert("undertone.clip".to_owned(), (vec![4], rule));
            let start = Adapter::new(tensors).unwrap();
            let mut trainer = LocalTrainer::new(wide, share, generator(client)).unwrap();
            let update = trainer.train(&start, |_, _| ()).unwrap();
            let update = start.with_values(update.delta).unwrap();
            let model = update
                .tensors()
                .filter(|(n, ..)| !n.starts_with("undertone"));
            let squares = model.flat_map(|(.., v)| v).map(|v| f64::from(*v).powi(2));
            1e5 * squares.sum::<f64>().sqrt()
        })
        .collect();
    norms.sort_unstable_by(f64::total_cmp);
    let (low, high) = (norms[0] * 0.5, norms[CLIENTS - 1] * 1.5);
    assert!(norm > low && norm < high, "{norm} of {norms:?}");
}

#[test]
fn another_rule_than_that_of_the_settings_is_refused() {
    let model = model(Some(clip(1.0)));
    let mut trainer =
        LocalTrainer::new(Arc::clone(&model), shares(&model).remove(0), generator(0)).unwrap();
    let start = model.initial_adapter();
    let mut values = start.values().to_vec();
    let place = values.iter().position(|v| (*v - 0.4).abs() < 1e-9).unwrap();
    values[place] = 0.3;
    let start = start.with_values(values).unwrap();
    let refused = trainer.train(&start, |_, _| ());
    assert!(matches!(refused, Err(TrainingError::Federated(_))));
}
