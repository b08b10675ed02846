//! `undertone serve`: the aggregation service.

use std::io::Write;
use std::net::SocketAddr;

use clap::Args;
use undertone_server::store::AnyStore;
use undertone_server::{App, Settings, app, telemetry};

use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  One process with its own database file:
    undertone serve

  On PostgreSQL, for all interfaces (put TLS in front of it):
    undertone serve --database postgres://undertone@db.internal/undertone --listen 0.0.0.0:8470

The service may be stopped or killed at any time; started again on the same database, it goes on
with the round it was in. `RUST_LOG=debug` logs every request.";

/// Run the aggregation service.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    #[arg(long, help = "Database: sqlite:PATH or postgres://USER@HOST/NAME",
         value_name = "URL", env = "UNDERTONE_DATABASE", default_value = DEFAULT_DATABASE)]
    database: String,
    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "UNDERTONE_LISTEN",
        default_value = "127.0.0.1:8470"
    )]
    listen: SocketAddr,
}

/// The embedded database of a service that is told nothing else.
pub(crate) const DEFAULT_DATABASE: &str = "sqlite:undertone.db";

pub(crate) fn run(args: &ServeArgs, out: &mut impl Write) -> Result<(), CliError> {
    let settings = Settings {
        database: args.database.clone(),
        listen: args.listen,
        ..Settings::default()
    };
    let _telemetry = telemetry::start(&settings.log, &settings.otel)?;
    crate::runtime()?.block_on(async {
        let store = AnyStore::connect(&args.database).await?;
        let listener = app::listen(args.listen).await?;
        let address = listener.local_addr()?;
        writeln!(out, "listening on http://{address}")?;
        out.flush()?;
        app::serve(App::new(store.clone(), settings), listener, stopped()).await?;
        store.close().await;
        Ok(())
    })
}

/// Completes on SIGINT or SIGTERM.
async fn stopped() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    // Without a handler the process ends by the signal itself; then this never completes.
    let _ = interrupt.await;
}
