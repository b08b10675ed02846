//! Whole rounds over HTTP on loopback: exact sums with clients that vanish and come back, an
//! aggregator that lies, and what a client does once only.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "this is test code"
)]

mod aggregator;
#[path = "rounds/lies.rs"]
mod lies;
#[path = "rounds/once.rs"]
mod once;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aggregator::{Lie, TRAINING, World};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use undertone_client::ledger as receipts;
use undertone_client::{
    Client, ClientError, DeclineReason, End, Event, JoinConfig, LostReason, Observer, Policy,
    RequestError, Summary, Trainer, Work,
};
use undertone_privacy::{
    Budget, Delta, Epsilon, Ledger, Mechanism, Noise, NoiseMultiplier, SamplingRate,
    SubsampledGaussian,
};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::keys::{IdentityKey, Secret32};
use undertone_protocol::vector::RingVector;

/// Returns an update that depends on client and round.
struct Constant(f32);

impl Trainer for Constant {
    type Error = Infallible;

    async fn train(&mut self, work: Work<'_>) -> Result<Vec<f32>, Infallible> {
        assert_eq!(work.training, TRAINING);
        assert_eq!(work.adapter.values(), [0.5; 12]);
        Ok(vec![
            self.0 + work.round.0 as f32 / 64.0;
            work.adapter.len()
        ])
    }
}

type Inputs = Arc<Mutex<BTreeMap<(u32, u32), RingVector>>>;

/// Writes down what happens, and may stop its client for good before a message.
#[derive(Clone)]
struct Watch {
    index: u32,
    /// The client's state directory.
    dir: Arc<TempDir>,
    /// (round, phase) before whose message the client vanishes.
    vanish: Option<(u32, PhaseName)>,
    gone: Arc<Notify>,
    inputs: Inputs,
    lost: Arc<Mutex<Vec<LostReason>>>,
    declined: Arc<Mutex<Vec<DeclineReason>>>,
    names: Arc<Mutex<Vec<&'static str>>>,
}

impl Watch {
    fn new(index: u32) -> Self {
        Self {
            index,
            dir: Arc::new(TempDir::new().unwrap()),
            vanish: None,
            gone: Arc::default(),
            inputs: Arc::default(),
            lost: Arc::default(),
            declined: Arc::default(),
            names: Arc::default(),
        }
    }
}

/// What the journal must say last when a message of this phase is about to be sent.
fn recorded_before(phase: PhaseName) -> &'static str {
    match phase {
        PhaseName::AdvertiseKeys | PhaseName::ShareKeys => "begun",
        PhaseName::MaskedInput => "spent",
        PhaseName::ConsistencyCheck => "signed",
        PhaseName::Unmask => "answered",
    }
}

impl Observer for Watch {
    async fn event(&mut self, event: Event<'_>) {
        self.names.lock().unwrap().push(event.name());
        if let Event::Sending { phase, .. } = event {
            let journal = std::fs::read_to_string(self.dir.path().join("journal.jsonl")).unwrap();
            let last: serde_json::Value =
                serde_json::from_str(journal.lines().last().unwrap()).unwrap();
            assert_eq!(last["record"]["event"], recorded_before(phase));
        }
        match event {
            Event::InputEncoded { number, vector, .. } => {
                let key = (number.0, self.index);
                self.inputs.lock().unwrap().insert(key, vector.clone());
            }
            Event::Sending { number, phase, .. } if self.vanish == Some((number.0, phase)) => {
                self.gone.notify_one();
                std::future::pending::<()>().await;
            }
            Event::RoundLost { reason, .. } => self.lost.lock().unwrap().push(reason.clone()),
            Event::Declined { reason, .. } => self.declined.lock().unwrap().push(reason.clone()),
            _ => {}
        }
    }
}

fn cost() -> SubsampledGaussian {
    SubsampledGaussian {
        sampling_rate: SamplingRate::new(0.1).unwrap(),
        noise_multiplier: NoiseMultiplier::new(1.0).unwrap(),
        steps: 2,
    }
}

fn mechanism() -> Mechanism {
    Mechanism {
        update_clip: 8.0,
        scale: 65536.0,
        rotation: None,
        noise: Noise::LocalDpSgd {
            clip_norm: 1.0,
            per_round: cost(),
        },
    }
}

fn policy() -> Policy {
    let budget = Budget {
        epsilon: Epsilon::new(8.0).unwrap(),
        delta: Delta::new(1e-5).unwrap(),
    };
    let mut policy = Policy::new(budget).unwrap();
    policy.min_honest = 2;
    policy
}

