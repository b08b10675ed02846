//! `undertone roster`: who may take part in a task.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use undertone_protocol::id::{RosterIndex, TaskId};
use undertone_protocol::keys::IdentityPublicKey;
use undertone_protocol::roster::Roster;

use crate::error::CliError;

/// Show rosters: the identity keys that may take part in a task.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum RosterCommand {
    /// Print task, authority and members of a roster, whose signature is checked
    #[command(after_help = "Example:\n  undertone roster show task.roster\n\n\
        `undertone authority sign` makes rosters; `undertone task roster` fetches a task's.")]
    Show {
        /// The roster
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: &RosterCommand, out: &mut impl Write) -> Result<(), CliError> {
    let RosterCommand::Show { file, json } = command;
    let roster = load(file)?;
    if *json {
        let json = serde_json::to_string_pretty(&to_json(&roster))?;
        return Ok(writeln!(out, "{json}")?);
    }
    print(&roster, out)
}

/// Prints a roster for people.
pub(crate) fn print(roster: &Roster, out: &mut impl Write) -> Result<(), CliError> {
    writeln!(out, "task       {}", roster.task())?;
    writeln!(out, "authority  {}", roster.authority())?;
    for (index, key) in members(roster).enumerate() {
        writeln!(out, "client {index:<4}{key}")?;
    }
    Ok(())
}

/// A roster for programs.
pub(crate) fn to_json(roster: &Roster) -> serde_json::Value {
    serde_json::json!({
        "task": roster.task().to_string(),
        "authority": roster.authority().to_string(),
        "digest": roster.digest().to_string(),
        "members": members(roster).map(|key| key.to_string()).collect::<Vec<_>>(),
    })
}

fn members(roster: &Roster) -> impl Iterator<Item = IdentityPublicKey> {
    let indices = 0..u32::try_from(roster.len()).unwrap_or(u32::MAX);
    indices.filter_map(|index| roster.key(RosterIndex(index)).ok())
}

/// Reads a roster and verifies that it is signed by the authority it names.
pub(crate) fn load(path: &Path) -> Result<Roster, CliError> {
    Ok(Roster::decode_own(
        &fs::read(path).map_err(CliError::read(path))?,
    )?)
}

/// A fresh task id.
pub(crate) fn random_task() -> Result<TaskId, CliError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    Ok(TaskId::from(id))
}
