//! Clients of the SDK whose training is a made-up vector, and a record of what they put in.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use undertone_client::{
    Client, ClientError, Event, GradientSum, JoinConfig, Observer, Policy, ProblemKind,
    RequestError, Summary, Trainer, Work,
};
use undertone_privacy::{Budget, Delta, Epsilon, Mechanism, Noise};
use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RosterIndex, RoundId, RoundNumber, TaskId};
use undertone_protocol::vector::RingVector;

use crate::task::Task;

/// What every client put in, by round and client, and whose message of which phase was acknowledged.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    vectors: Arc<Mutex<BTreeMap<(u32, u32), RingVector>>>,
    acknowledged: watch::Sender<BTreeSet<(u32, PhaseName, u32)>>,
    turned_away: watch::Sender<Vec<(u32, Duration)>>,
}

impl Inputs {
    /// Whom the service told that it is overloaded, and how long the client waits before it comes
    /// again.
    pub fn turned_away(&self) -> watch::Receiver<Vec<(u32, Duration)>> {
        self.turned_away.subscribe()
    }

    /// Whose message of a phase was acknowledged, ascending.
    pub fn acknowledged(&self, round: u32, phase: PhaseName) -> Vec<RosterIndex> {
        let all = self.acknowledged.borrow();
        let of = all.iter().filter(|(r, p, _)| (*r, *p) == (round, phase));
        of.map(|(.., client)| RosterIndex(*client)).collect()
    }

    /// Waits until the messages of a phase of so many clients are acknowledged.
    pub async fn until_acknowledged(&self, round: u32, phase: PhaseName, clients: usize) {
        let mut all = self.acknowledged.subscribe();
        let of = |all: &BTreeSet<(u32, PhaseName, u32)>| {
            all.iter()
                .filter(|(r, p, _)| (*r, *p) == (round, phase))
                .count()
        };
        all.wait_for(|all| of(all) >= clients).await.unwrap();
    }

    /// The plain sum of these clients' inputs of a round.
    pub fn sum(&self, round: u32, clients: &[RosterIndex]) -> RingVector {
        let inputs = self.vectors.lock().unwrap();
        let mut vectors = clients.iter().map(|client| &inputs[&(round, client.0)]);
        let mut sum = vectors.next().unwrap().clone();
        vectors.for_each(|vector| sum.add(vector).unwrap());
        sum
    }
}

/// Returns a vector that depends on client and round alone.
struct MadeUp(u32);

impl Trainer for MadeUp {
    type Error = Infallible;

    async fn train(&mut self, work: Work<'_>) -> Result<Vec<f32>, Infallible> {
        let (client, round) = (f64::from(self.0), f64::from(work.round.0));
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let value = |i: usize| (client + 1.0).sin() as f32 * (round + i as f64 * 0.1).cos() as f32;
        Ok((0..work.adapter.len()).map(value).collect())
    }

    /// Gradients of three examples, whatever the rate: the update of a round, and twice minus a
    /// quarter of it.
    async fn gradients(
        &mut self,
        work: Work<'_>,
        mut sum: GradientSum,
    ) -> Result<Option<GradientSum>, Infallible> {
        let update = self.train(work).await?;
        let quarter: Vec<f32> = update.iter().map(|v| -v / 4.0).collect();
        for gradient in [&update, &quarter, &quarter] {
            sum.add(gradient).unwrap();
        }
        Ok(Some(sum))
    }
}

/// What a made-up client contributes to a round of `length` values.
pub async fn made_up(client: u32, round: u32, length: usize) -> Vec<f32> {
    let tensors = [("w".to_owned(), (vec![length], vec![0.0; length]))];
    let adapter = Adapter::new(tensors.into()).unwrap();
    let mechanism = Mechanism {
        update_clip: 1.0,
        scale: 1.0,
        rotation: None,
        noise: Noise::None,
    };
    let work = Work {
        task: TaskId::from([0; 16]),
        id: RoundId::from([0; 32]),
        round: RoundNumber(round),
        adapter: &adapter,
        training: b"{}",
        mechanism: &mechanism,
    };
    MadeUp(client).train(work).await.unwrap()
}

/// Where in a phase a client is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before it waits for the phase to open.
    Waiting,
    /// Before it sends its message.
    Sending,
}

