//! Rounds of each mechanism whose noise is added in integers, and of compressed updates, against the
//! real service on both stores: the unmasked sum is the sum of what survivors put in, bit for bit; what
//! the service makes of it is the mean, up to noise and rounding; and a client whose policy finds too
//! little noise, or too few who add it, takes no part.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use undertone_client::lora::LoraTrainer;
use undertone_client::{End, JoinConfig, Summary};
use undertone_federated::ClientClip;
use undertone_privacy::distributed::{JointNoise, Layout, Sampler};
use undertone_privacy::{Epsilon, Mechanism, Noise, NoiseMultiplier, SamplingRate};
use undertone_protocol::aggregator::PhaseName;
use undertone_tests::client::{Hold, Inputs, Moment, Running, made_up, spawn_training, spawn_with};
use undertone_tests::database::Database;
use undertone_tests::service::Service;
use undertone_tests::task::{LENGTH, Task, adapter_of, sum_of, values_of};
use undertone_training::{Model, fixture};

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");
const CLIENTS: u16 = 5;
/// Of five clients four have to survive and one may be corrupt: the noise of three counts.
const HONEST: u32 = 3;

/// Whoever vanished is waited for this long.
const SHORT: [u32; 5] = [4_000; 5];

fn joint(sampler: Sampler, noise_multiplier: f64) -> JointNoise {
    JointNoise {
        sampler,
        noise_multiplier: NoiseMultiplier::new(noise_multiplier).unwrap(),
        honest: HONEST,
    }
}

fn rotated(kept: Option<u32>, noise: Noise) -> Mechanism {
    Mechanism {
        update_clip: 32.0,
        scale: 32.0,
        rotation: Some(Layout {
            dimension: u32::try_from(LENGTH).unwrap(),
            kept,
        }),
        noise,
    }
}

fn by_examples() -> Mechanism {
    rotated(
        None,
        Noise::DistributedDpSgd {
            joint: joint(Sampler::Skellam, 1.0),
            sampling_rate: SamplingRate::new(0.1).unwrap(),
            contributions: 10,
            divisor: 5.0,
        },
    )
}

fn by_clients(sampler: Sampler) -> Mechanism {
    rotated(
        None,
        Noise::DistributedDpFedAvg {
            joint: joint(sampler, 1.0),
            divisor: 5.0,
            local: None,
        },
    )
}

async fn task(database: &Database, mechanism: Mechanism, rounds: u32) -> Task {
    let named = ("distributed", mechanism);
    Task::with_mechanism(
        database.url(),
        (CLIENTS, rounds),
        LENGTH,
        named,
        |settings| {
            settings.deadlines_ms = SHORT;
        },
    )
    .await
}

/// A policy that allows these mechanisms, which have little noise for a test's few values.
fn generous(config: &mut JoinConfig) {
    config.policy.budget.epsilon = Epsilon::new(1000.0).unwrap();
    config.policy.min_noise_multiplier = NoiseMultiplier::new(0.25).unwrap();
}

async fn done(client: Running) -> Summary {
    let done = tokio::time::timeout(Duration::from_secs(90), client).await;
    done.expect("a client hangs").unwrap().unwrap()
}

/// A round in which one of five vanishes before its input, and one with all of them.
async fn rounds_of(database: Database, mechanism: Mechanism) {
    let task = task(&database, mechanism, 2).await;
    let service = Service::start(BINARY, database.url()).await;
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let (_never, released) = watch::channel(false);
    let hold = Hold {
        round: 1,
        phase: PhaseName::MaskedInput,
        at: Moment::Sending,
        released,
    };
    let url = service.url();
    let join = |index, hold| spawn_with(&task, index, &url, state.path(), &inputs, hold, generous);
    let vanishing = join(0, Some(hold));
    let others: Vec<_> = (1..usize::from(CLIENTS)).map(|i| join(i, None)).collect();
    task.leaves(PhaseName::MaskedInput).await;
    vanishing.abort();
    assert!(vanishing.await.unwrap_err().is_cancelled());
    let back = join(0, None);
    for client in others.into_iter().chain([back]) {
        done(client).await;
    }

    let length = mechanism.vector_length(LENGTH);
    let mut expected = vec![0.0; LENGTH];
    for (round, survivors) in task.rounds().await.iter().zip([4, 5]) {
        let (sum, indices) = sum_of(round);
        assert_eq!(indices.len(), survivors, "round {}", round.number);
        assert_eq!(sum.len(), length);
        assert_eq!(sum, inputs.sum(round.number.0, &indices));
        let divisor = mechanism.divisor(u32::try_from(survivors).unwrap());
        for index in indices {
            let update = made_up(index.0, round.number.0, LENGTH).await;
            for (e, u) in expected.iter_mut().zip(update) {
                *e += share(&mechanism) * f64::from(u) / divisor;
            }
        }
    }
    assert!(task.finished().await);
    let found = values_of(&task).await;
    let square = |v: f64| v * v;
    let error: f64 = expected
        .iter()
        .zip(&found)
        .map(|(e, f)| square(e - f64::from(*f)))
        .sum();
    let size: f64 = expected.iter().copied().map(square).sum();
    let (error, size) = (error.sqrt(), size.sqrt());
    let allowed = allowed(&mechanism, size);
    assert!(error < allowed, "{error} of {size}, {allowed} allowed");
}

/// The made-up gradients of a client add up to half of its update.
fn share(mechanism: &Mechanism) -> f64 {
    match mechanism.noise {
        Noise::DistributedDpSgd { .. } => 0.5,
        _ => 1.0,
    }
}

