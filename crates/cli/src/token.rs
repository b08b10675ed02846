//! `undertone token`: admin tokens.

use std::io::Write;

use clap::{Args, Subcommand};
use undertone_client::admin::NewToken;
use undertone_server::auth::{self, Scope, Scopes};
use undertone_server::driver::now_ms;
use undertone_server::store::{Actor, AnyStore, Store};

use crate::admin::{AdminArgs, away, seconds};
use crate::error::CliError;

/// Make, list and revoke admin tokens.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum TokenCommand {
    /// Make a token; prints it, this once
    #[command(after_help = CREATE_HELP)]
    Create(CreateArgs),
    /// List all tokens, without their secrets
    #[command(after_help = "Example:\n  undertone token list --json")]
    List(#[command(flatten)] AdminArgs),
    /// Revoke a token, at once and for ever
    #[command(after_help = "Example:\n  undertone token revoke 00c0ffee00c0ffee")]
    Revoke {
        /// The token's id: the digits after `ut_`
        token: String,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

const CREATE_HELP: &str = "\
Examples:
  The first token, made in the service's database by whoever runs the service:
    undertone token create --database sqlite:undertone.db --name ops --expires 90d > ops.token

  Every other one, by a token with the scope `tokens`, which cannot give more than it has:
    undertone token create --token-file ops.token --name dashboard --scopes read --expires 365d

Scopes: read (tasks, rounds, results), tasks (make and control them), enrol (invite clients),
tokens (make and revoke tokens), audit (the audit log's contents). The secret is stored hashed:
nobody can show it again.";

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// What it is for, in your words
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What it allows, separated by commas
    #[arg(
        long,
        value_name = "SCOPES",
        value_delimiter = ',',
        default_value = "read,tasks,enrol,tokens,audit"
    )]
    scopes: Vec<Scope>,
    /// How long it is valid: 90d, 12h, 30m
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "90d")]
    expires: u64,
    #[arg(
        long,
        help = "Make it directly in the service's database: sqlite:PATH or \
                        postgres://USER@HOST/NAME",
        value_name = "URL",
        conflicts_with = "token_file"
    )]
    database: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) fn run(command: &TokenCommand, out: &mut impl Write) -> Result<(), CliError> {
    crate::runtime()?.block_on(async {
        match command {
            TokenCommand::Create(args) => create(args, out).await,
            TokenCommand::List(admin) => list(admin, out).await,
            TokenCommand::Revoke { token, admin } => {
                let revoked = admin.client()?.revoke_token(token).await?;
                if !admin.print(&revoked, out)? {
                    let how = if revoked.revoked_now {
                        "revoked"
                    } else {
                        "had been revoked before"
                    };
                    writeln!(out, "{} {how}", revoked.token)?;
                }
                Ok(())
            }
        }
    })
}

async fn create(args: &CreateArgs, out: &mut impl Write) -> Result<(), CliError> {
    let (id, secret, expires_at) = if let Some(database) = &args.database {
        let scopes: Scopes = args.scopes.iter().copied().collect();
        let (token, new) = auth::issue(args.name.clone(), scopes, args.expires, now_ms())?;
        let store = AnyStore::connect(database).await?;
        store.create_token(&new, Actor::Database).await?;
        store.close().await;
        (new.id.to_string(), token.reveal(), new.expires_at)
    } else {
        let new = NewToken {
            name: args.name.clone(),
            scopes: args.scopes.iter().map(ToString::to_string).collect(),
            expires_in_s: args.expires,
        };
        let made = args.admin.client()?.create_token(&new).await?;
        (made.token, made.secret, made.expires_at_ms)
    };
    if args.admin.json {
        let json = serde_json::json!({
            "token": id, "secret": secret.as_str(), "expires_at_ms": expires_at,
        });
        writeln!(out, "{json}")?;
    } else {
        writeln!(out, "{}", secret.as_str())?;
    }
    Ok(())
}

async fn list(admin: &AdminArgs, out: &mut impl Write) -> Result<(), CliError> {
    let tokens = admin.client()?.tokens().await?;
    if admin.print(&tokens, out)? {
        return Ok(());
    }
    for token in tokens {
        let state = match token.revoked_at_ms {
            Some(time) => format!("revoked {}", away(time)),
            None if token.valid => format!("expires {}", away(token.expires_at_ms)),
            None => format!("expired {}", away(token.expires_at_ms)),
        };
        let used = token.used_at_ms.map_or("never".to_owned(), away);
        let scopes = token.scopes.join(",");
        writeln!(
            out,
            "{}  {}: {scopes}; {state}; used {used}",
            token.token, token.name
        )?;
    }
    Ok(())
}
