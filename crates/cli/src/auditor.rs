//! `undertone report`: pages that can be shown to an auditor.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use undertone_protocol::id::TaskId;
use undertone_server::report::PrivacyReport;

use crate::admin::AdminArgs;
use crate::error::CliError;

const HELP: &str = "\
Examples:
  undertone report privacy 5d0f8e0c3b1a4f6e9d2c7b8a90817263 --html privacy.html --markdown privacy.md
  undertone report privacy 5d0f8e0c3b1a4f6e9d2c7b8a90817263 --json > privacy.json

Without --html, --markdown or --json the document is printed as Markdown. It names the mechanism, the
units, adjacency, delta, accountant, epsilon per round and in total, for an example and for a client,
against the aggregator and against those who see only the models; who was in how many sums; the budget
and what is left of it; the audit log's signed head; what all that rests on and what is not covered.";

/// Write what can be shown to an auditor.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum ReportCommand {
    /// What a task promises, what it has spent, and who took part
    #[command(after_help = HELP)]
    Privacy(PrivacyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct PrivacyArgs {
    /// The task's id
    task: TaskId,
    /// File for the page
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// File for the same as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) fn run(command: &ReportCommand, out: &mut impl Write) -> Result<(), CliError> {
    let ReportCommand::Privacy(args) = command;
    crate::runtime()?.block_on(privacy(args, out))
}

async fn privacy(args: &PrivacyArgs, out: &mut impl Write) -> Result<(), CliError> {
    let json = args.admin.client()?.privacy_report(args.task).await?;
    let report: PrivacyReport = serde_json::from_value(json)
        .map_err(|e| CliError::Input(format!("the service's report cannot be read: {e}")))?;
    if let Some(path) = &args.html {
        let page = report.html().map_err(|e| CliError::Input(e.to_string()))?;
        save(path, &page)?;
    }
    if let Some(path) = &args.markdown {
        save(path, &report.markdown())?;
    }
    if !args.admin.print(&report, out)? && args.html.is_none() && args.markdown.is_none() {
        write!(out, "{}", report.markdown())?;
    }
    Ok(())
}

fn save(path: &Path, text: &str) -> Result<(), CliError> {
    fs::write(path, text).map_err(CliError::save(path))
}
