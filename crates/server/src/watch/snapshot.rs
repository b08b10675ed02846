//! Where tasks and rounds stood at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RoundId, TaskId};

use crate::store::{RoundAt, RoundNow, Standing, StandingLine, TaskState};

/// A task that is over is remembered for so long: longer than a poll waits, so that everybody who
/// waits for it is answered without a query.
const REMEMBERED: Duration = Duration::from_mins(1);

/// Where tasks and rounds stood at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    /// The database's clock then, and this process's.
    now: (u64, Instant),
    tasks: BTreeMap<TaskId, Task>,
    rounds: BTreeMap<RoundId, Known>,
}

#[derive(Debug, Clone)]
struct Task {
    state: TaskState,
    open: Option<(RoundId, u32)>,
    /// Since when it is known to be over.
    over: Option<Instant>,
}

/// A round that a snapshot knows.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Where it stands.
    pub(crate) round: RoundNow,
    /// How many messages its open phase waits for, once somebody has asked.
    pub(crate) expected: Arc<OnceCell<usize>>,
    task: TaskId,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            now: (0, Instant::now()),
            tasks: BTreeMap::new(),
            rounds: BTreeMap::new(),
        }
    }
}

impl Snapshot {
    /// What is read now, with what an earlier snapshot knows and need not be asked again.
    pub(super) fn after(before: &Self, standing: Standing) -> Self {
        let mut snapshot = Self {
            now: (standing.now, Instant::now()),
            ..Self::default()
        };
        snapshot.add(standing.lines);
        for (id, known) in &mut snapshot.rounds {
            let same = before
                .rounds
                .get(id)
                .filter(|old| old.phase() == known.phase());
            if let Some(old) = same {
                known.expected = old.expected.clone();
            }
        }
        for (id, task) in &before.tasks {
            let fresh = task.over.is_some_and(|since| since.elapsed() < REMEMBERED);
            if fresh && !snapshot.tasks.contains_key(id) {
                snapshot.tasks.insert(*id, task.clone());
                let rounds = before.rounds.iter().filter(|(_, known)| known.task == *id);
                let rounds = rounds.map(|(round, known)| (*round, known.clone()));
                snapshot.rounds.extend(rounds);
            }
        }
        snapshot
    }

    /// The tasks that were there before and are not now: they are over, but how is not known.
    pub(super) fn left(&self, before: &Self) -> Vec<TaskId> {
        let running = before.tasks.iter().filter(|(_, task)| task.over.is_none());
        let left = running.filter(|(id, _)| !self.tasks.contains_key(id));
        left.map(|(id, _)| *id).collect()
    }

    pub(super) fn add(&mut self, lines: Vec<StandingLine>) {
        for StandingLine { task, state, round } in lines {
            let entry = self.tasks.entry(task).or_insert(Task {
                state,
                open: None,
                over: state.is_over().then(Instant::now),
            });
            let Some(round) = round else { continue };
            if matches!(round.at, RoundAt::Open { .. }) {
                entry.open = Some((round.id, round.number));
            }
            let expected = Arc::default();
            let known = Known {
                round,
                expected,
                task,
            };
            self.rounds.insert(known.round.id, known);
        }
    }

    /// Whether something differs that a poll can see: counts of messages are not.
    pub(super) fn differs(&self, other: &Self) -> bool {
        let tasks = |snapshot: &Self| -> Vec<_> {
            let task = |(id, task): (&TaskId, &Task)| (*id, task.state, task.open);
            snapshot.tasks.iter().map(task).collect()
        };
        let rounds = |snapshot: &Self| -> Vec<_> {
            let round = |(id, known): (&RoundId, &Known)| (*id, known.phase());
            snapshot.rounds.iter().map(round).collect()
        };
        tasks(self) != tasks(other) || rounds(self) != rounds(other)
    }

    /// The rounds that have ended.
    pub(super) fn ended(&self) -> impl Iterator<Item = RoundId> {
        let ended = |known: &&Known| !matches!(known.round.at, RoundAt::Open { .. });
        self.rounds
            .values()
            .filter(ended)
            .map(|known| known.round.id)
    }

    /// A round, if it is among the latest of a task that has something to do.
    pub(crate) fn round(&self, id: RoundId) -> Option<&Known> {
        self.rounds.get(&id)
    }

