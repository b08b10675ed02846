//! A small task: its keys, its definition, and what must come out of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chacha20::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use undertone_privacy::{Mechanism, Noise};
use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RosterIndex, TaskId};
use undertone_protocol::keys::{IdentityKey, IdentityPublicKey};
use undertone_protocol::params::{RoundParams, Trust};
use undertone_protocol::roster::Roster;
use undertone_protocol::threshold::Rule;
use undertone_protocol::vector::RingVector;
use undertone_server::driver::now_ms;
use undertone_server::schedule::ScheduleSettings;
use undertone_server::store::{
    AnyStore, GraphSettings, RoundRecord, RoundState, ServerOptimizer, Store, StoredResult,
    TaskSettings, TaskStatus,
};
use undertone_server::task::TaskDefinition;
use undertone_server::{App, Settings, app};

/// The clip norm of an update, above all that tests send.
pub const CLIP: f64 = 100.0;

/// Ring units per unit of an update.
pub const SCALE: f64 = 1024.0;

/// The values of the adapter, d of every round, where a test asks for no other.
pub const LENGTH: usize = 1000;

/// A task and everybody's keys.
#[derive(Debug)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// The authority's public key.
    pub authority: IdentityPublicKey,
    /// The clients, in roster order.
    pub identities: Vec<Arc<IdentityKey>>,
    /// The signed roster.
    pub roster: Arc<Roster>,
    /// What the task is made for, and its clients assume, of the roster.
    pub trust: Trust,
    /// The service's database, opened beside the service.
    pub store: AnyStore,
}

impl Task {
    /// Makes a task for `clients` clients in the database; everyone masks with everyone.
    pub async fn create(database: &str, clients: u16, rounds: u32, deadlines_ms: [u32; 5]) -> Self {
        let graph = GraphSettings::default();
        Self::with_graph(database, clients, rounds, deadlines_ms, graph).await
    }

    /// Makes a task for `clients` clients in the database.
    pub async fn with_graph(
        database: &str,
        clients: u16,
        rounds: u32,
        deadlines_ms: [u32; 5],
        graph: GraphSettings,
    ) -> Self {
        Self::with_length(database, (clients, rounds), deadlines_ms, graph, LENGTH).await
    }

    /// Makes a task for so many clients and rounds in the database, with an adapter of `length`
    /// values.
    pub async fn with_length(
        database: &str,
        (clients, rounds): (u16, u32),
        deadlines_ms: [u32; 5],
        graph: GraphSettings,
        length: usize,
    ) -> Self {
        Self::with(database, (clients, rounds), length, |settings| {
            settings.deadlines_ms = deadlines_ms;
            settings.graph = graph;
        })
        .await
    }

    /// The same, with settings that `adjust` changes.
    pub async fn with(
        database: &str,
        size: (u16, u32),
        length: usize,
        adjust: impl FnOnce(&mut TaskSettings),
    ) -> Self {
        let named = ("test", Noise::None);
        Self::with_noise(database, size, length, named, adjust).await
    }

    /// The same, with a name and noise.
    pub async fn with_noise(
        database: &str,
        size: (u16, u32),
        length: usize,
        named: (&str, Noise),
        adjust: impl FnOnce(&mut TaskSettings),
    ) -> Self {
        let tensor = ("w".to_owned(), (vec![length], vec![0.0; length]));
        let adapter = Adapter::new(BTreeMap::from([tensor])).unwrap();
        let parts = (adapter, b"{}".to_vec());
        Self::with_adapter(database, size, parts, named, adjust).await
    }

    /// The same, with an adapter and training settings.
    pub async fn with_adapter(
        database: &str,
        size: (u16, u32),
        parts: (Adapter, Vec<u8>),
        (name, noise): (&str, Noise),
        adjust: impl FnOnce(&mut TaskSettings),
    ) -> Self {
        let mechanism = Mechanism {
            update_clip: CLIP,
            scale: SCALE,
            rotation: None,
            noise,
        };
        Self::with_parts(database, size, parts, (name, mechanism), adjust).await
    }

