//! `undertone authority`: the task authority, which says who may take part.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use undertone_protocol::id::TaskId;
use undertone_protocol::keys::IdentityPublicKey;
use undertone_protocol::roster::Roster;

use crate::error::CliError;
use crate::{identity, roster};

/// Make the task authority's key, and sign rosters with it.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum AuthorityCommand {
    /// Make the authority's key; prints the public key, which clients pin
    #[command(
        after_help = "Example:\n  undertone authority init --out authority.key\n\n\
        Do this on a machine of its own, not on the service's: whoever has this key and the service \
        can fill\na roster with clients of his own. The file is readable by its owner only, and one \
        that is there is\nnever overwritten."
    )]
    Init {
        /// File for the secret key; it must not exist yet
        #[arg(long, value_name = "FILE", default_value = "authority.key")]
        out: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Sign the roster of a task; prints the task's id
    #[command(
        after_help = "Example:\n  undertone authority sign --authority authority.key \
        --members members.txt --out task.roster\n\n\
        members.txt holds one public key a line, as `undertone identity show` and `undertone enrol \
        list`\nprint them; what follows a # is a comment. The members of a task never change: the \
        clients that go\non with other members get a new task, which may start from the adapter of \
        the old one."
    )]
    Sign {
        /// Key file of the task authority
        #[arg(long, value_name = "FILE", default_value = "authority.key")]
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
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: &AuthorityCommand, out: &mut impl Write) -> Result<(), CliError> {
    match command {
        AuthorityCommand::Init { out: file, json } => {
            let public = identity::create(file)?.public();
            if *json {
                writeln!(
                    out,
                    "{}",
                    serde_json::json!({ "authority": public.to_string() })
                )?;
            } else {
                writeln!(out, "{public}")?;
            }
        }
        AuthorityCommand::Sign {
            authority,
            members,
            task,
            out: file,
            json,
        } => {
            let authority = identity::load(authority)?;
            let task = match task {
                Some(task) => *task,
                None => roster::random_task()?,
            };
            let signed = Roster::sign(&authority, task, read_members(members)?)?;
            fs::write(file, signed.encode()?).map_err(CliError::save(file))?;
            if *json {
                let json = serde_json::to_string_pretty(&roster::to_json(&signed))?;
                writeln!(out, "{json}")?;
            } else {
                writeln!(out, "{task}")?;
            }
        }
    }
    Ok(())
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
