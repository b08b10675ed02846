//! `undertone ledger`: what a client promised and spent, and the receipts for it.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use undertone_client::ledger::{self, Checked, Export, LedgerReport, SpendLine, UnitAccount};
use undertone_privacy::{Budget, Delta, Epsilon};
use undertone_protocol::keys::IdentityPublicKey;

use crate::error::CliError;

const HELP: &str = "\
Examples:
  What was spent on this data, and what is left?
    undertone ledger show --state undertone-state

  Do the receipts say the same, and are they signed by this client's key?
    undertone ledger verify --state undertone-state --key 3ab1...

  For an auditor, who has neither the data nor the folder:
    undertone ledger export --state undertone-state --out receipts.json
    undertone ledger verify --receipts receipts.json --key 3ab1...

A client may leave receipts out of an export. The service's audit log and the results of rounds say in
which rounds a client was: `undertone task client TASK INDEX`.";

/// Show, check and export what this client spent of its privacy budget.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true, after_help = HELP)]
pub(crate) enum LedgerCommand {
    /// Print what was spent, by unit and by round
    #[command(after_help = "Example:\n  undertone ledger show --state undertone-state --json")]
    Show(ShowArgs),
    /// Check the receipts; exit status 1 if one is missing, changed or of another key
    #[command(
        after_help = "Examples:\n  undertone ledger verify --state undertone-state --key 3ab1...\n  \
        undertone ledger verify --receipts receipts.json --key 3ab1..."
    )]
    Verify(VerifyArgs),
    /// Write the receipts, with what they sum up to, as JSON
    #[command(
        after_help = "Example:\n  undertone ledger export --state undertone-state --out receipts.json"
    )]
    Export(ExportArgs),
}

/// The folder of the ledger.
#[derive(Debug, Args)]
pub(crate) struct FolderArgs {
    /// The folder that `undertone join` was given
    #[arg(
        long,
        visible_alias = "state-dir",
        value_name = "FOLDER",
        default_value = "undertone-state"
    )]
    state: PathBuf,
}

/// Where the ledger is.
#[derive(Debug, Args)]
pub(crate) struct StateArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// The budget, where the folder is of an earlier version that did not keep it
    #[arg(long, value_name = "EPSILON", default_value = "8")]
    max_epsilon: Epsilon,
    /// Its delta, likewise
    #[arg(long, value_name = "DELTA", default_value = "1e-5")]
    delta: Delta,
}

impl StateArgs {
    fn usual(&self) -> Budget {
        Budget {
            epsilon: self.max_epsilon,
            delta: self.delta,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    state: StateArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    folder: FolderArgs,
    /// Exported receipts, instead of a folder
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    receipts: Option<PathBuf>,
    /// The client's public key, as the roster lists it (default: one and the same, whichever it is)
    #[arg(long, value_name = "KEY")]
    key: Option<IdentityPublicKey>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    state: StateArgs,
    /// File for the receipts (default: standard output)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) fn run(command: &LedgerCommand, out: &mut impl Write) -> Result<(), CliError> {
    match command {
        LedgerCommand::Show(args) => show(args, out),
        LedgerCommand::Verify(args) => verify(args, out),
        LedgerCommand::Export(args) => export(args, out),
    }
}

fn show(args: &ShowArgs, out: &mut impl Write) -> Result<(), CliError> {
    let report = ledger::read(&args.state.folder.state, args.state.usual())?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(());
    }
    for unit in &report.units {
        account(unit, out)?;
    }
    rounds(&report, out)
}

fn account(account: &UnitAccount, out: &mut impl Write) -> Result<(), CliError> {
    let UnitAccount {
        unit,
        budget,
        delta,
        rounds,
        ..
    } = account;
    let spent = match account.epsilon {
        Some(epsilon) => format!("epsilon {epsilon} at delta {delta}"),
        None => "more than anything bounds".to_owned(),
    };
    writeln!(out, "For each {unit}: {spent} is spent, in {rounds} rounds")?;
    match (budget, account.remaining) {
        (Some(budget), Some(left)) => {
            writeln!(out, "  of a budget of {}; {left} is left", budget.epsilon)?;
        }
        _ => writeln!(out, "  (the folder does not say of which budget)")?,
    }
    if account.unbounded > 0 {
        writeln!(
            out,
            "  {} updates went out that nothing bounds for each {unit}",
            account.unbounded
        )?;
    }
    for event in &account.released {
        writeln!(out, "  {event}")?;
    }
    writeln!(
        out,
        "  {} adjacency; {}",
        account.adjacency, account.accountant
    )?;
    Ok(())
}

fn rounds(report: &LedgerReport, out: &mut impl Write) -> Result<(), CliError> {
    for spend in &report.spends {
        let SpendLine {
            task,
            number,
            receipts,
            presumed,
            ..
        } = spend;
        let note = match (presumed, receipts) {
            (true, _) => "presumed: a crash cut the record off",
            (false, 0) => "no receipt: an earlier version",
            (false, _) => "receipt",
        };
        writeln!(out, "task {task}, round {number}: {note}")?;
    }
    if report.begun_only > 0 {
        let rounds = report.begun_only;
        writeln!(out, "{rounds} rounds were begun in which nothing was spent")?;
    }
    Ok(())
}

fn verify(args: &VerifyArgs, out: &mut impl Write) -> Result<(), CliError> {
    let checked = match &args.receipts {
        None => ledger::verify(&args.folder.state, args.key)?,
        Some(path) => {
            let text = fs::read_to_string(path).map_err(CliError::read(path))?;
            let export: Export = serde_json::from_str(&text)
                .map_err(|e| CliError::Input(format!("{}: {e}", path.display())))?;
            export.verify(args.key)
        }
    };
    if args.json {
        let mut json = serde_json::to_value(&checked)?;
        json["valid"] = checked.is_good().into();
        writeln!(out, "{}", serde_json::to_string_pretty(&json)?)?;
    } else if checked.is_good() {
        report(&checked, out)?;
    }
    match checked.faults.as_slice() {
        [] => Ok(()),
        faults => Err(CliError::Receipts(faults.join("; "))),
    }
}

fn report(checked: &Checked, out: &mut impl Write) -> Result<(), CliError> {
    writeln!(out, "{} receipts are as they were signed", checked.receipts)?;
    if let Some(key) = &checked.key {
        writeln!(out, "signed by {key}")?;
    }
    for note in &checked.notes {
        writeln!(out, "{note}")?;
    }
    Ok(())
}

fn export(args: &ExportArgs, out: &mut impl Write) -> Result<(), CliError> {
    let export = ledger::export(&args.state.folder.state, args.state.usual())?;
    let mut json = serde_json::to_string_pretty(&export)?;
    json.push('\n');
    match &args.out {
        None => out.write_all(json.as_bytes())?,
        Some(path) => fs::write(path, json).map_err(CliError::save(path))?,
    }
    Ok(())
}
