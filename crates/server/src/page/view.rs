//! What stands in the database, looked up once for all who look at the page: however many they
//! are, a task is read at most twice a second.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::time::Instant;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RoundNumber, TaskId};
use undertone_protocol::params::RoundParams;

use super::budget::{Accounts, Budget, Sum};
use crate::app::App;
use crate::error::ServerError;
use crate::problem::{Problem, ProblemKind};
use crate::store::{
    RoundRecord, RoundStanding, RoundState, RoundSummary, Store, TaskOverview, TaskRecord,
};

/// How old what is shown may be, unless a phase changed since.
const FRESH: Duration = Duration::from_millis(500);

/// How many tasks are remembered.
const REMEMBERED: usize = 64;

/// How many tasks a page of the list has.
const LISTED: u32 = 50;

/// How many rounds are asked for at a time.
const PAGE: u32 = 500;

/// A page of the list of tasks.
#[derive(Debug)]
pub(super) struct ListView {
    /// The youngest first, each with what its rounds cost.
    pub(super) tasks: Vec<(TaskOverview, Sum)>,
    /// The place before which there may be more.
    pub(super) earlier: Option<u64>,
}

/// One task.
#[derive(Debug)]
pub(super) struct TaskView {
    /// The task.
    pub(super) task: TaskRecord,
    /// The round that is open.
    pub(super) open: Option<OpenRound>,
    /// All rounds that have ended, by number.
    pub(super) ended: Arc<Vec<RoundSummary>>,
    /// What they cost in privacy.
    pub(super) budget: Arc<Budget>,
}

/// The round that is open.
#[derive(Debug)]
pub(super) struct OpenRound {
    /// Its number.
    pub(super) number: RoundNumber,
    /// Its open phase.
    pub(super) phase: PhaseName,
    /// When that closes at the latest.
    pub(super) deadline: u64,
    /// When the round opened.
    pub(super) opened_at: u64,
    /// Its phases, in order.
    pub(super) phases: Vec<PhaseView>,
}

/// A phase of the open round.
#[derive(Debug)]
pub(super) struct PhaseView {
    /// Which.
    pub(super) name: PhaseName,
    /// How many messages came.
    pub(super) received: u32,
    /// How many are or were awaited; nothing of a phase that has not opened.
    pub(super) expected: Option<u32>,
    /// How long it may take, in milliseconds.
    pub(super) allowed: u64,
}

impl OpenRound {
    async fn load<S: Store>(
        app: &App<S>,
        task: &TaskRecord,
        round: &RoundRecord,
    ) -> Result<Option<Self>, ServerError> {
        let RoundState::Open { phase, deadline } = round.state else {
            return Ok(None);
        };
        let params = RoundParams::decode(&round.params)?;
        let counts = app.store().counts(round.id).await?;
        let mut phases = Vec::new();
        for (name, received) in PhaseName::ALL.into_iter().zip(counts) {
            let expected = match name {
                PhaseName::AdvertiseKeys => Some(round.admitted.unwrap_or(task.settings.cohort)),
                _ if name > phase => None,
                // As the driver counts them.
                _ => match app.phases().load(app.store(), round, name).await? {
                    Ok(phase) => phase.expected().and_then(|count| u32::try_from(count).ok()),
                    Err(_) => None,
                },
            };
            phases.push(PhaseView {
                name,
                received,
                expected,
                allowed: u64::from(name.deadline_ms(&params)),
            });
        }
        Ok(Some(Self {
            number: round.number,
            phase,
            deadline,
            opened_at: round.opened_at,
            phases,
        }))
    }
}

/// Something that was looked up.
#[derive(Debug)]
struct Seen<T> {
    value: Arc<T>,
    at: Instant,
    /// Phase changes since it was looked up.
    changes: watch::Receiver<()>,
}

impl<T> Seen<T> {
    fn fresh(&self) -> Option<Arc<T>> {
        let changed = self.changes.has_changed().unwrap_or(true);
        (!changed && self.at.elapsed() < FRESH).then(|| self.value.clone())
    }
}

/// What is remembered of a task: rounds that have ended do not change.
#[derive(Debug, Default)]
struct Memory {
    ended: Arc<Vec<RoundSummary>>,
    budget: Option<Arc<Budget>>,
    seen: Option<Seen<TaskView>>,
}

