//! Membership inference with a canary: was this one mail in a client's data?
//!
//! The attacker is the strongest one that the promise speaks of: it knows every other mail of the client
//! and sees each of its updates by itself, as if the masks were off. For one mail, the canary, it adds up
//! over the rounds how far the updates point along the canary's own gradient (the test of Nasr, Song,
//! Thakurta, Papernot, Carlini, "Adversary Instantiation", IEEE S&P 2021, with a real mail). Trainings with
//! and without the canary are repeated; a threshold is chosen on one half of them, and the other half is
//! counted: what follows is a lower bound on ε, with confidence ([`undertone_privacy::audit`]).

use std::sync::Arc;

use rand_core::CryptoRng;
use undertone_plot::{Axis, Chart, Colour, Line};
use undertone_privacy::audit::Trials;
use undertone_privacy::{Delta, Epsilon};
use undertone_training::data::partition;
use undertone_training::simulation::moved;
use undertone_training::{Features, LocalTrainer, Model, TrainingConfig, evaluate};

use super::{CLIP, dot};
use crate::Setting;
use crate::error::StudyError;
use crate::gradients::clipped;
use crate::mail::Mailbox;
use crate::report::Report;
use crate::seeds::generator;
use crate::settings::{self, CLIENTS, DELTA, LOCAL_STEPS, ROUNDS, SPLIT};
use crate::table::{Cell, Column, Form, Table};

/// The promises that are attacked; `None` trains without noise and without clipping.
const CLAIMS: [Option<f64>; 4] = [None, Some(8.0), Some(5.0), Some(1.0)];

/// Trainings with the canary, and as many without, for each seed that is asked for.
const TRAININGS: u64 = 100;

/// The attacked trainings' number for [`generator`], and that of the model which chooses the canary.
const ATTACKED: u64 = 2000;
const CHOOSER: u64 = 2001;

/// How sure the lower bound is.
const CONFIDENCE: f64 = 0.95;

/// A training that is attacked.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The model, with the settings of the training.
    pub model: &'a Arc<Model>,
    /// Everything that there are features of.
    pub features: &'a Features,
    /// The client's examples.
    pub rows: &'a [usize],
    /// The canary: an example that is not among them.
    pub canary: usize,
    /// How many rounds are seen.
    pub rounds: u32,
}

impl Target<'_> {
    /// Trains `trainings` times with the canary and as often without, attacks each, and counts on the
    /// half of them that did not choose the threshold. `generator` is given the training's number;
    /// `progress` how many are done.
    ///
    /// # Errors
    /// [`StudyError`]: the parts do not fit together.
    pub fn attack<R: CryptoRng>(
        &self,
        trainings: u64,
        delta: Delta,
        generator: impl Fn(u64) -> R,
        mut progress: impl FnMut(u64),
    ) -> Result<Trials, StudyError> {
        let with: Vec<usize> = self.rows.iter().copied().chain([self.canary]).collect();
        let mut scores = [Vec::new(), Vec::new()];
        for number in 0..trainings {
            for (side, rows) in [(0, self.rows), (1, &with[..])] {
                let rng = generator(2 * number + side);
                let score = self.score(rows, rng)?;
                scores[usize::from(side == 1)].push(score);
            }
            progress(number + 1);
        }
        let [without, with] = &scores;
        let middle = with.len() / 2;
        let (choose, count) = (
            (&with[..middle], &without[..middle]),
            (&with[middle..], &without[middle..]),
        );
        let threshold = best_threshold(choose, delta)?;
        Ok(trials(count, threshold))
    }

    /// How far all updates of one training point along the canary's gradients.
    fn score<R: CryptoRng>(&self, rows: &[usize], rng: R) -> Result<f64, StudyError> {
        let mut trainer = LocalTrainer::new(self.model.clone(), self.features.select(rows)?, rng)?;
        let mut adapter = self.model.initial_adapter();
        let mut score = 0.0;
        for _ in 0..self.rounds {
            let canary = clipped(self.model, &adapter, self.features, &[self.canary], CLIP)?;
            let canary = canary.first().map_or(&[][..], Vec::as_slice);
            let update = trainer.train(&adapter, |_, _| ())?.delta;
            // A step goes against the gradient.
            score -= dot(&update, canary);
            adapter = moved(&adapter, update.into_iter().map(f64::from))?;
        }
        Ok(score)
    }
}

/// Scores of trainings with and without the canary.
type Scores<'a> = (&'a [f64], &'a [f64]);

