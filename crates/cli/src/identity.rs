//! `undertone identity`: key pairs of clients and of the task authority.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use undertone_protocol::keys::{IdentityKey, Secret32};
use zeroize::Zeroizing;

use crate::error::CliError;

/// Make and show identity keys (of clients and of the task authority).
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum IdentityCommand {
    /// Make a key pair; prints the public key
    #[command(after_help = "Example:\n  undertone identity new --out client.key\n\n\
        The file is readable by its owner only. Whoever has it is the client.")]
    New {
        /// File for the secret key; it must not exist yet
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the public key of a key file
    Show {
        /// The key file
        file: PathBuf,
    },
}

pub(crate) fn run(command: &IdentityCommand, out: &mut impl Write) -> Result<(), CliError> {
    let key = match command {
        IdentityCommand::New { out } => create(out)?,
        IdentityCommand::Show { file } => load(file)?,
    };
    Ok(writeln!(out, "{}", key.public())?)
}

/// Makes a key pair and stores its seed as hexadecimal digits, for its owner's eyes.
pub(crate) fn create(path: &Path) -> Result<IdentityKey, CliError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed)?;
    let key = IdentityKey::from_seed(&Secret32::from(*seed));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(CliError::save(path))?;
    let text = Zeroizing::new(format!("{}\n", hex::encode(*seed)));
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(CliError::save(path))?;
    Ok(key)
}

/// Reads a key file.
pub(crate) fn load(path: &Path) -> Result<IdentityKey, CliError> {
    let text = Zeroizing::new(fs::read_to_string(path).map_err(CliError::read(path))?);
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), &mut *seed).map_err(|_| {
        let path = path.display();
        CliError::Input(format!(
            "{path} is no key file: it should hold 64 hexadecimal digits"
        ))
    })?;
    Ok(IdentityKey::from_seed(&Secret32::from(*seed)))
}
