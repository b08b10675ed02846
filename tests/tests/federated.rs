//! Federated algorithms through the real service: the adapter after the rounds is, bit by bit, what
//! the same arithmetic makes of the clients' inputs in this process, whoever dropped out and however
//! often the service was killed between rounds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this is test code"
)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;
use undertone_client::lora::LoraTrainer;
use undertone_client::{Trainer, Work};
use undertone_federated::optimizer::Adaptive;
use undertone_federated::{Cohort, Layout, Role, ServerOptimizer};
use undertone_privacy::Noise;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::encoding::FixedPoint;
use undertone_protocol::id::RosterIndex;
use undertone_protocol::vector::Ring;
use undertone_server::store::Store;
use undertone_tests::client::{Hold, Inputs, Moment, Running, spawn_training};
use undertone_tests::database::Database;
use undertone_tests::service::Service;
use undertone_tests::task::{CLIP, SCALE, Task, adapter_of, sum_of};
use undertone_training::{ClientAlgorithm, Control, Model, TrainingConfig, fixture};

const BINARY: &str = env!("CARGO_BIN_EXE_undertone-under-test");
const CLIENTS: u16 = 5;

/// Everyone is waited for at first; whoever vanishes later is waited for so long.
const DEADLINES: [u32; 5] = [60_000, 4_000, 4_000, 4_000, 4_000];

/// A vector that depends on client and round alone, and a weight that depends on the client.
struct MadeUp {
    client: u16,
    layout: Layout,
}

impl Trainer for MadeUp {
    type Error = Infallible;

    async fn train(&mut self, work: Work<'_>) -> Result<Vec<f32>, Infallible> {
        let client = f32::from(self.client) + 1.0;
        let round = f32::from(u16::try_from(work.round.0).unwrap());
        let place = |i: usize| f32::from(u16::try_from(i).unwrap());
        let weight = if self.layout.weight().is_some() {
            client / f32::from(CLIENTS)
        } else {
            1.0
        };
        let mut vector: Vec<f32> = (0..work.adapter.len())
            .map(|i| weight * client.sin() * (round + place(i) * 0.1).cos())
            .collect();
        self.layout.scatter(&mut vector, Role::Weight, &[weight]);
        Ok(vector)
    }
}

fn layout(adapter: &Adapter) -> Layout {
    let tensors = adapter.tensors();
    Layout::of(tensors.map(|(name, shape, _)| (name.as_str(), shape.as_slice()))).unwrap()
}

fn zeros(tensors: &[(&str, usize)]) -> Adapter {
    let tensor =
        |&(name, length): &(&str, usize)| (name.to_owned(), (vec![length], vec![0.0; length]));
    Adapter::new(tensors.iter().map(tensor).collect::<BTreeMap<_, _>>()).unwrap()
}

/// The adapter after all rounds, computed from the clients' inputs in this process.
async fn in_process(
    task: &Task,
    first: &Adapter,
    optimizer: ServerOptimizer,
    inputs: &Inputs,
) -> Adapter {
    let encoding = FixedPoint::new(Ring::new(24).unwrap(), CLIP, SCALE, CLIENTS.into()).unwrap();
    let layout = layout(first);
    let mut state = optimizer.first_state(&layout);
    let mut values = first.values().to_vec();
    for round in task.rounds().await {
        let (_, survivors) = sum_of(&round);
        let count = u32::try_from(survivors.len()).unwrap();
        let mean = encoding.decode_mean(&inputs.sum(round.number.0, &survivors), count);
        let cohort = Cohort {
            survivors: count,
            clients: CLIENTS.into(),
        };
        values = optimizer
            .next(&layout, &values, &mean, &mut state, cohort)
            .unwrap();
    }
    first.with_values(values).unwrap()
}

async fn done(clients: Vec<Running>) {
    for client in clients {
        let done = tokio::time::timeout(Duration::from_mins(2), client).await;
        done.expect("a client hangs").unwrap().unwrap();
    }
}

