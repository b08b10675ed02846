//! `undertone enrol`: clients' keys, from the clients to the task authority.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use undertone_client::admin::{Enrolment, Invite};
use undertone_client::{EnrolConfig, enrol};
use zeroize::Zeroizing;

use crate::admin::{AdminArgs, DEFAULT_SERVER, away, seconds};
use crate::error::CliError;
use crate::identity;
use crate::tls::TlsArgs;

/// Invite clients, hand in a client's key, list the keys for a roster.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum EnrolCommand {
    /// Make a one-time token for each client; prints them, this once
    #[command(after_help = INVITE_HELP)]
    Invite(InviteArgs),
    /// Hand in this client's public key by its one-time token
    #[command(after_help = ACCEPT_HELP)]
    Accept(AcceptArgs),
    /// List who was invited, and the keys of those who enrolled
    #[command(after_help = LIST_HELP)]
    List(ListArgs),
}

const INVITE_HELP: &str = "\
Example:
  undertone enrol invite --list hospitals --expires 7d north south east west

Prints a line for each client: its name and its token. Give each client its own, by a way that
nobody else reads: whoever comes first with a token puts a key on the list.";

const ACCEPT_HELP: &str = "\
Example:
  undertone identity new --out client.key
  undertone enrol accept --server https://aggregator.example --token-file my.token \\
                         --identity client.key

The token works once. If the answer is lost, the same key may be handed in again.";

const LIST_HELP: &str = "\
Examples:
  undertone enrol list --list hospitals
  undertone enrol list --list hospitals --members members.txt

members.txt is what `undertone authority sign --members` reads. The authority compares the keys with
what it knows of the clients: the service could have put others there.";

/// The variable that holds a client's one-time token.
const TOKEN: &str = "UNDERTONE_ENROLMENT";

#[derive(Debug, Args)]
pub(crate) struct InviteArgs {
    /// What to call the list: what becomes one roster
    #[arg(long, value_name = "NAME")]
    list: String,
    /// How long the tokens are valid: 7d, 12h, 30m
    #[arg(long, value_name = "TIME", value_parser = seconds, default_value = "7d")]
    expires: u64,
    /// The clients, by names of your choice
    #[arg(required = true, value_name = "CLIENT")]
    clients: Vec<String>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Args)]
pub(crate) struct AcceptArgs {
    /// The service, https:// (or http:// on this machine)
    #[arg(long, value_name = "URL", env = "UNDERTONE_SERVER", default_value = DEFAULT_SERVER)]
    server: String,
    #[arg(
        long,
        help = "File with the one-time token (else UNDERTONE_ENROLMENT holds it)",
        value_name = "FILE"
    )]
    token_file: Option<PathBuf>,
    /// This client's key file
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// Allow plain http to other machines (for test networks: the token can be read on the way)
    #[arg(long)]
    allow_plain_http: bool,
    #[command(flatten)]
    tls: TlsArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// One list only
    #[arg(long, value_name = "NAME")]
    list: Option<String>,
    /// File for the keys of those who enrolled, one a line
    #[arg(long, value_name = "FILE", requires = "list")]
    members: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(crate) fn run(command: &EnrolCommand, out: &mut impl Write) -> Result<(), CliError> {
    crate::runtime()?.block_on(async {
        match command {
            EnrolCommand::Invite(args) => invite(args, out).await,
            EnrolCommand::Accept(args) => accept(args, out).await,
            EnrolCommand::List(args) => list(args, out).await,
        }
    })
}

async fn invite(args: &InviteArgs, out: &mut impl Write) -> Result<(), CliError> {
    let wish = Invite {
        list: args.list.clone(),
        names: args.clients.clone(),
        expires_in_s: args.expires,
    };
    let made = args.admin.client()?.invite(&wish).await?;
    if args.admin.json {
        let invitations: Vec<_> = made
            .invitations
            .iter()
            .map(|one| {
                serde_json::json!({
                    "name": one.name, "token": one.token, "secret": one.secret.as_str(),
                })
            })
            .collect();
        let json = serde_json::json!({
            "list": made.list, "expires_at_ms": made.expires_at_ms, "invitations": invitations,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&json)?)?;
        return Ok(());
    }
    for one in &made.invitations {
        writeln!(out, "{}\t{}", one.name, one.secret.as_str())?;
    }
    Ok(())
}

async fn accept(args: &AcceptArgs, out: &mut impl Write) -> Result<(), CliError> {
    let token = match &args.token_file {
        Some(path) => fs::read_to_string(path).map_err(CliError::read(path))?,
        None => std::env::var(TOKEN).map_err(|_| {
            CliError::Input(format!(
                "this needs a one-time token, in {TOKEN} or in the file of --token-file; whoever \
                 invites you makes it by `undertone enrol invite`"
            ))
        })?,
    };
    let mut config = EnrolConfig::new(&args.server, Zeroizing::new(token));
    config.allow_plain_http = args.allow_plain_http;
    config.tls = args.tls.config()?;
    let enrolled = enrol(&config, &identity::load(&args.identity)?).await?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&enrolled)?)?;
    } else {
        writeln!(out, "on the list {} as {}", enrolled.list, enrolled.name)?;
    }
    Ok(())
}

async fn list(args: &ListArgs, out: &mut impl Write) -> Result<(), CliError> {
    let enrolments = args
        .admin
        .client()?
        .enrolments(args.list.as_deref())
        .await?;
    if let Some(path) = &args.members {
        fs::write(path, members(&enrolments)).map_err(CliError::save(path))?;
    }
    if args.admin.print(&enrolments, out)? {
        return Ok(());
    }
    for one in &enrolments {
        let (list, name, state) = (&one.list, &one.name, one.state.text());
        let more = match one.key {
            Some(key) => key.to_string(),
            None => format!("token {}, expires {}", one.token, away(one.expires_at_ms)),
        };
        writeln!(out, "{list}  {name}: {state}; {more}")?;
    }
    Ok(())
}

/// The keys of those who enrolled, as `undertone authority sign` reads them.
fn members(enrolments: &[Enrolment]) -> String {
    enrolments.iter().fold(String::new(), |mut text, one| {
        if let Some(key) = one.key {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{key}  # {}", one.name);
        }
        text
    })
}
