//! The mechanisms compared on the demo's mail, at one epsilon and delta and each at its own unit.

use std::sync::Arc;

use rand_core::CryptoRng;
use undertone_privacy::distributed::{DEFAULT_BITS, Layout, Setup};
use undertone_privacy::{Delta, Epsilon, SamplingRate};
use undertone_protocol::adapter::Adapter;
use undertone_training::data::partition;
use undertone_training::simulation::moved;
use undertone_training::{
    Features, LocalTrainer, Metrics, Model, TrainingConfig, evaluate, simulation,
};

use crate::Setting;
use crate::error::StudyError;
use crate::mail::{Cut, Mailbox};
use crate::report::Report;
use crate::seeds::generator;
use crate::settings::{self, CLIENTS, DELTA, LOCAL_STEPS, ROUNDS, SAMPLING_RATE, SPLIT};
use crate::sums::Sums;
use crate::table::{Cell, Column, Form, Table, figures};

/// The target of every private training.
const EPSILON: f64 = 5.0;

/// The largest L2 norm of one example's gradient.
const CLIP: f64 = 1.0;

/// Steps of training by examples' gradients: as many as a client makes in the others.
const STEPS: u32 = ROUNDS * LOCAL_STEPS;

/// Step size of one step a round, without momentum: that of the demo with its momentum of 1/2.
const RATE: f64 = 4.0;

/// Honest survivors whose noise counts: ten of twelve survive at least, three may be corrupt.
const HONEST: u32 = 7;

/// The largest L2 norm of a client's update, and its rounds: a client's whole update is hidden by
/// noise of this size, so that fewer rounds and shorter updates than elsewhere do better.
const UPDATE_CLIP: f64 = 1.0;
const CLIENT_ROUNDS: u32 = 3;

/// One party's number for [`generator`], beyond all clients.
const SERVER: u64 = 1000;

/// Runs the study.
///
/// # Errors
/// [`StudyError`]: the mail is missing, or training failed.
pub fn run(setting: &Setting<'_>) -> Result<Report, StudyError> {
    let config = settings::training().head_only();
    let mailbox = Mailbox::open(setting.cache, config.sequence_length, &setting.watch)?;
    let features = mailbox.sentences(&setting.watch)?;
    let split = mailbox.split(SPLIT);
    let mut all: Vec<Vec<Metrics>> = vec![Vec::new(); NAMES.len()];
    for seed in 1..=setting.seeds {
        let shares = partition(mailbox.mails(), &split.train, usize::from(CLIENTS), seed)?;
        let cut = Cut::new(&features, &shares, &split.held_out)?;
        let run = Training {
            mailbox: &mailbox,
            config: &config,
            cut,
            seed,
        };
        for (i, (metrics, (name, ..))) in all.iter_mut().zip(NAMES).enumerate() {
            setting.begin(format!("{name}, seed {seed}"));
            metrics.push(run.train(i)?);
        }
    }
    Ok(Report {
        tables: vec![table(setting, &config, &all)],
        ..Report::default()
    })
}

/// Name, unit, and who sees something that is not private.
const NAMES: [(&str, &str, &str); 5] = [
    ("central DP-SGD", "example", "who trains: all mail"),
    ("distributed DP-SGD", "example", "nobody"),
    ("local DP-SGD", "example", "nobody"),
    ("distributed DP-FedAvg", "client", "nobody"),
    ("federated averaging, no noise", "", "everybody: the models"),
];

fn table(setting: &Setting<'_>, config: &TrainingConfig, all: &[Vec<Metrics>]) -> Table {
    let rows = NAMES.iter().zip(all).map(|((name, unit, sees), metrics)| {
        let [accuracy, auc, _] = figures(metrics);
        let private = !unit.is_empty();
        vec![
            (*name).into(),
            if private { (*unit).into() } else { Cell::EMPTY },
            if private { EPSILON.into() } else { Cell::EMPTY },
            (*sees).into(),
            accuracy,
            auc,
        ]
    });
    Table {
        title: "Mechanisms at the same epsilon on the demo's mail".into(),
        settings: vec![
            ("clients".into(), CLIENTS.to_string()),
            (
                "model".into(),
                "classification head on sentence vectors, 770 values".into(),
            ),
            ("steps by examples' gradients".into(), STEPS.to_string()),
            ("sampling rate".into(), config.sampling_rate.to_string()),
            ("clip norm of a gradient".into(), CLIP.to_string()),
            (
                "rounds, clip norm of updates".into(),
                format!("{CLIENT_ROUNDS}, {UPDATE_CLIP}"),
            ),
            (
                "noise counted".into(),
                format!("{HONEST} of {CLIENTS} clients"),
            ),
            ("ring".into(), format!("{DEFAULT_BITS} bits")),
            ("seeds".into(), setting.seeds.to_string()),
        ],
        columns: vec![
            Column::new("mechanism", Form::Text),
            Column::new("unit", Form::Text),
            Column::new("epsilon at most", Form::UpperBound(1)),
            Column::new("who sees what is not private", Form::Text),
            Column::new("accuracy, %", Form::Percent(1)),
            Column::new("AUC", Form::Number(3)),
        ],
        rows: rows.collect(),
        notes: vec![
            format!(
                "Epsilon at delta {DELTA:e}, add-or-remove-one, RDP, over the whole training. Rows \
                 with different units promise different things: an epsilon for a client hides all \
                 its mails at once, which noise over twelve clients can hardly do. Distributed \
                 noise is counted for {HONEST} honest clients, and all {CLIENTS} add theirs."
            ),
            "Mean ± standard deviation over seeds, which deal the mail out anew and drive sampling \
             and noise."
                .into(),
        ],
    }
}

