//! `undertone account`: what training settings cost in privacy, or what noise a target needs.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;
use thiserror::Error;
use undertone_privacy::{
    Delta, Epsilon, NoiseMultiplier, PrivacyError, PrivacyStatement, PrivacyUnit, RdpAccountant,
    SamplingRate, SubsampledGaussian, noise_multiplier_for,
};

const EXAMPLES: &str = "\
Examples:
  What do 40 steps cost that take each record with probability 0.1?
    undertone account --sampling-rate 0.1 --noise-multiplier 1.2 --steps 40 --delta 1e-5

  How much noise keeps them within epsilon 2?
    undertone account --sampling-rate 0.1 --target-epsilon 2 --steps 40 --delta 1e-5

The epsilon holds for adding or removing one record, for Poisson sampling by the data owner itself,
and for all steps together: rounds times steps a round. Choose delta well below one over the number
of records.";

const USAGE: &str = "\
undertone account --sampling-rate <RATE> --steps <STEPS> --delta <DELTA>
                         (--noise-multiplier <SIGMA> | --target-epsilon <EPSILON>) [OPTIONS]";

/// State the epsilon of DP-SGD settings, or find the noise for a target epsilon.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub(crate) struct AccountArgs {
    /// Probability of each record to be in a step, 0 to 1
    #[arg(long, value_name = "RATE")]
    sampling_rate: SamplingRate,
    #[command(flatten)]
    noise: NoiseArgs,
    /// Number of steps in all
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..))]
    steps: u64,
    /// Delta, strictly between 0 and 1
    #[arg(long, value_name = "DELTA")]
    delta: Delta,
    /// What one record is: whose presence the guarantee hides
    #[arg(long, value_enum, default_value_t = Unit::Example)]
    unit: Unit,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Either the noise, or the epsilon that it is to reach.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct NoiseArgs {
    /// Standard deviation of the noise over the clip norm, above 0
    #[arg(long, value_name = "SIGMA")]
    noise_multiplier: Option<NoiseMultiplier>,
    /// Find the least noise multiplier that stays within this epsilon
    #[arg(long, value_name = "EPSILON")]
    target_epsilon: Option<Epsilon>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Unit {
    Example,
    Client,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum AccountError {
    /// The settings have no finite answer.
    #[error(transparent)]
    Privacy(#[from] PrivacyError),
    /// Neither noise nor target was given. (The command line rules this out.)
    #[error("give either --noise-multiplier or --target-epsilon")]
    NoNoise,
    /// The output is closed.
    #[error("cannot write the result: {0}")]
    Write(#[from] io::Error),
    /// The result has no JSON form.
    #[error("cannot write the result as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// The JSON form.
#[derive(Debug, Serialize)]
struct Answer {
    #[serde(flatten)]
    statement: PrivacyStatement,
    #[serde(flatten)]
    settings: SubsampledGaussian,
    optimal_order: f64,
}

/// Computes the statement and prints it to `out`.
///
/// # Errors
/// There is no finite answer, or `out` cannot be written.
pub(crate) fn run(args: &AccountArgs, out: &mut impl Write) -> Result<(), AccountError> {
    let noise_multiplier = match (args.noise.noise_multiplier, args.noise.target_epsilon) {
        (Some(sigma), _) => sigma,
        (None, Some(target)) => {
            let least = noise_multiplier_for(target, args.delta, args.sampling_rate, args.steps)?;
            round_up(least)?
        }
        (None, None) => return Err(AccountError::NoNoise),
    };
    let settings = SubsampledGaussian {
        sampling_rate: args.sampling_rate,
        noise_multiplier,
        steps: args.steps,
    };
    let unit = match args.unit {
        Unit::Example => PrivacyUnit::Example,
        Unit::Client => PrivacyUnit::Client,
    };
    let statement = PrivacyStatement::from_rdp(&settings, args.delta, unit)?;
    if args.json {
        let mut accountant = RdpAccountant::new();
        accountant.compose(&settings);
        let optimal_order = accountant.optimal_order(args.delta)?;
        serde_json::to_writer_pretty(
            &mut *out,
            &Answer {
                statement,
                settings,
                optimal_order,
            },
        )?;
        writeln!(out)?;
    } else {
        if args.noise.target_epsilon.is_some() {
            writeln!(out, "Noise multiplier: {noise_multiplier}")?;
        }
        writeln!(out, "{statement}")?;
    }
    Ok(())
}

/// Up to the next fourth decimal, so that the printed noise is enough when it is typed in again.
fn round_up(sigma: NoiseMultiplier) -> Result<NoiseMultiplier, PrivacyError> {
    NoiseMultiplier::new((sigma.get() * 1e4).ceil() / 1e4)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        account: AccountArgs,
    }

    fn account(line: &str) -> Result<String, String> {
        let words = std::iter::once("account").chain(line.split_whitespace());
        let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
        let mut out = Vec::new();
        run(&cli.account, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn epsilon_of_settings() {
        let text =
            account("--sampling-rate 0.2 --noise-multiplier 3 --steps 50 --delta 1e-5").unwrap();
        // dp-accounting 0.6.0: 2.267152, here rounded up.
        assert!(
            text.starts_with("(2.2672, 1e-5)-differentially private for each example"),
            "{text}"
        );
        assert!(text.contains("50 steps"), "{text}");
    }

    #[test]
    fn noise_for_a_target() {
        let line = "--sampling-rate 0.1 --target-epsilon 2 --steps 40 --delta 1e-5 --unit client";
        let text = account(line).unwrap();
        let sigma: f64 = text
            .lines()
            .next()
            .and_then(|first| first.strip_prefix("Noise multiplier: "))
            .unwrap()
            .parse()
            .unwrap();
        let epsilon = |sigma: f64| {
            let json = account(&format!(
                "--sampling-rate 0.1 --noise-multiplier {sigma} --steps 40 --delta 1e-5 --json"
            ))
            .unwrap();
            serde_json::from_str::<serde_json::Value>(&json).unwrap()["epsilon"]
                .as_f64()
                .unwrap()
        };
        assert!(epsilon(sigma) <= 2.0);
        assert!(epsilon(sigma - 2e-4) > 2.0);
        assert!(text.contains("for each client"), "{text}");
    }

    #[test]
    fn json_has_every_part_of_the_statement() {
        let json =
            account("--sampling-rate 1 --noise-multiplier 10 --steps 100 --delta 1e-6 --json")
                .unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!((value["epsilon"].as_f64().unwrap() - 5.221_540).abs() < 1e-6);
        for (key, expected) in [("unit", "example"), ("adjacency", "add_or_remove_one")] {
            assert_eq!(value[key], expected);
        }
        for key in [
            "delta",
            "accountant",
            "mechanism",
            "sampling_rate",
            "noise_multiplier",
            "steps",
        ] {
            assert!(!value[key].is_null(), "{key} is missing: {json}");
        }
    }

    #[test]
    fn wrong_input_says_what_is_wrong() {
        for (line, says) in [
            (
                "--sampling-rate 2 --noise-multiplier 1 --steps 1 --delta 1e-5",
                "between 0 and 1",
            ),
            (
                "--sampling-rate x --noise-multiplier 1 --steps 1 --delta 1e-5",
                "not a number",
            ),
            (
                "--sampling-rate 0.1 --noise-multiplier 0 --steps 1 --delta 1e-5",
                "above 0",
            ),
            (
                "--sampling-rate 0.1 --noise-multiplier 1 --steps 0 --delta 1e-5",
                "--steps",
            ),
            (
                "--sampling-rate 0.1 --steps 1 --delta 1e-5",
                "--target-epsilon",
            ),
            (
                "--sampling-rate 0.1 --noise-multiplier 1 --target-epsilon 1 --steps 1 --delta 0.1",
                "cannot be used with",
            ),
            (
                "--sampling-rate 0 --target-epsilon 1 --steps 1 --delta 1e-5",
                "no noise to choose",
            ),
        ] {
            let error = account(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }

    #[test]
    fn the_examples_in_the_help_run() {
        let help = account("--help").unwrap_err();
        println!("{help}");
        assert!(help.contains(EXAMPLES), "{help}");

        let lines: Vec<&str> = EXAMPLES
            .lines()
            .filter_map(|line| line.trim().strip_prefix("undertone account "))
            .collect();
        assert_eq!(lines.len(), 2);
        for line in lines {
            account(line).unwrap();
        }
    }
}
