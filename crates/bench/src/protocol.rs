//! A whole round in this process, and what each part of it costs beside the floor: key stream and
//! memory, measured in the same run and in turns with what stands on them.
//!
//! Nothing goes through a network or a store: this is the protocol's own work. Times are processor time
//! of one thread, so that what else runs on the machine hardly matters; unmasking on all cores is by the
//! clock, against key stream on all cores.

use std::collections::BTreeMap;

use serde::Serialize;
use undertone_protocol::threshold::Rule;
use undertone_protocol::vector::Ring;

use crate::error::BenchError;
use crate::plan::{Graph, rule};
use crate::process::OwnMemory;
use crate::report::{Environment, real};
use crate::{Progress, Watch, floor, generator};

mod clock;
mod kernel;
mod model;
mod round;

pub use kernel::Kernel;
pub use model::{Prediction, Units};
use round::Setup;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProtocolPlan {
    /// Clients that begin the round.
    pub clients: u32,
    /// Elements of a vector.
    pub length: u32,
    /// Clients that vanish after they have shared their keys.
    pub dropped: u32,
    /// Bits of an element.
    pub bits: u8,
    /// Who masks with whom; without one, everyone with everyone up to 100 clients.
    pub graph: Option<Graph>,
    /// The fraction of clients that may be corrupt.
    pub corrupt: f64,
}

/// What was found. Seconds are processor time of one thread where nothing else is said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProtocolReport {
    /// Masking and its floor, measured in turns.
    #[serde(flatten)]
    pub kernel: Kernel,
    /// Taking the masks off the sum on all cores, by the clock, over the key stream that this takes at
    /// the rate of all cores together.
    pub unmask_over_floor: f64,
    /// One client's round: keys, shares, masks, all messages.
    pub client_seconds: f64,
    /// Its parts, by phase.
    pub client_phases: BTreeMap<&'static str, f64>,
    /// The aggregator's round, without a network and a store.
    pub aggregator_seconds: f64,
    /// Its parts, by phase; `unmask` is recovering secrets, `masks` taking masks off.
    pub aggregator_phases: BTreeMap<&'static str, f64>,
    /// What single operations take, measured before the round.
    pub units: Units,
    /// What the round should take by them, and by the masks' rate.
    pub predicted: Prediction,
    /// Masks that the aggregator expands.
    pub expansions: usize,
    /// Bytes that the client sends.
    pub upload_bytes: usize,
    /// Bytes that it fetches.
    pub download_bytes: usize,
    /// The most memory that this process held, everyone's vectors and states in it.
    pub peak_rss_bytes: Option<u64>,
    /// The most that the client's masking added to what was held before, its input not counted.
    pub client_peak_bytes: Option<u64>,
    /// The most that unmasking added to what was held before, the sum not counted.
    pub aggregator_peak_bytes: Option<u64>,
    /// Bytes of one vector in memory.
    pub vector_bytes: usize,
    /// Whether the sum is the plain one of the survivors.
    pub exact: bool,
    /// What was asked for.
    pub settings: Settings,
    /// What it was measured on.
    pub environment: Environment,
}

/// What was asked for, and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Settings {
    /// Clients.
    pub clients: u32,
    /// Elements of a vector.
    pub length: u32,
    /// Clients that vanished after ShareKeys.
    pub dropped: u32,
    /// Bits of an element.
    pub bits: u8,
    /// The graph's shape.
    pub graph: &'static str,
    /// Neighbours k of a client.
    pub neighbours: u16,
    /// Shares t that recover a secret.
    pub threshold: u16,
}

/// Bounds beyond which a round does not fit one machine's afternoon: bytes of key stream of all clients.
const MOST_KEY_STREAM: f64 = 1.2e12;

impl ProtocolPlan {
    fn rule(&self) -> Result<(Graph, Rule), BenchError> {
        let dropout = f64::from(self.dropped) / f64::from(self.clients.max(1));
        let (graph, rule) = rule(self.clients, self.graph, (self.corrupt, dropout))?;
        let survivors = self.clients.saturating_sub(self.dropped);
        if survivors < rule.min_survivors {
            return Err(BenchError::Plan(format!(
                "with {} of {} clients gone, {survivors} survive and {} are needed; let fewer drop \
                 out, or have fewer be corrupt",
                self.dropped, self.clients, rule.min_survivors
            )));
        }
        let lane = real(lane_bytes(self.bits));
        let masks = f64::from(survivors) * (f64::from(rule.neighbours) + 1.0);
        let key_stream = masks * f64::from(self.length) * lane;
        if key_stream > MOST_KEY_STREAM {
            return Err(BenchError::Plan(format!(
                "all clients together would expand {:.1} TB of masks; ask for fewer clients or \
                 shorter vectors",
                key_stream / 1e12
            )));
        }
        Ok((graph, rule))
    }
}

/// Bytes of the lane of an element: the smallest machine integer that holds it.
pub(crate) const fn lane_bytes(bits: u8) -> usize {
    match bits {
        ..=16 => 2,
        17..=32 => 4,
        _ => 8,
    }
}

/// Measures.
///
/// # Errors
/// [`BenchError`]: no such round can be, or a step of it failed.
pub fn run(plan: &ProtocolPlan, watch: &Watch) -> Result<ProtocolReport, BenchError> {
    let step = |what: &str| watch(Progress::Step(what.to_owned()));
    let (graph, rule) = plan.rule()?;
    let single = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let single = single.map_err(|e| BenchError::Plan(format!("no thread: {e}")))?;
    let ring = Ring::new(plan.bits)?;
    let length = usize::try_from(plan.length).unwrap_or(usize::MAX);
    step("the floor, and masks");
    let masks = usize::from(rule.neighbours).saturating_add(1);
    let kernel = single.install(|| Kernel::measure(ring, length, masks));
    let rates = floor::measure();
    let units = single.install(|| Units::measure(&rule, &rates, generator()?))?;
    let round = Setup::new(plan, rule, ring)?.play(&single, &step)?;
    step("key stream on all cores");
    let key_stream = floor::key_stream_on_all_cores();
    let bytes = real(round.expansions) * real(length) * real(lane_bytes(plan.bits));
    let sum = |phases: &BTreeMap<&str, f64>| phases.values().sum::<f64>();
    let (client, aggregator) = units.predict(plan, &rule, &kernel);
    let (client_seconds, aggregator_seconds) = (sum(&round.client), sum(&round.aggregator));
    Ok(ProtocolReport {
        kernel,
        units,
        predicted: Prediction {
            client_seconds: client,
            aggregator_seconds: aggregator,
            client_off: client_seconds / client,
            aggregator_off: aggregator_seconds / aggregator,
        },
        unmask_over_floor: round.unmask_wall * key_stream * 1e9 / bytes,
        client_seconds,
        client_phases: round.client,
        aggregator_seconds,
        aggregator_phases: round.aggregator,
        expansions: round.expansions,
        upload_bytes: round.upload,
        download_bytes: round.download,
        peak_rss_bytes: round.peak.max(OwnMemory::peak()),
        client_peak_bytes: round.client_peak,
        aggregator_peak_bytes: round.aggregator_peak,
        vector_bytes: length.saturating_mul(lane_bytes(plan.bits)),
        exact: round.exact,
        settings: Settings {
            clients: plan.clients,
            length: plan.length,
            dropped: plan.dropped,
            bits: plan.bits,
            graph: graph.text(),
            neighbours: rule.neighbours,
            threshold: rule.threshold,
        },
        environment: Environment {
            database: "no database".to_owned(),
            ..Environment::of(None, "")
        },
    })
}
