//! The service over an SQLite file, with one task in each phase of its first round.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use undertone_privacy::{Mechanism, Noise};
use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RoundId, RoundNumber, TaskId};
use undertone_protocol::keys::IdentityKey;
use undertone_protocol::params::RoundParams;
use undertone_protocol::roster::Roster;
use undertone_server::{App, Settings};
use undertone_server::schedule::ScheduleSettings;
use undertone_server::store::{AnyStore, GraphSettings, NewRound, ServerOptimizer, Store, TaskSettings};
use undertone_server::task::{TaskDefinition, TaskView};

use crate::hostile::Honest;
use crate::http_body::send;
use crate::world::World;

/// A round that the service has in one of its phases.
#[derive(Debug)]
pub(crate) struct Served {
    task: TaskId,
    round: RoundId,
    /// Every message of the honest round, also of phases that are over or still to come.
    pub(crate) messages: Vec<Vec<u8>>,
}

impl Served {
    /// Where a client sends its message.
    pub(crate) fn message_path(&self, phase: u8, client: u8) -> String {
        let phase = PhaseName::ALL[usize::from(phase) % PhaseName::ALL.len()];
        format!("/v1/rounds/{}/{phase}/{}", self.round, client % 5)
    }

    /// What can be read.
    pub(crate) fn read_path(&self, route: u8, client: u8) -> String {
        let (task, round, client) = (self.task, self.round, client % 5);
        match route % 18 {
            0 => "/healthz".into(),
            1 => "/readyz".into(),
            2 => format!("/v1/tasks/{task}"),
            3 => format!("/v1/tasks/{task}/roster"),
            4 => format!("/v1/tasks/{task}/training"),
            5 => format!("/v1/tasks/{task}/mechanism"),
            6 => format!("/v1/tasks/{task}/adapter"),
            7 => format!("/v1/tasks/{task}/round?after={client}&wait=0"),
            8 => format!("/v1/rounds/{round}/params"),
            9 => format!("/v1/rounds/{round}/adapter"),
            10 => format!("/v1/rounds/{round}/status?seen=unmask&wait=0"),
            11 => format!("/v1/rounds/{round}/directory/{client}"),
            12 => format!("/v1/rounds/{round}/dealt/{client}"),
            13 => format!("/v1/rounds/{round}/survivors"),
            14 => format!("/v1/rounds/{round}/statements"),
            15 => format!("/v1/rounds/{round}/result"),
            16 => format!("/v1/rounds/{round}/sum"),
            _ => format!("/v1/rounds/{round}/status"),
        }
    }
}

/// Starts the service, without its driver: phases stay as they are.
pub(crate) async fn start() -> (Arc<App<AnyStore>>, Vec<Served>) {
    let directory = std::env::temp_dir().join(format!("undertone-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    let database = format!("sqlite:{}", directory.join("service.db").display());
    let store = AnyStore::connect(&database).await.expect("a database");
    let app = App::new(store, Settings::default());
    let mut rounds = Vec::new();
    for phase in PhaseName::ALL {
        rounds.push(serve_until(&app, phase).await);
    }
    (app, rounds)
}

/// Opens a task and takes its first round to a phase by the messages of honest clients.
async fn serve_until(app: &Arc<App<AnyStore>>, phase: PhaseName) -> Served {
    let id = 10 + phase as u8;
    let members = World::identities(4);
    let authority: IdentityKey = World::key(0);
    let keys = members.iter().map(|member| member.public()).collect();
    let roster = Roster::sign(&authority, TaskId::from([id; 16]), keys).expect("a roster");
    let store = app.store();
    let task = definition(roster.clone()).check(0).expect("a sound task");
    store.create_task(&task).await.expect("a new task");
    let record = store
        .task(task.id)
        .await
        .expect("a store")
        .expect("the task");
    let view = TaskView::of(&record, &roster);
    let params = view
        .round_params(RoundNumber(1), &task.adapter, 3, [id; 32])
        .expect("sound");
    open(store, task.id, &params).await;

    let world = World {
        params: Arc::new(params),
        roster: Arc::new(roster),
        identities: members,
    };
    let world: &'static World = Box::leak(Box::new(world));
    let honest = Honest::play(world);
    let served = Served {
        task: task.id,
        round: world.params.id(),
        messages: honest.messages,
    };
    let phases: Vec<PhaseName> = PhaseName::ALL
        .into_iter()
        .filter(|at| *at <= phase)
        .collect();
    let bodies = served.messages.chunks(world.members());
    for (step, messages) in phases.windows(2).zip(bodies) {
        for (client, message) in (0..).zip(messages) {
            let path = served.message_path(step[0] as u8, client);
            let request = Request::put(path)
                .body(Body::from(message.clone()))
                .expect("a request");
            let (answer, body) = send(app, request).await;
            assert_eq!(answer.status(), StatusCode::OK, "{body:?}");
        }
        let closed = store.close_phase(served.round, step[0], step[1], FAR).await;
        assert!(closed.expect("a store"), "{phase} closes");
    }
    served
}

/// A time that does not come while this runs, in milliseconds since the epoch.
const FAR: u64 = 1 << 50;

async fn open(store: &AnyStore, task: TaskId, params: &RoundParams) {
    let round = NewRound {
        id: params.id(),
        task,
        number: RoundNumber(1),
        params: params.encoding().to_vec(),
        opened_at: 0,
        deadline: FAR,
        admitted: u32::MAX,
        min_interval_ms: 0,
    };
    assert!(store.open_round(&round).await.expect("a store"));
}

fn definition(roster: Roster) -> TaskDefinition {
    let tensors = BTreeMap::from([("w".to_owned(), (vec![3], vec![0.0; 3]))]);
    TaskDefinition {
        name: "fuzz".into(),
        roster,
        training: b"{}".to_vec(),
        mechanism: serde_json::to_vec(&Mechanism {
            rotation: None,
            update_clip: 1.0,
            scale: 1024.0,
            noise: Noise::None,
        })
        .expect("JSON"),
        settings: TaskSettings {
            rounds: 1,
            cohort: 4,
            min_survivors: 3,
            graph: GraphSettings::default(),
            schedule: ScheduleSettings::default(),
            bits: 20,
            server_optimizer: ServerOptimizer::default(),
            deadlines_ms: [1000; 5],
            budget: None,
        },
        adapter: Adapter::new(tensors).expect("an adapter"),
    }
}
