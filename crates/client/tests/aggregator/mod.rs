//! An aggregator behind real HTTP that keeps its rounds in memory, follows the binding, writes
//! down what it is sent, and lies where it is told to.

mod lie;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use serde_json::json;
use undertone_privacy::Mechanism;
use undertone_protocol::aggregator::memory::{MemoryAggregator, Receipt};
use undertone_protocol::aggregator::{Aggregate, PhaseName, RoundContext};
use undertone_protocol::id::{
    MechanismDigest, ModelDigest, RosterIndex, RoundId, RoundNumber, TaskId, TrainingDigest,
};
use undertone_protocol::keys::{IdentityKey, IdentityPublicKey};
use undertone_protocol::params::{ParamsFields, PhaseDeadlines, RoundParams, SUITE, VERSION};
use undertone_protocol::roster::Roster;
use undertone_protocol::threshold::Rule;

pub(crate) use lie::Lie;

pub(crate) const TRAINING: &[u8] = br#"{"batch":8}"#;

pub(crate) struct Round {
    pub(crate) params: Arc<RoundParams>,
    pub(crate) aggregator: MemoryAggregator,
}

pub(crate) struct Inner {
    pub(crate) rounds: Vec<Round>,
    /// Every PUT: round number, phase, client, status of the answer.
    pub(crate) log: Vec<(u32, PhaseName, u32, u16)>,
    /// Their bodies: round number, phase, client.
    pub(crate) bodies: Vec<(u32, PhaseName, u32, Bytes)>,
    rng: ChaCha20Rng,
}

pub(crate) struct World {
    pub(crate) task: TaskId,
    pub(crate) authority: IdentityPublicKey,
    pub(crate) identities: Vec<Arc<IdentityKey>>,
    pub(crate) lie: Lie,
    pub(crate) url: String,
    roster: Arc<Roster>,
    roster_told: Vec<u8>,
    adapter: Vec<u8>,
    mechanism: Vec<u8>,
    total: usize,
    deadline: u32,
    started: Instant,
    inner: Mutex<Inner>,
}

type Shared = State<Arc<World>>;
type Id = Path<String>;

impl World {
    /// The digest of the mechanism that is handed out.
    pub(crate) fn mechanism_digest(&self) -> MechanismDigest {
        MechanismDigest::of(&self.mechanism)
    }

    /// Starts an aggregator of `total` rounds for `clients`, with a deadline for each phase.
    pub(crate) async fn start(
        seed: u64,
        clients: u16,
        total: usize,
        deadline: Duration,
        mechanism: &Mechanism,
        lie: Lie,
    ) -> Arc<Self> {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let task = TaskId::from([7; 16]);
        let authority = IdentityKey::generate(&mut rng);
        let identities: Vec<_> = (0..clients)
            .map(|_| Arc::new(IdentityKey::generate(&mut rng)))
            .collect();
        let members: Vec<_> = identities.iter().map(|i| i.public()).collect();
        let roster_told = lie.roster(&authority, task, &members);
        let roster = Roster::sign(&authority, task, members).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = Arc::new(Self {
            task,
            authority: authority.public(),
            identities,
            lie,
            url: format!("http://{}", listener.local_addr().unwrap()),
            roster: Arc::new(roster),
            roster_told,
            adapter: lie.adapter(),
            mechanism: lie.mechanism(mechanism),
            total,
            deadline: u32::try_from(deadline.as_millis()).unwrap(),
            started: Instant::now(),
            inner: Mutex::new(Inner {
                rounds: Vec::new(),
                log: Vec::new(),
                bodies: Vec::new(),
                rng,
            }),
        });
        world.lock().open_next(&world);
        let app = router().with_state(Arc::clone(&world));
        tokio::spawn(async move { axum::serve(listener, app).await });
        world
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap()
    }

    /// The sum of a round, which must have finished.
    pub(crate) fn aggregate(&self, number: u32) -> Aggregate {
        let inner = self.lock();
        let round = &inner.rounds[number as usize - 1];
        round.aggregator.result().unwrap().clone().unwrap()
    }
}

