//! Gradient inversion: which mail is in an update that was made from it alone?
//!
//! The head's gradient for one mail with sentence vector f and class y is (p - y) fᵀ, and that of its bias
//! p - y: their quotient is f itself, whatever clipping made of the length, and the sign is the class
//! (Phong, Aono, Hayashi, Wang, Moriai, "Privacy-Preserving Deep Learning via Additively Homomorphic
//! Encryption", IEEE TIFS 2018, section 3). The attacker then asks which mail of a pile has that vector. It
//! tries this on the update as it is, on the same update under DP-SGD, and on what the service receives:
//! the update on the ring, with masks on.

use std::sync::Arc;

use undertone_plot::{Axis, Chart, Colour, Line};
use undertone_privacy::{Delta, Epsilon, GaussianSource, SamplingRate, noise_multiplier_for};
use undertone_protocol::adapter::Adapter;
use undertone_protocol::encoding::FixedPoint;
use undertone_protocol::keys::Secret32;
use undertone_protocol::vector::{Ring, Sign};
use undertone_training::{Features, Model};

use super::{CLIP, dot};
use crate::Setting;
use crate::error::StudyError;
use crate::gradients::clipped;
use crate::mail::Mailbox;
use crate::report::Report;
use crate::seeds::generator;
use crate::settings::{self, CLIENTS, DELTA, LOCAL_STEPS, ROUNDS, SAMPLING_RATE, SPLIT};
use crate::table::{Cell, Column, Form, Table};

/// Mails that are attacked, one after the other, for each seed.
const VICTIMS: usize = 200;

/// The demo's promise, and so its noise.
const EPSILON: f64 = 5.0;

/// The demo's ring and encoding.
const BITS: u8 = 32;
const SCALE: f64 = 65_536.0;

/// What the attacker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    /// The update itself.
    Update,
    /// The update with the noise of one step of DP-SGD.
    Noised,
    /// The update on the ring, with its masks: all that the service receives of one client.
    Masked,
}

impl Sees {
    const ALL: [Self; 3] = [Self::Update, Self::Noised, Self::Masked];

    const fn name(self) -> &'static str {
        match self {
            Self::Update => "the update itself",
            Self::Noised => "the update under DP-SGD",
            Self::Masked => "the masked update",
        }
    }
}

/// How an attack went.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// Cosine of the recovered and the true sentence vector.
    pub cosine: f64,
    /// How many mails of the pile are at least as near as the victim, itself included: 1 is a hit.
    pub rank: usize,
    /// Whether the class was right.
    pub class: bool,
}

/// One mail, as its gradient at the start shows it.
#[derive(Debug)]
struct Mail {
    gradient: Vec<f32>,
    told: Told,
}

/// What a gradient of the head tells.
#[derive(Debug)]
struct Told {
    /// The sentence vector, scaled to norm 1.
    direction: Vec<f64>,
    /// Whether the class is 1.
    class: bool,
}

/// The pile of mails that the attacker compares with, as it knows them.
#[derive(Debug)]
pub struct Pile {
    start: Adapter,
    mails: Vec<Mail>,
    sigma: f64,
    ring: Ring,
    encoding: FixedPoint,
}

impl Pile {
    /// Computes the gradients of the mails at `rows`. The noise is of the given standard deviation, in
    /// units of the clip norm.
    ///
    /// # Errors
    /// [`StudyError`]: the model has no bias, or the parts do not fit together.
    pub fn new(
        model: &Arc<Model>,
        features: &Features,
        rows: &[usize],
        sigma: f64,
    ) -> Result<Self, StudyError> {
        let start = model.initial_adapter();
        let mail = |gradient: Vec<f32>| {
            let told = invert(&start, &gradient)?;
            Ok(Mail { gradient, told })
        };
        let gradients = clipped(model, &start, features, rows, CLIP)?;
        let mails = gradients
            .into_iter()
            .map(mail)
            .collect::<Result<_, StudyError>>()?;
        let ring = Ring::new(BITS).map_err(setting)?;
        let encoding = FixedPoint::new(ring, CLIP, SCALE, u32::from(CLIENTS)).map_err(setting)?;
        Ok(Self {
            start,
            mails,
            sigma,
            ring,
            encoding,
        })
    }

