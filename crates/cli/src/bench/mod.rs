//! `undertone bench`: what the protocol and a training step cost, and how much a service takes on this
//! machine.

mod table;
mod training;

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use undertone_bench::{
    BenchError, Graph, IdlePlan, Plan, ProtocolPlan, ProtocolReport, idle, protocol, rounds,
};

use crate::error::CliError;
use crate::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  A thousand clients with vectors of 100000 numbers, on a PostgreSQL server started for it:
    undertone bench service --clients 1000 --length 100000 --json

  The same on a database that is there (empty it afterwards: the task stays):
    undertone bench service --clients 1000 --length 100000 --database postgres://me@host/bench

Clients run in this process and do the whole protocol; the service is `undertone serve` in another
process of this machine. Nothing is trained: vectors are random, masks are real.";

const PROTOCOL_EXAMPLES: &str = "\
Examples:
  A round of a hundred clients of whom ten vanish, with a million numbers each:
    undertone bench protocol --clients 100 --length 1000000 --dropped 10 --bits 32

  The table of docs/performance.md, which takes some minutes:
    undertone bench protocol --table

  The same as JSON, for a script that compares:
    undertone bench protocol --clients 100 --length 1000000 --dropped 10 --bits 32 --json

Everyone does everything, in this process, without a network and without a store. The floor, raw key
stream and memory, is measured in the same run and in turns with what stands on it, so that ratios
hold on a machine that does other work too.";

const IDLE_EXAMPLES: &str = "\
Examples:
  Ten thousand clients that wait for a round to go on:
    undertone bench idle --polls 10000 --json";

/// Measure the protocol, the service, or training, on this machine
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    Protocol(ProtocolArgs),
    Service(ServiceArgs),
    Idle(IdleArgs),
    Training(training::TrainingArgs),
}

/// Measure the protocol's own work against raw key stream and memory
#[derive(Debug, Args)]
#[command(after_help = PROTOCOL_EXAMPLES)]
pub(crate) struct ProtocolArgs {
    /// Clients that begin the round
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(3..=100_000))]
    clients: u32,
    /// Elements of a client's vector
    #[arg(long, value_name = "D", default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    length: u32,
    /// Clients that vanish after they have shared their keys
    #[arg(long, value_name = "N", default_value_t = 10)]
    dropped: u32,
    /// Bits of an element, 8 to 64
    #[arg(long, value_name = "BITS", default_value_t = 32)]
    #[arg(value_parser = clap::value_parser!(u8).range(8..=64))]
    bits: u8,
    /// Who masks with whom; complete up to 100 clients, else ring, if left out
    #[arg(long, value_name = "SHAPE")]
    graph: Option<GraphArg>,
    /// Fraction of the clients that may be corrupt
    #[arg(long, value_name = "FRACTION", default_value_t = 0.05)]
    corrupt: f64,
    /// A Markdown table instead: 10 to 1000 clients, of whom a tenth vanish, with 10^4 to 10^7 elements
    #[arg(long, conflicts_with_all = ["clients", "length", "dropped", "json"])]
    table: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Measure whole rounds of many clients against a service
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServiceArgs {
    /// Clients in every round
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u32).range(3..=100_000))]
    clients: u32,
    /// Elements of a client's vector
    #[arg(long, value_name = "D", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    length: u32,
    /// Bits of an element, 8 to 64
    #[arg(long, value_name = "BITS", default_value_t = 20)]
    #[arg(value_parser = clap::value_parser!(u8).range(8..=64))]
    bits: u8,
    /// Rounds, one after the other
    #[arg(long, value_name = "R", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Who masks with whom; complete up to 100 clients, else ring, if left out
    #[arg(long, value_name = "SHAPE")]
    graph: Option<GraphArg>,
    /// Fraction of the clients that may be corrupt; it decides how many neighbours a ring has
    #[arg(long, value_name = "FRACTION", default_value_t = 0.05)]
    corrupt: f64,
    /// Fraction of the clients that may drop out; the same. None does
    #[arg(long, value_name = "FRACTION", default_value_t = 0.1)]
    dropout: f64,
    /// Memory for masked vectors that clients hold until all have masked, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4096)]
    client_memory: usize,
    #[command(flatten)]
    common: Common,
}

