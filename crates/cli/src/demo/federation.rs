//! The private run itself: service, clients, and a watcher of both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use undertone_client::lora::LoraTrainer;
use undertone_client::{JoinConfig, Policy};
use undertone_privacy::{Budget, Epsilon};
use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{ModelDigest, TaskId};
use undertone_protocol::keys::IdentityKey;
use undertone_protocol::params::RoundParams;
use undertone_protocol::roster::Roster;
use undertone_protocol::vector::RingVector;
use undertone_server::coding::mean_update;
use undertone_server::driver::now_ms;
use undertone_server::store::{AnyStore, RoundRecord, RoundState, Store, TaskStatus};
use undertone_server::task::TaskDefinition;
use undertone_server::{App, app};
use undertone_study::mail::Prepared;
use undertone_training::{Metrics, evaluate};

use super::notebook::Notebook;
use super::participant::Participant;
use super::progress::Progress;
use super::settings::{Settings, client_name};
use crate::error::CliError;
use crate::report::{Dropped, Glimpse, RoundResult};
use crate::{roster, system_generator};

/// How many coordinates of an update the report shows.
const GLIMPSE: usize = 200;

/// How often the watcher looks.
const GLANCE: Duration = Duration::from_millis(50);

/// What came of the private run.
#[derive(Debug)]
pub(super) struct Federation {
    pub(super) rounds: Vec<RoundResult>,
    pub(super) last: Metrics,
    pub(super) glimpse: Glimpse,
}

/// Runs the service on an embedded store, twelve clients over loopback HTTP, and watches.
pub(super) async fn run(
    prepared: &Prepared,
    settings: &Settings,
    progress: &Arc<Progress>,
) -> Result<Federation, CliError> {
    let folder = tempfile::tempdir()?;
    let store = AnyStore::connect(&format!("sqlite:{}/demo.db", folder.path().display())).await?;
    let mut rng = system_generator()?;
    let authority = IdentityKey::generate(&mut rng);
    let identities: Vec<_> = prepared
        .shares
        .iter()
        .map(|_| Arc::new(IdentityKey::generate(&mut rng)))
        .collect();
    let members = identities
        .iter()
        .map(|identity| identity.public())
        .collect();
    let roster = Roster::sign(&authority, roster::random_task()?, members)?;
    let task = roster.task();
    let definition = TaskDefinition {
        name: "spam filter".into(),
        roster,
        training: settings.training.to_json_bytes()?,
        mechanism: serde_json::to_vec(&settings.mechanism)?,
        settings: settings.task.clone(),
        adapter: prepared.model.initial_adapter(),
    };
    store.create_task(&definition.check(now_ms())?).await?;

    let listener = app::listen(([127, 0, 0, 1], 0).into()).await?;
    let server = format!("http://{}", listener.local_addr()?);
    let service = tokio::spawn(app::serve(
        App::new(store.clone(), undertone_server::Settings::default()),
        listener,
        std::future::pending::<()>(),
    ));
    let notebook = Arc::new(Notebook::default());
    let turn = Arc::new(Semaphore::new(1));
    let budget = Budget {
        epsilon: Epsilon::new(settings.epsilon_after(settings.rounds)? * (1.0 + 1e-9))?,
        delta: settings.delta,
    };
    let mut clients = JoinSet::new();
    for (index, (identity, features)) in identities
        .into_iter()
        .zip(&prepared.adapters.clients)
        .enumerate()
    {
        let state_dir = folder.path().join(client_name(index));
        let policy = Policy::new(budget)?;
        let participant = Participant {
            index,
            join: JoinConfig::new(
                server.clone(),
                task,
                identity,
                authority.public(),
                policy,
                state_dir,
            ),
            notebook: notebook.clone(),
            progress: progress.clone(),
            turn: turn.clone(),
        };
        let (model, features) = (prepared.model.clone(), features.clone());
        clients.spawn(
            participant.run(move || LoraTrainer::from_features(model.clone(), features.clone())),
        );
    }
    let watcher = Watcher {
        prepared,
        settings,
        progress,
        store: &store,
        task,
        notebook,
    };
    let federation = tokio::select! {
        watched = watcher.watch() => watched?,
        Some(failed) = first_failure(&mut clients) => return Err(failed),
    };
    service.abort();
    Ok(federation)
}

