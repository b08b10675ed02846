//! Joining a task, and going from round to round until it is done.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use undertone_privacy::distributed::IntegerNoise;
use undertone_privacy::{Mechanism, PrivacyUnit};
use undertone_protocol::id::{MechanismDigest, RosterIndex, RoundId, RoundNumber, TrainingDigest};
use undertone_protocol::roster::Roster;

use crate::api::{Link, NextRound, ROSTER_LIMIT, RoundResult, TaskInfo, TaskStatus};
use crate::config::JoinConfig;
use crate::error::{ClientError, RequestError};
use crate::heads::Heads;
use crate::http::Http;
use crate::journal::Journal;
use crate::observer::{Event, Observer};
use crate::round::Stop;
use crate::summary::{End, Privacy, Summary};
use crate::trainer::Trainer;

/// A server that answers a long poll at once with no news is not asked again before this long.
pub(crate) const POLL_PAUSE: Duration = Duration::from_millis(500);

/// A client of one task, which checked the roster and found itself in it.
pub struct Client<T, O> {
    pub(crate) config: JoinConfig,
    pub(crate) http: Http,
    pub(crate) task: TaskInfo,
    pub(crate) roster: Arc<Roster>,
    pub(crate) index: RosterIndex,
    pub(crate) journal: Journal,
    pub(crate) heads: Heads,
    pub(crate) trainer: T,
    pub(crate) observer: O,
    pub(crate) settings: Settings,
}

/// What all rounds of a task usually share; fetched again where a round's digests say so.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    pub(crate) training: Option<(TrainingDigest, Vec<u8>)>,
    pub(crate) mechanism: Option<(MechanismDigest, Mechanism)>,
    pub(crate) noise: Option<(MechanismDigest, Arc<IntegerNoise>)>,
}

impl<T, O> fmt::Debug for Client<T, O> {
    /// Without the trainer, which holds the data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("task", &self.task)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Counts {
    finished: u32,
    lost: u32,
    declined: u32,
}

impl<T: Trainer, O: Observer> Client<T, O> {
    /// Opens the journal, fetches the task and its roster, and checks that the pinned authority
    /// signed it for this task with this client's key in it, and that the service's audit log goes
    /// on from what this client remembers.
    ///
    /// # Errors
    /// [`ClientError`]: the address, the state directory, the server, the roster, the audit log or
    /// a budget of the policy is at fault.
    pub async fn join(
        config: JoinConfig,
        trainer: T,
        mut observer: O,
    ) -> Result<Self, ClientError> {
        let http = Http::new(&config)?;
        let journal = open_journal(&config.state_dir).await?;
        let id = config.task;
        let mut heads = Heads::open(&config.state_dir, id, config.audit_key)?;
        let mut link = Link {
            http: &http,
            observer: &mut observer,
            patience: config.patience,
        };
        let task: TaskInfo = link
            .json("a task", format!("v1/tasks/{id}"), Duration::ZERO)
            .await
            .map_err(asking_for("the task"))?;
        if task.task != id {
            let said = format!("asked for task {id}, it describes task {}", task.task);
            return Err(ClientError::Misbehaving(said));
        }
        let roster = link
            .bytes(format!("v1/tasks/{id}/roster"), ROSTER_LIMIT)
            .await
            .map_err(asking_for("the roster"))?;
        let roster = Roster::decode(&roster, config.authority).map_err(ClientError::Roster)?;
        if roster.task() != id {
            let said = format!("the roster of task {id} is one of task {}", roster.task());
            return Err(ClientError::Misbehaving(said));
        }
        let members = u64::try_from(roster.len()).unwrap_or(u64::MAX);
        config
            .policy
            .check_budgets(config.examples, Some(members))?;
        let key = config.identity.public();
        let index = roster.index_of(key).ok_or(ClientError::NotOnRoster(key))?;
        heads.ask(&mut link).await?;
        tracing::info!(task = %id, %index, members = roster.len(), "joined");
        Ok(Self {
            config,
            http,
            task,
            roster: Arc::new(roster),
            index,
            journal,
            heads,
            trainer,
            observer,
            settings: Settings::default(),
        })
    }

    /// The task as the server described it when this client joined.
    pub fn task(&self) -> &TaskInfo {
        &self.task
    }

    /// This client's index in the roster.
    pub fn index(&self) -> RosterIndex {
        self.index
    }

    /// What has been released from the data set so far, for each example.
    pub fn privacy(&self) -> Privacy {
        let ledgers = self.journal.ledgers(&self.config.policy);
        Privacy::of(PrivacyUnit::Example, &ledgers.example)
    }