impl Inner {
    fn open_next(&mut self, world: &World) {
        let mut nonce = [0; 32];
        self.rng.fill_bytes(&mut nonce);
        let clients = u32::try_from(world.identities.len()).unwrap();
        let deadline = world.deadline;
        let mut fields = ParamsFields {
            version: VERSION,
            suite: SUITE,
            task: world.task,
            round: RoundNumber(u32::try_from(self.rounds.len() + 1).unwrap()),
            nonce,
            length: 12,
            bits: 32,
            rule: Rule::complete(clients, (clients - 1) / 3),
            roster: world.roster.digest(),
            model: ModelDigest::of(&world.adapter),
            training: TrainingDigest::of(TRAINING),
            mechanism: MechanismDigest::of(&world.mechanism),
            deadlines: PhaseDeadlines {
                advertise_keys: deadline,
                share_keys: deadline,
                masked_input: deadline,
                consistency_check: deadline,
                unmask: deadline,
            },
        };
        let honest = Arc::new(RoundParams::new(fields.clone()).unwrap());
        let context = RoundContext::new(honest.clone(), world.roster.clone()).unwrap();
        let aggregator = MemoryAggregator::new(context, world.identities.len(), world.now());
        match world.lie {
            Lie::Roster => fields.roster = [9; 32].into(),
            Lie::Task => fields.task = [8; 16].into(),
            _ => {}
        }
        let params = Arc::new(RoundParams::new(fields).unwrap());
        self.rounds.push(Round { params, aggregator });
    }

    /// Lets time pass: closes phases and opens the next round.
    fn tick(&mut self, world: &World) {
        let round = self.rounds.last_mut().unwrap();
        while round.aggregator.advance(world.now()) {}
        if round.aggregator.phase().is_none() && self.rounds.len() < world.total {
            self.open_next(world);
        }
    }

    fn find(&mut self, id: &str) -> Option<&mut Round> {
        let id: RoundId = id.parse().ok()?;
        self.rounds.iter_mut().find(|r| r.params.id() == id)
    }
}

fn problem(status: StatusCode, name: &str) -> Response {
    let kind = format!("urn:undertone:problem:{name}");
    let body = json!({"type": kind, "title": name, "status": status.as_u16()});
    (status, body.to_string()).into_response()
}

fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/v1/tasks/{task}", get(task))
        .route(
            "/v1/tasks/{task}/roster",
            get(async |State(w): Shared| w.roster_told.clone()),
        )
        .route(
            "/v1/tasks/{task}/training",
            get(async |State(w): Shared| w.lie.told(&[Lie::Training], TRAINING)),
        )
        .route(
            "/v1/tasks/{task}/mechanism",
            get(async |State(w): Shared| w.lie.told(&[Lie::Mechanism], &w.mechanism)),
        )
        .route("/v1/tasks/{task}/round", get(next_round))
        // It keeps no audit log.
        .route(
            "/v1/tasks/{task}/audit/head",
            get(async || problem(StatusCode::NOT_FOUND, "not-found")),
        )
        .route("/v1/rounds/{round}/params", get(params))
        .route(
            "/v1/rounds/{round}/adapter",
            get(async |State(w): Shared| w.lie.told(&[Lie::Adapter], &w.adapter)),
        )
        .route("/v1/rounds/{round}/status", get(status))
        .route("/v1/rounds/{round}/result", get(result))
        .route("/v1/rounds/{round}/{what}", get(handed_out))
        .route("/v1/rounds/{round}/directory/{index}", get(directory))
        .route("/v1/rounds/{round}/dealt/{index}", get(dealt))
        .route("/v1/rounds/{round}/{phase}/{index}", put(message))
}

async fn task(State(world): Shared) -> String {
    json!({
        "task": world.task.to_string(), "name": "test", "status": "running", "rounds_ended": 0,
        "rounds_total": world.total, "model": "00",
    })
    .to_string()
}

