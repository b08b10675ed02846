//! `undertone demo`: twelve mail providers train one spam filter, and nobody sees anyone's mail.
//!
//! Everything is real: the pretrained model, the mail, the service on its embedded store, HTTP on
//! loopback, and clients of the SDK that vanish in the middle of rounds. Only that all parties
//! share one machine is not; and because they do, this process can check every sum against the
//! plain one.

mod baselines;
mod federation;
mod notebook;
mod participant;
mod progress;
mod settings;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use undertone_privacy::Epsilon;
use undertone_study::mail::Prepared;
use undertone_training::Metrics;

use crate::error::CliError;
use crate::report::{self, ClientSummary, DemoResult};
use federation::Federation;
use settings::Settings;

const EXAMPLES: &str = "\
Examples:
  undertone demo
  undertone demo --rounds 12 --epsilon 4 --out my-report

The model and the mail are fetched once by scripts/fetch-demo-data.sh (`make demo` does it).";

/// Train a spam filter over twelve mail providers on this machine, and write a report.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// Number of rounds
    #[arg(long, value_name = "N", default_value_t = settings::ROUNDS,
          value_parser = clap::value_parser!(u32).range(1..=200))]
    rounds: u32,
    /// Epsilon to stay within, for one mail, at delta 1e-5, over all rounds
    #[arg(long, value_name = "EPSILON", default_value = settings::EPSILON)]
    epsilon: Epsilon,
    /// Seed of the clients' shares of the mail (sampling, noise and keys are never seeded)
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Folder for index.html and result.json
    #[arg(long, value_name = "FOLDER", default_value = "demo-report")]
    out: PathBuf,
    /// Folder with the fetched model and mail
    #[arg(
        long,
        value_name = "FOLDER",
        env = "UNDERTONE_CACHE",
        default_value = ".cache/undertone"
    )]
    cache: PathBuf,
    /// Print result.json instead of tables
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &DemoArgs, out: &mut impl Write) -> Result<(), CliError> {
    crate::init_logs("error");
    let start = Instant::now();
    let settings = Settings::new(args.rounds, args.epsilon)?;
    let progress = progress::Progress::new();
    let watch = progress.watch();
    let prepared = Prepared::load(&args.cache, &settings.training, args.seed, &watch)?;
    let runtime = crate::runtime()?;
    let federation = runtime.block_on(federation::run(&prepared, &settings, &progress))?;
    let compared = baselines::run(&prepared, &settings, &federation, &progress)?;
    progress.clear();
    let result = assemble(&prepared, &settings, federation, &compared, start)?;
    report::write_json(&result, &args.out.join("result.json"))?;
    report::write_html(&result, &args.out.join("index.html"))?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&result)?)?;
    } else {
        writeln!(out, "{}", report::terminal_table(&result))?;
        writeln!(out, "report: {}", args.out.join("index.html").display())?;
    }
    if result.rounds.iter().all(|round| round.exact) {
        Ok(())
    } else {
        let message = "a round is not exact or failed; see result.json";
        Err(CliError::Input(message.into()))
    }
}

fn assemble(
    prepared: &Prepared,
    settings: &Settings,
    federation: Federation,
    compared: &BTreeMap<String, Metrics>,
    start: Instant,
) -> Result<DemoResult, CliError> {
    let clients = prepared
        .shares
        .iter()
        .enumerate()
        .map(|(index, share)| ClientSummary {
            name: settings::client_name(index),
            examples: share.rows.len(),
            spam_rate: share.spam_rate,
        })
        .collect();
    let by = |metric: fn(&Metrics) -> f64| {
        compared
            .iter()
            .map(|(name, metrics)| (name.clone(), metric(metrics)))
            .collect()
    };
    Ok(DemoResult {
        rounds: federation.rounds,
        epsilon: settings.epsilon_after(settings.rounds)?,
        delta: settings.delta.get(),
        unit: "example".into(),
        adjacency: "add-or-remove-one".into(),
        accountant: "RDP of the Poisson-subsampled Gaussian".into(),
        accuracy: by(|m| m.accuracy),
        auc: by(|m| m.auc.unwrap_or(0.5)),
        seconds: start.elapsed().as_secs_f64(),
        clients,
        settings: settings.to_json()?,
        held_out_examples: prepared.adapters.held_out.len(),
        notes: settings.notes(),
        glimpse: federation.glimpse,
    })
}
