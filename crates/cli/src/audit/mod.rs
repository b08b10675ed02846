//! `undertone audit`: export, check and read the service's hash-chained log.

mod show;
mod source;
mod verify;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use undertone_server::audit::Chain;

use self::source::SourceArgs;
use crate::error::CliError;

const HELP: &str = "\
Examples:
  Keep the whole log, and check it on another machine:
    undertone audit export --server https://aggregator.example --out audit.jsonl
    undertone audit verify audit.jsonl

  Check it against what a client remembers of it (audit/TASK.json in its state folder):
    undertone audit verify audit.jsonl --remembered audit/5d0f....json

  What happened in a task:
    undertone audit show 5d0f...

The service is asked with an admin token of scope `audit` (UNDERTONE_TOKEN), or its database is read.";

/// Export, check and read the audit log.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true, after_help = HELP)]
pub(crate) enum AuditCommand {
    /// Write the log as JSON lines, with signed heads
    #[command(
        after_help = "Examples:\n  undertone audit export --out audit.jsonl\n  \
        undertone audit export --chain service --database postgres://undertone@db.internal/undertone"
    )]
    Export(ExportArgs),
    /// Check that nothing was changed, moved, left out or cut off; exit status 1 if it was
    #[command(after_help = verify::HELP)]
    Verify(verify::VerifyArgs),
    /// Print a chain's entries
    #[command(after_help = "Examples:\n  undertone audit show service\n  \
        undertone audit show 5d0f... --from 40\n  undertone audit show 5d0f... --file audit.jsonl")]
    Show(show::ShowArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Only this chain: a task's id, or `service`; may be given several times
    #[arg(long = "chain", value_name = "CHAIN")]
    chains: Vec<Chain>,
    /// File for the log (default: standard output)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
}

pub(crate) fn run(command: &AuditCommand, out: &mut impl Write) -> Result<(), CliError> {
    crate::runtime()?.block_on(async {
        match command {
            AuditCommand::Export(args) => export(args, out).await,
            AuditCommand::Verify(args) => verify::run(args, out).await,
            AuditCommand::Show(args) => show::run(args, out).await,
        }
    })
}

async fn export(args: &ExportArgs, out: &mut impl Write) -> Result<(), CliError> {
    match &args.out {
        None => write(args, out).await,
        Some(path) => save(args, path).await,
    }
}

/// The file is there whole or not at all.
async fn save(args: &ExportArgs, path: &Path) -> Result<(), CliError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let file = tempfile::NamedTempFile::new_in(folder).map_err(CliError::save(path))?;
    let mut lines = BufWriter::new(file);
    write(args, &mut lines).await?;
    let file = lines
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error);
    let file = file.map_err(CliError::save(path))?;
    let sync = |file: &File| file.sync_all();
    sync(file.as_file()).map_err(CliError::save(path))?;
    file.persist(path)
        .map_err(|e| CliError::save(path)(e.error))?;
    Ok(())
}

async fn write(args: &ExportArgs, out: &mut impl Write) -> Result<(), CliError> {
    let source = args.source.open().await?;
    source
        .read(&args.chains, |record| {
            Ok(writeln!(out, "{}", record.to_line()?)?)
        })
        .await?;
    Ok(out.flush()?)
}
