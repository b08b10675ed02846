//! One mail provider: a client of the SDK as any application would embed it, and an observer that
//! makes it vanish at its appointed hour.

use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};
use undertone_client::lora::{LoraError, LoraTrainer};
use undertone_client::{Client, DeclineReason, Event, JoinConfig, Observer, Trainer, Work};
use undertone_protocol::aggregator::PhaseName;

use super::notebook::{Input, Notebook};
use super::progress::Progress;
use super::settings::Settings;
use crate::error::CliError;

/// What a provider needs to join, again and again.
pub(super) struct Participant {
    pub(super) index: usize,
    pub(super) join: JoinConfig,
    pub(super) notebook: Arc<Notebook>,
    pub(super) progress: Arc<Progress>,
    /// On one machine the clients train one after the other, each with all cores.
    pub(super) turn: Arc<Semaphore>,
}

impl Participant {
    /// Takes part until the task is done. When the client vanishes its future is dropped, secrets
    /// and connection with it, as when a process dies; then it joins anew from what it stored.
    pub(super) async fn run(self, trainer: impl Fn() -> LoraTrainer) -> Result<(), CliError> {
        loop {
            let vanish = Arc::new(Notify::new());
            let observer = Vanishing {
                index: self.index,
                notebook: self.notebook.clone(),
                progress: self.progress.clone(),
                vanish: vanish.clone(),
            };
            let trainer = OneAtATime {
                inner: trainer(),
                turn: self.turn.clone(),
            };
            let join = self.join.clone();
            let life = async {
                let client = Client::join(join, trainer, observer).await?;
                client.run().await
            };
            tokio::select! {
                done = life => return Ok(done.map(|_| ())?),
                () = vanish.notified() => {}
            }
        }
    }
}

struct OneAtATime {
    inner: LoraTrainer,
    turn: Arc<Semaphore>,
}

impl Trainer for OneAtATime {
    type Error = LoraError;

    async fn train(&mut self, work: Work<'_>) -> Result<Vec<f32>, LoraError> {
        // The semaphore is never closed; without a permit training would only be slower.
        let _permit = self.turn.acquire().await;
        self.inner.train(work).await
    }
}

struct Vanishing {
    index: usize,
    notebook: Arc<Notebook>,
    progress: Arc<Progress>,
    vanish: Arc<Notify>,
}

impl Observer for Vanishing {
    async fn event(&mut self, event: Event<'_>) {
        match event {
            Event::InputEncoded {
                number,
                update,
                vector,
                ..
            } => {
                let input = Input {
                    update: update.to_vec(),
                    vector: vector.clone(),
                };
                self.notebook.input(number.0, self.index, input);
            }
            Event::Trained { .. } => self.progress.trained(),
            Event::Sending {
                number,
                phase,
                bytes,
            } => {
                let plan = Settings::vanishing(number.0);
                if plan.contains(&(self.index, phase)) {
                    self.notebook.vanished(number.0, self.index, phase);
                    self.vanish.notify_one();
                    // Nothing more comes from this client: its future is dropped right here.
                    std::future::pending::<()>().await;
                }
                if phase == PhaseName::MaskedInput {
                    self.notebook.upload(number.0, self.index, bytes);
                }
            }
            Event::RoundLost { number, reason } => {
                self.progress.say(&format!(
                    "{} lost round {number}: {reason}",
                    super::settings::client_name(self.index)
                ));
            }
            // After it vanished, a client leaves out the rest of that round; that is no news here.
            Event::Declined { number, reason } if *reason != DeclineReason::BegunBefore => {
                self.progress.say(&format!(
                    "{} declined round {number}: {reason}",
                    super::settings::client_name(self.index)
                ));
            }
            _ => {}
        }
    }
}
