//! A client's seat in a round under way: sending, waiting and fetching, each within its time.
//!
//! Specification: chapter 14, "HTTP binding", section 14.4.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::{RosterIndex, RoundId, RoundNumber};
use undertone_protocol::params::RoundParams;

use super::Stop;
use crate::api::{DIRECTORY_LIMIT, Link, RoundResult, RoundStatus, Stage};
use crate::client::POLL_PAUSE;
use crate::error::LostReason;
use crate::http::Http;
use crate::journal::Journal;
use crate::observer::{Event, Observer};
use crate::problem::tidy;
use crate::receipt::Receipt;

pub(super) struct Seat<'a, O> {
    pub(super) http: &'a Http,
    pub(super) observer: &'a mut O,
    pub(super) journal: &'a mut Journal,
    pub(super) round: RoundId,
    pub(super) number: RoundNumber,
    pub(super) index: RosterIndex,
    pub(super) params: RoundParams,
    pub(super) patience: Duration,
    /// What is kept once the cost is spent.
    pub(super) receipts: Vec<Receipt>,
}

impl<O: Observer> Seat<'_, O> {
    /// The time that a phase may take at most, and the patience beyond it.
    fn time(&self, phase: PhaseName) -> Duration {
        let deadline = Duration::from_millis(phase.deadline_ms(&self.params).into());
        deadline.saturating_add(self.patience)
    }

    fn link(&mut self, patience: Duration) -> Link<'_, O> {
        Link {
            http: self.http,
            observer: self.observer,
            patience,
        }
    }

    /// Sends this client's message of a phase. Where the answer is lost the same bytes are sent
    /// again, which the server takes as a repetition.
    pub(super) async fn send(&mut self, phase: PhaseName, message: Vec<u8>) -> Result<(), Stop> {
        let number = self.number;
        let message = Bytes::from(message);
        let event = Event::Sending {
            number,
            phase,
            bytes: &message,
        };
        self.observer.event(event).await;
        let (round, index, time) = (self.round, self.index, self.time(phase));
        self.link(time).put(round, phase, index, message).await?;
        self.observer.event(Event::Sent { number, phase }).await;
        Ok(())
    }

    /// What the server hands out in `phase`, from one of the round's paths.
    pub(super) async fn fetch(&mut self, phase: PhaseName, path: &str) -> Result<Vec<u8>, Stop> {
        let path = format!("v1/rounds/{}/{path}", self.round);
        let time = self.time(phase);
        Ok(self.link(time).bytes(path, DIRECTORY_LIMIT).await?)
    }

    /// Waits until `phase` opens, which it does when the one before it, this client's last, has
    /// closed.
    pub(super) async fn wait_for(
        &mut self,
        before: PhaseName,
        phase: PhaseName,
    ) -> Result<(), Stop> {
        match self.wait_to_pass(before, phase).await? {
            open if open == phase => Ok(()),
            open => Err(missed(phase.text(), Stage::Open(open))),
        }
    }

    /// Waits until `phase` or a later one is open, and says which.
    pub(super) async fn wait_to_pass(
        &mut self,
        before: PhaseName,
        phase: PhaseName,
    ) -> Result<PhaseName, Stop> {
        let number = self.number;
        let event = Event::Waiting {
            number,
            phase: Some(phase),
        };
        self.observer.event(event).await;
        match self.wait_beyond(before).await? {
            Stage::Open(open) if open >= phase => Ok(open),
            stage => Err(missed(phase.text(), stage)),
        }
    }

    /// Waits for the round's end and returns what was published.
    pub(super) async fn result(&mut self) -> Result<RoundResult, Stop> {
        let number = self.number;
        let event = Event::Waiting {
            number,
            phase: None,
        };
        self.observer.event(event).await;
        let stage = self.wait_beyond(PhaseName::Unmask).await?;
        if stage != Stage::Finished {
            return Err(missed("the result", stage));
        }
        let path = format!("v1/rounds/{}/result", self.round);
        let time = self.time(PhaseName::Unmask);
        let result: RoundResult = self
            .link(time)
            .json("a round's result", path, Duration::ZERO)
            .await?;
        if result.round != self.round || !result.survivors.contains(&self.index) {
            let said = "the result is of another round, or of one without this client";
            return Err(LostReason::Misbehaving(said.to_owned()).into());
        }
        Ok(result)
    }

    /// Waits until the round is in a later phase than `phase`, and not failed.
    async fn wait_beyond(&mut self, phase: PhaseName) -> Result<Stage, Stop> {
        let time = self.time(phase);
        let started = Instant::now();
        loop {
            let asked = Instant::now();
            let left = time.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(LostReason::Overrun(phase).into());
            }
            let round = self.round;
            let status: RoundStatus = self.link(left).status(round, Some(phase)).await?;
            if status.round != round {
                let said = format!("the status of round {round} is one of {}", status.round);
                return Err(LostReason::Misbehaving(said).into());
            }
            match status.phase {
                Stage::Failed => {
                    let reason = status
                        .reason
                        .unwrap_or_else(|| "no reason given".to_owned());
                    return Err(LostReason::RoundFailed(tidy(&reason)).into());
                }
                Stage::Open(open) if open <= phase => {
                    sleep(POLL_PAUSE.saturating_sub(asked.elapsed())).await;
                }
                stage => return Ok(stage),
            }
        }
    }
}

fn missed(awaited: &str, now: Stage) -> Stop {
    LostReason::Missed {
        awaited: awaited.to_owned(),
        now: now.text().to_owned(),
    }
    .into()
}
