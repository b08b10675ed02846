//! Where the log is read from: the service's database, or an exported file.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use undertone_protocol::keys::IdentityKey;
use undertone_server::audit::{self, Chain, Record};
use undertone_server::store::AnyStore;

use crate::error::CliError;
use crate::serve::DEFAULT_DATABASE;

/// The service's database.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    #[arg(long, help = "Database of the service: sqlite:PATH or postgres://USER@HOST/NAME",
         value_name = "URL", env = "UNDERTONE_DATABASE", default_value = DEFAULT_DATABASE)]
    database: String,
    /// Key file that signs heads, where the service is told to use one (audit.key_file)
    #[arg(long, value_name = "FILE")]
    audit_key_file: Option<PathBuf>,
}

/// An open database, and the key that signs what is read from it.
pub(super) struct Source {
    store: AnyStore,
    key: IdentityKey,
}

impl SourceArgs {
    /// Opens the database.
    pub(super) async fn open(&self) -> Result<Source, CliError> {
        let store = AnyStore::connect(&self.database).await?;
        let key = audit::key(&store, self.audit_key_file.as_deref()).await?;
        Ok(Source { store, key })
    }
}

impl Source {
    /// Gives the lines of an export to `take`, of these chains or of all.
    pub(super) async fn read(
        &self,
        chains: &[Chain],
        mut take: impl FnMut(Record) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let manifest = audit::read::manifest(&self.store, chains).await?;
        let Record::Manifest { chains, .. } = &manifest else {
            return Ok(());
        };
        let chains = chains.clone();
        take(manifest)?;
        for chain in chains {
            audit::read::chain(&self.store, chain, &self.key, &mut take).await?;
        }
        Ok(())
    }
}

/// Gives the lines of a file to `take`, with their numbers from 1; `-` is standard input.
pub(super) fn lines(
    path: &Path,
    mut take: impl FnMut(u64, &str) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let reader: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let file = File::open(path).map_err(CliError::read(path))?;
        Box::new(BufReader::new(file))
    };
    for (number, line) in (1..).zip(reader.lines()) {
        take(number, &line.map_err(CliError::read(path))?)?;
    }
    Ok(())
}
