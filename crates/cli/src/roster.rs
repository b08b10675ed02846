//! `undertone roster`: who may take part in a task, signed by the task authority.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use undertone_protocol::id::TaskId;
use undertone_protocol::keys::IdentityPublicKey;
use undertone_protocol::roster::Roster;

use crate::error::CliError;
use crate::identity;

/// Sign and show rosters: the identity keys that may take part in a task.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum RosterCommand {
    /// Sign a roster; prints the task's id
    #[command(
        after_help = "Example:\n  undertone roster sign --authority authority.key \
        --members members.txt --out task.roster\n\n\
        members.txt holds one public key a line, as `undertone identity show` prints it; what \
        follows a # is a comment."
    )]
    Sign {
        /// Key file of the task authority
        #[arg(long, value_name = "FILE")]
        authority: PathBuf,
        /// File with one public key a line
        #[arg(long, value_name = "FILE")]
        members: PathBuf,
        /// The task's id; drawn at random where it is left out
        #[arg(long, value_name = "ID")]
        task: Option<TaskId>,
        /// File for the signed roster
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print task, authority and members of a roster
    Show {
        /// The roster
        file: PathBuf,
    },
}

pub(crate) fn run(command: &RosterCommand, out: &mut impl Write) -> Result<(), CliError> {
    match command {
        RosterCommand::Sign {
            authority,
            members,
            task,
            out: file,
        } => {
            let authority = identity::load(authority)?;
            let task = match task {
                Some(task) => *task,
                None => random_task()?,
            };
            let roster = Roster::sign(&authority, task, read_members(members)?)?;
            fs::write(file, roster.encode()?).map_err(CliError::save(file))?;
            writeln!(out, "{task}")?;
        }
        RosterCommand::Show { file } => {
            let roster = load(file)?;
            writeln!(out, "task       {}", roster.task())?;
            writeln!(out, "authority  {}", roster.authority())?;
            for index in 0..u32::try_from(roster.len()).unwrap_or(u32::MAX) {
                let key = roster.key(undertone_protocol::id::RosterIndex(index))?;
                writeln!(out, "client {index:<4}{key}")?;
            }
        }
    }
    Ok(())
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

fn read_members(path: &Path) -> Result<Vec<IdentityPublicKey>, CliError> {
    let text = fs::read_to_string(path).map_err(CliError::read(path))?;
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            line.parse().map_err(|e| {
                let (path, number) = (path.display(), number + 1);
                CliError::Input(format!("{path}, line {number}: {e}"))
            })
        })
        .collect()
}
