//! `undertone account`: what training settings cost in privacy, by every accountant.

use std::io::{self, Write};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde::Serialize;
use thiserror::Error;
use undertone_privacy::accountant::Figures;
use undertone_privacy::budget::check_delta;
use undertone_privacy::{
    Adjacency, Delta, Event, NoiseMultiplier, PrivacyError, PrivacyStatement, PrivacyUnit,
    SamplingRate, SubsampledGaussian,
};

const EXAMPLES: &str = "\
Examples:
  What do 40 steps cost that take each record with probability 0.1?
    undertone account --sampling-rate 0.1 --noise-multiplier 1.2 --steps 40 --delta 1e-5

  The same, for programs, and with delta checked against the number of records:
    undertone account --sampling-rate 0.1 --noise-multiplier 1.2 --steps 40 --delta 1e-5 \\
                      --records 4000 --json

  Steps of two kinds, one after the other; records are replaced rather than added or removed:
    undertone account --sampling-rate 0.1 --noise-multiplier 1.2 --steps 40 --delta 1e-5 \\
                      --then q=1,s=20,T=5 --adjacency replace-one

How much noise does a target need? See `undertone calibrate`.

The epsilon holds for Poisson sampling by the data owner itself, and for all steps together: rounds
times steps a round. \"rdp\" and \"pld\" are upper bounds, so the smaller one may be quoted; \"gdp\" is
exact where the sampling rate is 1, and an estimate otherwise. Choose delta well below one over the
number of records. docs/accounting.md says more.";

const USAGE: &str = "\
undertone account --sampling-rate <RATE> --noise-multiplier <SIGMA> --steps <STEPS>
                         --delta <DELTA> [OPTIONS]";

/// State the epsilon of DP-SGD settings.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub(crate) struct AccountArgs {
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Standard deviation of the noise over the clip norm, 0.01 or more
    #[arg(long, value_name = "SIGMA")]
    noise_multiplier: NoiseMultiplier,
    #[command(flatten)]
    promise: PromiseArgs,
}

/// How often records are looked at.
#[derive(Debug, Args)]
pub(crate) struct SamplingArgs {
    /// Probability of each record to be in a step, above 0, at most 1
    #[arg(long, value_name = "RATE")]
    pub(crate) sampling_rate: SamplingRate,
    /// Number of steps in all, 1 or more
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) steps: u64,
}