    /// The same for this client as a whole, where its policy has a budget for that.
    pub fn client_privacy(&self) -> Option<Privacy> {
        let ledgers = self.journal.ledgers(&self.config.policy);
        let account = ledgers.client.as_ref()?;
        Some(Privacy::of(PrivacyUnit::Client, account))
    }

    /// Takes part in round after round, until the task ends or the policy allows no further one.
    ///
    /// A round that fails, or in which the server breaks the protocol, is lost: its secrets are
    /// dropped and the next one is awaited. It is safe to drop the future at any point, and to
    /// join again with the same state directory: the round that was under way is then left out.
    ///
    /// # Errors
    /// [`ClientError`]: the journal, the trainer or the randomness failed, or the server could not
    /// be reached for longer than the patience configured, or does not know the task any more.
    pub async fn run(mut self) -> Result<Summary, ClientError> {
        let mut counts = Counts::default();
        let mut after = RoundNumber(0);
        let end = loop {
            if self.task.status == TaskStatus::Finished {
                break End::TaskFinished;
            }
            let Some((round, number)) = self.next_round(after).await? else {
                break End::TaskFinished;
            };
            after = number;
            self.observer
                .event(Event::RoundOpened { round, number })
                .await;
            match self.round(round, number).await {
                Ok(result) => {
                    counts.finished = counts.finished.saturating_add(1);
                    tracing::info!(%number, survivors = result.survivors.len(), "round finished");
                    self.check_audit(&result).await?;
                    let result = &result;
                    self.observer
                        .event(Event::RoundFinished { number, result })
                        .await;
                }
                Err(Stop::Declined(reason)) => {
                    counts.declined = counts.declined.saturating_add(1);
                    tracing::info!(%number, %reason, "round declined");
                    let event = Event::Declined {
                        number,
                        reason: &reason,
                    };
                    self.observer.event(event).await;
                    if reason.is_final() {
                        break End::PolicyExhausted(reason);
                    }
                }
                Err(Stop::Lost(reason)) => {
                    counts.lost = counts.lost.saturating_add(1);
                    tracing::warn!(%number, %reason, "round lost");
                    let event = Event::RoundLost {
                        number,
                        reason: &reason,
                    };
                    self.observer.event(event).await;
                    if let Some(rest) = reason.rest() {
                        sleep(rest).await;
                    }
                }
                Err(Stop::Fatal(error)) => return Err(error),
            }
        };
        if end == End::TaskFinished {
            self.observer.event(Event::TaskFinished).await;
        }
        Ok(Summary {
            end,
            rounds_finished: counts.finished,
            rounds_lost: counts.lost,
            rounds_declined: counts.declined,
            privacy: self.privacy(),
            client_privacy: self.client_privacy(),
        })
    }

    /// Checks the head of the audit log that came with a result.
    async fn check_audit(&mut self, result: &RoundResult) -> Result<(), ClientError> {
        let mut link = Link {
            http: &self.http,
            observer: &mut self.observer,
            patience: self.config.patience,
        };
        self.heads.check(result.audit.as_ref(), &mut link).await
    }

    /// The next round, or `None` when the task has ended.
    async fn next_round(
        &mut self,
        after: RoundNumber,
    ) -> Result<Option<(RoundId, RoundNumber)>, ClientError> {
        loop {
            let asked = Instant::now();
            let mut link = Link {
                http: &self.http,
                observer: &mut self.observer,
                patience: self.config.patience,
            };
            let answer = link.next_round(self.config.task, after).await;
            match answer.map_err(asking_for("the next round"))? {
                NextRound::Finished => return Ok(None),
                NextRound::Open { round, number } if number > after => {
                    return Ok(Some((round, number)));
                }
                NextRound::Open { number, .. } => {
                    let said = format!("asked for a round after {after}, it opens round {number}");
                    return Err(ClientError::Misbehaving(said));
                }
                NextRound::Waiting => {
                    sleep(POLL_PAUSE.saturating_sub(asked.elapsed())).await;
                }
            }
        }
    }
}

/// Opens the journal. A client of this process that was dropped a moment ago may still be writing
/// its last line, on a thread of its own, and hold the lock for that long.
async fn open_journal(dir: &Path) -> Result<Journal, ClientError> {
    for _ in 0..10 {
        match Journal::open(dir) {
            Err(ClientError::StateDirInUse { .. }) => sleep(Duration::from_millis(100)).await,
            result => return result,
        }
    }
    Journal::open(dir)
}

fn asking_for(what: &'static str) -> impl FnOnce(RequestError) -> ClientError {
    move |source| ClientError::Request { what, source }
}
