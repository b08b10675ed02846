//! What is measured, and the task that is made for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rand_core::Rng;
use undertone_privacy::{Mechanism, Noise};
use undertone_protocol::adapter::Adapter;
use undertone_protocol::id::TaskId;
use undertone_protocol::keys::IdentityKey;
use undertone_protocol::params::Trust;
use undertone_protocol::roster::Roster;
use undertone_protocol::threshold::{self, AUTO_COMPLETE, Request, Rule, Shape};
use undertone_server::driver::now_ms;
use undertone_server::schedule::ScheduleSettings;
use undertone_server::store::{
    AnyStore, GraphSettings, GraphShape, ServerOptimizer, Store, TaskSettings,
};
use undertone_server::task::TaskDefinition;

use crate::error::BenchError;

/// No phase closes by its deadline: a benchmark waits for everyone, or fails.
const DEADLINE_MS: u32 = 3_600_000;

/// Who masks with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Graph {
    /// Everyone with everyone.
    Complete,
    /// With neighbours on a ring.
    Ring,
}

impl Graph {
    /// Its name.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Ring => "ring",
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The program whose `serve` is measured.
    pub program: PathBuf,
    /// What `serve` is told beside its database and address.
    pub serve: Vec<String>,
    /// The database; without one a PostgreSQL server is started for the measurement.
    pub database: Option<String>,
    /// Clients in every round.
    pub clients: u32,
    /// Elements of a vector.
    pub length: u32,
    /// Bits of an element.
    pub bits: u8,
    /// Rounds.
    pub rounds: u32,
    /// Who masks with whom; without one, everyone with everyone up to 100 clients.
    pub graph: Option<Graph>,
    /// The fraction of clients that may be corrupt.
    pub corrupt: f64,
    /// The fraction of clients that may drop out. None does.
    pub dropout: f64,
    /// Bytes of masked vectors that clients hold while they wait for the others to have masked.
    pub client_memory: usize,
}

/// The numbers of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) graph: Graph,
    pub(crate) neighbours: u16,
    pub(crate) threshold: u16,
    pub(crate) min_survivors: u32,
}

/// A task, and everyone's keys.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: TaskId,
    pub(crate) roster: Arc<Roster>,
    pub(crate) identities: Vec<Arc<IdentityKey>>,
    pub(crate) trust: Trust,
    pub(crate) numbers: Numbers,
}

/// The rule of a roster of just these clients, as `undertone params` gives it; the graph is complete up
/// to 100 clients if it is not said.
pub(crate) fn rule(
    clients: u32,
    graph: Option<Graph>,
    (corrupt, dropout): (f64, f64),
) -> Result<(Graph, Rule), BenchError> {
    let automatic = if clients <= AUTO_COMPLETE {
        Graph::Complete
    } else {
        Graph::Ring
    };
    let graph = graph.unwrap_or(automatic);
    if graph == Graph::Complete {
        let corrupt = threshold::corruptions(corrupt, clients);
        return Ok((graph, Rule::complete(clients, corrupt)));
    }
    let vanished = threshold::corruptions(dropout, clients);
    let request = Request {
        max_clients: Some(clients),
        roster: Some(clients),
        shape: Some(Shape::Ring),
        ..Request::new(clients.saturating_sub(vanished), corrupt, dropout)
    };
    let none = || BenchError::Plan("the ring has no witnesses".to_owned());
    Ok((graph, threshold::choose(&request)?.rule().ok_or_else(none)?))
}

impl Plan {
    /// Whether such rounds can be.
    ///
    /// # Errors
    /// [`BenchError::Plan`], [`BenchError::Infeasible`].
    pub(crate) fn check(&self) -> Result<(), BenchError> {
        self.numbers()?;
        self.mechanism().map(drop)
    }

    /// The numbers that `undertone params` gives for a roster of just these clients.
    fn numbers(&self) -> Result<Numbers, BenchError> {
        let (graph, rule) = rule(self.clients, self.graph, (self.corrupt, self.dropout))?;
        Ok(Numbers {
            graph,
            neighbours: rule.neighbours,
            threshold: rule.threshold,
            min_survivors: rule.min_survivors,
        })
    }

    /// Fixed point that a sum over all clients fits: what is summed here are ring elements, but a
    /// task is refused whose sums could wrap.
    fn mechanism(&self) -> Result<Mechanism, BenchError> {
        let largest = 2_f64.powi(i32::from(self.bits) - 1) / f64::from(self.clients.max(1));
        let scale = (largest.ceil() - 1.0).min(65_536.0);
        if scale < 1.0 {
            let (clients, bits) = (self.clients, self.bits);
            let message = format!("the sum of {clients} clients needs more than {bits} bits");
            return Err(BenchError::Plan(message));
        }
        Ok(Mechanism {
            update_clip: 1.0,
            scale,
            rotation: None,
            noise: Noise::None,
        })
    }

    /// Makes the task in the database.
    pub(crate) async fn create(&self, store: &AnyStore) -> Result<Task, BenchError> {
        let numbers = self.numbers()?;
        let mut rng = crate::generator()?;
        let authority = IdentityKey::generate(&mut rng);
        let identities: Vec<_> = (0..self.clients)
            .map(|_| Arc::new(IdentityKey::generate(&mut rng)))
            .collect();
        let members = identities.iter().map(|key| key.public()).collect();
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        let roster = Roster::sign(&authority, TaskId::from(id), members)?;
        let length = usize::try_from(self.length).unwrap_or(usize::MAX);
        let tensor = (vec![length], vec![0.0; length]);
        let graph = GraphSettings {
            shape: Some(match numbers.graph {
                Graph::Complete => GraphShape::Complete,
                Graph::Ring => GraphShape::Ring,
            }),
            corrupt: Some(self.corrupt),
            dropout: self.dropout,
        };
        let definition = TaskDefinition {
            name: "benchmark".to_owned(),
            roster: roster.clone(),
            training: b"{}".to_vec(),
            mechanism: serde_json::to_vec(&self.mechanism()?)
                .map_err(|e| BenchError::Plan(format!("the mechanism cannot be encoded: {e}")))?,
            settings: TaskSettings {
                rounds: self.rounds,
                cohort: self.clients,
                min_survivors: numbers.min_survivors,
                graph,
                schedule: ScheduleSettings::default(),
                bits: self.bits,
                server_optimizer: ServerOptimizer::default(),
                deadlines_ms: [DEADLINE_MS; 5],
                budget: None,
            },
            adapter: Adapter::new(BTreeMap::from([("w".to_owned(), tensor)]))?,
        };
        store.create_task(&definition.check(now_ms())?).await?;
        Ok(Task {
            id: roster.task(),
            roster: Arc::new(roster),
            identities,
            trust: Trust {
                corrupt: Some(self.corrupt),
            },
            numbers,
        })
    }
}