/// The threshold that proves most on these scores.
fn best_threshold(scores: Scores<'_>, delta: Delta) -> Result<f64, StudyError> {
    let mut best = (f64::NEG_INFINITY, f64::INFINITY);
    for threshold in scores.0.iter().chain(scores.1) {
        let counted = trials(scores, *threshold);
        // Where nothing is proven, the difference of the rates still says which is better.
        #[allow(clippy::cast_precision_loss, reason = "small counts")]
        let gap = counted.true_positives as f64 - counted.false_positives as f64;
        let proven = counted.epsilon_lower_bound(delta, CONFIDENCE)?;
        let worth = proven + 1e-6 * gap.abs();
        if worth > best.0 {
            best = (worth, *threshold);
        }
    }
    Ok(best.1)
}

/// The attack says that the canary was there where a score is at least `threshold`.
fn trials((with, without): Scores<'_>, threshold: f64) -> Trials {
    let hits = |scores: &[f64]| scores.iter().filter(|score| **score >= threshold).count();
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Trials {
        with: count(with.len()),
        true_positives: count(hits(with)),
        without: count(without.len()),
        false_positives: count(hits(without)),
    }
}

/// Runs the study: the head alone, one client of the demo.
///
/// # Errors
/// [`StudyError`]: the mail is missing, or training failed.
pub fn run(setting: &Setting<'_>) -> Result<Report, StudyError> {
    let delta = Delta::new(DELTA)?;
    let plain = settings::training().head_only();
    let mailbox = Mailbox::open(setting.cache, plain.sequence_length, &setting.watch)?;
    let features = mailbox.sentences(&setting.watch)?;
    let split = mailbox.split(SPLIT);
    let shares = partition(mailbox.mails(), &split.train, usize::from(CLIENTS), 1)?;
    // The smallest client: among the fewest mails one shows most.
    let smallest = shares.iter().min_by_key(|share| share.rows.len());
    let rows = smallest.map_or(&[][..], |share| &share.rows);
    let model = |config: &TrainingConfig| Model::new(mailbox.encoder().clone(), config.clone());
    setting.begin("choosing the canary");
    let canary = canary(&Arc::new(model(&plain)?), &features, rows, &split.held_out)?;
    let trainings = TRAININGS * setting.seeds;
    let mut figures = Vec::new();
    for claim in CLAIMS {
        let config = match claim {
            None => plain.clone(),
            Some(epsilon) => {
                settings::private(plain.clone(), ROUNDS, Epsilon::new(epsilon)?, delta)?
            }
        };
        let model = Arc::new(model(&config)?);
        let target = Target {
            model: &model,
            features: &features,
            rows,
            canary,
            rounds: ROUNDS,
        };
        let shown = claim.map_or_else(|| "no noise".to_owned(), |e| format!("epsilon {e}"));
        setting.begin(format!("{shown}: trainings with and without the canary"));
        let of = usize::try_from(trainings).unwrap_or(usize::MAX);
        let trials = target.attack(
            trainings,
            delta,
            |number| generator(number, ATTACKED),
            |done| setting.at(usize::try_from(done).unwrap_or(of), of),
        )?;
        figures.push((
            claim,
            trials,
            trials.epsilon_lower_bound(delta, CONFIDENCE)?,
        ));
    }
    Ok(Report {
        tables: vec![table(&figures, rows.len(), trainings)],
        plots: vec![("membership".to_owned(), chart(&figures))],
        ..Report::default()
    })
}

/// The held-out mail that a model of the client's own mail finds hardest: an outlier shows most.
fn canary(
    model: &Arc<Model>,
    features: &Features,
    rows: &[usize],
    candidates: &[usize],
) -> Result<usize, StudyError> {
    let own = features.select(rows)?;
    let mut trainer = LocalTrainer::new(model.clone(), own, generator(0, CHOOSER))?;
    let start = model.initial_adapter();
    let update = trainer.train(&start, |_, _| ())?.delta;
    let trained = moved(&start, update.into_iter().map(f64::from))?;
    let mut hardest = (f64::NEG_INFINITY, None);
    for candidate in candidates {
        let loss = evaluate(model, &trained, &features.select(&[*candidate])?)?.loss;
        if loss > hardest.0 {
            hardest = (loss, Some(*candidate));
        }
    }
    let none = || StudyError::Setting("there is no held-out mail to be the canary".into());
    hardest.1.ok_or_else(none)
}

#[allow(clippy::cast_precision_loss, reason = "small counts")]
fn rate(hits: u64, of: u64) -> f64 {
    hits as f64 / of.max(1) as f64
}

type Figure = (Option<f64>, Trials, f64);