/// Measure what clients cost that only wait
#[derive(Debug, Args)]
#[command(after_help = IDLE_EXAMPLES)]
pub(crate) struct IdleArgs {
    /// Long polls held at once
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    polls: u32,
    /// How long all of them are held
    #[arg(long, value_name = "SECONDS", default_value_t = 65)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Database; a PostgreSQL server is started for the measurement if left out
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GraphArg {
    /// Everyone with everyone
    Complete,
    /// With neighbours on a ring
    Ring,
}

impl From<GraphArg> for Graph {
    fn from(graph: GraphArg) -> Self {
        match graph {
            GraphArg::Complete => Self::Complete,
            GraphArg::Ring => Self::Ring,
        }
    }
}

pub(crate) fn run(command: &BenchCommand, out: &mut impl Write) -> Result<(), CliError> {
    let runtime = crate::runtime()?;
    let progress = Progress::new();
    match command {
        BenchCommand::Protocol(args) if args.table => args.table(&progress, out),
        BenchCommand::Protocol(args) => {
            let report = protocol::run(&args.plan(), &progress.watch())?;
            progress.clear();
            print(args.json, &report, table::protocol, out)?;
            exact(&report)
        }
        BenchCommand::Training(args) => training::run(args, &progress, out),
        BenchCommand::Service(args) => {
            let plan = args.plan()?;
            let run = rounds::run(&plan, progress.watch());
            let report = runtime.block_on(until_interrupted(run))?;
            progress.clear();
            print(args.common.json, &report, table::service, out)?;
            if report.exact && report.failed_requests == 0 {
                return Ok(());
            }
            let message = "a sum is not exact, or a request failed; see the report";
            Err(CliError::Input(message.to_owned()))
        }
        BenchCommand::Idle(args) => {
            let plan = args.plan()?;
            let run = idle::run(&plan, progress.watch());
            let report = runtime.block_on(until_interrupted(run))?;
            progress.clear();
            print(args.common.json, &report, table::idle, out)?;
            if report.failed_requests == 0 {
                return Ok(());
            }
            let message = "polls failed; see the report";
            Err(CliError::Input(message.to_owned()))
        }
    }
}

/// As JSON, or as `table` writes it.
fn print<R: Serialize, W: Write>(
    json: bool,
    report: &R,
    table: impl FnOnce(&R, &mut W) -> std::io::Result<()>,
    out: &mut W,
) -> Result<(), CliError> {
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(report)?)?;
    } else {
        table(report, out)?;
    }
    Ok(())
}

fn exact(report: &ProtocolReport) -> Result<(), CliError> {
    if report.exact {
        return Ok(());
    }
    let message = "the sum is not exact: a defect of undertone; please report it";
    Err(CliError::Input(message.to_owned()))
}

/// Ends early on SIGINT: what was started is stopped when it is dropped.
async fn until_interrupted<T>(
    run: impl Future<Output = Result<T, BenchError>>,
) -> Result<T, CliError> {
    tokio::select! {
        done = run => Ok(done?),
        _ = tokio::signal::ctrl_c() => Err(CliError::Input("interrupted".to_owned())),
    }
}

/// This program: what is measured is its own `serve`.
fn program() -> Result<PathBuf, CliError> {
    Ok(std::env::current_exe()?)
}

impl ProtocolArgs {
    /// Rounds of many sizes, but for those that no machine does in an afternoon.
    fn table(&self, progress: &Progress, out: &mut impl Write) -> Result<(), CliError> {
        writeln!(out, "{}", table::ROUNDS)?;
        for clients in [10, 50, 100, 255, 1000] {
            for length in [10_000, 100_000, 1_000_000, 10_000_000] {
                let plan = ProtocolPlan {
                    clients,
                    length,
                    dropped: clients / 10,
                    ..self.plan()
                };
                match protocol::run(&plan, &progress.watch()) {
                    Ok(report) => {
                        table::round(&report, out)?;
                        exact(&report)?;
                    }
                    Err(BenchError::Plan(refused)) => {
                        progress.say(&format!("{clients} clients, {length} elements: {refused}"));
                    }
                    Err(failed) => return Err(failed.into()),
                }
                out.flush()?;
            }
        }
        progress.clear();
        Ok(())
    }

    fn plan(&self) -> ProtocolPlan {
        ProtocolPlan {
            clients: self.clients,
            length: self.length,
            dropped: self.dropped,
            bits: self.bits,
            graph: self.graph.map(Into::into),
            corrupt: self.corrupt,
        }
    }
}

impl ServiceArgs {
    fn plan(&self) -> Result<Plan, CliError> {
        Ok(Plan {
            program: program()?,
            serve: Vec::new(),
            database: self.common.database.clone(),
            clients: self.clients,
            length: self.length,
            bits: self.bits,
            rounds: self.rounds,
            graph: self.graph.map(Into::into),
            corrupt: self.corrupt,
            dropout: self.dropout,
            client_memory: self.client_memory.saturating_mul(1 << 20),
        })
    }
}

impl IdleArgs {
    fn plan(&self) -> Result<IdlePlan, CliError> {
        Ok(IdlePlan {
            program: program()?,
            serve: ["--set", "metrics.public=true"].map(str::to_owned).into(),
            database: self.common.database.clone(),
            polls: self.polls,
            seconds: self.seconds,
        })
    }
}