/// Where a client is held, and what lets it go on.
#[derive(Debug, Clone)]
pub struct Hold {
    /// The round.
    pub round: u32,
    /// The phase.
    pub phase: PhaseName,
    /// Where in the phase.
    pub at: Moment,
    /// Becomes true when the client may go on.
    pub released: watch::Receiver<bool>,
}

struct Recorder {
    client: u32,
    inputs: Inputs,
    hold: Option<Hold>,
}

impl Recorder {
    async fn pause(&mut self, round: u32, phase: PhaseName, at: Moment) {
        if let Some(hold) = &mut self.hold
            && (hold.round, hold.phase, hold.at) == (round, phase, at)
        {
            let _ = hold.released.wait_for(|released| *released).await;
        }
    }
}

impl Observer for Recorder {
    async fn event(&mut self, event: Event<'_>) {
        match event {
            Event::InputEncoded { number, vector, .. } => {
                let key = (number.0, self.client);
                self.inputs
                    .vectors
                    .lock()
                    .unwrap()
                    .insert(key, vector.clone());
            }
            Event::Sent { number, phase } => {
                self.inputs.acknowledged.send_modify(|all| {
                    all.insert((number.0, phase, self.client));
                });
            }
            Event::Sending { number, phase, .. } => {
                self.pause(number.0, phase, Moment::Sending).await;
            }
            Event::Waiting {
                number,
                phase: Some(phase),
            } => self.pause(number.0, phase, Moment::Waiting).await,
            Event::Retrying {
                delay,
                error: RequestError::Refused(problem),
                ..
            } if problem.kind == ProblemKind::Overloaded => {
                self.inputs
                    .turned_away
                    .send_modify(|all| all.push((self.client, delay)));
            }
            Event::RoundLost { number, reason } => {
                eprintln!("client {} lost round {number}: {reason}", self.client);
            }
            Event::Declined { number, reason } => {
                eprintln!("client {} declined round {number}: {reason}", self.client);
            }
            _ => {}
        }
    }
}

/// A client's task: its summary when the task is done.
pub type Running = JoinHandle<Result<Summary, ClientError>>;

/// Starts one client; its state is kept under `state`.
pub fn spawn(
    task: &Task,
    index: usize,
    server: &str,
    state: &Path,
    inputs: &Inputs,
    hold: Option<Hold>,
) -> Running {
    spawn_with(task, index, server, state, inputs, hold, |_| {})
}

/// The same, with a change to what the client is told.
pub fn spawn_with(
    task: &Task,
    index: usize,
    server: &str,
    state: &Path,
    inputs: &Inputs,
    hold: Option<Hold>,
    change: impl FnOnce(&mut JoinConfig),
) -> Running {
    let config = configured(task, index, server, state, change);
    let trainer = MadeUp(u32::try_from(index).unwrap());
    run(config, index, inputs, hold, trainer)
}

/// The same, with a trainer of the test's own.
pub fn spawn_training<T: Trainer + 'static>(
    task: &Task,
    index: usize,
    server: &str,
    state: &Path,
    inputs: &Inputs,
    hold: Option<Hold>,
    (trainer, change): (T, impl FnOnce(&mut JoinConfig)),
) -> Running {
    let config = configured(task, index, server, state, change);
    run(config, index, inputs, hold, trainer)
}

fn configured(
    task: &Task,
    index: usize,
    server: &str,
    state: &Path,
    change: impl FnOnce(&mut JoinConfig),
) -> JoinConfig {
    let budget = Budget {
        epsilon: Epsilon::new(1.0).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
    };
    let mut policy = Policy::new(budget).unwrap();
    policy.allow_no_noise = true;
    policy.min_honest = 2;
    policy.trust = task.trust;
    let mut config = JoinConfig::new(
        server,
        task.id,
        task.identities[index].clone(),
        task.authority,
        policy,
        state.join(format!("client-{index}")),
    );
    config.patience = Duration::from_mins(1);
    change(&mut config);
    config
}

fn run<T: Trainer + 'static>(
    config: JoinConfig,
    index: usize,
    inputs: &Inputs,
    hold: Option<Hold>,
    trainer: T,
) -> Running {
    let recorder = Recorder {
        client: u32::try_from(index).unwrap(),
        inputs: inputs.clone(),
        hold,
    };
    tokio::spawn(async move { Client::join(config, trainer, recorder).await?.run().await })
}
