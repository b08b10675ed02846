//! `undertone noise`: the grid, the ring and the noise of a distributed mechanism, and what it costs;
//! or why there are none, and what to change.

use std::io::Write;

use clap::{Args, ValueEnum};
use serde::Serialize;
use undertone_privacy::distributed::noise::delta_of_sampling;
use undertone_privacy::distributed::{
    DEFAULT_BITS, IntegerNoise, JointNoise, Layout, Parameters, Sampler, Setup,
    noise_multiplier_within,
};
use undertone_privacy::{
    Delta, Epsilon, NoiseMultiplier, PrivacyError, RdpAccountant, SamplingRate,
};

use crate::account::AccountError;
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  A million values, 64 clients, 54 survive at least and 6 of those may be corrupt: 48 honest ones
  share the noise, ten times the clip norm, over 100 rounds:
    undertone noise --dimension 1048576 --clients 64 --min-survivors 54 --corrupt 0.1 \\
        --noise-multiplier 10 --rounds 100 --delta 1e-6

  The noise that keeps 40 rounds of DP-SGD over twelve clients' examples within epsilon 5, each
  client drawing a tenth of its examples, at most 60 of them:
    undertone noise --dimension 1538 --clients 12 --min-survivors 8 --corrupt 0.25 --unit example \\
        --sampling-rate 0.1 --contributions 60 --target-epsilon 5 --rounds 40 --delta 1e-5 --json

Epsilon is for adding or removing one unit, by the Rényi accountant; the mechanism's noise is counted
for --min-survivors less the corrupt. If nothing fits, the line on standard error says what to
change.";

const USAGE: &str = "\
undertone noise --dimension <D> --clients <N> --min-survivors <N> --corrupt <FRACTION>
                       --rounds <T> --delta <DELTA>
                       (--noise-multiplier <Z> | --target-epsilon <EPSILON>) [OPTIONS]";

/// Choose scale and noise of a distributed mechanism, and say what it costs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub(crate) struct NoiseArgs {
    /// Values of the adapter, 1 to 2^28
    #[arg(long, value_name = "D")]
    dimension: u32,
    /// How many of the rotated coordinates are sent; all if left out
    #[arg(long, value_name = "K")]
    kept: Option<u32>,
    /// The most clients in a round
    #[arg(long, value_name = "N")]
    clients: u32,
    /// The fewest survivors whose sum is unmasked
    #[arg(long, value_name = "N")]
    min_survivors: u32,
    /// Fraction of the clients that may be corrupt and add no noise, from 0 to below 1
    #[arg(long, value_name = "FRACTION", value_parser = fraction)]
    corrupt: f64,
    /// Largest L2 norm of an update, or of one example's gradient
    #[arg(long, value_name = "C", default_value_t = 1.0)]
    clip: f64,
    #[command(flatten)]
    amount: AmountArgs,
    /// What a unit is: a client with its update, or an example with its gradient
    #[arg(long, value_enum, default_value_t = Unit::Client)]
    unit: Unit,
    /// Probability of each example to be in a round, with --unit example
    #[arg(long, value_name = "RATE", requires = "contributions")]
    sampling_rate: Option<SamplingRate>,
    /// The most examples that a client is expected to take in a round, with --unit example
    #[arg(long, value_name = "M", requires = "sampling_rate")]
    contributions: Option<u32>,
    /// Rounds in all
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Delta, strictly between 0 and 1
    #[arg(long, value_name = "DELTA")]
    delta: Delta,
    /// Bits of an element of the ring, 8 to 64
    #[arg(long, value_name = "BITS", default_value_t = DEFAULT_BITS)]
    #[arg(value_parser = clap::value_parser!(u8).range(8..=64))]
    bits: u8,
    /// Which noise
    #[arg(long, value_enum, default_value_t = Kind::Skellam)]
    sampler: Kind,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Either the noise, or the epsilon that it is to reach.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct AmountArgs {
    /// Standard deviation of the noise of all honest clients together, over the clip norm
    #[arg(long, value_name = "Z")]
    noise_multiplier: Option<NoiseMultiplier>,
    /// Find the least noise that stays within this epsilon over all rounds
    #[arg(long, value_name = "EPSILON")]
    target_epsilon: Option<Epsilon>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Unit {
    Client,
    Example,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Skellam,
    DiscreteGaussian,
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..1.0).contains(&value) => Ok(value),
        _ => Err("a fraction from 0 to below 1".to_owned()),
    }
}