/// Waits for a client that fails; clients that finish are done.
async fn first_failure(clients: &mut JoinSet<Result<(), CliError>>) -> Option<CliError> {
    while let Some(joined) = clients.join_next().await {
        match joined {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Some(error),
            Err(error) => {
                return Some(CliError::Input(format!(
                    "a client's task was cut off: {error}"
                )));
            }
        }
    }
    // Everyone finished: now only the watcher has something to say.
    std::future::pending().await
}

struct Watcher<'a> {
    prepared: &'a Prepared,
    settings: &'a Settings,
    progress: &'a Arc<Progress>,
    store: &'a AnyStore,
    task: TaskId,
    notebook: Arc<Notebook>,
}

impl Watcher<'_> {
    /// Follows the rounds to the end of the task.
    async fn watch(&self) -> Result<Federation, CliError> {
        let mut phase_seconds: BTreeMap<u32, BTreeMap<String, f64>> = BTreeMap::new();
        let mut rounds: Vec<RoundResult> = Vec::new();
        let (mut last, mut showing) = (None, 0);
        let mut glance = Instant::now();
        loop {
            if let Some(open) = self.store.open_round_of(self.task).await?
                && let RoundState::Open { phase, .. } = open.state
            {
                if open.number.0 != showing {
                    showing = open.number.0;
                    self.progress.round(showing, self.settings.rounds);
                }
                // Earlier ones too: a phase may be over between two glances.
                for at in PhaseName::ALL.into_iter().filter(|at| *at <= phase) {
                    self.progress
                        .phase(at, self.store.count(open.id, at).await?);
                }
                let seconds = phase_seconds.entry(showing).or_default();
                *seconds.entry(phase.text().into()).or_default() += glance.elapsed().as_secs_f64();
            }
            glance = Instant::now();
            for ended in self
                .store
                .rounds(self.task)
                .await?
                .into_iter()
                .skip(rounds.len())
            {
                if matches!(ended.state, RoundState::Open { .. }) {
                    break;
                }
                let metrics = self.evaluate_after(&ended).await?;
                let mut result = self.describe(&ended, &metrics)?;
                let seconds = phase_seconds.remove(&ended.number.0).unwrap_or_default();
                result.phase_seconds = seconds;
                self.announce(&result);
                rounds.push(result);
                last = Some((metrics, ended));
            }
            let task = self.store.task(self.task).await?;
            if task.is_some_and(|t| {
                t.status == TaskStatus::Finished && t.rounds_ended as usize == rounds.len()
            }) && let Some((last, ended)) = last
            {
                let glimpse = self.glimpse(&ended)?;
                return Ok(Federation {
                    rounds,
                    last,
                    glimpse,
                });
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// The model that a round left behind, on the held-out mail.
    async fn evaluate_after(&self, ended: &RoundRecord) -> Result<Metrics, CliError> {
        let digest = self.model_after(ended).await?;
        let adapter = self
            .store
            .adapter(self.task, digest)
            .await?
            .unwrap_or_default();
        let adapter = Adapter::from_bytes(&adapter)?;
        let (model, held_out) = (
            self.prepared.model.clone(),
            self.prepared.adapters.held_out.clone(),
        );
        let job = tokio::task::spawn_blocking(move || evaluate(&model, &adapter, &held_out));
        let joined = job.await.map_err(undertone_server::ServerError::from)?;
        Ok(joined?)
    }

    async fn model_after(&self, ended: &RoundRecord) -> Result<ModelDigest, CliError> {
        let next = self.store.rounds(self.task).await?;
        match next
            .iter()
            .find(|round| round.number.0 == ended.number.0 + 1)
        {
            Some(next) => Ok(RoundParams::decode(&next.params)?.model),
            None => match self.store.task(self.task).await? {
                Some(task) => Ok(task.model),
                None => Err(CliError::Input("the demo's task has gone".into())),
            },
        }
    }

    fn describe(&self, ended: &RoundRecord, metrics: &Metrics) -> Result<RoundResult, CliError> {
        let number = ended.number.0;
        let (survivors, exact, outcome) = match &ended.state {
            RoundState::Finished(result) => {
                let params = RoundParams::decode(&ended.params)?;
                let sum = RingVector::unpack(params.ring(), params.vector_length(), &result.sum)?;
                let plain = self.notebook.plain_sum(number, &result.survivors);
                (
                    result.survivors.len(),
                    plain == Some(sum),
                    "finished".to_owned(),
                )
            }
            RoundState::Failed { reason } => (0, false, format!("failed: {reason}")),
            RoundState::Open { phase, .. } => (0, false, phase.to_string()),
        };
        let dropped = self
            .notebook
            .who_vanished(number)
            .into_iter()
            .map(|(client, phase)| Dropped {
                client: client_name(client),
                phase: phase.to_string(),
            })
            .collect();
        let milliseconds = ended
            .ended_at
            .unwrap_or(ended.opened_at)
            .saturating_sub(ended.opened_at);
        Ok(RoundResult {
            round: number,
            survivors,
            dropped,
            exact,
            seconds: Duration::from_millis(milliseconds).as_secs_f64(),
            accuracy: metrics.accuracy,
            auc: metrics.auc.unwrap_or(0.5),
            epsilon: self.settings.epsilon_after(number)?,
            outcome,
            phase_seconds: BTreeMap::new(),
        })
    }

    fn announce(&self, round: &RoundResult) {
        let vanished: Vec<String> = round
            .dropped
            .iter()
            .map(|d| format!("{} at {}", d.client, d.phase))
            .collect();
        self.progress.say(&format!(
            "round {}: {} in the sum, {}, accuracy {:.1} %, AUC {:.3}, epsilon {:.2}; vanished: {}",
            round.round,
            round.survivors,
            if round.exact { "exact" } else { "NOT exact" },
            100.0 * round.accuracy,
            round.auc,
            round.epsilon,
            vanished.join(", "),
        ));
    }

    /// The same coordinates inside a client, at the service, and after the sum.
    fn glimpse(&self, ended: &RoundRecord) -> Result<Glimpse, CliError> {
        let params = RoundParams::decode(&ended.params)?;
        let (RoundState::Finished(result), Some((plain, upload))) =
            (&ended.state, self.notebook.both_sides(ended.number.0))
        else {
            return Ok(Glimpse::default());
        };
        let length = params.vector_length();
        let sum = RingVector::unpack(params.ring(), length, &result.sum)?;
        let header = upload
            .len()
            .saturating_sub(params.ring().packed_length(length));
        let masked = RingVector::unpack(
            params.ring(),
            length,
            upload.get(header..).unwrap_or_default(),
        )?;
        let count = u32::try_from(result.survivors.len()).unwrap_or(u32::MAX);
        let (mechanism, settings) = (&self.settings.mechanism, &self.settings.task);
        let mean = mean_update(mechanism, settings, &params, (&sum, count))?;
        let ring_size = 2_f64.powi(i32::from(params.bits));
        // Coordinates from all over the vector, the same in all three pictures.
        let step = (length / GLIMPSE).max(1);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
        Ok(Glimpse {
            plain: plain.into_iter().step_by(step).take(GLIMPSE).collect(),
            masked: masked
                .elements()
                .step_by(step)
                .take(GLIMPSE)
                .map(|e| e as f64 / ring_size)
                .collect(),
            mean: mean
                .into_iter()
                .step_by(step)
                .take(GLIMPSE)
                .map(|v| v as f32)
                .collect(),
        })
    }
}