/// What is promised, and beside what.
#[derive(Debug, Args)]
pub(crate) struct PromiseArgs {
    /// Delta, strictly between 0 and 1
    #[arg(long, value_name = "DELTA")]
    pub(crate) delta: Delta,
    /// Number of records (or of clients, with --unit client): refuse a delta that says nothing about
    /// so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    records: Option<u64>,
    /// Further steps that are composed with these, as q=RATE,s=SIGMA,T=STEPS; may be repeated
    #[arg(long, value_name = "STEPS")]
    then: Vec<Further>,
    /// Which data sets count as neighbours
    #[arg(long, value_enum, default_value_t = Neighbours::AddOrRemoveOne)]
    adjacency: Neighbours,
    /// What one record is: whose presence the guarantee hides
    #[arg(long, value_enum, default_value_t = Unit::Example)]
    unit: Unit,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Neighbours {
    AddOrRemoveOne,
    ReplaceOne,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Unit {
    Example,
    Client,
}

/// Steps given in one word.
#[derive(Debug, Clone, Copy)]
struct Further(SubsampledGaussian);

impl FromStr for Further {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (mut rate, mut noise, mut steps) = (None, None, None);
        for part in text.split(',') {
            let (name, value) = part.trim().split_once('=').unwrap_or((part, ""));
            let wrong = |why: &dyn std::fmt::Display| format!("{name}: {why}");
            match name {
                "q" => rate = Some(value.parse().map_err(|error| wrong(&error))?),
                "s" => noise = Some(value.parse().map_err(|error| wrong(&error))?),
                "T" => steps = Some(value.parse().map_err(|error| wrong(&error))?),
                _ => {
                    return Err(format!(
                        "unknown part {part:?}; give q=RATE,s=SIGMA,T=STEPS"
                    ));
                }
            }
        }
        match (rate, noise, steps) {
            (Some(sampling_rate), Some(noise_multiplier), Some(steps)) => {
                Ok(Self(SubsampledGaussian {
                    sampling_rate,
                    noise_multiplier,
                    steps,
                }))
            }
            _ => Err("q=RATE,s=SIGMA,T=STEPS are all needed".to_owned()),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum AccountError {
    /// The settings have no finite answer.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    /// No record is ever looked at.
    #[error("a sampling rate of 0 takes no record, and nothing is released; choose one above 0")]
    NothingSampled,
    /// The output is closed.
    #[error("cannot write the result: {0}")]
    Write(#[from] io::Error),
    /// The result has no JSON form.
    #[error("cannot write the result as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl PromiseArgs {
    pub(crate) fn adjacency(&self) -> Adjacency {
        match self.adjacency {
            Neighbours::AddOrRemoveOne => Adjacency::AddOrRemoveOne,
            Neighbours::ReplaceOne => Adjacency::ReplaceOne,
        }
    }

    fn unit(&self) -> PrivacyUnit {
        match self.unit {
            Unit::Example => PrivacyUnit::Example,
            Unit::Client => PrivacyUnit::Client,
        }
    }

    /// What is composed with the steps in question.
    pub(crate) fn further(&self) -> Vec<Event> {
        self.then.iter().map(|further| further.0.into()).collect()
    }

    /// Refuses settings that mean nothing.
    pub(crate) fn check(&self, sampling: &SamplingArgs) -> Result<(), AccountError> {
        let further = self.then.iter().map(|further| further.0.sampling_rate);
        for rate in std::iter::once(sampling.sampling_rate).chain(further) {
            if rate.get() == 0.0 {
                return Err(AccountError::NothingSampled);
            }
        }
        for further in &self.then {
            further.0.noise_multiplier.enough()?;
        }
        if let Some(records) = self.records {
            check_delta(self.delta, self.unit(), records)?;
        }
        Ok(())
    }
}

/// The JSON form.
#[derive(Debug, Serialize)]
struct Answer<'a, M> {
    #[serde(flatten)]
    figures: &'a Figures,
    unit: PrivacyUnit,
    statement: &'a PrivacyStatement,
    sentence: String,
    #[serde(flatten)]
    more: M,
}

/// Computes all figures and prints them to `out`.
///
/// # Errors
/// There is no finite answer, a setting means nothing, or `out` cannot be written.
pub(crate) fn run(args: &AccountArgs, out: &mut impl Write) -> Result<(), AccountError> {
    args.promise.check(&args.sampling)?;
    print(
        &args.sampling,
        args.noise_multiplier.enough()?,
        &args.promise,
        serde_json::Map::new(),
        out,
    )
}

/// Prints the figures of steps, and of what is composed with them; `more` goes into the JSON form.
pub(crate) fn print(
    sampling: &SamplingArgs,
    noise_multiplier: NoiseMultiplier,
    promise: &PromiseArgs,
    more: impl Serialize,
    out: &mut impl Write,
) -> Result<(), AccountError> {
    let mut events = vec![Event::Gaussian(SubsampledGaussian {
        sampling_rate: sampling.sampling_rate,
        noise_multiplier,
        steps: sampling.steps,
    })];
    events.extend(promise.further());
    let figures = Figures::of(&events, promise.delta, promise.adjacency())?;
    let statement = figures.statement(promise.unit())?;
    if promise.json {
        let answer = Answer {
            figures: &figures,
            unit: promise.unit(),
            statement: &statement,
            sentence: statement.to_string(),
            more,
        };
        serde_json::to_writer_pretty(&mut *out, &answer)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(out, "{:<8}  {:<21}  accountant", "epsilon", "is")?;
    for [accountant, epsilon, meaning] in figures.rows() {
        writeln!(out, "{epsilon:<8}  {meaning:<21}  {accountant}")?;
    }
    writeln!(out, "\n{statement}")?;
    Ok(())
}

#[cfg(test)]
mod tests;
