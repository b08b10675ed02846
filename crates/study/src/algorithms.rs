//! Federated algorithms on the demo's mail, private and not.

use std::sync::Arc;

use undertone_privacy::{Delta, Epsilon};
use undertone_training::data::{HeldOut, partition};
use undertone_training::{Features, Metrics, Model, TrainingConfig, simulation};

use crate::Setting;
use crate::error::StudyError;
use crate::mail::{Cut, Mailbox};
use crate::report::Report;
use crate::seeds::generator;
use crate::settings::{self, CLIENTS, DELTA, ROUNDS, SPLIT};
use crate::table::{Cell, Column, Form, Table};

/// The target of private trainings, for one example at [`DELTA`].
const EPSILON: f64 = 5.0;

/// Runs the study.
///
/// # Errors
/// [`StudyError`]: the mail is missing, or training failed.
pub fn run(setting: &Setting<'_>) -> Result<Report, StudyError> {
    let open = settings::training();
    let (epsilon, delta) = (Epsilon::new(EPSILON)?, Delta::new(DELTA)?);
    let private = settings::private(open.clone(), ROUNDS, epsilon, delta)?;
    let mailbox = Mailbox::open(setting.cache, open.sequence_length, &setting.watch)?;
    let depth = Model::new(mailbox.encoder().clone(), open.clone())?.depth();
    let data = Data {
        features: mailbox.features(depth, &setting.watch)?,
        split: mailbox.split(SPLIT),
        mailbox,
    };
    let mut rows = Vec::new();
    for (words, config) in [("FedAvg", &open), ("FedAvg, private", &private)] {
        let mut metrics = Vec::new();
        for seed in 1..=setting.seeds {
            setting.begin(format!("{words}, seed {seed}"));
            metrics.push(data.train(setting, config, seed)?);
        }
        let over = |figure: fn(&Metrics) -> f64| {
            Cell::over(&metrics.iter().map(figure).collect::<Vec<_>>())
        };
        let promise = config.privacy.map_or(Cell::EMPTY, |_| EPSILON.into());
        rows.push(vec![
            words.into(),
            promise,
            over(|m| m.accuracy),
            over(|m| m.auc.unwrap_or(f64::NAN)),
            over(|m| m.loss),
        ]);
    }
    let table = Table {
        title: "Federated averaging on the demo's mail".into(),
        settings: vec![
            ("clients".into(), CLIENTS.to_string()),
            ("rounds".into(), ROUNDS.to_string()),
            ("local steps".into(), open.local_steps.to_string()),
            ("learning rate".into(), open.learning_rate.to_string()),
            ("seeds".into(), setting.seeds.to_string()),
        ],
        columns: vec![
            Column::new("algorithm", Form::Text),
            Column::new("epsilon at most", Form::UpperBound(1)),
            Column::new("accuracy, %", Form::Percent(1)),
            Column::new("AUC", Form::Number(3)),
            Column::new("loss, nats", Form::Number(3)),
        ],
        rows,
        notes: vec![format!(
            "Epsilon at delta {DELTA:e} for one mail of a client that trains in every round \
             (example level, add-or-remove-one, RDP). Mean ± standard deviation over seeds, which \
             deal the mail out anew and drive sampling and noise."
        )],
    };
    Ok(Report {
        tables: vec![table],
        ..Report::default()
    })
}

/// All mail, ready to be dealt out.
struct Data {
    mailbox: Mailbox,
    features: Features,
    split: HeldOut,
}

impl Data {
    /// One training of everyone in every round; the last model on the held-out mail.
    fn train(
        &self,
        setting: &Setting<'_>,
        config: &TrainingConfig,
        seed: u64,
    ) -> Result<Metrics, StudyError> {
        let (mails, train) = (self.mailbox.mails(), &self.split.train);
        let shares = partition(mails, train, usize::from(CLIENTS), seed)?;
        let cut = Cut::new(&self.features, &shares, &self.split.held_out)?;
        let model = Model::new(self.mailbox.encoder().clone(), config.clone())?;
        let metrics = simulation::federated(
            &Arc::new(model),
            (&cut.clients, &cut.held_out),
            ROUNDS,
            |_, _| true,
            |client| generator(seed, u64::try_from(client).unwrap_or(u64::MAX)),
            |done, of| {
                let wide = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
                setting.at(wide(done), wide(of));
            },
        )?;
        Ok(metrics)
    }
}
