//! The command line of Undertone: one binary, one file for each sub-command, no logic of its own.

mod account;
mod admin;
mod audit;
mod auditor;
mod authority;
mod bench;
mod calibrate;
mod demo;
mod enrol;
mod error;
mod identity;
mod join;
mod ledger;
mod migrate;
mod noise;
mod openapi;
mod params;
mod progress;
mod report;
mod roster;
mod serve;
mod study;
mod task;
mod tls;
mod token;

use std::io::{self, Write};
use std::process::ExitCode;

use chacha20::ChaCha20Rng;
use clap::{Parser, Subcommand};
use rand_core::SeedableRng;
use zeroize::Zeroizing;

use error::CliError;

const EXAMPLES: &str = "\
Examples:
  See it work, on real mail, in a few minutes:
    undertone demo

  Run a task of your own:
    undertone authority init --out authority.key    the task authority, on its own machine
    undertone identity new --out client.key         each client, on its own machine
    undertone authority sign --authority authority.key --members members.txt --out task.roster
    undertone serve
    undertone token create --database sqlite:undertone.db --name ops > ops.token
    undertone task create --token-file ops.token --roster task.roster --settings task.toml \\
                          --model MODEL-FOLDER
    undertone join --server http://127.0.0.1:8470 --task ID --identity client.key \\
                   --authority KEY --model MODEL-FOLDER --data mine.jsonl

`undertone COMMAND --help` says more.";

/// Train a model together on data that nobody shows: secure aggregation, LoRA, differential privacy.
#[derive(Debug, Parser)]
#[command(name = "undertone", version, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Migrate(migrate::MigrateArgs),
    Join(Box<join::JoinArgs>),
    Demo(demo::DemoArgs),
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    #[command(subcommand)]
    Task(task::TaskCommand),
    #[command(subcommand)]
    Token(token::TokenCommand),
    #[command(subcommand)]
    Authority(authority::AuthorityCommand),
    #[command(subcommand)]
    Enrol(enrol::EnrolCommand),
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    #[command(subcommand)]
    Report(auditor::ReportCommand),
    #[command(subcommand)]
    Roster(roster::RosterCommand),
    #[command(subcommand)]
    Identity(identity::IdentityCommand),
    Account(account::AccountArgs),
    Calibrate(calibrate::CalibrateArgs),
    Params(params::ParamsArgs),
    Noise(noise::NoiseArgs),
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    Study(study::StudyArgs),
    #[command(about = "Print the OpenAPI document of the service")]
    Openapi,
}

/// Runs the command line of this process. A failure is one line on standard error: exit status 2
/// for a command line that cannot be read or where no parameters fit, 1 for everything else.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let mut out = io::stdout().lock();
    let done = match &cli.command {
        Command::Serve(args) => serve::run(args, &mut out),
        Command::Migrate(args) => migrate::run(args, &mut out),
        Command::Join(args) => join::run(args, &mut out),
        Command::Ledger(command) => ledger::run(command, &mut out),
        Command::Demo(args) => demo::run(args, &mut out),
        Command::Task(command) => task::run(command, &mut out),
        Command::Token(command) => token::run(command, &mut out),
        Command::Authority(command) => authority::run(command, &mut out),
        Command::Enrol(command) => enrol::run(command, &mut out),
        Command::Audit(command) => audit::run(command, &mut out),
        Command::Report(command) => auditor::run(command, &mut out),
        Command::Roster(command) => roster::run(command, &mut out),
        Command::Identity(command) => identity::run(command, &mut out),
        Command::Account(args) => account::run(args, &mut out).map_err(CliError::from),
        Command::Calibrate(args) => calibrate::run(args, &mut out).map_err(CliError::from),
        Command::Params(args) => params::run(args, &mut out),
        Command::Noise(args) => noise::run(args, &mut out),
        Command::Bench(command) => bench::run(command, &mut out),
        Command::Study(args) => study::run(args, &mut out),
        Command::Openapi => openapi::run(&mut out),
    };
    drop(out);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(CliError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Nothing is left to do if standard error is closed too.
            let _ = writeln!(io::stderr(), "undertone: {error}");
            ExitCode::from(error.status())
        }
    }
}

/// Help and version as clap prints them; what is wrong with a command line as one line.
fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    let asked_for_help =
        !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if asked_for_help {
        // Nothing is left to do if the output is closed.
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
    }
    let text = error.to_string();
    let what = text.split("\n\nUsage:").next().unwrap_or(&text);
    let what = what
        .split("\n\nFor more information")
        .next()
        .unwrap_or(what);
    let line = what.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    let _ = writeln!(io::stderr(), "undertone: {line}; see --help");
    ExitCode::from(2)
}

/// An async runtime for one command.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)
}

/// Logs go to standard error, so that standard output stays for results. `RUST_LOG` overrides.
fn init_logs(default: &str) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // A second subscriber in one process is refused; the first then stays.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .try_init();
}

/// A cryptographic generator, seeded by the system.
fn system_generator() -> Result<ChaCha20Rng, CliError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}