/// How far the adapter may be from the plain mean, in L2 norm: noise and rounding of two rounds, with
/// a tenth to spare (1024 coordinates: 4.5 deviations); where one in four coordinates is kept, the
/// error of that choice, which is sqrt(3) times the norm of each round's mean.
fn allowed(mechanism: &Mechanism, size: f64) -> f64 {
    let length = f64::from(mechanism.rotation.unwrap().length());
    let divisor = mechanism.divisor(4);
    let noise = mechanism.noise.joint().map_or(0.0, |(joint, _)| {
        joint.noise_multiplier.get() * mechanism.update_clip / divisor
    });
    let everyone = f64::from(CLIENTS) / f64::from(HONEST);
    // Three vectors a client, each rounded with a variance of at most 1/4.
    let rounding = f64::from(CLIENTS) * 3.0 / 4.0 / (mechanism.scale * divisor).powi(2);
    let dense = 1.1 * (2.0 * length * (noise * noise * everyone + rounding)).sqrt();
    match mechanism.rotation.unwrap().kept {
        None => dense,
        Some(_) => 2.0 * dense + 2.0 * size,
    }
}

/// The clip norm itself is learned: the bits of clients whose updates are longer are summed under the
/// same masks and noise as their updates, and each round makes it e^(1/2) times as large.
async fn adaptive_clip(database: Database) {
    let rule = ClientClip {
        initial: 1e-3,
        target_quantile: 0.5,
        learning_rate: 1.0,
        bit_weight: 2.0,
    };
    let mut config = fixture::config().without_privacy();
    config.federated.clip = Some(rule);
    let model = Arc::new(Model::new(fixture::encoder().unwrap(), config.clone()).unwrap());
    let first = model.initial_adapter();
    let layout = Layout::all(u32::try_from(first.len()).unwrap());
    let mechanism = Mechanism {
        update_clip: rule.joint_norm(),
        scale: 724.0,
        rotation: Some(layout),
        noise: Noise::DistributedDpFedAvg {
            joint: joint(Sampler::Skellam, 0.52),
            divisor: 5.0,
            local: None,
        },
    };
    let parts = (first, config.to_json_bytes().unwrap());
    let named = ("adaptive", mechanism);
    let task = Task::with_parts(database.url(), (CLIENTS, 2), parts, named, |_| {}).await;
    let service = Service::start(BINARY, database.url()).await;
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let url = service.url();
    let join = |index: u16| {
        let features = fixture::features(&model, 20, index.into()).unwrap();
        let with = (
            LoraTrainer::from_features(model.clone(), features),
            generous,
        );
        let index = usize::from(index);
        spawn_training(&task, index, &url, state.path(), &inputs, None, with)
    };
    let clients: Vec<_> = (0..CLIENTS).map(join).collect();
    for client in clients {
        let summary = done(client).await;
        assert_eq!(summary.rounds_finished, 2, "{summary}");
    }
    assert!(task.finished().await);
    let end = adapter_of(&task).await;
    let (_, _, tensor) = end
        .tensors()
        .find(|(name, ..)| name.as_str() == "undertone.clip")
        .unwrap();
    let grown = (f64::from(tensor[0]) / rule.initial).ln();
    // The noise of the mean bit is 0.09 a round.
    assert!((0.4..1.6).contains(&grown), "{grown}");
    assert_eq!(tensor[1..], rule.tensor()[1..]);
}

async fn too_little_noise(database: Database) {
    let task = task(&database, by_clients(Sampler::Skellam), 1).await;
    let service = Service::start(BINARY, database.url()).await;
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let url = service.url();
    let join = |index, change: fn(&mut JoinConfig)| {
        spawn_with(&task, index, &url, state.path(), &inputs, None, change)
    };
    // For an example, whose client's update moves by twice the clip norm, the noise is half of that.
    let careful = join(0, |config| {
        generous(config);
        config.policy.min_noise_multiplier = NoiseMultiplier::new(0.6).unwrap();
    });
    // One has less of a budget than a round costs.
    let poor = join(1, |config| {
        generous(config);
        config.policy.budget.epsilon = Epsilon::new(0.5).unwrap();
    });
    let ended = done(poor).await;
    assert!(matches!(ended.end, End::PolicyExhausted(_)), "{ended}");
    assert_eq!((ended.rounds_declined, ended.rounds_finished), (1, 0));
    let others: Vec<_> = (2..usize::from(CLIENTS))
        .map(|i| join(i, generous))
        .collect();
    for client in others {
        done(client).await;
    }
    // With two of five gone the round cannot end with four survivors.
    let ended = done(careful).await;
    assert_eq!(
        (ended.rounds_declined, ended.rounds_finished),
        (1, 0),
        "{ended}"
    );
    assert!(!matches!(
        task.rounds().await[0].state,
        undertone_server::store::RoundState::Finished(_)
    ));
}

macro_rules! both {
    ($($name:ident: $run:ident $(, $mechanism:expr)?;)*) => {
        mod sqlite {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                $run(Database::sqlite() $(, $mechanism)?).await;
            })*
        }

        mod postgres {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                $run(Database::postgres().await $(, $mechanism)?).await;
            })*
        }
    };
}

both! {
    gradients_of_examples: rounds_of, by_examples();
    updates_with_skellam_noise: rounds_of, by_clients(Sampler::Skellam);
    updates_with_discrete_gaussian_noise: rounds_of, by_clients(Sampler::DiscreteGaussian);
    rotated_updates: rounds_of, rotated(None, Noise::None);
    sparse_updates: rounds_of, rotated(Some(256), Noise::None);
    an_adaptive_clip_norm: adaptive_clip;
    clients_decline_too_little_noise: too_little_noise;
}