fn config(world: &World, index: u32, dir: &Path) -> JoinConfig {
    let identity = world.identities[index as usize].clone();
    let mut config = JoinConfig::new(
        &world.url,
        world.task,
        identity,
        world.authority,
        policy(),
        dir,
    );
    config.patience = Duration::from_secs(20);
    config
}

/// One client's life: where it vanishes, it joins again from its state directory.
async fn live(world: Arc<World>, watch: Watch) -> Result<Summary, ClientError> {
    let join = || {
        let trainer = Constant(watch.index as f32 / 8.0 - 0.25);
        Client::join(
            config(&world, watch.index, watch.dir.path()),
            trainer,
            watch.clone(),
        )
    };
    tokio::select! {
        summary = async { join().await?.run().await } => return summary,
        () = watch.gone.notified() => {}
    }
    join().await?.run().await
}

async fn everyone(world: &Arc<World>, watches: &[Watch]) -> Vec<Summary> {
    let mut lives = JoinSet::new();
    for watch in watches {
        lives.spawn(live(world.clone(), watch.clone()));
    }
    let all = async {
        lives
            .join_all()
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect()
    };
    timeout(Duration::from_mins(1), all).await.unwrap()
}

/// In round p client p vanishes before its message of phase p, and joins again at once. The other
/// four go on, and every sum is that of its survivors' inputs, element for element.
/// Spec.
#[tokio::test]
async fn clients_vanish_in_every_phase_and_come_back() {
    let seed = 1;
    let deadline = Duration::from_millis(1500);
    let world = World::start(seed, 5, 5, deadline, &mechanism(), Lie::Nothing).await;
    let inputs = Inputs::default();
    let mut watches = Vec::new();
    for (index, phase) in (0_u32..).zip(PhaseName::ALL) {
        let mut watch = Watch::new(index);
        watch.inputs = Arc::clone(&inputs);
        watch.vanish = Some((index + 1, phase));
        watches.push(watch);
    }
    everyone(&world, &watches).await;

    let inputs = inputs.lock().unwrap();
    for (number, phase) in (1_u32..).zip(PhaseName::ALL) {
        let gone = number - 1;
        let aggregate = world.aggregate(number);
        let survivors: Vec<u32> = aggregate.clients.iter().map(|c| c.0).collect();
        let in_sum = phase > PhaseName::MaskedInput;
        let expected: Vec<u32> = (0..5).filter(|c| in_sum || *c != gone).collect();
        assert_eq!(survivors, expected, "round {number}");
        let mut sum: Option<RingVector> = None;
        for client in survivors {
            let input = &inputs[&(number, client)];
            match &mut sum {
                Some(sum) => sum.add(input).unwrap(),
                None => sum = Some(input.clone()),
            }
        }
        assert_eq!(aggregate.sum, sum.unwrap(), "round {number}");
        // Neither before nor after its return did the client send this message or a later one.
        let late = |m: &&(u32, PhaseName, u32, u16)| m.0 == number && m.2 == gone && m.1 >= phase;
        assert_eq!(
            world.lock().log.iter().filter(late).count(),
            0,
            "round {number}"
        );
        let declined = watches[gone as usize].declined.lock().unwrap();
        assert_eq!(*declined, [DeclineReason::BegunBefore], "client {gone}");
    }
    assert!(world.lock().log.iter().all(|m| m.3 == 200));
}

