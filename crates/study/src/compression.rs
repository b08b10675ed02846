//! Fewer bits and fewer coordinates: what a client sends, and what the model is worth.

use std::sync::Arc;

use undertone_privacy::distributed::{Layout, Setup};
use undertone_protocol::adapter::Adapter;
use undertone_training::data::partition;
use undertone_training::simulation::moved;
use undertone_training::{LocalTrainer, Metrics, Model, TrainingConfig, evaluate};

use crate::Setting;
use crate::error::StudyError;
use crate::mail::{Cut, Mailbox};
use crate::report::Report;
use crate::seeds::generator;
use crate::settings::{self, CLIENTS, ROUNDS, SPLIT};
use crate::sums::Sums;
use crate::table::{Cell, Column, Form, Table, figures};

/// The largest L2 norm of an update: none of the demo's is longer.
const CLIP: f64 = 8.0;

/// Tokens that are read of a mail: half of the demo's, so that three seeds take minutes.
const TOKENS: usize = 32;

/// Ring units for 1.0 of the encoding without rotation, in 32 bits.
const SCALE: f64 = 65536.0;

/// What is sent.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Each value by itself, in 32 bits.
    Plain,
    /// Rotated, in so many bits.
    Bits(u8),
    /// Rotated, one in so many coordinates, in so many bits.
    Sparse(u32, u8),
}

const WAYS: [Way; 9] = [
    Way::Plain,
    Way::Bits(16),
    Way::Bits(12),
    Way::Bits(10),
    Way::Bits(9),
    Way::Bits(8),
    Way::Sparse(4, 12),
    Way::Sparse(16, 12),
    Way::Sparse(16, 8),
];

/// Runs the study.
///
/// # Errors
/// [`StudyError`]: the mail is missing, or training failed.
pub fn run(setting: &Setting<'_>) -> Result<Report, StudyError> {
    let config = TrainingConfig {
        sequence_length: TOKENS,
        ..settings::training()
    };
    let mailbox = Mailbox::open(setting.cache, config.sequence_length, &setting.watch)?;
    let model = Arc::new(Model::new(mailbox.encoder().clone(), config.clone())?);
    let features = mailbox.features(model.depth(), &setting.watch)?;
    let split = mailbox.split(SPLIT);
    let mut all: Vec<Vec<Metrics>> = vec![Vec::new(); WAYS.len()];
    for seed in 1..=setting.seeds {
        let shares = partition(mailbox.mails(), &split.train, usize::from(CLIENTS), seed)?;
        let cut = Cut::new(&features, &shares, &split.held_out)?;
        for (done, (metrics, way)) in all.iter_mut().zip(WAYS).enumerate() {
            setting.begin(format!("{}, seed {seed}", way.words()));
            setting.at(done, WAYS.len());
            metrics.push(train(&model, &cut, way, seed)?);
        }
    }
    let dimension = model.initial_adapter().len();
    let rows = WAYS
        .iter()
        .zip(&all)
        .map(|(way, metrics)| way.row(dimension, metrics));
    let table = Table {
        title: "Compressed updates in the secure sum, federated averaging without noise".into(),
        settings: parameters(setting, &config, dimension),
        columns: vec![
            Column::new("what is sent", Form::Text),
            Column::new("bits", Form::Count),
            Column::new("coordinates", Form::Count),
            Column::new("bytes a client and round", Form::Count),
            Column::new("levels of a coordinate", Form::Count),
            Column::new("accuracy, %", Form::Percent(1)),
            Column::new("AUC", Form::Number(3)),
        ],
        rows: rows.collect::<Result<Vec<_>, _>>()?,
        notes: vec![
            "Bits are those of the ring: the sum over all clients has to fit, so that one client's \
             coordinate has fewer levels. They are counted four deviations wide for an update of \
             the clip norm. The chance of a wrap is below 2^-40. All clients keep the same random \
             coordinates, drawn anew in each round."
                .into(),
            "Mean ± standard deviation over seeds, which deal the mail out anew and drive sampling."
                .into(),
        ],
    };
    Ok(Report {
        tables: vec![table],
        ..Report::default()
    })
}

fn parameters(
    setting: &Setting<'_>,
    config: &TrainingConfig,
    dimension: usize,
) -> Vec<(String, String)> {
    vec![
        ("clients".into(), CLIENTS.to_string()),
        (
            "tokens of a mail".into(),
            config.sequence_length.to_string(),
        ),
        ("rounds".into(), ROUNDS.to_string()),
        ("local steps".into(), config.local_steps.to_string()),
        ("values".into(), dimension.to_string()),
        ("clip norm of updates".into(), CLIP.to_string()),
        ("seeds".into(), setting.seeds.to_string()),
    ]
}

