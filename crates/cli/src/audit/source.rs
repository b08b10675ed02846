//! Where the log is read from: the service, its database, or an exported file.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use undertone_client::admin::AdminClient;
use undertone_protocol::audit::SignedHead;
use undertone_protocol::keys::IdentityKey;
use undertone_server::audit::{self, Chain, Record};
use undertone_server::store::{AnyStore, AuditEntry};

use crate::admin::ServerArgs;
use crate::error::CliError;

/// The service, or its database.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    #[arg(
        long,
        help = "Read the service's database itself: sqlite:PATH or postgres://USER@HOST/NAME",
        value_name = "URL",
        env = "UNDERTONE__DATABASE"
    )]
    database: Option<String>,
    /// With --database: key file that signs heads, where the service has one (`audit.key_file`)
    #[arg(long, value_name = "FILE", requires = "database")]
    audit_key_file: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Where whole chains are read from.
pub(super) enum Source {
    /// A database, and the key that signs what is read from it.
    Database(AnyStore, IdentityKey),
    /// The service, by an administrator's token of scope `audit`.
    Service(AdminClient),
}

impl SourceArgs {
    /// Opens it.
    pub(super) async fn open(&self) -> Result<Source, CliError> {
        let Some(database) = &self.database else {
            return Ok(Source::Service(self.server.client()?));
        };
        let store = AnyStore::connect(database).await?;
        let key = audit::key(&store, self.audit_key_file.as_deref()).await?;
        Ok(Source::Database(store, key))
    }
}

impl Source {
    /// Gives the lines of an export to `take`, of these chains or of all.
    pub(super) async fn read(
        &self,
        chains: &[Chain],
        mut take: impl FnMut(Record) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        let all = match self {
            Self::Database(store, _) => audit::read::chains(store).await?,
            Self::Service(admin) => {
                let names = admin.audit_chains().await?;
                let chains: Result<_, _> = names.iter().map(|name| name.parse()).collect();
                chains?
            }
        };
        let manifest = Record::manifest(&all, chains);
        let chains = if chains.is_empty() { &all } else { chains };
        take(manifest)?;
        for chain in chains {
            match self {
                Self::Database(store, key) => {
                    audit::read::chain(store, *chain, key, &mut take).await?;
                }
                Self::Service(admin) => from_service(admin, *chain, &mut take).await?,
            }
        }
        Ok(())
    }
}

/// A chain up to its head at the beginning: what is appended meanwhile is left out.
async fn from_service(
    admin: &AdminClient,
    chain: Chain,
    take: &mut impl FnMut(Record) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let name = chain.to_string();
    let mut page = admin.audit_page(&name, 0).await?;
    let head = page.head.take().ok_or_else(|| no_chain(chain))?;
    let head = SignedHead::try_from(&head)?;
    let end = head.statement.head.sequence;
    while let Some(last) = page.entries.last().map(|entry| entry.sequence) {
        for entry in page.entries {
            if entry.sequence <= end {
                let digest = entry.digest.parse()?;
                let (sequence, content) = (entry.sequence, entry.content);
                let entry = AuditEntry {
                    sequence,
                    content,
                    digest,
                };
                take(Record::Entry { chain, entry })?;
            }
        }
        let Some(next) = last.checked_add(1).filter(|next| *next <= end) else {
            break;
        };
        page = admin.audit_page(&name, next).await?;
        // A page that does not bring the reader on is no page; the verifier says what is missing.
        page.entries.retain(|entry| entry.sequence >= next);
    }
    take(Record::Head(head))
}

fn no_chain(chain: Chain) -> CliError {
    undertone_server::ServerError::NoChain(chain).into()
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
