//! Federated algorithms on the demo's mail, private and not, where clients are unlike each other.

mod compared;

use std::sync::Arc;

use undertone_privacy::{Delta, Epsilon};
use undertone_training::data::{HeldOut, Wanted, deal_out};
use undertone_training::simulation::{Run, train_federated};
use undertone_training::{Features, Metrics, Model, evaluate};

use crate::Setting;
use crate::error::StudyError;
use crate::mail::{Cut, Mailbox};
use crate::report::Report;
use crate::seeds::generator;
use crate::settings::{self, CLIENTS, DELTA, ROUNDS, SPLIT, TUNING_SPLITS};
use crate::table::{Cell, Column, Form, Table, figures};
use compared::{Algorithm, CANDIDATES, CHOSEN, Privacy, Trained, VARIANT_CANDIDATES, VARIANTS};

/// The target of private trainings, for one example at [`DELTA`].
const EPSILON: f64 = 5.0;

/// In each round so many clients, chosen by the seed, are not in the sum.
const DROPPED: u32 = 2;

/// The comparison: settings that were chosen on another split ([`tune`]), on the reported one.
///
/// # Errors
/// [`StudyError`]: the mail is missing, or training failed.
pub fn run(setting: &Setting<'_>) -> Result<Report, StudyError> {
    compare(
        setting,
        &CHOSEN,
        "Federated algorithms, the head alone",
        Trained::Head,
    )
}

/// LoRA's variants by which factors are averaged, with rates chosen by [`tune_variants`].
///
/// # Errors
/// As [`run`].
pub fn variants(setting: &Setting<'_>) -> Result<Report, StudyError> {
    let what = "LoRA in the last layer, by which factors are averaged";
    compare(setting, &VARIANTS, what, Trained::Lora)
}

fn compare(
    setting: &Setting<'_>,
    algorithms: &[Algorithm],
    what: &str,
    trained: Trained,
) -> Result<Report, StudyError> {
    let data = Data::load(setting, SPLIT)?;
    let rows = measured(setting, &data, algorithms)?;
    let title = format!(
        "{what}: {CLIENTS} unlike clients, {ROUNDS} rounds, without noise and at epsilon {EPSILON}"
    );
    Ok(Report {
        tables: vec![table(setting, &data, (title, SPLIT, trained), rows)?],
        ..Report::default()
    })
}

/// How the settings were chosen: every candidate on a split that is not reported.
///
/// # Errors
/// As [`run`].
pub fn tune(setting: &Setting<'_>) -> Result<Report, StudyError> {
    candidates(setting, &CANDIDATES, Trained::Head)
}

/// The same for LoRA's variants.
///
/// # Errors
/// As [`run`].
pub fn tune_variants(setting: &Setting<'_>) -> Result<Report, StudyError> {
    candidates(setting, &VARIANT_CANDIDATES, Trained::Lora)
}

fn candidates(
    setting: &Setting<'_>,
    algorithms: &[Algorithm],
    trained: Trained,
) -> Result<Report, StudyError> {
    let [split, _] = TUNING_SPLITS;
    let data = Data::load(setting, split)?;
    let rows = measured(setting, &data, algorithms)?;
    let title = format!("Candidates for settings, on split {split} of the mail");
    let table = table(setting, &data, (title, split, trained), rows)?;
    Ok(Report {
        tables: vec![table],
        ..Report::default()
    })
}

/// A row for each algorithm.
fn measured(
    setting: &Setting<'_>,
    data: &Data,
    algorithms: &[Algorithm],
) -> Result<Vec<Vec<Cell>>, StudyError> {
    let mut rows = Vec::new();
    for (done, algorithm) in algorithms.iter().enumerate() {
        let mut row: Vec<Cell> = vec![algorithm.name.into(), algorithm.settings_text().into()];
        for privacy in [Privacy::None, Privacy::Example] {
            setting.begin(format!("{}, {}", algorithm.name, privacy.words()));
            setting.at(done, algorithms.len());
            let metrics = (1..=setting.seeds)
                .map(|seed| data.train(algorithm, privacy, seed))
                .collect::<Result<Vec<_>, _>>()?;
            row.extend(figures(&metrics));
        }
        rows.push(row);
    }
    Ok(rows)
}