async fn next_round(State(world): Shared, Query(query): Query<BTreeMap<String, String>>) -> String {
    let after: usize = query["after"].parse().unwrap();
    for _ in 0..200 {
        {
            let mut inner = world.lock();
            inner.tick(&world);
            let last = inner.rounds.last().unwrap();
            if last.aggregator.phase().is_none() && inner.rounds.len() == world.total {
                return json!({"status": "finished"}).to_string();
            }
            let number = inner.rounds.len();
            if number > after || (world.lie == Lie::Number && after > 0) {
                let number = match world.lie {
                    Lie::Number => 1,
                    Lie::Announcement => number + 1,
                    _ => number,
                };
                let round = last.params.id().to_string();
                return json!({"status": "open", "round": round, "number": number}).to_string();
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    json!({"status": "waiting"}).to_string()
}

async fn params(State(world): Shared, Path(id): Id) -> Response {
    let mut inner = world.lock();
    let Some(round) = inner.find(&id) else {
        return problem(StatusCode::NOT_FOUND, "unknown-round");
    };
    let mut fields = (**round.params).clone();
    if world.lie == Lie::Params {
        fields.nonce[0] ^= 1;
    }
    RoundParams::new(fields)
        .unwrap()
        .encoding()
        .to_vec()
        .into_response()
}

async fn status(
    State(world): Shared,
    Path(id): Id,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let mut answer = String::new();
    for _ in 0..200 {
        {
            let mut inner = world.lock();
            inner.tick(&world);
            let Some(round) = inner.find(&id) else {
                return problem(StatusCode::NOT_FOUND, "unknown-round");
            };
            let (phase, reason) = match (round.aggregator.phase(), round.aggregator.result()) {
                (Some(phase), _) => (phase.text(), None),
                (None, Some(Err(failure))) => ("failed", Some(failure.to_string())),
                (None, _) => ("finished", None),
            };
            answer = json!({"round": id, "number": round.params.round.0, "phase": phase,
                "received": 0, "expected": 0, "closes_in_ms": 0, "reason": reason})
            .to_string();
            if query.get("seen").is_none_or(|seen| seen != phase) {
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    answer.into_response()
}

async fn result(State(world): Shared, Path(id): Id) -> Response {
    let mut inner = world.lock();
    let round = inner.find(&id).unwrap();
    let aggregate = round.aggregator.result().unwrap().clone().unwrap();
    let mut survivors: Vec<u32> = aggregate.clients.iter().map(|c| c.0).collect();
    let mut id = id;
    match world.lie {
        Lie::ResultOfAnother => id = "0".repeat(64),
        Lie::ResultWithoutAnyone => survivors.clear(),
        _ => {}
    }
    json!({"round": id, "number": round.params.round.0, "outcome": "finished",
        "survivors": survivors, "transcript": aggregate.transcript.to_string(), "set_aside": []})
    .to_string()
    .into_response()
}

fn answer(world: &World, id: &str, phase: PhaseName, index: u32, lies: &[Lie]) -> Response {
    let mut inner = world.lock();
    let round = inner.find(id).unwrap();
    if round.aggregator.phase() != Some(phase) {
        return problem(StatusCode::CONFLICT, "late-message");
    }
    match round.aggregator.answer(RosterIndex(index)) {
        Ok(bytes) => world.lie.told(lies, &bytes.unwrap()).into_response(),
        Err(_) => problem(StatusCode::FORBIDDEN, "not-in-set"),
    }
}

async fn handed_out(State(world): Shared, Path((id, what)): Path<(String, String)>) -> Response {
    match what.as_str() {
        "survivors" => {
            let lies = [Lie::Survivors, Lie::SurvivorsSize];
            answer(&world, &id, PhaseName::ConsistencyCheck, 0, &lies)
        }
        "statements" => answer(&world, &id, PhaseName::Unmask, 0, &[Lie::Statements]),
        _ => problem(StatusCode::NOT_FOUND, "not-found"),
    }
}

async fn directory(State(world): Shared, Path((id, index)): Path<(String, u32)>) -> Response {
    answer(&world, &id, PhaseName::ShareKeys, index, &[Lie::Directory])
}

async fn dealt(State(world): Shared, Path((id, index)): Path<(String, u32)>) -> Response {
    answer(
        &world,
        &id,
        PhaseName::MaskedInput,
        index,
        &[Lie::SharersSize],
    )
}

async fn message(
    State(world): Shared,
    Path((id, phase, index)): Path<(String, String, u32)>,
    body: Bytes,
) -> Response {
    let phase: PhaseName = phase.parse().unwrap();
    let answer = take(&world, &id, phase, index, body);
    let lost = world.lie == Lie::LostAnswer && (phase, index) == (PhaseName::Unmask, 0);
    if !lost || answer.status() != StatusCode::OK {
        return answer;
    }
    // Until the round is over there is no answer; then there is one that lets the client ask again.
    while world.lock().find(&id).unwrap().aggregator.phase().is_some() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable")
}

fn take(world: &World, id: &str, phase: PhaseName, index: u32, body: Bytes) -> Response {
    let mut inner = world.lock();
    inner.tick(world);
    let round = inner.find(id).unwrap();
    let number = round.params.round.0;
    let answer = match round.aggregator.phase() {
        Some(open) if open == phase => match round.aggregator.receive(&body) {
            Ok(Receipt::Accepted) => json!({"receipt": "accepted"}).to_string().into_response(),
            Ok(Receipt::Repeated) => json!({"receipt": "repeated"}).to_string().into_response(),
            Ok(Receipt::Conflict) => problem(StatusCode::CONFLICT, "conflicting-message"),
            Err(_) => problem(StatusCode::BAD_REQUEST, "malformed-message"),
        },
        Some(_) => problem(StatusCode::CONFLICT, "late-message"),
        None => problem(StatusCode::GONE, "round-ended"),
    };
    let status = answer.status().as_u16();
    inner.log.push((number, phase, index, status));
    inner.bodies.push((number, phase, index, body));
    inner.tick(world);
    answer
}