/// Spec.
#[tokio::test]
async fn the_ledger_survives_a_crash_and_counts_what_was_spent() {
    let deadline = Duration::from_millis(1500);
    let world = World::start(2, 5, 2, deadline, &mechanism(), Lie::Nothing).await;
    let mut watches: Vec<Watch> = (0..5).map(Watch::new).collect();
    // The cost is spent before the masked input is sent: this client pays for it all the same.
    watches[0].vanish = Some((1, PhaseName::MaskedInput));
    let summaries = everyone(&world, &watches).await;
    let mut ledger = Ledger::new(policy().budget);
    (0..2).for_each(|_| ledger.record_past(&cost()));
    for (watch, summary) in watches.iter().zip(&summaries) {
        assert_eq!(summary.end, End::TaskFinished);
        // A receipt for each spend, by this client's key, the one that vanished included.
        let key = world.identities[watch.index as usize].public();
        let checked = receipts::verify(watch.dir.path(), Some(key)).unwrap();
        assert!(checked.is_good() && checked.receipts == 2, "{checked:?}");
        let report = receipts::read(watch.dir.path(), policy().budget).unwrap();
        assert_eq!(report.units[0].epsilon, ledger.spent().ok());
        let mechanism = report.spends[0].mechanism.clone();
        assert_eq!(mechanism, Some(world.mechanism_digest().to_string()));
        let statement = summary.privacy.statement().unwrap();
        assert_eq!(statement.epsilon, ledger.spent().unwrap());
        assert!(statement.mechanism.starts_with("4 steps"), "{statement}");
        assert!(
            serde_json::to_string(summary)
                .unwrap()
                .contains("task_finished")
        );
    }
    let counts: Vec<_> = summaries
        .iter()
        .map(|s| (s.rounds_finished, s.rounds_declined, s.rounds_lost))
        .collect();
    assert_eq!(
        counts.iter().filter(|c| **c == (1, 1, 0)).count(),
        1,
        "{counts:?}"
    );
    assert_eq!(
        counts.iter().filter(|c| **c == (2, 0, 0)).count(),
        4,
        "{counts:?}"
    );
    let names = watches[1].names.lock().unwrap();
    let phase = ["Sending", "Sent", "Waiting"];
    let mut round = vec!["RoundOpened", "Training", "Trained", "InputEncoded"];
    (0..5).for_each(|_| round.extend(phase));
    round.push("RoundFinished");
    let mut expected = [round.clone(), round].concat();
    expected.push("TaskFinished");
    assert_eq!(*names, expected);
}

/// Spec.
#[tokio::test]
async fn an_exhausted_budget_ends_the_client_cleanly() {
    let deadline = Duration::from_millis(300);
    let world = World::start(5, 5, 1, deadline, &mechanism(), Lie::Nothing).await;
    let watch = Watch::new(0);
    let mut config = config(&world, 0, watch.dir.path());
    config.policy.budget.epsilon = Epsilon::new(0.1).unwrap();
    let client = Client::join(config, Constant(0.0), watch.clone())
        .await
        .unwrap();
    let summary = client.run().await.unwrap();
    assert!(matches!(
        summary.end,
        End::PolicyExhausted(DeclineReason::Budget { .. })
    ));
    assert_eq!(summary.rounds_declined, 1);
    assert!(
        summary
            .to_string()
            .contains("the privacy budget for each example is used up"),
        "{summary}"
    );
    assert!(world.lock().log.is_empty());
}

/// Spec.
#[tokio::test]
async fn who_is_not_on_the_roster_or_finds_another_authority_does_not_join() {
    let deadline = Duration::from_secs(5);
    let world = World::start(6, 5, 1, deadline, &mechanism(), Lie::Nothing).await;
    let dir = TempDir::new().unwrap();
    let stranger = Arc::new(IdentityKey::from_seed(&Secret32::from([9; 32])));
    let mut other = config(&world, 0, dir.path());
    other.authority = stranger.public();
    let refused = Client::join(other, Constant(0.0), ()).await.unwrap_err();
    assert!(matches!(refused, ClientError::Roster(_)), "{refused}");
    let mut other = config(&world, 0, dir.path());
    other.identity = stranger;
    let refused = Client::join(other, Constant(0.0), ()).await.unwrap_err();
    assert!(matches!(refused, ClientError::NotOnRoster(_)), "{refused}");
    // And one state directory serves one client.
    let first = Client::join(config(&world, 0, dir.path()), Constant(0.0), ())
        .await
        .unwrap();
    let refused = Client::join(config(&world, 1, dir.path()), Constant(0.0), ()).await;
    assert!(matches!(refused, Err(ClientError::StateDirInUse { .. })));
    assert_eq!(first.index().0, 0);
}

#[tokio::test]
async fn a_server_that_is_gone_is_given_up_after_the_patience() {
    let port = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deadline = Duration::from_secs(5);
    let world = World::start(8, 5, 1, deadline, &mechanism(), Lie::Nothing).await;
    let dir = TempDir::new().unwrap();
    let mut config = config(&world, 0, dir.path());
    config.server = format!("http://{}", port.local_addr().unwrap());
    config.patience = Duration::from_millis(500);
    drop(port);
    let error = Client::join(config, Constant(0.0), ()).await.unwrap_err();
    let ClientError::Request { source, .. } = error else {
        panic!("{error}");
    };
    assert!(matches!(source, RequestError::GaveUp { .. }), "{source}");
}