fn table(
    setting: &Setting<'_>,
    data: &Data,
    (title, split, trained): (String, u64, Trained),
    rows: Vec<Vec<Cell>>,
) -> Result<Table, StudyError> {
    let base = trained.training();
    let shares = data.shares(1)?;
    let mut sizes: Vec<usize> = shares.iter().map(|share| share.rows.len()).collect();
    sizes.sort_unstable();
    let mut rates: Vec<f64> = shares.iter().map(|share| 100.0 * share.spam_rate).collect();
    rates.sort_by(f64::total_cmp);
    let rates: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    let mut columns = vec![
        Column::new("algorithm", Form::Text),
        Column::new("settings", Form::Text),
    ];
    for private in ["", "private "] {
        columns.extend([
            Column::new(format!("{private}accuracy, %"), Form::Percent(1)),
            Column::new(format!("{private}AUC"), Form::Number(3)),
            Column::new(format!("{private}loss"), Form::Number(3)),
        ]);
    }
    Ok(Table {
        title,
        settings: vec![
            ("mails of the clients (seed 1)".into(), format!("{sizes:?}")),
            ("their spam rates, % (seed 1)".into(), rates.join(", ")),
            ("held-out mails".into(), data.split.held_out.len().to_string()),
            ("split".into(), split.to_string()),
            ("seeds".into(), setting.seeds.to_string()),
            ("tokens of a mail".into(), base.sequence_length.to_string()),
            ("local steps".into(), base.local_steps.to_string()),
            ("sampling rate".into(), base.sampling_rate.to_string()),
            ("not in the sum of a round".into(), format!("{DROPPED} clients")),
        ],
        columns,
        rows,
        notes: vec![
            format!(
                "Private: local DP-SGD of clip norm 1, epsilon {EPSILON} at delta {DELTA:e} for one \
                 mail of a client that trains in every round (example level, add-or-remove-one, RDP \
                 of the Poisson-subsampled Gaussian). Clients' numbers of mails are not covered."
            ),
            "Loss is the mean cross-entropy in nats. Mean ± standard deviation over seeds, which deal the mail out anew and drive sampling, \
             noise and drop-outs. Trained in one process, in the clear, by the functions that the \
             service and its clients call."
                .into(),
        ],
    })
}

/// All mail, ready to be dealt out.
struct Data {
    mailbox: Mailbox,
    /// Below the last layer.
    below: Features,
    /// Sentence vectors.
    pooled: Features,
    split: HeldOut,
}

impl Data {
    fn load(setting: &Setting<'_>, split: u64) -> Result<Self, StudyError> {
        let base = Trained::Lora.training();
        let mailbox = Mailbox::open(setting.cache, base.sequence_length, &setting.watch)?;
        let depth = Model::new(mailbox.encoder().clone(), base)?.depth();
        let below = mailbox.features(depth, &setting.watch)?;
        let pooled = mailbox.pooled(&below, &setting.watch)?;
        Ok(Self {
            below,
            pooled,
            split: mailbox.split(split),
            mailbox,
        })
    }

    /// Shares of 1, 2, 4 or 8 parts; of the three clients of each size one has mostly spam, and the
    /// others hardly any.
    fn shares(&self, seed: u64) -> Result<Vec<undertone_training::data::ClientShare>, StudyError> {
        let wanted: Vec<Wanted> = (0..CLIENTS)
            .map(|client| Wanted {
                size: f64::from(1_u16 << (client % 4)),
                spam_rate: if client / 4 % 2 == 0 { 0.04 } else { 0.8 },
            })
            .collect();
        let (mails, train) = (self.mailbox.mails(), &self.split.train);
        Ok(deal_out(mails, train, &wanted, seed)?)
    }

    /// One training; the last model on the held-out mail.
    fn train(
        &self,
        algorithm: &Algorithm,
        privacy: Privacy,
        seed: u64,
    ) -> Result<Metrics, StudyError> {
        let shares = self.shares(seed)?;
        let features = match algorithm.trained {
            Trained::Head => &self.pooled,
            Trained::Lora => &self.below,
        };
        let cut = Cut::new(features, &shares, &self.split.held_out)?;
        let largest = shares
            .iter()
            .map(|share| share.rows.len())
            .max()
            .unwrap_or(1);
        let mut config = algorithm.training(u64::try_from(largest).unwrap_or(u64::MAX));
        if privacy == Privacy::Example {
            let (epsilon, delta) = (Epsilon::new(EPSILON)?, Delta::new(DELTA)?);
            config = settings::private(config, ROUNDS, epsilon, delta)?;
        }
        let model = Arc::new(Model::new(self.mailbox.encoder().clone(), config)?);
        let run = Run {
            rounds: ROUNDS,
            in_sum: |round, client| !dropped(seed, round).contains(&client),
        };
        let adapter = train_federated(
            &model,
            algorithm.aggregation,
            &cut.clients,
            &run,
            |client| generator(seed, u64::try_from(client).unwrap_or(u64::MAX)),
            |_, _| (),
        )?;
        Ok(evaluate(&model, &adapter, &cut.held_out)?)
    }
}

/// Who is not in the sum of a round.
fn dropped(seed: u64, round: u32) -> Vec<usize> {
    use rand_core::Rng;
    let mut rng = generator(seed, 1 << 32 | u64::from(round));
    let mut order: Vec<(u64, usize)> = (0..usize::from(CLIENTS))
        .map(|client| (rng.next_u64(), client))
        .collect();
    order.sort_unstable();
    let dropped = usize::try_from(DROPPED).unwrap_or(0);
    order
        .into_iter()
        .take(dropped)
        .map(|(_, client)| client)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clients_are_left_out_of_each_round_and_not_always_the_same() {
        let of: Vec<Vec<usize>> = (1..=8).map(|round| dropped(1, round)).collect();
        for left_out in &of {
            assert_eq!(left_out.len(), 2);
            assert!(left_out[0] != left_out[1] && left_out.iter().all(|client| *client < 12));
        }
        assert!(of.iter().any(|other| other != &of[0]));
        assert_eq!(dropped(1, 3), of[2]);
    }
}