/// What follows; also the JSON form.
#[derive(Debug, Serialize)]
struct Answer {
    unit: &'static str,
    epsilon: Epsilon,
    /// What continuous Gaussian noise of the same size would cost.
    epsilon_gaussian: Epsilon,
    delta: Delta,
    /// What inexact sampling takes of delta.
    delta_of_sampling: f64,
    rounds: u32,
    sampling_rate: SamplingRate,
    sampler: Sampler,
    noise_multiplier: NoiseMultiplier,
    honest: u32,
    clip: f64,
    scale: f64,
    bits: u8,
    vector_length: u32,
    /// Of the packed vector.
    bytes: u64,
    /// Longest encoded vector over longest vector.
    inflation: f64,
    l2_squared: u64,
    /// Of one client's noise, in grid units.
    local_deviation: f64,
    /// log2 of a bound of the chance that any coordinate wraps in any round.
    log2_wrap: f64,
    table_bytes: usize,
}

/// Chooses the numbers and prints them to `out`.
///
/// # Errors
/// Nothing fits, or `out` cannot be written.
pub(crate) fn run(args: &NoiseArgs, out: &mut impl Write) -> Result<(), CliError> {
    let answer = args.answer().map_err(AccountError::from)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &answer)?;
        writeln!(out)?;
    } else {
        answer.print(out)?;
    }
    Ok(())
}

impl NoiseArgs {
    fn answer(&self) -> Result<Answer, PrivacyError> {
        let (setup, rate) = self.setup()?;
        let parameters = Parameters::largest(setup, self.bits)?;
        parameters.check(self.bits)?;
        let steps = u64::from(self.rounds);
        let epsilon = parameters.epsilon(rate, steps, self.delta)?;
        let joint = setup.noise.ok_or(PrivacyError::NothingToCalibrate)?;
        let mut gaussian = RdpAccountant::new();
        gaussian.compose_subsampled_gaussian(rate, joint.noise_multiplier, steps);
        let length = setup.layout.length();
        let variance = parameters
            .local_variance()
            .ok_or(PrivacyError::NothingToCalibrate)?;
        let tables = IntegerNoise::new(joint.sampler, variance)?;
        Ok(Answer {
            unit: match self.unit {
                Unit::Client => "client",
                Unit::Example => "example",
            },
            epsilon,
            epsilon_gaussian: gaussian.epsilon(self.delta)?,
            delta: self.delta,
            delta_of_sampling: delta_of_sampling(epsilon.get(), joint.honest, length.into(), steps),
            rounds: self.rounds,
            sampling_rate: rate,
            sampler: joint.sampler,
            noise_multiplier: joint.noise_multiplier,
            honest: joint.honest,
            clip: setup.clip,
            scale: parameters.scale(),
            bits: self.bits,
            vector_length: length,
            bytes: (u64::from(length) * u64::from(self.bits)).div_ceil(8),
            inflation: parameters.inflation(),
            l2_squared: parameters.l2_squared(),
            local_deviation: variance.get().sqrt(),
            log2_wrap: parameters.log2_wrap(self.bits),
            table_bytes: tables.thresholds() * size_of::<u128>(),
        })
    }

    fn setup(&self) -> Result<(Setup, SamplingRate), PrivacyError> {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a fraction of a u32"
        )]
        let corrupt = (self.corrupt * f64::from(self.clients)).floor() as u32;
        let honest = self.min_survivors.saturating_sub(corrupt);
        if honest == 0 || self.min_survivors > self.clients {
            return Err(PrivacyError::Distributed(format!(
                "of {} clients {} survive at least and {corrupt} may be corrupt, so that nobody is \
                 sure to add noise; choose --min-survivors above {corrupt} and at most {}",
                self.clients, self.min_survivors, self.clients
            )));
        }
        let rate = match (self.unit, self.sampling_rate) {
            (Unit::Client, Some(_)) => {
                return Err(PrivacyError::Distributed(
                    "clients are not sampled in secret, so that a sampling rate amplifies nothing \
                     for them; leave it out, or choose --unit example"
                        .to_owned(),
                ));
            }
            (_, rate) => rate.unwrap_or(SamplingRate::ONE),
        };
        let sampler = match self.sampler {
            Kind::Skellam => Sampler::Skellam,
            Kind::DiscreteGaussian => Sampler::DiscreteGaussian,
        };
        let setup = |noise_multiplier| Setup {
            clients: self.clients,
            layout: Layout {
                dimension: self.dimension,
                kept: self.kept,
            },
            clip: self.clip,
            rounds: self.rounds,
            contributions: self.contributions.unwrap_or(1),
            noise: Some(JointNoise {
                sampler,
                noise_multiplier,
                honest,
            }),
        };
        let amount = &self.amount;
        let multiplier = match (amount.noise_multiplier, amount.target_epsilon) {
            (Some(multiplier), _) => multiplier,
            (None, Some(target)) => {
                let steps = (rate, u64::from(self.rounds));
                let any = setup(NoiseMultiplier::new(1.0)?);
                noise_multiplier_within((target, self.delta), steps, &any, self.bits)?
            }
            (None, None) => return Err(PrivacyError::NothingToCalibrate),
        };
        Ok((setup(multiplier), rate))
    }
}

