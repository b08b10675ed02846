//! `undertone calibrate`: what noise a target epsilon needs.

use std::io::Write;

use clap::{Args, ValueEnum};
use serde::Serialize;
use undertone_privacy::accountant::{CalibratedBy, Calibration};
use undertone_privacy::{Epsilon, NoiseMultiplier, PrivacyError};

use crate::account::{AccountError, PromiseArgs, SamplingArgs, print};

const EXAMPLES: &str = "\
Examples:
  How much noise keeps 40 steps within epsilon 2?
    undertone calibrate --epsilon 2 --delta 1e-5 --sampling-rate 0.1 --steps 40

  The same by Renyi divergences, which is what a ledger adds up, for programs:
    undertone calibrate --epsilon 2 --delta 1e-5 --sampling-rate 0.1 --steps 40 \\
                        --accountant rdp --json

  Five steps at full rate are fixed already; what may the others have?
    undertone calibrate --epsilon 2 --delta 1e-5 --sampling-rate 0.1 --steps 40 \\
                        --then q=1,s=20,T=5

The noise multiplier is rounded up to four decimals; with it, epsilon is at most the target.
docs/accounting.md says what the accountants mean.";

const USAGE: &str = "\
undertone calibrate --epsilon <EPSILON> --sampling-rate <RATE> --steps <STEPS>
                           --delta <DELTA> [OPTIONS]";

/// Find the noise that a target epsilon needs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub(crate) struct CalibrateArgs {
    /// The epsilon not to be exceeded, above 0
    #[arg(long, value_name = "EPSILON")]
    epsilon: Epsilon,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    promise: PromiseArgs,
    /// By which accountant: pld needs the least noise, rdp is what ledgers add up
    #[arg(long, value_enum, default_value_t = By::Pld)]
    accountant: By,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Rdp,
    Pld,
}

/// What the JSON form has beside the figures.
#[derive(Debug, Serialize)]
struct Calibrated {
    noise_multiplier: NoiseMultiplier,
    target_epsilon: Epsilon,
    accountant: By,
}

/// Searches the noise and prints it, with the figures it leads to, to `out`.
///
/// # Errors
/// No noise reaches the target, a setting means nothing, or `out` cannot be written.
pub(crate) fn run(args: &CalibrateArgs, out: &mut impl Write) -> Result<(), AccountError> {
    args.promise.check(&args.sampling)?;
    let calibration = Calibration {
        target: args.epsilon,
        delta: args.promise.delta,
        adjacency: args.promise.adjacency(),
        by: match args.accountant {
            By::Rdp => CalibratedBy::Rdp,
            By::Pld => CalibratedBy::Pld,
        },
        fixed: &args.promise.further(),
    };
    let least = calibration.noise_multiplier(args.sampling.sampling_rate, args.sampling.steps)?;
    let noise_multiplier = round_up(least)?;
    if !args.promise.json {
        writeln!(out, "Noise multiplier: {noise_multiplier}\n")?;
    }
    let more = Calibrated {
        noise_multiplier,
        target_epsilon: args.epsilon,
        accountant: args.accountant,
    };
    print(&args.sampling, noise_multiplier, &args.promise, more, out)
}

/// Up to the next fourth decimal, so that the printed noise is enough when it is typed in again.
fn round_up(sigma: NoiseMultiplier) -> Result<NoiseMultiplier, PrivacyError> {
    NoiseMultiplier::new((sigma.get() * 1e4).ceil() / 1e4)
}

#[cfg(test)]
mod tests;