    /// Whether a task is over, and its open round; `None` for a task that is not known.
    pub(crate) fn task(&self, id: TaskId) -> Option<(bool, Option<(RoundId, u32)>)> {
        let task = self.tasks.get(&id)?;
        Some((task.state.is_over(), task.open))
    }

    /// The database's clock now, as far as this process can tell.
    pub(crate) fn now(&self) -> u64 {
        let (then, at) = self.now;
        let since = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        then.saturating_add(since)
    }
}

impl Known {
    /// The open phase, or how the round ended, by the name that clients know.
    pub(crate) fn phase(&self) -> &'static str {
        match self.round.at {
            RoundAt::Open { phase, .. } => phase.text(),
            RoundAt::Finished => "finished",
            RoundAt::Failed { .. } => "failed",
        }
    }

    /// Whether somebody who saw the round at `seen` learns something new. Another replica may have
    /// shown what this one does not know yet: that is nothing new.
    pub(crate) fn is_news(&self, seen: &str) -> bool {
        let place = |text: &str| match text {
            "finished" | "failed" => Some(PhaseName::ALL.len()),
            phase => PhaseName::ALL.iter().position(|name| name.text() == phase),
        };
        match (place(seen), place(self.phase())) {
            (Some(seen_at), Some(now)) if now < seen_at => false,
            _ => seen != self.phase(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(task: u8, state: TaskState, round: Option<(u8, RoundAt)>) -> StandingLine {
        StandingLine {
            task: TaskId::from([task; 16]),
            state,
            round: round.map(|(id, at)| RoundNow {
                id: RoundId::from([id; 32]),
                number: id.into(),
                at,
            }),
        }
    }

    fn open(phase: PhaseName, received: usize) -> RoundAt {
        RoundAt::Open {
            phase,
            deadline: 9000,
            received,
        }
    }

    fn standing(lines: Vec<StandingLine>) -> Standing {
        Standing { now: 5000, lines }
    }

    #[tokio::test(start_paused = true)]
    async fn what_polls_see_is_news_and_counts_are_not() {
        let running = TaskState::Running;
        let at =
            |phase, received| standing(vec![line(1, running, Some((7, open(phase, received))))]);
        let first = Snapshot::after(&Snapshot::default(), at(PhaseName::ShareKeys, 1));
        assert!(first.differs(&Snapshot::default()));
        let (task, round) = (TaskId::from([1; 16]), RoundId::from([7; 32]));
        assert_eq!(first.task(task), Some((false, Some((round, 7)))));
        first.round(round).unwrap().expected.set(3).unwrap();

        let counted = Snapshot::after(&first, at(PhaseName::ShareKeys, 2));
        assert!(!counted.differs(&first));
        let expected = |snapshot: &Snapshot| snapshot.round(round).unwrap().expected.get().copied();
        assert_eq!(expected(&counted), Some(3), "known already");
        let moved = Snapshot::after(&counted, at(PhaseName::MaskedInput, 0));
        assert!(moved.differs(&counted));
        assert_eq!(expected(&moved), None);
        tokio::time::advance(Duration::from_millis(250)).await;
        assert_eq!(moved.now(), 5250);

        let known = moved.round(round).unwrap();
        assert!(known.is_news("share-keys") && known.is_news("anything"));
        assert!(!known.is_news("masked-input"));
        assert!(
            !known.is_news("unmask") && !known.is_news("finished"),
            "seen elsewhere"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_is_over_is_remembered_for_a_while() {
        let running = vec![line(
            1,
            TaskState::Running,
            Some((7, open(PhaseName::Unmask, 1))),
        )];
        let first = Snapshot::after(&Snapshot::default(), standing(running));
        let mut second = Snapshot::after(&first, standing(Vec::new()));
        let (task, round) = (TaskId::from([1; 16]), RoundId::from([7; 32]));
        assert_eq!(second.left(&first), [task]);
        second.add(vec![line(
            1,
            TaskState::Finished,
            Some((7, RoundAt::Finished)),
        )]);
        let third = Snapshot::after(&second, standing(Vec::new()));
        assert!(third.left(&second).is_empty(), "asked once");
        assert!(!third.differs(&second));
        assert_eq!(third.task(task), Some((true, None)));
        assert!(third.ended().eq([round]) && first.ended().next().is_none());
        assert!(third.round(round).unwrap().is_news("unmask"));
        tokio::time::advance(REMEMBERED).await;
        let last = Snapshot::after(&third, standing(Vec::new()));
        assert_eq!(last.task(task), None);
        assert!(last.round(round).is_none());
    }
}
