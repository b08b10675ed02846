//! `undertone audit show`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::Value;
use undertone_server::audit::{Chain, Record};
use undertone_server::store::AuditEntry;

use super::source::{SourceArgs, lines};
use crate::error::CliError;

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// A task's id, or `service`
    #[arg(value_name = "CHAIN")]
    chain: Chain,
    /// From this entry on
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// At most so many entries
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    limit: u64,
    /// Read an exported log, or - for standard input (default: ask the service)
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

pub(super) async fn run(args: &ShowArgs, out: &mut impl Write) -> Result<(), CliError> {
    let mut left = args.limit;
    let mut take = |record: Record| -> Result<(), CliError> {
        let Record::Entry { chain, entry } = record else {
            return Ok(());
        };
        if chain != args.chain || entry.sequence < args.from || left == 0 {
            return Ok(());
        }
        left -= 1;
        if args.json {
            let line = Record::Entry { chain, entry }.to_line()?;
            return Ok(writeln!(out, "{line}")?);
        }
        line(&entry, out)
    };
    match &args.file {
        Some(path) => lines(path, |number, text| {
            let record = Record::from_line(text);
            take(record.map_err(|fault| CliError::AuditLog(format!("line {number}: {fault}")))?)
        }),
        None => args.source.open().await?.read(&[args.chain], take).await,
    }
}

/// One entry as one line: number, time, who, what, and the rest as it stands.
fn line(entry: &AuditEntry, out: &mut impl Write) -> Result<(), CliError> {
    let content: Value = serde_json::from_str(&entry.content).unwrap_or_default();
    let time = content["time"].as_u64().unwrap_or_default();
    let who = words(&content["actor"]);
    let what = words(&content["event"]);
    let number = entry.sequence;
    Ok(writeln!(
        out,
        "{number:>6}  {}  {what}  (by {who})",
        utc(time)
    )?)
}

/// The kind first, then the other fields.
fn words(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or("unreadable");
    let fields = object.as_object().into_iter().flatten();
    let fields = fields.filter(|(name, value)| *name != "kind" && !value.is_null());
    fields.fold(kind.to_owned(), |text, (name, value)| {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        text + " " + name + "=" + &value
    })
}

/// A time in milliseconds since the epoch, as people and `sort` read it.
fn utc(milliseconds: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(milliseconds);
    humantime::format_rfc3339_millis(time).to_string()
}
