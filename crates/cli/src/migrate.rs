//! `undertone migrate`: the schema of the service's database.

use std::io::Write;

use clap::Args;
use undertone_server::store::{AnyStore, Schema, Store, StoreError};

use crate::error::CliError;
use crate::serve::ConfigArgs;

const EXAMPLES: &str = "\
Examples:
  Before a new version starts, where the service itself may not change the schema:
    undertone migrate --database postgres://owner@db.internal/undertone
    undertone serve --set migrate_on_start=false

  Is anything missing? Changes nothing; exit status 1 if so:
    undertone migrate --check

The database is the one of the settings, as `undertone serve` reads them. Processes of the service
may run meanwhile.";

/// Bring the schema of the service's database up to date.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MigrateArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Change nothing; fail if something is missing
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &MigrateArgs, out: &mut impl Write) -> Result<(), CliError> {
    let loaded = args.config.load(&[])?;
    let database = &loaded.settings.database;
    crate::init_logs("warn");
    let missing = crate::runtime()?.block_on(async {
        if args.check {
            AnyStore::connect_to(database.expose(), Schema::Require)
                .await?
                .close()
                .await;
            return Ok(Vec::new());
        }
        let store = AnyStore::connect_to(database.expose(), Schema::Leave).await?;
        let missing = store.missing_migrations().await?;
        store.close().await;
        AnyStore::connect(database.expose()).await?.close().await;
        Ok::<_, StoreError>(missing)
    });
    match missing? {
        missing if missing.is_empty() => writeln!(out, "the schema of {database} is up to date")?,
        missing => writeln!(out, "{database}: applied migrations {missing:?}")?,
    }
    Ok(())
}