/// What was looked up lately.
#[derive(Debug, Default)]
pub(super) struct Views {
    tasks: Mutex<HashMap<TaskId, Arc<AsyncMutex<Memory>>>>,
    list: AsyncMutex<Option<Seen<ListView>>>,
    accounts: Accounts,
}

impl Views {
    /// One task. Whoever comes while it is looked up waits for that.
    pub(super) async fn task<S: Store>(
        &self,
        app: &App<S>,
        id: TaskId,
    ) -> Result<Arc<TaskView>, Problem> {
        let memory = self.memory(id);
        let mut memory = memory.lock().await;
        if let Some(view) = memory.seen.as_ref().and_then(Seen::fresh) {
            return Ok(view);
        }
        let changes = app.phase_changes();
        let at = Instant::now();
        let value = Arc::new(self.load(app, id, &mut memory).await?);
        let view = value.clone();
        memory.seen = Some(Seen { value, at, changes });
        Ok(view)
    }

    async fn load<S: Store>(
        &self,
        app: &App<S>,
        id: TaskId,
        memory: &mut Memory,
    ) -> Result<TaskView, Problem> {
        let task = app.store().task(id).await?;
        let task = task.ok_or_else(|| {
            let detail = format!("task {id} is not on this service");
            Problem::new(ProblemKind::UnknownTask, detail)
        })?;
        let open = match app.store().open_round_of(id).await? {
            Some(round) => OpenRound::load(app, &task, &round).await?,
            None => None,
        };
        let known = memory.ended.len();
        remember_ended(app.store(), &task, &mut memory.ended).await?;
        let budget = match &memory.budget {
            Some(budget) if memory.ended.len() == known => budget.clone(),
            _ => Arc::new(Budget::load(&self.accounts, &task, &memory.ended).await?),
        };
        memory.budget = Some(budget.clone());
        Ok(TaskView {
            task,
            open,
            ended: memory.ended.clone(),
            budget,
        })
    }

    /// Whoever changed a task sees the change: what was looked up before it is shown no more.
    pub(super) async fn forget(&self, id: TaskId) {
        let memory = self.memory(id);
        memory.lock().await.seen = None;
        *self.list.lock().await = None;
    }

    fn memory(&self, id: TaskId) -> Arc<AsyncMutex<Memory>> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.len() >= REMEMBERED && !tasks.contains_key(&id) {
            // Those that nobody waits for now.
            tasks.retain(|_, memory| Arc::strong_count(memory) > 1);
        }
        tasks.entry(id).or_default().clone()
    }

    /// The youngest tasks.
    pub(super) async fn list<S: Store>(&self, app: &App<S>) -> Result<Arc<ListView>, Problem> {
        let mut seen = self.list.lock().await;
        if let Some(view) = seen.as_ref().and_then(Seen::fresh) {
            return Ok(view);
        }
        let changes = app.phase_changes();
        let at = Instant::now();
        let value = Arc::new(self.list_before(app, u64::MAX).await?);
        let view = value.clone();
        *seen = Some(Seen { value, at, changes });
        Ok(view)
    }

    /// The tasks that were made before the one at a place.
    pub(super) async fn list_before<S: Store>(
        &self,
        app: &App<S>,
        before: u64,
    ) -> Result<ListView, Problem> {
        let page = app.store().task_overviews(before, LISTED).await?;
        let full = u32::try_from(page.len()).is_ok_and(|length| length >= LISTED);
        let earlier = page.last().map(|last| last.task.made).filter(|_| full);
        let mut tasks = Vec::new();
        for task in page {
            let sum = self.accounts.sum(&task).await?;
            tasks.push((task, sum));
        }
        Ok(ListView { tasks, earlier })
    }
}

/// Reads the rounds that ended since the last time.
async fn remember_ended<S: Store>(
    store: &S,
    task: &TaskRecord,
    ended: &mut Arc<Vec<RoundSummary>>,
) -> Result<(), Problem> {
    loop {
        let last = ended.last().map_or(0, |round| round.number.0);
        if last >= task.rounds_ended {
            return Ok(());
        }
        let page = store.round_page(task.id, last, PAGE).await?;
        let ends = page
            .into_iter()
            .take_while(|round| round.standing != RoundStanding::Open);
        let known = ended.len();
        Arc::make_mut(ended).extend(ends);
        if ended.len() == known {
            return Ok(());
        }
    }
}