    /// Attacks the update of the pile's mail `victim`.
    ///
    /// # Errors
    /// [`StudyError`]: there is no such mail, or a number is out of range.
    pub fn attack(
        &self,
        victim: usize,
        sees: Sees,
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Outcome, StudyError> {
        let missing = || StudyError::Setting(format!("there is no mail {victim} in the pile"));
        let mail = self.mails.get(victim).ok_or_else(missing)?;
        let mut seen = mail.gradient.clone();
        match sees {
            Sees::Update => {}
            Sees::Noised => GaussianSource::new(&mut *rng).add_to(&mut seen, self.sigma * CLIP)?,
            Sees::Masked => seen = self.masked(&seen, rng)?,
        }
        let told = invert(&self.start, &seen)?;
        let to = |other: &Mail| dot(&told.direction, &other.told.direction);
        let cosine = to(mail);
        Ok(Outcome {
            cosine,
            rank: self
                .mails
                .iter()
                .filter(|other| to(other) >= cosine)
                .count(),
            class: told.class == mail.told.class,
        })
    }

    /// What the service receives, read as well as it can be: centred and scaled back.
    fn masked(
        &self,
        update: &[f32],
        rng: &mut impl rand_core::CryptoRng,
    ) -> Result<Vec<f32>, StudyError> {
        let mut input = self.encoding.encode(update, rng).map_err(setting)?;
        // Its self mask and a pairwise one with each other client.
        for _ in 0..CLIENTS {
            let mut key = [0; 32];
            rng.fill_bytes(&mut key);
            input.mask(&[(Secret32::from(key), Sign::Plus)]);
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "32 bits, read as an update"
        )]
        let read = |element| (self.ring.centred(element) as f64 / SCALE) as f32;
        Ok(input.elements().map(read).collect())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the argument of map_err")]
fn setting(error: undertone_protocol::ProtocolError) -> StudyError {
    StudyError::Setting(error.to_string())
}

/// What a gradient of the head tells of the mail that it was made from.
fn invert(adapter: &Adapter, gradient: &[f32]) -> Result<Told, StudyError> {
    let (mut weight, mut bias, mut start) = (None, None, 0);
    for (name, shape, values) in adapter.tensors() {
        let part = gradient.get(start..start + values.len());
        start += values.len();
        match (name.as_str(), shape.as_slice()) {
            ("classifier.weight", [_, hidden]) => {
                // The row of class 1.
                weight = part.and_then(|part| part.get(*hidden..2 * hidden));
            }
            ("classifier.bias", _) => bias = part.and_then(|part| part.get(1)),
            _ => {}
        }
    }
    let (Some(weight), Some(bias)) = (weight, bias) else {
        let reason = "the attack needs a head of two classes with a bias".to_owned();
        return Err(StudyError::Setting(reason));
    };
    // p - 1 is negative for class 1; the vector is the weights' gradient over it.
    let sign = if *bias < 0.0 { -1.0 } else { 1.0 };
    let norm = dot(weight, weight).sqrt().max(f64::MIN_POSITIVE);
    Ok(Told {
        direction: weight.iter().map(|w| sign * f64::from(*w) / norm).collect(),
        class: *bias < 0.0,
    })
}

/// Runs the study.
///
/// # Errors
/// [`StudyError`]: the mail is missing, or training failed.
pub fn run(setting: &Setting<'_>) -> Result<Report, StudyError> {
    let config = settings::training().head_only();
    let mailbox = Mailbox::open(setting.cache, config.sequence_length, &setting.watch)?;
    let model = Arc::new(Model::new(mailbox.encoder().clone(), config)?);
    let features = mailbox.sentences(&setting.watch)?;
    let train = mailbox.split(SPLIT).train;
    let steps = u64::from(ROUNDS) * u64::from(LOCAL_STEPS);
    let target = (Epsilon::new(EPSILON)?, Delta::new(DELTA)?);
    let rate = SamplingRate::new(SAMPLING_RATE)?;
    let sigma = noise_multiplier_for(target.0, target.1, rate, steps)?.get();
    setting.begin("gradients of every mail");
    let pile = Pile::new(&model, &features, &train, sigma)?;
    let mut rows = Vec::new();
    let mut lines = Vec::new();
    for (sees, colour) in Sees::ALL.into_iter().zip(Colour::LINES) {
        setting.begin(sees.name());
        let mut outcomes = Vec::new();
        for seed in 1..=setting.seeds {
            let mut rng = generator(seed, 3000);
            for victim in 0..VICTIMS.min(train.len()) {
                outcomes.push(pile.attack(victim, sees, &mut rng)?);
                setting.at(victim + 1, VICTIMS);
            }
        }
        rows.push(row(sees, &outcomes));
        lines.push(line(sees, colour, &outcomes));
    }
    let pile = train.len();
    Ok(Report {
        tables: vec![table(rows, (pile, setting.seeds, sigma))],
        plots: vec![("inversion".to_owned(), chart(lines))],
        ..Report::default()
    })
}

#[allow(clippy::cast_precision_loss, reason = "small counts")]
fn share(outcomes: &[Outcome], hit: impl Fn(&Outcome) -> bool) -> f64 {
    outcomes.iter().filter(|o| hit(o)).count() as f64 / outcomes.len().max(1) as f64
}

#[allow(clippy::cast_precision_loss, reason = "small counts")]
fn row(sees: Sees, outcomes: &[Outcome]) -> Vec<Cell> {
    let mut ranks: Vec<usize> = outcomes.iter().map(|o| o.rank).collect();
    ranks.sort_unstable();
    let median = ranks
        .get(ranks.len() / 2)
        .map_or(f64::NAN, |rank| *rank as f64);
    let cosines: Vec<f64> = outcomes.iter().map(|o| o.cosine).collect();
    vec![
        sees.name().into(),
        Cell::over(&cosines),
        share(outcomes, |o| o.rank == 1).into(),
        median.into(),
        share(outcomes, |o| o.class).into(),
    ]
}

fn table(rows: Vec<Vec<Cell>>, (pile, seeds, sigma): (usize, u64, f64)) -> Table {
    Table {
        title: "Which mail is this update made from?".into(),
        settings: vec![
            (
                "attacked".into(),
                format!("{VICTIMS} mails, one update each, {seeds} times"),
            ),
            ("pile".into(), format!("{pile} mails")),
            (
                "noise multiplier under DP-SGD".into(),
                format!("{sigma:.2}"),
            ),
        ],
        columns: vec![
            Column::new("the attacker sees", Form::Text),
            Column::new("cosine to the true sentence vector", Form::Number(3)),
            Column::new("mail identified, %", Form::Percent(1)),
            Column::new("median rank", Form::Count),
            Column::new("class guessed, %", Form::Percent(1)),
        ],
        rows,
        notes: vec![format!(
            "One step of the head from its start on one mail, gradient clipped to norm {CLIP}. DP-SGD: the \
             noise of one step of the demo's training (epsilon {EPSILON} at delta {DELTA:e} for one \
             mail over all rounds, add-or-remove-one, RDP). Masked: {BITS} bits, a self mask and a mask \
             with each of {CLIENTS} clients; guessing gives half a pile's rank. A real update holds many \
             mails and is harder to invert than these."
        )],
    }
}

/// The share of victims whose rank is at most so much, over the rank.
fn line(sees: Sees, colour: Colour, outcomes: &[Outcome]) -> Line {
    let points = [1_u16, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].map(|rank| {
        let found = share(outcomes, |o| o.rank <= usize::from(rank));
        (f64::from(rank).log10(), [found; 3])
    });
    Line {
        name: sees.name().into(),
        colour,
        dashed: false,
        points: points.to_vec(),
    }
}

fn chart(lines: Vec<Line>) -> Chart {
    Chart {
        title: "Gradient inversion: how near the attacker comes to the mail".into(),
        description:
            "The share of mails that are among the nearest, over how many of the pile are looked \
                      at."
            .into(),
        x: Axis {
            name: "nearest mails that are looked at".into(),
            range: 0.0..3.75,
            label: |log| {
                if log.fract().abs() < 1e-9 {
                    format!("{:.0}", 10_f64.powf(log))
                } else {
                    String::new()
                }
            },
        },
        y: Axis {
            name: "share of victims among them".into(),
            range: 0.0..1.05,
            label: |value| format!("{:.0} %", 100.0 * value),
        },
        lines,
    }
}

#[cfg(test)]
mod tests {
    use undertone_training::fixture;

    use super::*;

    /// Without noise every mail is found; under masks the rank is that of a guess.
    #[test]
    #[allow(clippy::cast_precision_loss, reason = "small counts")]
    fn an_update_tells_its_example_and_a_masked_one_does_not() {
        let mut config = fixture::config().head_only();
        config.head_bias = true;
        let model = Arc::new(Model::new(fixture::encoder().unwrap(), config).unwrap());
        let count = 60;
        let features = fixture::features(&model, count, 5).unwrap();
        let rows: Vec<usize> = (0..count).collect();
        let pile = Pile::new(&model, &features, &rows, 1.0).unwrap();
        let mut rng = generator(1, 1);
        let (mut ranks, mut classes) = (0, 0);
        for victim in 0..count {
            let open = pile.attack(victim, Sees::Update, &mut rng).unwrap();
            assert!(open.class && open.cosine > 1.0 - 1e-9, "{open:?}");
            let masked = pile.attack(victim, Sees::Masked, &mut rng).unwrap();
            assert!(masked.cosine.abs() < 0.95, "{masked:?}");
            ranks += masked.rank;
            classes += usize::from(masked.class);
        }
        // The mean of 60 ranks is 30.5 with a standard error of 2.2, of classes 30 with 3.9.
        let mean = ranks as f64 / count as f64;
        assert!((15.0..46.0).contains(&mean), "{mean}");
        assert!((10..=50).contains(&classes), "{classes}");
        assert!(pile.attack(count, Sees::Update, &mut rng).is_err());
    }
}