/// One seed's data.
struct Training<'a> {
    mailbox: &'a Mailbox,
    config: &'a TrainingConfig,
    cut: Cut,
    seed: u64,
}

impl Training<'_> {
    fn train(&self, which: usize) -> Result<Metrics, StudyError> {
        match which {
            0 => self.central(),
            1 => self.distributed(),
            2 => {
                let target = (Epsilon::new(EPSILON)?, Delta::new(DELTA)?);
                let config = settings::private(self.config.clone(), ROUNDS, target.0, target.1)?;
                self.averaged(config)
            }
            3 => self.by_clients(),
            _ => self.averaged(self.config.clone()),
        }
    }

    fn model(&self, config: TrainingConfig) -> Result<Arc<Model>, StudyError> {
        Ok(Arc::new(Model::new(
            self.mailbox.encoder().clone(),
            config,
        )?))
    }

    /// The settings for one step on a round's gradients.
    fn one_step(&self) -> TrainingConfig {
        TrainingConfig {
            local_steps: 1,
            momentum: 0.0,
            ..self.config.clone()
        }
    }

    fn averaged(&self, config: TrainingConfig) -> Result<Metrics, StudyError> {
        let data = (self.cut.clients.as_slice(), &self.cut.held_out);
        let model = self.model(config)?;
        let rng = |client| generator(self.seed, u64::try_from(client).unwrap_or(u64::MAX));
        let everyone = |_, _| true;
        Ok(simulation::federated(
            &model,
            data,
            ROUNDS,
            everyone,
            rng,
            |_, _| (),
        )?)
    }

    /// Expected number of examples in a step.
    fn batch(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let examples = self.cut.pooled.len() as f64;
        SAMPLING_RATE * examples
    }

    /// One place, continuous Gaussian noise.
    fn central(&self) -> Result<Metrics, StudyError> {
        let config = TrainingConfig {
            learning_rate: RATE,
            ..self.one_step()
        };
        let target = (Epsilon::new(EPSILON)?, Delta::new(DELTA)?);
        let model = self.model(settings::private(config, STEPS, target.0, target.1)?)?;
        let data = (&self.cut.pooled, &self.cut.held_out);
        let rng = generator(self.seed, SERVER);
        Ok(simulation::alone(&model, data, STEPS, rng, |_, _| ())?)
    }

    /// Gradients of examples, encoded one by one, and Skellam noise in their sum.
    fn distributed(&self) -> Result<Metrics, StudyError> {
        let model = self.model(self.one_step())?;
        let mut global = model.initial_adapter();
        let sampled = SamplingRate::new(SAMPLING_RATE)?;
        let clients = self.cut.clients.iter().map(Features::len);
        // Twice the expectation of the largest client is beyond six deviations.
        let largest = clients.max().unwrap_or(0) / 5;
        let sums = sums((sampled, STEPS), &global, (CLIP, largest))?;
        let mut trainers = self.trainers(&model)?;
        let mut server = generator(self.seed, SERVER);
        for step in 0..u64::from(STEPS) {
            let mut round = sums.round(&mut server)?;
            for (client, trainer) in (1_u64..).zip(&mut trainers) {
                let noise = generator(self.seed, SERVER + 1000 * client + step);
                let mut contribution = round.client(noise);
                trainer.contributions(&global, |gradient| {
                    Ok::<_, StudyError>(contribution.add(gradient)?)
                })?;
                round.add(contribution);
            }
            let mean = round.mean(self.batch());
            global = moved(&global, mean.into_iter().map(|m| RATE * m))?;
        }
        Ok(evaluate(&model, &global, &self.cut.held_out)?)
    }

    /// Clipped updates, and Skellam noise in their sum.
    fn by_clients(&self) -> Result<Metrics, StudyError> {
        let model = self.model(self.config.clone())?;
        let mut global = model.initial_adapter();
        let sums = sums(
            (SamplingRate::ONE, CLIENT_ROUNDS),
            &global,
            (UPDATE_CLIP, 1),
        )?;
        let mut trainers = self.trainers(&model)?;
        let mut server = generator(self.seed, SERVER);
        for number in 0..u64::from(CLIENT_ROUNDS) {
            let mut round = sums.round(&mut server)?;
            for (client, trainer) in (1_u64..).zip(&mut trainers) {
                let noise = generator(self.seed, SERVER + 1000 * client + number);
                let mut contribution = round.client(noise);
                contribution.add(&trainer.train(&global, |_, _| ())?.delta)?;
                round.add(contribution);
            }
            global = moved(&global, round.mean(f64::from(CLIENTS)))?;
        }
        Ok(evaluate(&model, &global, &self.cut.held_out)?)
    }

    /// A trainer for each client.
    fn trainers(
        &self,
        model: &Arc<Model>,
    ) -> Result<Vec<LocalTrainer<impl CryptoRng + use<>>>, StudyError> {
        let trainer = |(client, features): (u64, &Features)| {
            let rng = generator(self.seed, client);
            Ok(LocalTrainer::new(Arc::clone(model), features.clone(), rng)?)
        };
        (0..).zip(&self.cut.clients).map(trainer).collect()
    }
}

/// The grid and the noise that keep so many rounds within the target.
fn sums(
    (rate, rounds): (SamplingRate, u32),
    adapter: &Adapter,
    (clip, contributions): (f64, usize),
) -> Result<Sums, StudyError> {
    let setup = Setup {
        clients: CLIENTS.into(),
        layout: Layout::all(u32::try_from(adapter.len()).unwrap_or(u32::MAX)),
        clip,
        rounds,
        contributions: u32::try_from(contributions).unwrap_or(u32::MAX).max(1),
        noise: None,
    };
    let target = (Epsilon::new(EPSILON)?, Delta::new(DELTA)?);
    Sums::within(target, (rate, HONEST), setup, DEFAULT_BITS)
}