/// Three rounds. Between the first and the second the service is killed and started again; in the
/// third a client vanishes before its input.
async fn made_up(database: Database, first: Adapter, optimizer: ServerOptimizer) {
    let set = |settings: &mut undertone_server::store::TaskSettings| {
        settings.server_optimizer = optimizer;
        settings.deadlines_ms = DEADLINES;
    };
    let parts = (first.clone(), b"{}".to_vec());
    let task = task_of(&database, parts, set).await;
    let mut service = Service::start(BINARY, database.url()).await;
    let state = tempfile::tempdir().unwrap();
    let inputs = Inputs::default();
    let (release, released) = watch::channel(false);
    let (_never, never) = watch::channel(false);
    let join = |client: u16, hold| {
        let trainer = MadeUp {
            client,
            layout: layout(&first),
        };
        let url = service.url();
        spawn_training(
            &task,
            client.into(),
            &url,
            state.path(),
            &inputs,
            hold,
            (trainer, |_| {}),
        )
    };
    let held = |round, phase, released| Hold {
        round,
        phase,
        at: Moment::Sending,
        released,
    };
    let waits = join(0, Some(held(2, PhaseName::AdvertiseKeys, released)));
    let vanishes = join(1, Some(held(3, PhaseName::MaskedInput, never)));
    let others: Vec<_> = (2..CLIENTS).map(|client| join(client, None)).collect();

    inputs
        .until_acknowledged(2, PhaseName::AdvertiseKeys, 3)
        .await;
    service.kill().await;
    service.restart().await;
    release.send(true).unwrap();

    done(others.into_iter().chain([waits]).collect()).await;
    vanishes.abort();
    let survivors: Vec<usize> = task
        .rounds()
        .await
        .iter()
        .map(|round| sum_of(round).1.len())
        .collect();
    assert_eq!(survivors, [5, 5, 4]);
    let found = adapter_of(&task).await;
    let expected = in_process(&task, &first, optimizer, &inputs).await;
    assert_eq!(found.to_bytes().unwrap(), expected.to_bytes().unwrap());
    assert!(found.values().iter().any(|value| *value != 0.0));
    // After the last round nothing is kept.
    assert_eq!(task.store.optimizer_state(task.id).await.unwrap(), None);
}

/// A task of all clients, without noise; `parts` are its first adapter and training settings.
async fn task_of(
    database: &Database,
    parts: (Adapter, Vec<u8>),
    set: impl FnOnce(&mut undertone_server::store::TaskSettings),
) -> Task {
    let kind = ("test", Noise::None);
    Task::with_adapter(database.url(), (CLIENTS, 3), parts, kind, set).await
}

