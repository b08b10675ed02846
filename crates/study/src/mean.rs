//! How well a mean is estimated: with central, local and distributed noise.

use undertone_privacy::distributed::{Layout, Setup};
use undertone_privacy::noise_multiplier_for;
use undertone_privacy::{Delta, Epsilon, GaussianSource, SamplingRate};
use undertone_training::Model;

use crate::Setting;
use crate::error::StudyError;
use crate::mail::Mailbox;
use crate::report::Report;
use crate::seeds::generator;
use crate::settings::{self, DELTA, SPLIT};
use crate::sums::Sums;
use crate::table::{Cell, Column, Form, Table};

/// How many clients, of one vector each.
const CLIENTS: [u32; 2] = [100, 1000];

const EPSILON: f64 = 1.0;

/// The largest L2 norm of a vector.
const CLIP: f64 = 1.0;

/// Rings of the distributed mean.
const BITS: [u8; 2] = [16, 20];

/// Runs the study.
///
/// # Errors
/// [`StudyError`]: the mail is missing, or a computation failed.
pub fn run(setting: &Setting<'_>) -> Result<Report, StudyError> {
    let vectors = gradients(setting)?;
    let mut rows = Vec::new();
    for clients in CLIENTS {
        setting.begin(format!("{clients} clients"));
        let count = usize::try_from(clients).unwrap_or(usize::MAX);
        let vectors = vectors
            .get(..count)
            .ok_or_else(|| StudyError::Setting(format!("there are fewer than {clients} mails")))?;
        rows.extend(estimates(setting, clients, vectors)?);
    }
    let table = Table {
        title: "Error of the mean of clients' vectors, released once".into(),
        settings: vec![
            (
                "vectors".into(),
                "one mail's gradient each, 770 values, clipped to norm 1".into(),
            ),
            (
                "epsilon, delta".into(),
                format!("{EPSILON}, {DELTA:e} for one client's vector"),
            ),
            ("repetitions".into(), setting.seeds.to_string()),
        ],
        columns: vec![
            Column::new("clients", Form::Count),
            Column::new("noise", Form::Text),
            Column::new("bytes a client", Form::Count),
            Column::new("error, L2", Form::Number(4)),
            Column::new("error over central", Form::Number(2)),
        ],
        rows,
        notes: vec![
            "Add-or-remove-one, RDP. Central: one party sees all vectors and adds continuous \
             Gaussian noise. Local: each client adds as much to its own vector. Distributed: each \
             adds its share of Skellam noise, counted for three quarters of the clients, while \
             all add theirs, so that the sum has 4/3 of the central variance. Mean ± standard \
             deviation over repetitions of the noise."
                .into(),
        ],
    };
    Ok(Report {
        tables: vec![table],
        ..Report::default()
    })
}

/// Clipped gradients of mails at the untrained head.
fn gradients(setting: &Setting<'_>) -> Result<Vec<Vec<f32>>, StudyError> {
    let config = settings::training().head_only();
    let mailbox = Mailbox::open(setting.cache, config.sequence_length, &setting.watch)?;
    let model = Model::new(mailbox.encoder().clone(), config)?;
    let features = mailbox.sentences(&setting.watch)?;
    let most = CLIENTS.into_iter().max().unwrap_or(0);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let train = mailbox.split(SPLIT).train;
    let rows = train.get(..most).unwrap_or(&train);
    crate::gradients::clipped(&model, &model.initial_adapter(), &features, rows, CLIP)
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// The rows of one number of clients.
fn estimates(
    setting: &Setting<'_>,
    clients: u32,
    vectors: &[Vec<f32>],
) -> Result<Vec<Vec<Cell>>, StudyError> {
    let dimension = vectors.first().map_or(0, Vec::len);
    let exact = |i: usize| {
        vectors
            .iter()
            .filter_map(|v| v.get(i))
            .map(|v| f64::from(*v))
            .sum()
    };
    let exact: Vec<f64> = (0..dimension).map(exact).collect();
    let n = f64::from(clients);
    let error = |sum: &[f64]| norm(sum.iter().zip(&exact).map(|(s, e)| (s - e) / n));
    let target = (Epsilon::new(EPSILON)?, Delta::new(DELTA)?);
    let noise = noise_multiplier_for(target.0, target.1, SamplingRate::ONE, 1)?.get() * CLIP;
    // The sum of n local noises is normal, too.
    let gaussian = |std: f64, party: u64| {
        (1..=setting.seeds)
            .map(|seed| {
                let mut sum = vec![0.0; dimension];
                GaussianSource::new(generator(seed, party)).fill_f64(&mut sum, std)?;
                sum.iter_mut().zip(&exact).for_each(|(s, e)| *s += e);
                Ok(error(&sum))
            })
            .collect::<Result<Vec<_>, StudyError>>()
    };
    #[allow(clippy::cast_precision_loss, reason = "some thousands of bytes")]
    let plain = (4 * dimension) as f64;
    let mut rows = vec![
        ("central Gaussian".to_owned(), plain, gaussian(noise, 1)?),
        (
            "local Gaussian".to_owned(),
            plain,
            gaussian(noise * n.sqrt(), 2)?,
        ),
    ];
    for bits in BITS {
        let sums = sums(clients, dimension, bits)?;
        let errors = (1..=setting.seeds)
            .map(|seed| {
                let mut round = sums.round(&mut generator(seed, 3))?;
                for (client, vector) in (10_u64..).zip(vectors) {
                    let mut contribution = round.client(generator(seed, client));
                    contribution.add(vector)?;
                    round.add(contribution);
                }
                Ok(error(&round.mean(1.0)))
            })
            .collect::<Result<Vec<_>, StudyError>>()?;
        #[allow(clippy::cast_precision_loss, reason = "some thousands of bytes")]
        let bytes = sums.bytes() as f64;
        rows.push((format!("distributed Skellam, {bits} bits"), bytes, errors));
    }
    let mean = |errors: &[f64]| errors.iter().sum::<f64>();
    let central = rows.first().map_or(1.0, |(_, _, errors)| mean(errors));
    Ok(rows
        .iter()
        .map(|(name, bytes, errors)| {
            vec![
                n.into(),
                name.clone().into(),
                (*bytes).into(),
                Cell::over(errors),
                (mean(errors) / central).into(),
            ]
        })
        .collect())
}

fn sums(clients: u32, dimension: usize, bits: u8) -> Result<Sums, StudyError> {
    let setup = Setup {
        clients,
        layout: Layout::all(u32::try_from(dimension).unwrap_or(u32::MAX)),
        clip: CLIP,
        rounds: 1,
        contributions: 1,
        noise: None,
    };
    let target = (Epsilon::new(EPSILON)?, Delta::new(DELTA)?);
    Sums::within(target, (SamplingRate::ONE, clients / 4 * 3), setup, bits)
}