fn table(figures: &[Figure], mails: usize, trainings: u64) -> Table {
    let rows = figures.iter().map(|(claim, trials, proven)| {
        vec![
            claim.map_or_else(|| Cell::from("no noise: none"), Cell::from),
            (*proven).into(),
            rate(trials.true_positives, trials.with).into(),
            rate(trials.false_positives, trials.without).into(),
        ]
    });
    Table {
        title: "Was this mail in the client's data?".into(),
        settings: vec![
            (
                "client".into(),
                format!("the smallest of {CLIENTS}, {mails} mails"),
            ),
            (
                "model".into(),
                "classification head on sentence vectors".into(),
            ),
            (
                "rounds, steps a round".into(),
                format!("{ROUNDS}, {LOCAL_STEPS}"),
            ),
            (
                "trainings".into(),
                format!(
                    "{trainings} with the canary, {trainings} without; half choose the threshold"
                ),
            ),
        ],
        columns: vec![
            Column::new("claimed epsilon", Form::UpperBound(1)),
            Column::new("proven by the attack, at least", Form::LowerBound(2)),
            Column::new("says yes with the canary, %", Form::Percent(1)),
            Column::new("says yes without, %", Form::Percent(1)),
        ],
        rows: rows.collect(),
        notes: vec![format!(
            "For one mail, delta {DELTA:e}, add-or-remove-one, local DP-SGD by RDP. The attacker knows \
             all other mails and sees every update of the client without masks and without other \
             clients' updates. Lower bounds by Clopper and Pearson at 95 % confidence; so few trainings \
             cannot prove more than about {:.1}.",
            most_provable(trainings / 2)
        )],
    }
}

/// What a faultless attack would prove with so many trials on each side.
fn most_provable(trials: u64) -> f64 {
    let faultless = Trials {
        with: trials,
        true_positives: trials,
        without: trials,
        false_positives: 0,
    };
    let delta = Delta::new(DELTA);
    delta
        .and_then(|delta| faultless.epsilon_lower_bound(delta, CONFIDENCE))
        .unwrap_or(0.0)
}

fn chart(figures: &[Figure]) -> Chart {
    /// Above every claim.
    const LARGEST: f64 = 8.5;
    let points = |of: &dyn Fn(f64, f64) -> f64| {
        let mut points: Vec<(f64, [f64; 3])> = figures
            .iter()
            .filter_map(|(claim, _, proven)| Some(((*claim)?, *proven)))
            .map(|(claim, proven)| (claim, [of(claim, proven); 3]))
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    };
    let without_noise = figures
        .iter()
        .filter(|(claim, ..)| claim.is_none())
        .flat_map(|(.., proven)| [0.0, LARGEST].map(|claim| (claim, [*proven; 3])))
        .collect();
    let axis = |name: &str| Axis {
        name: name.into(),
        range: 0.0..LARGEST,
        label: |value| format!("{value:.0}"),
    };
    Chart {
        title: "Membership inference: proven and claimed epsilon".into(),
        description: "Lower bounds from the attack, all below the claimed epsilon.".into(),
        x: axis("claimed epsilon"),
        y: axis("epsilon"),
        lines: vec![
            Line {
                name: "claimed".into(),
                colour: Colour::Second,
                dashed: true,
                points: points(&|claim, _| claim),
            },
            Line {
                name: "proven by the attack".into(),
                colour: Colour::First,
                dashed: false,
                points: points(&|_, proven| proven),
            },
            Line {
                name: "proven without noise".into(),
                colour: Colour::Third,
                dashed: true,
                points: without_noise,
            },
        ],
    }
}

#[cfg(test)]
mod tests {
    use undertone_training::{PrivacyConfig, fixture};

    use super::*;

    /// A small model on made-up texts, without noise and with noise of a known ε.
    fn proven(noise_multiplier: Option<f64>) -> f64 {
        let mut config = fixture::config().head_only();
        config.sampling_rate = 1.0;
        config.local_steps = 1;
        config.privacy = noise_multiplier.map(|sigma| PrivacyConfig::new(1.0, sigma));
        let model = Arc::new(Model::new(fixture::encoder().unwrap(), config).unwrap());
        let features = fixture::features(&model, 12, 3).unwrap();
        let rows: Vec<usize> = (0..11).collect();
        let target = Target {
            model: &model,
            features: &features,
            rows: &rows,
            canary: 11,
            rounds: 1,
        };
        let delta = Delta::new(DELTA).unwrap();
        let trials = target.attack(120, delta, |number| generator(number, 0), |_| ());
        trials
            .unwrap()
            .epsilon_lower_bound(delta, CONFIDENCE)
            .unwrap()
    }

    /// One Gaussian step at noise multiplier 2 is (2.0, 1e-5)-private (exactly 1.99), at 0.3 far less.
    #[test]
    fn the_attack_proves_what_leaks_and_never_more_than_is_claimed() {
        assert!(proven(None) > 2.0, "without noise the canary is seen");
        assert!(
            proven(Some(0.05)) > 2.0,
            "nor does next to no noise hide it"
        );
        let sigma = undertone_privacy::NoiseMultiplier::new(2.0).unwrap();
        let delta = Delta::new(DELTA).unwrap();
        let claimed = undertone_privacy::accountant::gaussian::epsilon(sigma, delta);
        assert!(proven(Some(2.0)) <= claimed.unwrap().get());
    }
}