impl Way {
    fn words(self) -> String {
        match self {
            Self::Plain => "values as they are".into(),
            Self::Bits(bits) => format!("rotated, {bits} bits"),
            Self::Sparse(part, bits) => format!("rotated, 1 in {part} coordinates, {bits} bits"),
        }
    }

    /// The grid; `None` for values as they are.
    fn sums(self, dimension: usize) -> Result<Option<Sums>, StudyError> {
        let dimension = u32::try_from(dimension).unwrap_or(u32::MAX);
        let all = Layout::all(dimension);
        let (layout, bits) = match self {
            Self::Plain => return Ok(None),
            Self::Bits(bits) => (all, bits),
            Self::Sparse(part, bits) => {
                let kept = Some(all.padded().div_ceil(part));
                (Layout { dimension, kept }, bits)
            }
        };
        // What is left of a vector is shorter, and clipped to twice what is to be expected.
        let clip = CLIP.min(2.0 * CLIP / layout.boost().sqrt());
        let setup = Setup {
            clients: CLIENTS.into(),
            layout,
            clip,
            rounds: ROUNDS,
            contributions: 1,
            noise: None,
        };
        Ok(Some(Sums::new(setup, bits)?))
    }

    fn row(self, dimension: usize, metrics: &[Metrics]) -> Result<Vec<Cell>, StudyError> {
        let [accuracy, auc, _] = figures(metrics);
        #[allow(clippy::cast_precision_loss, reason = "some thousands")]
        let (plain, sums) = (dimension as f64, self.sums(dimension)?);
        let (bits, coordinates, bytes, levels) = match sums {
            None => (32.0, plain, 4.0 * plain, Cell::EMPTY),
            Some(sums) => {
                let parameters = sums.parameters();
                let layout = parameters.setup().layout;
                let deviation = CLIP * parameters.scale() / f64::from(layout.padded()).sqrt();
                #[allow(clippy::cast_precision_loss, reason = "some thousands")]
                let bytes = sums.bytes() as f64;
                let length = f64::from(layout.length());
                let levels = (8.0 * deviation).ceil() + 1.0;
                (8.0 * bytes / length, length, bytes, levels.into())
            }
        };
        Ok(vec![
            self.words().into(),
            bits.round().into(),
            coordinates.into(),
            bytes.into(),
            levels,
            accuracy,
            auc,
        ])
    }
}

fn train(model: &Arc<Model>, cut: &Cut, way: Way, seed: u64) -> Result<Metrics, StudyError> {
    let mut global = model.initial_adapter();
    let sums = way.sums(global.len())?;
    let mut trainers = (0_u64..)
        .zip(&cut.clients)
        .map(|(client, features)| {
            LocalTrainer::new(Arc::clone(model), features.clone(), generator(seed, client))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut server = generator(seed, 1000);
    for number in 0..u64::from(ROUNDS) {
        let updates = trainers
            .iter_mut()
            .map(|trainer| Ok(trainer.train(&global, |_, _| ())?.delta))
            .collect::<Result<Vec<_>, StudyError>>()?;
        let mean = match &sums {
            None => plain_mean(&updates, &global),
            Some(sums) => {
                let mut round = sums.round(&mut server)?;
                for (client, update) in (1_u64..).zip(&updates) {
                    let rng = generator(seed, 1000 + 1000 * client + number);
                    let mut contribution = round.client(rng);
                    contribution.add(update)?;
                    round.add(contribution);
                }
                round.mean(f64::from(CLIENTS))
            }
        };
        global = moved(&global, mean)?;
    }
    Ok(evaluate(model, &global, &cut.held_out)?)
}

/// The mean to within a 65,536th: what is encoded without a rotation.
fn plain_mean(updates: &[Vec<f32>], global: &Adapter) -> Vec<f64> {
    let mut sum = vec![0.0; global.len()];
    for update in updates {
        for (sum, value) in sum.iter_mut().zip(update) {
            *sum += (f64::from(*value) * SCALE).round() / SCALE;
        }
    }
    sum.iter().map(|s| s / f64::from(CLIENTS)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// LoRA of the demo and its head have 3842 values.
    #[test]
    fn every_way_fits_its_ring_and_sends_less_than_the_one_before_it_of_its_kind() {
        let mut sizes = Vec::new();
        for way in WAYS {
            let row = way.row(3842, &[]).unwrap();
            assert_eq!(row.len(), 7, "{}", way.words());
            sizes.extend(way.sums(3842).unwrap().map(|sums| sums.bytes()));
        }
        assert_eq!(sizes, [8192, 6144, 5120, 4608, 4096, 1536, 384, 256]);
    }
}
