//! Which algorithms are compared, and by which settings.

use std::fmt::Write;

use undertone_federated::ServerOptimizer;
use undertone_federated::optimizer::Adaptive;
use undertone_federated::weight::Weighting;
use undertone_training::simulation::Aggregation;
use undertone_training::{ClientAlgorithm, LoraVariant, TrainingConfig};

use crate::settings;

/// Whether a training is private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Privacy {
    /// Not at all.
    None,
    /// For one example.
    Example,
}

impl Privacy {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::None => "without noise",
            Self::Example => "private",
        }
    }
}

/// What is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trained {
    /// The head on sentence vectors that are computed once: cheap enough for many seeds.
    Head,
    /// LoRA in the last layer, and the head.
    Lora,
}

impl Trained {
    /// The demo's settings with half the tokens, so that all algorithms, private and not, over a few
    /// seeds, take minutes.
    pub(super) fn training(self) -> TrainingConfig {
        let config = TrainingConfig {
            sequence_length: 32,
            ..settings::training()
        };
        match self {
            Self::Head => config.head_only(),
            Self::Lora => config,
        }
    }
}

/// One algorithm with its settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Algorithm {
    pub(super) name: &'static str,
    pub(super) trained: Trained,
    pub(super) aggregation: Aggregation,
    client: ClientAlgorithm,
    weighted: bool,
    variant: LoraVariant,
    learning_rate: f64,
}

impl Algorithm {
    /// The settings of local training; a client of `largest` mails has weight 1.
    pub(super) fn training(&self, largest: u64) -> TrainingConfig {
        let mut config = self.trained.training();
        config.learning_rate = self.learning_rate;
        config.federated.algorithm = self.client;
        if self.client == (ClientAlgorithm::Scaffold {}) {
            config.momentum = 0.0;
        }
        if self.weighted {
            config.federated.weighting = Weighting::Examples { cap: largest };
        }
        if let Some(lora) = &mut config.lora {
            lora.variant = self.variant;
        }
        config
    }

    /// What distinguishes it, for a column of the table.
    pub(super) fn settings_text(&self) -> String {
        let momentum = self.training(1).momentum;
        let mut text = format!("rate {}, momentum {momentum}", self.learning_rate);
        if let ClientAlgorithm::FedProx { mu } = self.client {
            // Writing to a string cannot fail.
            let _ = write!(text, ", mu {mu}");
        }
        if let ServerOptimizer::FedAdam(adaptive) | ServerOptimizer::FedYogi(adaptive) =
            self.aggregation.optimizer
        {
            let Adaptive {
                learning_rate, tau, ..
            } = adaptive;
            let _ = write!(text, ", server rate {learning_rate}, tau {tau}");
        }
        text
    }

    const fn new(name: &'static str) -> Self {
        Self {
            name,
            trained: Trained::Head,
            aggregation: Aggregation {
                optimizer: ServerOptimizer::FedAvg { learning_rate: 1.0 },
                products: false,
            },
            client: ClientAlgorithm::FedAvg {},
            weighted: false,
            variant: LoraVariant::Ffa,
            learning_rate: 2.0,
        }
    }

    const fn rate(self, learning_rate: f64) -> Self {
        Self {
            learning_rate,
            ..self
        }
    }

    const fn client(self, client: ClientAlgorithm) -> Self {
        Self { client, ..self }
    }

    const fn server(self, optimizer: ServerOptimizer) -> Self {
        let aggregation = Aggregation {
            optimizer,
            ..self.aggregation
        };
        Self {
            aggregation,
            ..self
        }
    }
}

const FED_AVG: Algorithm = Algorithm::new("FedAvg, uniform");

const WEIGHTED: Algorithm = Algorithm {
    weighted: true,
    ..Algorithm::new("FedAvg, weighted by examples")
};

const fn fed_prox(mu: f64) -> Algorithm {
    Algorithm::new("FedProx").client(ClientAlgorithm::FedProx { mu })
}

const SCAFFOLD: Algorithm = Algorithm::new("SCAFFOLD").client(ClientAlgorithm::Scaffold {});

const fn fed_adam(learning_rate: f64) -> Algorithm {
    Algorithm::new("FedAdam").server(ServerOptimizer::FedAdam(Adaptive::new(learning_rate)))
}

const fn fed_yogi(learning_rate: f64) -> Algorithm {
    Algorithm::new("FedYogi").server(ServerOptimizer::FedYogi(Adaptive::new(learning_rate)))
}

const FFA: Algorithm = Algorithm {
    trained: Trained::Lora,
    ..Algorithm::new("FFA-LoRA, B averaged")
};

const PLAIN: Algorithm = Algorithm {
    learning_rate: 0.5,
    name: "plain LoRA, A and B averaged",
    variant: LoraVariant::Plain,
    ..FFA
};

const PRODUCTS: Algorithm = Algorithm {
    name: "plain LoRA, products averaged (SVD)",
    aggregation: Aggregation {
        products: true,
        ..PLAIN.aggregation
    },
    ..PLAIN
};

/// What is reported of algorithms: of each the candidate with the highest accuracy, the mean of that
/// without noise and that of private training.
pub(super) const CHOSEN: [Algorithm; 6] = [
    FED_AVG,
    WEIGHTED,
    fed_prox(0.01),
    SCAFFOLD,
    fed_adam(0.1),
    fed_yogi(0.1),
];

/// What is reported of LoRA's variants, chosen likewise.
pub(super) const VARIANTS: [Algorithm; 3] = [FFA, PLAIN, PRODUCTS];

/// What it was chosen from, with [`super::tune_variants`].
pub(super) const VARIANT_CANDIDATES: [Algorithm; 9] = [
    FFA.rate(0.125),
    FFA.rate(0.5),
    FFA,
    PLAIN.rate(0.125),
    PLAIN,
    PLAIN.rate(2.0),
    PRODUCTS.rate(0.125),
    PRODUCTS,
    PRODUCTS.rate(2.0),
];

/// What it was chosen from, with [`super::tune`].
pub(super) const CANDIDATES: [Algorithm; 19] = [
    FED_AVG.rate(0.5),
    FED_AVG.rate(1.0),
    FED_AVG,
    FED_AVG.rate(4.0),
    fed_prox(0.01),
    fed_prox(0.1),
    fed_prox(0.3),
    SCAFFOLD.rate(1.0),
    SCAFFOLD,
    SCAFFOLD.rate(4.0),
    SCAFFOLD.rate(8.0),
    fed_adam(0.03),
    fed_adam(0.1),
    fed_adam(0.3),
    fed_adam(1.0),
    fed_yogi(0.03),
    fed_yogi(0.1),
    fed_yogi(0.3),
    fed_yogi(1.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_valid_and_every_choice_was_a_candidate() {
        let candidates = || CANDIDATES.iter().chain(&VARIANT_CANDIDATES);
        let chosen = || CHOSEN.iter().chain(&VARIANTS);
        for algorithm in chosen().chain(candidates()) {
            algorithm.training(100).validate().unwrap();
            algorithm.aggregation.optimizer.validate().unwrap();
        }
        for chosen in chosen() {
            // Weighting has nothing to choose.
            let same = |other: &Algorithm| {
                other.name == chosen.name && other.settings_text() == chosen.settings_text()
            };
            assert!(chosen.weighted || candidates().any(same), "{}", chosen.name);
        }
    }
}
