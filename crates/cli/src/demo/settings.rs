//! The demo's task: its hyper-parameters, what they cost in privacy, and what is to be said of it.

use undertone_client::lora::mechanism_of;
use undertone_privacy::{Delta, Epsilon, Mechanism, RdpAccountant};
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::threshold::{Rule, default_corruptions};
use undertone_server::schedule::ScheduleSettings;
use undertone_server::store::{GraphSettings, ServerOptimizer, TaskSettings};
use undertone_study::settings::{self as study, DELTA};
use undertone_training::TrainingConfig;

use crate::error::CliError;

pub(super) use undertone_study::settings::{CLIENTS, ROUNDS};

/// Epsilon by default.
pub(super) const EPSILON: &str = "5";

/// Everyone masks with everyone, and fewer than a third may be corrupt.
fn rule() -> Rule {
    let clients = u32::from(CLIENTS);
    Rule::complete(clients, default_corruptions(clients))
}

/// Mails in a batch of the central run, in expectation: what the clients of a round have together.
pub(super) const CENTRAL_BATCH: f64 = 100.0;

/// Phases after AdvertiseKeys close after so many milliseconds where somebody vanished.
const PHASE_MS: u32 = 2_000;

/// AdvertiseKeys waits for everyone's training.
const TRAINING_MS: u32 = 300_000;

/// All settings of one run.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) rounds: u32,
    pub(super) delta: Delta,
    pub(super) training: TrainingConfig,
    pub(super) mechanism: Mechanism,
    pub(super) task: TaskSettings,
}

impl Settings {
    /// The settings whose noise keeps `rounds` rounds within `epsilon` at delta 1e-5.
    pub(super) fn new(rounds: u32, epsilon: Epsilon) -> Result<Self, CliError> {
        let delta = Delta::new(DELTA)?;
        let training = study::private(study::training(), rounds, epsilon, delta)?;
        let mechanism = mechanism_of(&training, 16.0, 65_536.0)?;
        let task = TaskSettings {
            rounds,
            cohort: CLIENTS.into(),
            min_survivors: rule().min_survivors,
            graph: GraphSettings::default(),
            schedule: ScheduleSettings::default(),
            bits: 32,
            server_optimizer: ServerOptimizer::default(),
            deadlines_ms: [TRAINING_MS, PHASE_MS, PHASE_MS, PHASE_MS, PHASE_MS],
            budget: None,
        };
        Ok(Self {
            rounds,
            delta,
            training,
            mechanism,
            task,
        })
    }

    /// Epsilon of a client that took part in so many rounds.
    pub(super) fn epsilon_after(&self, rounds: u32) -> Result<f64, CliError> {
        let mut accountant = RdpAccountant::new();
        if let Some(per_round) = self.mechanism.per_round() {
            for _ in 0..rounds {
                accountant.compose(per_round);
            }
        }
        Ok(accountant.epsilon(self.delta)?.get())
    }

    /// Who vanishes in a round, before sending the message of which phase: two clients, at
    /// different phases, others each time.
    pub(super) fn vanishing(round: u32) -> [(usize, PhaseName); 2] {
        use PhaseName::{ConsistencyCheck, MaskedInput, ShareKeys, Unmask};
        let phases = [
            [ShareKeys, MaskedInput],
            [MaskedInput, ConsistencyCheck],
            [ConsistencyCheck, Unmask],
            [Unmask, ShareKeys],
        ];
        let turn = usize::try_from(round.saturating_sub(1)).unwrap_or(0);
        let [first, second] = phases[turn % phases.len()];
        let client = |offset: usize| (2 * turn + offset) % usize::from(CLIENTS);
        [(client(0), first), (client(1), second)]
    }

    pub(super) fn to_json(&self) -> Result<serde_json::Value, CliError> {
        Ok(serde_json::json!({
            "clients": CLIENTS,
            "threshold": rule().threshold,
            "training": serde_json::to_value(&self.training)?,
            "mechanism": serde_json::to_value(self.mechanism)?,
            "task": serde_json::to_value(&self.task)?,
        }))
    }

    /// What a reader should know besides the figures.
    pub(super) fn notes(&self) -> Vec<String> {
        let layers = self.training.lora.as_ref().map_or(0, |lora| lora.layers);
        vec![
            format!(
                "The model sees subject and body, {} tokens of each mail. LoRA trains the last \
                 {layers} of 6 layers; the activations below are computed once.",
                self.training.sequence_length
            ),
            "Mails that nearly repeat another were dropped before the split, so none stands on \
             both sides of it."
                .into(),
            "Epsilon is that of a client that trained in every round, for one of its mails. Each \
             client samples its own batches and adds its own noise before masking; no one else is \
             trusted for it."
                .into(),
            "The federated run without noise, the clients alone and the private head are averaged \
             in this process with the same dropouts, without masks; the private run went through \
             the protocol and HTTP. Accuracy over rounds is measured on the held-out mail for \
             this report only and steers nothing."
                .into(),
            "Not covered by epsilon: which clients took part, how many mails each has (its \
             sampling is relative to that number), and timing."
                .into(),
        ]
    }
}

/// The name of a client in tables and plots.
pub(super) fn client_name(index: usize) -> String {
    format!("mail-{:02}", index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_kept_and_two_vanish_at_different_phases() {
        let settings = Settings::new(8, Epsilon::new(5.0).unwrap()).unwrap();
        let epsilon = settings.epsilon_after(8).unwrap();
        assert!(epsilon <= 5.0 && epsilon > 4.9, "{epsilon}");
        for round in 1..=24 {
            let [(a, p), (b, q)] = Settings::vanishing(round);
            assert!(a != b && p != q && a < 12 && b < 12);
        }
    }
}
