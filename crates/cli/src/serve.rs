//! `undertone serve`: the aggregation service.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use undertone_server::config::{Loaded, Sources, markdown};
use undertone_server::store::{AnyStore, Schema};
use undertone_server::{App, app, telemetry};

use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  One process with its own database file:
    undertone serve

  On PostgreSQL, for all interfaces, with TLS:
    undertone serve --database postgres://undertone@db.internal/undertone --listen 0.0.0.0:8470 \\
                    --set tls.certificate=tls.crt --set tls.key=tls.key

  Any setting, by flag, by environment or in a file, the first of which wins:
    undertone serve --set upload.queue=512
    UNDERTONE__UPLOAD__QUEUE=512 undertone serve
    undertone serve --config undertone.toml

  A settings file to start from, with every setting and its meaning:
    undertone serve --print-config > undertone.toml

The service may be stopped or killed at any time; started again on the same database, it goes on
with the round it was in. `RUST_LOG=debug` logs every request.";

/// Run the aggregation service.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Address and port to listen on; port 0 takes a free one (default: 127.0.0.1:8470)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Print the settings in force, without passwords, and end; or the table of all, as markdown
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true,
          default_missing_value = "toml")]
    print_config: Option<Form>,
    /// Print the settings as JSON
    #[arg(long, requires = "print_config")]
    json: bool,
}

/// Where a command's settings come from, beside the environment.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Settings file (default: /etc/undertone/undertone.toml, if it is there)
    #[arg(long, value_name = "FILE", env = "UNDERTONE_CONFIG")]
    config: Option<PathBuf>,
    #[arg(
        long,
        help = "Database: sqlite:PATH or postgres://USER@HOST/NAME (default: \
                        sqlite:undertone.db)",
        value_name = "URL"
    )]
    database: Option<String>,
    /// Any setting by its name in docs/configuration.md; may be given again
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

/// A form of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A settings file.
    Toml,
    /// The table of all settings and their defaults.
    Markdown,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=');
    let pair = pair.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()));
    pair.ok_or_else(|| "expected NAME=VALUE, such as upload.queue=512".to_owned())
}

impl ConfigArgs {
    /// Reads the settings; `flags` are those of the command itself.
    pub(crate) fn load(&self, flags: &[(&str, Option<String>)]) -> Result<Loaded, CliError> {
        let set = self.settings.iter().map(|(name, value)| {
            let flag = format!("--set {name}");
            (flag, name.clone(), value.clone())
        });
        let flags = flags.iter().cloned();
        let flags = flags.chain([("database", self.database.clone())]);
        let flags = flags.filter_map(|(name, value)| {
            let flag = format!("--{}", name.replace(['.', '_'], "-"));
            Some((flag, name.to_owned(), value?))
        });
        let sources = Sources {
            file: self.config.clone(),
            flags: set.chain(flags).collect(),
            ..Sources::default()
        };
        let loaded = sources.with_process_environment().load();
        Ok(loaded.map_err(undertone_server::ServerError::from)?)
    }
}

pub(crate) fn run(args: &ServeArgs, out: &mut impl Write) -> Result<(), CliError> {
    if args.print_config == Some(Form::Markdown) {
        write!(out, "{}", markdown())?;
        return Ok(());
    }
    let listen = args.listen.map(|address| address.to_string());
    let loaded = args.config.load(&[("listen", listen)])?;
    if args.print_config.is_some() {
        if args.json {
            writeln!(out, "{:#}", loaded.json())?;
        } else {
            write!(out, "{}", loaded.toml())?;
        }
        return Ok(());
    }
    let settings = loaded.settings;
    let _telemetry = telemetry::start(&settings.log, &settings.otel)?;
    crate::runtime()?.block_on(async {
        let schema = if settings.migrate_on_start {
            Schema::Migrate
        } else {
            Schema::Require
        };
        let store = AnyStore::connect_to(settings.database.expose(), schema).await?;
        let listener = app::listen(settings.listen).await?;
        let address = listener.local_addr()?;
        let scheme = if settings.tls.is_on() {
            "https"
        } else {
            "http"
        };
        writeln!(out, "listening on {scheme}://{address}")?;
        out.flush()?;
        app::serve(App::new(store.clone(), settings), listener, stopped()).await?;
        store.close().await;
        Ok(())
    })
}

/// Completes on the first SIGINT or SIGTERM; the next one ends the process at once.
async fn stopped() {
    signalled().await;
    tokio::spawn(async {
        signalled().await;
        // Nothing is left to do if standard error is closed.
        let _ = writeln!(
            std::io::stderr(),
            "undertone: a second signal: open requests are cut off"
        );
        // Whatever was acknowledged is in the database.
        std::process::exit(1);
    });
}

/// Completes on SIGINT or SIGTERM.
async fn signalled() {
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
