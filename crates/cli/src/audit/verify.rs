//! `undertone audit verify`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use undertone_protocol::audit::SignedHead;
use undertone_protocol::keys::IdentityPublicKey;
use undertone_server::audit::{ChainReport, Fault, Record, SignedHeadJson, Verifier};

use super::source::{SourceArgs, lines};
use crate::error::CliError;

pub(super) const HELP: &str = "\
Examples:
  undertone audit verify audit.jsonl --key 3ab1...
  undertone audit verify audit.jsonl --remembered state/audit/5d0f....json
  undertone audit verify --database postgres://undertone@db.internal/undertone

It finds whatever was changed after it was written, but for one thing: a log written anew as a whole
by someone who has the service's audit key. Heads that clients, or you, remember show that too:
--remembered takes any number of them.";

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The exported log, or - for standard input (default: ask the service)
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The key that must have signed (default: one and the same key, whichever it is)
    #[arg(long, value_name = "KEY")]
    key: Option<IdentityPublicKey>,
    /// A signed head from elsewhere, which the log must hold; may be given several times
    #[arg(long, value_name = "FILE")]
    remembered: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

pub(super) async fn run(args: &VerifyArgs, out: &mut impl Write) -> Result<(), CliError> {
    let mut verifier = Verifier::new();
    if let Some(key) = args.key {
        verifier.demand_key(key);
    }
    for path in &args.remembered {
        let signed = remembered(path)?;
        verifier.demand_head(signed.statement.chain, signed.statement.head);
    }
    let checked = if let Some(path) = &args.file {
        lines(path, |number, line| {
            let taken = Record::from_line(line).and_then(|record| verifier.take(&record));
            taken.map_err(|fault| wrong(Some(number), &fault))
        })
    } else {
        let source = args.source.open().await?;
        let take = |record: Record| verifier.take(&record).map_err(|fault| wrong(None, &fault));
        source.read(&[], take).await
    };
    let checked = checked.and_then(|()| verifier.finish().map_err(|fault| wrong(None, &fault)));
    match (checked, args.json) {
        (Ok(chains), true) => {
            let json = serde_json::json!({ "valid": true, "chains": chains });
            Ok(writeln!(out, "{}", serde_json::to_string_pretty(&json)?)?)
        }
        (Ok(chains), false) => report(&chains, out),
        (Err(CliError::AuditLog(fault)), true) => {
            let json = serde_json::json!({ "valid": false, "fault": fault });
            writeln!(out, "{}", serde_json::to_string_pretty(&json)?)?;
            Err(CliError::AuditLog(fault))
        }
        (Err(error), _) => Err(error),
    }
}

fn wrong(line: Option<u64>, fault: &Fault) -> CliError {
    CliError::AuditLog(match line {
        Some(line) => format!("line {line}: {fault}"),
        None => fault.to_string(),
    })
}

/// A head as clients keep it, with a signature that verifies.
fn remembered(path: &Path) -> Result<SignedHead, CliError> {
    let text = fs::read_to_string(path).map_err(CliError::read(path))?;
    let bad = |e: String| CliError::Input(format!("{}: {e}", path.display()));
    let json: SignedHeadJson = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
    let signed = SignedHead::try_from(&json).map_err(|e| bad(e.to_string()))?;
    signed.verify().map_err(|e| bad(e.to_string()))?;
    Ok(signed)
}

fn report(chains: &[ChainReport], out: &mut impl Write) -> Result<(), CliError> {
    for chain in chains {
        let (entries, name, head) = (chain.entries, &chain.chain, chain.head.0);
        writeln!(out, "{name:<32}  {entries:>8} entries, the last {head}")?;
    }
    if let Some(key) = chains.iter().find_map(|chain| chain.key.as_ref()) {
        writeln!(out, "signed by {}", key.0)?;
    }
    writeln!(out, "Nothing was changed, moved, left out or cut off.")?;
    Ok(())
}
