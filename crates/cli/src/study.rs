//! `undertone study`: the tables of the documentation, made again on the demo's mail.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use undertone_study::{Origin, Setting, Study};

use crate::error::CliError;
use crate::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  undertone study algorithms
  undertone study algorithms --seeds 5 --json
  undertone study algorithms --out my-tables

A study trains on the demo's model and mail, which scripts/fetch-demo-data.sh fetches once. With
--out it writes NAME.md, NAME.json and its plots into a folder.";

/// Make a table of the documentation again, on the demo's real mail
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct StudyArgs {
    /// Which study
    #[arg(value_name = "NAME", value_parser = studies())]
    study: Study,
    /// Seeds that every figure is measured with
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100))]
    seeds: u64,
    /// Folder with the fetched model and mail
    #[arg(
        long,
        value_name = "FOLDER",
        env = "UNDERTONE_CACHE",
        default_value = ".cache/undertone"
    )]
    cache: PathBuf,
    /// Print JSON instead of tables
    #[arg(long)]
    json: bool,
    /// Folder for Markdown, JSON and plots
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

fn studies() -> impl TypedValueParser<Value = Study> {
    let names = Study::ALL.map(|study| PossibleValue::new(study.name()).help(study.about()));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Study>())
}

pub(crate) fn run(args: &StudyArgs, out: &mut impl Write) -> Result<(), CliError> {
    let progress = Progress::new();
    let setting = Setting {
        cache: &args.cache,
        seeds: args.seeds,
        watch: progress.watch_study(),
    };
    let report = args.study.run(&setting, args.origin());
    progress.clear();
    let report = report?;
    if let Some(folder) = &args.out {
        report.write(folder)?;
    }
    if args.json {
        writeln!(out, "{}", report.json()?)?;
    } else {
        write!(out, "{}", report.text())?;
    }
    Ok(())
}

impl StudyArgs {
    fn origin(&self) -> Origin {
        Origin {
            command: format!(
                "undertone study {} --seeds {}",
                self.study.name(),
                self.seeds
            ),
            commit: undertone_bench::report::commit(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}