impl Answer {
    fn print(&self, out: &mut impl Write) -> Result<(), CliError> {
        let Self {
            unit,
            epsilon,
            delta,
            rounds,
            sampler,
            honest,
            bits,
            ..
        } = self;
        writeln!(
            out,
            "({epsilon}, {delta})-differentially private for each {unit} over {rounds} rounds, \
             add-or-remove-one adjacency, Rényi accountant.\n\
             Continuous Gaussian noise of the same size: epsilon {}.\n",
            self.epsilon_gaussian
        )?;
        let rows = [
            ("sampler", format!("{sampler}")),
            (
                "noise multiplier",
                format!("{}, of {honest} honest clients", self.noise_multiplier),
            ),
            ("sampling rate", format!("{}", self.sampling_rate)),
            ("clip norm", format!("{}", self.clip)),
            ("scale", format!("{}", self.scale)),
            ("ring", format!("{bits} bits")),
            (
                "vector",
                format!("{} coordinates, {} bytes", self.vector_length, self.bytes),
            ),
            (
                "longest vector",
                format!(
                    "{:.3} % longer than before rounding",
                    100.0 * (self.inflation - 1.0)
                ),
            ),
            (
                "noise of a client",
                format!(
                    "deviation {:.1} grid units, tables of {} KiB",
                    self.local_deviation,
                    self.table_bytes.div_ceil(1024)
                ),
            ),
            (
                "a wrap, in all rounds",
                format!("below 2^{:.0}", self.log2_wrap.ceil()),
            ),
            (
                "delta for sampling",
                format!(
                    "{:.1e}, taken off before epsilon is computed",
                    self.delta_of_sampling
                ),
            ),
        ];
        for (name, value) in rows {
            writeln!(out, "{name:<22} {value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        noise: NoiseArgs,
    }

    fn noise(line: &str) -> Result<String, String> {
        let words = std::iter::once("noise").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        run(&cli.noise, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    const MILLION: &str = "--dimension 1048576 --clients 64 --min-survivors 54 --corrupt 0.1 \
                           --noise-multiplier 10 --rounds 100 --delta 1e-6";

    #[test]
    fn a_million_values_in_twenty_bits() {
        let json = noise(&format!("{MILLION} --json")).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let of = |name: &str| value[name].as_f64().unwrap();
        assert!((of("epsilon") - 5.26).abs() < 0.005, "{json}");
        assert!((of("epsilon_gaussian") - 5.22).abs() < 0.005, "{json}");
        assert_eq!((of("honest"), of("bits")), (48.0, 20.0));
        assert!(of("log2_wrap") <= -40.0);
        let text = noise(MILLION).unwrap();
        assert!(text.contains("for each client over 100 rounds"), "{text}");
    }

    #[test]
    fn what_does_not_fit_says_what_to_choose() {
        for (line, says) in [
            (format!("{MILLION} --bits 18"), "at least 19 bits"),
            (format!("{MILLION} --bits 8"), "at least 19 bits"),
            (MILLION.replace("0.1", "0.9"), "nobody is sure to add noise"),
            (MILLION.replace("54", "65"), "at most 64"),
            (MILLION.replace("0.1", "1"), "below 1"),
            (format!("{MILLION} --clip 0"), "above 0"),
            (MILLION.replace("1e-6", "0"), "between 0 and 1"),
            (format!("{MILLION} --kept 2000000"), "kept"),
            (
                format!("{MILLION} --sampling-rate 0.1 --contributions 3"),
                "--unit example",
            ),
            (
                MILLION.replace("--noise-multiplier 10", "--target-epsilon 0"),
                "raise the target",
            ),
        ] {
            let error = noise(&line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }

    #[test]
    fn the_examples_in_the_help_run() {
        let help = noise("--help").unwrap_err();
        assert!(help.contains("Examples:"), "{help}");
        let joined = EXAMPLES.replace("\\\n", " ");
        let lines: Vec<&str> = joined
            .lines()
            .filter_map(|line| line.trim().strip_prefix("undertone noise "))
            .collect();
        assert_eq!(lines.len(), 2);
        for line in lines {
            noise(line).unwrap();
        }
    }
}
