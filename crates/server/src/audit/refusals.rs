//! Refused messages, counted in memory and written down together.
//!
//! One entry for each would let anyone fill the disk. So refusals are counted by kind, an entry
//! lists a bounded number of kinds and counts the rest, and while refusals keep coming entries come
//! at ever longer intervals: a flood costs at most 17 entries of a few kilobytes in its first
//! hour, and 6 an hour then. Counts that were not written yet are lost if the process is killed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use undertone_protocol::audit::Chain;
use undertone_protocol::id::{RosterIndex, RoundId, TaskId};

use super::canonical::Hex;
use super::{Actor, Event, Refusal};
use crate::app::App;
use crate::store::Store;

/// The wait before the first entry of a burst, which doubles while there is something to write.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_mins(10);

/// How many kinds of refusal one entry lists.
const LISTED: usize = 32;

/// How many rounds' tasks are remembered.
const ROUNDS: usize = 256;

/// A kind of refusal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) round: Option<RoundId>,
    pub(crate) phase: Option<&'static str>,
    pub(crate) problem: &'static str,
    /// Who sent the message, if its signature verified.
    pub(crate) client: Option<RosterIndex>,
}

/// What was refused since the last entry.
#[derive(Debug)]
pub(crate) struct Refusals(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    since: Instant,
    chains: BTreeMap<Chain, ChainCounts>,
    /// The tasks of rounds whose messages were refused.
    tasks: BTreeMap<RoundId, TaskId>,
}

#[derive(Debug, Default)]
struct ChainCounts {
    kinds: BTreeMap<Kind, u64>,
    others: u64,
}

impl ChainCounts {
    fn add(&mut self, kind: Kind, times: u64) {
        let known = self.kinds.len() < LISTED || self.kinds.contains_key(&kind);
        let count = if known {
            self.kinds.entry(kind).or_default()
        } else {
            &mut self.others
        };
        *count = count.saturating_add(times);
    }

    fn event(&self, over: Duration) -> Event {
        let refusal = |(kind, count): (&Kind, &u64)| Refusal {
            round: kind.round.map(Hex),
            phase: kind.phase.map(str::to_owned),
            problem: kind.problem.to_owned(),
            client: kind.client.map(|client| client.0),
            count: *count,
        };
        Event::MessagesRefused {
            refused: self.kinds.iter().map(refusal).collect(),
            others: self.others,
            over_ms: u64::try_from(over.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl Default for Refusals {
    fn default() -> Self {
        Self(Mutex::new(Counts {
            since: Instant::now(),
            chains: BTreeMap::new(),
            tasks: BTreeMap::new(),
        }))
    }
}

impl Refusals {
    fn locked<R>(&self, work: impl FnOnce(&mut Counts) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts one refusal, in the chain of its round's task.
    pub(crate) async fn note<S: Store>(&self, store: &S, kind: Kind) {
        let chain = match kind.round {
            Some(round) => self.chain_of(store, round).await,
            None => Chain::Service,
        };
        self.locked(|counts| counts.chains.entry(chain).or_default().add(kind, 1));
    }

    async fn chain_of<S: Store>(&self, store: &S, round: RoundId) -> Chain {
        if let Some(task) = self.locked(|counts| counts.tasks.get(&round).copied()) {
            return Chain::Task(task);
        }
        // A refusal is worth one look-up, not a retry.
        let Ok(Some(record)) = store.round_without_sum(round).await else {
            return Chain::Service;
        };
        self.locked(|counts| {
            if counts.tasks.len() >= ROUNDS {
                counts.tasks.clear();
            }
            counts.tasks.insert(round, record.task);
        });
        Chain::Task(record.task)
    }

    /// Appends what was counted since the last time; says whether that was anything. What cannot
    /// be written is counted again.
    pub(crate) async fn write<S: Store>(&self, store: &S) -> bool {
        let (chains, since) = self.locked(|counts| {
            let since = std::mem::replace(&mut counts.since, Instant::now());
            (std::mem::take(&mut counts.chains), since)
        });
        let any = !chains.is_empty();
        for (chain, counts) in chains {
            let event = counts.event(since.elapsed());
            let actor = Actor::this_process();
            if let Err(error) = store.append_audit(chain, &actor, &event).await {
                tracing::error!(%error, %chain, "refusals could not be written to the audit log");
                self.locked(|now| {
                    now.since = since;
                    let now = now.chains.entry(chain).or_default();
                    now.others = now.others.saturating_add(counts.others);
                    for (kind, count) in counts.kinds {
                        now.add(kind, count);
                    }
                });
            }
        }
        any
    }
}

/// Writes refusals down from time to time, until the future is dropped.
pub(crate) async fn run<S: Store>(app: Arc<App<S>>) {
    let mut wait = SHORTEST;
    loop {
        tokio::time::sleep(wait).await;
        wait = if app.audit().refusals().write(app.store()).await {
            wait.saturating_mul(2).min(LONGEST)
        } else {
            SHORTEST
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(client: u32) -> Kind {
        Kind {
            round: None,
            phase: Some("unmask"),
            problem: "bad-signature",
            client: Some(RosterIndex(client)),
        }
    }

    /// However many kinds a flood invents, an entry stays small and counts every refusal.
    #[test]
    fn a_flood_is_counted_not_listed() {
        let mut counts = ChainCounts::default();
        for client in 0..1000 {
            counts.add(kind(client), 1);
            counts.add(kind(0), 2);
        }
        let event = counts.event(SHORTEST);
        assert!(super::super::canonical::to_string(&event).unwrap().len() < 4096);
        let Event::MessagesRefused {
            refused, others, ..
        } = event
        else {
            panic!("{event:?}");
        };
        assert_eq!(refused.len(), LISTED);
        assert_eq!(refused[0].count, 2001);
        let listed: u64 = refused.iter().map(|r| r.count).sum();
        assert_eq!(listed + others, 3000);
    }
}