/// SCAFFOLD with real training of the small model. One client dies before its input, so it does not
/// count; another after its input, and never learns that it counted. Both come back.
async fn scaffold(database: Database) {
    let mut config: TrainingConfig = fixture::config().without_privacy();
    config.momentum = 0.0;
    config.federated.algorithm = ClientAlgorithm::Scaffold {};
    let model =
        std::sync::Arc::new(Model::new(fixture::encoder().unwrap(), config.clone()).unwrap());
    let first = model.initial_adapter();
    let parts = (first.clone(), config.to_json_bytes().unwrap());
    let set =
        |settings: &mut undertone_server::store::TaskSettings| settings.deadlines_ms = DEADLINES;
    let task = task_of(&database, parts, set).await;
    let service = Service::start(BINARY, database.url()).await;
    let state = tempfile::tempdir().unwrap();
    let memory = |client: u16| state.path().join(format!("memory-{client}"));
    let inputs = Inputs::default();
    let join = |client: u16, hold| {
        let features =
            fixture::features(&model, 20 + 10 * usize::from(client), client.into()).unwrap();
        let trainer =
            LoraTrainer::from_features(model.clone(), features).with_memory(memory(client));
        let url = service.url();
        spawn_training(
            &task,
            client.into(),
            &url,
            state.path(),
            &inputs,
            hold,
            (trainer, |_| {}),
        )
    };
    let (_never, never) = watch::channel(false);
    let dies = |round, phase| {
        Some(Hold {
            round,
            phase,
            at: Moment::Sending,
            released: never.clone(),
        })
    };
    let lost = join(1, dies(1, PhaseName::MaskedInput));
    let counted = join(0, dies(2, PhaseName::ConsistencyCheck));
    let mut clients: Vec<_> = (2..CLIENTS).map(|client| join(client, None)).collect();
    task.leaves(PhaseName::MaskedInput).await;
    lost.abort();
    assert!(lost.await.unwrap_err().is_cancelled());
    clients.push(join(1, None));
    inputs.until_acknowledged(2, PhaseName::Unmask, 4).await;
    counted.abort();
    assert!(counted.await.unwrap_err().is_cancelled());
    clients.push(join(0, None));
    done(clients).await;

    let rounds = task.rounds().await;
    let survivors: Vec<Vec<RosterIndex>> = rounds.iter().map(|round| sum_of(round).1).collect();
    assert_eq!(survivors[0], [0, 2, 3, 4].map(RosterIndex));
    assert_eq!((survivors[1].len(), survivors[2].len()), (5, 5));
    let found = adapter_of(&task).await;
    let optimizer = ServerOptimizer::default();
    let expected = in_process(&task, &first, optimizer, &inputs).await;
    assert_eq!(found.to_bytes().unwrap(), expected.to_bytes().unwrap());

    // The server's c is the mean of the clients' own: every difference counted once or not at all.
    let layout = layout(&first);
    let c = layout.gather(found.values(), Role::Control);
    let mut mean = vec![0.0_f64; c.len()];
    for client in 0..CLIENTS {
        let own = own_control(&memory(client), &task);
        assert_eq!(own.len(), c.len());
        for (mean, own) in mean.iter_mut().zip(own) {
            *mean += f64::from(own) / f64::from(CLIENTS);
        }
    }
    assert!(
        c.iter().any(|value| value.abs() > 0.01),
        "the control variates never moved"
    );
    for (c, mean) in c.iter().zip(&mean) {
        // Three rounds, rounded to 1 / SCALE each.
        assert!(
            (f64::from(*c) - mean).abs() < 3.5 / SCALE,
            "{c} against {mean}"
        );
    }
}

/// A client's `c_i`, after the last round in which everyone counted.
fn own_control(folder: &Path, task: &Task) -> Vec<f32> {
    let bytes = std::fs::read(folder.join(format!("control-{}", task.id))).unwrap();
    // The file begins with the id of the round that is not settled.
    let mut control = Control::from_bytes(&bytes[32..]).unwrap();
    control.settle(true);
    let bytes = control.to_bytes();
    let (values, _) = bytes[9..].as_chunks::<4>();
    values.iter().copied().map(f32::from_le_bytes).collect()
}

const FED_ADAM: ServerOptimizer = ServerOptimizer::FedAdam(Adaptive {
    learning_rate: 0.125,
    beta1: 0.5,
    beta2: 0.75,
    tau: 0.125,
});

const FED_YOGI: ServerOptimizer = ServerOptimizer::FedYogi(Adaptive {
    learning_rate: 0.125,
    beta1: 0.5,
    beta2: 0.75,
    tau: 0.125,
});

const HALF: ServerOptimizer = ServerOptimizer::FedAvg { learning_rate: 0.5 };

#[tokio::test(flavor = "multi_thread")]
async fn fed_adam_on_sqlite() {
    made_up(Database::sqlite(), zeros(&[("w", 1000)]), FED_ADAM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fed_adam_on_postgres() {
    made_up(Database::postgres().await, zeros(&[("w", 1000)]), FED_ADAM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weighted_fed_yogi_on_sqlite() {
    let first = zeros(&[("undertone.weight", 1), ("w", 1000)]);
    made_up(Database::sqlite(), first, FED_YOGI).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weighted_averaging_on_sqlite() {
    let first = zeros(&[("undertone.weight", 1), ("w", 1000)]);
    made_up(Database::sqlite(), first, HALF).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scaffold_on_sqlite() {
    scaffold(Database::sqlite()).await;
}