    /// The same, with a name and a mechanism.
    pub async fn with_mechanism(
        database: &str,
        size: (u16, u32),
        length: usize,
        named: (&str, Mechanism),
        adjust: impl FnOnce(&mut TaskSettings),
    ) -> Self {
        let tensor = ("w".to_owned(), (vec![length], vec![0.0; length]));
        let adapter = Adapter::new(BTreeMap::from([tensor])).unwrap();
        let parts = (adapter, b"{}".to_vec());
        Self::with_parts(database, size, parts, named, adjust).await
    }

    /// The same with an adapter, training settings and mechanism.
    pub async fn with_parts(
        database: &str,
        (clients, rounds): (u16, u32),
        (adapter, training): (Adapter, Vec<u8>),
        (name, mechanism): (&str, Mechanism),
        adjust: impl FnOnce(&mut TaskSettings),
    ) -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).unwrap();
        let mut rng = ChaCha20Rng::from_seed(seed);
        let authority = IdentityKey::generate(&mut rng);
        let rule = Rule::complete(clients.into(), u32::from(clients - 1) / 3);
        let identities: Vec<_> = (0..clients)
            .map(|_| Arc::new(IdentityKey::generate(&mut rng)))
            .collect();
        let members = identities
            .iter()
            .map(|identity| identity.public())
            .collect();
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        let roster = Roster::sign(&authority, TaskId::from(id), members).unwrap();
        let mut settings = TaskSettings {
            rounds,
            cohort: clients.into(),
            min_survivors: rule.min_survivors,
            graph: GraphSettings::default(),
            schedule: ScheduleSettings::default(),
            bits: 24,
            server_optimizer: ServerOptimizer::default(),
            deadlines_ms: [60_000; 5],
            budget: None,
        };
        adjust(&mut settings);
        let corrupt = settings.graph.corrupt;
        let definition = TaskDefinition {
            name: name.into(),
            roster: roster.clone(),
            training,
            mechanism: serde_json::to_vec(&mechanism).unwrap(),
            settings,
            adapter,
        };
        let store = AnyStore::connect(database).await.unwrap();
        store
            .create_task(&definition.check(now_ms()).unwrap())
            .await
            .unwrap();
        let (roster, authority) = (Arc::new(roster), authority.public());
        Self {
            id: roster.task(),
            authority,
            identities,
            roster,
            trust: Trust { corrupt },
            store,
        }
    }

    /// Runs the service in this process, on a free port, to the end of the test; returns its URL.
    pub async fn serve(&self) -> String {
        self.serve_with(Settings::default()).await
    }

    /// The same with settings; those of listener and database are not looked at.
    pub async fn serve_with(&self, settings: Settings) -> String {
        let listener = app::listen(([127, 0, 0, 1], 0).into()).await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let app = App::new(self.store.clone(), settings);
        tokio::spawn(app::serve(app, listener, std::future::pending()));
        server
    }

    /// All rounds so far.
    pub async fn rounds(&self) -> Vec<RoundRecord> {
        self.store.rounds(self.id).await.unwrap()
    }

    /// Waits until the first round has left a phase.
    pub async fn leaves(&self, phase: PhaseName) {
        for _ in 0..1200 {
            match self.rounds().await.first().map(|round| &round.state) {
                None => {}
                Some(RoundState::Open { phase: open, .. }) if *open <= phase => {}
                Some(_) => return,
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the round never got past {phase}");
    }

    /// Whether all rounds have ended.
    pub async fn finished(&self) -> bool {
        self.store.task(self.id).await.unwrap().unwrap().status == TaskStatus::Finished
    }
}

/// The adapter that a task stands at.
pub async fn adapter_of(task: &Task) -> Adapter {
    let record = task.store.task(task.id).await.unwrap().unwrap();
    let bytes = task.store.adapter(task.id, record.model).await.unwrap();
    Adapter::from_bytes(&bytes.unwrap()).unwrap()
}

/// Its values.
pub async fn values_of(task: &Task) -> Vec<f32> {
    adapter_of(task).await.values().to_vec()
}

/// The unmasked sum of a finished round, and who is in it.
pub fn sum_of(round: &RoundRecord) -> (RingVector, Vec<RosterIndex>) {
    let params = RoundParams::decode(&round.params).unwrap();
    match &round.state {
        RoundState::Finished(StoredResult { sum, survivors, .. }) => {
            let sum = RingVector::unpack(params.ring(), params.vector_length(), sum).unwrap();
            (sum, survivors.clone())
        }
        other => panic!("round {} has no sum: {other:?}", round.number),
    }
}
