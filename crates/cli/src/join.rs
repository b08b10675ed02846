//! `undertone join`: one client, with its own texts, until the task is done.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Deserialize;
use undertone_client::lora::{LoraData, LoraTrainer};
use undertone_client::{Client, Event, JoinConfig, Observer, Policy};
use undertone_privacy::{Budget, Delta, Epsilon};
use undertone_protocol::id::TaskId;
use undertone_protocol::keys::IdentityPublicKey;
use undertone_training::{Encoder, TextTokenizer};

use crate::error::CliError;
use crate::identity;
use crate::tls::TlsArgs;

const EXAMPLES: &str = "\
Example:
  undertone join --server https://aggregator.example --task 5d0f... --identity client.key \\
                 --authority 3ab1... --model MiniLM-L6 --data mine.jsonl --max-epsilon 6

mine.jsonl holds one JSON object a line: {\"text\": \"...\", \"label\": 1}. It is only read. What
leaves this machine is a masked, differentially private update.

The folder --state remembers which rounds were begun and what privacy was spent: keep it with the
data. Without it this client would forget its budget. `undertone ledger show` says what is left.";

const USAGE: &str = "\
undertone join --server <URL> --task <ID> --identity <FILE> --authority <KEY>
                      --model <FOLDER> --data <FILE> [OPTIONS]";

/// Take part in a task: train on local texts, send masked updates.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub(crate) struct JoinArgs {
    /// The service, https:// (or http:// on this machine)
    #[arg(long, value_name = "URL")]
    server: String,
    /// The task's id
    #[arg(long, value_name = "ID")]
    task: TaskId,
    /// This client's key file
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// Public key of the task authority, which signs the roster
    #[arg(long, value_name = "KEY")]
    authority: IdentityPublicKey,
    /// Public key that signs the service's audit log (default: that of the first head seen)
    #[arg(long, value_name = "KEY")]
    audit_key: Option<IdentityPublicKey>,
    /// Folder of the pretrained model: config.json, model.safetensors, tokenizer.json
    #[arg(long, value_name = "FOLDER")]
    model: PathBuf,
    /// Texts and labels, one JSON object a line
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// Folder for what must be remembered between runs
    #[arg(long, value_name = "FOLDER", default_value = "undertone-state")]
    state: PathBuf,
    /// The most privacy to spend in all, for one example, at --delta
    #[arg(long, value_name = "EPSILON", default_value = "8")]
    max_epsilon: Epsilon,
    /// Delta of the budget; it must be below one over the number of examples
    #[arg(long, value_name = "DELTA", default_value = "1e-5")]
    delta: Delta,
    /// The most privacy to spend in all, for this client as a whole, at --client-delta: mechanisms
    /// that promise nothing for a client are then declined
    #[arg(long, value_name = "EPSILON", requires = "client_delta")]
    client_max_epsilon: Option<Epsilon>,
    /// Delta of that budget; it must be below one over the number of clients
    #[arg(long, value_name = "DELTA", requires = "client_max_epsilon")]
    client_delta: Option<Delta>,
    /// The fewest honest clients that a sum may be over, this one among them
    #[arg(long, value_name = "N", default_value_t = 4)]
    min_honest: usize,
    /// Assume that this fraction of the roster may be corrupt, 0 to 1 (default: less than a third
    /// of up to 255 members, a tenth of more)
    #[arg(long, value_name = "FRACTION", value_parser = fraction)]
    corrupt: Option<f64>,
    /// Allow plain http to other machines (for test networks)
    #[arg(long)]
    allow_plain_http: bool,
    #[command(flatten)]
    tls: TlsArgs,
    /// Print a JSON summary at the end
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Example {
    text: String,
    label: u32,
}

fn fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(value) if (0.0..1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to below 1".into()),
    }
}

pub(crate) fn run(args: &JoinArgs, out: &mut impl Write) -> Result<(), CliError> {
    crate::init_logs("warn");
    let (texts, labels) = read_examples(&args.data)?;
    let examples = u64::try_from(texts.len()).unwrap_or(u64::MAX);
    let policy = policy(args)?;
    // Before the model is loaded; against the roster it is checked when joining.
    policy.check_budgets(Some(examples), None)?;
    let trainer = LoraTrainer::from_texts(LoraData {
        encoder: Arc::new(Encoder::load(&args.model)?),
        tokenizer: TextTokenizer::load(&args.model.join("tokenizer.json"))?,
        texts,
        labels,
        cache: Some(args.state.join("features")),
    })
    .with_memory(args.state.clone());
    let identity = Arc::new(identity::load(&args.identity)?);
    let mut config = JoinConfig::new(
        args.server.clone(),
        args.task,
        identity,
        args.authority,
        policy,
        args.state.clone(),
    );
    config.allow_plain_http = args.allow_plain_http;
    config.tls = args.tls.config()?;
    config.audit_key = args.audit_key;
    config.examples = Some(examples);
    let summary = crate::runtime()?.block_on(async {
        let client = Client::join(config, trainer, Narrator).await?;
        client.run().await
    })?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&summary)?)?;
    } else {
        writeln!(out, "{summary}")?;
    }
    Ok(())
}

fn policy(args: &JoinArgs) -> Result<Policy, CliError> {
    let mut policy = Policy::new(Budget {
        epsilon: args.max_epsilon,
        delta: args.delta,
    })?;
    policy.client_budget = args
        .client_max_epsilon
        .zip(args.client_delta)
        .map(|(epsilon, delta)| Budget { epsilon, delta });
    policy.min_honest = args.min_honest;
    policy.trust.corrupt = args.corrupt;
    Ok(policy)
}

fn read_examples(path: &Path) -> Result<(Vec<String>, Vec<u32>), CliError> {
    let text = fs::read_to_string(path).map_err(CliError::read(path))?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    let mut examples = (Vec::new(), Vec::new());
    for (number, line) in lines {
        let example: Example = serde_json::from_str(line).map_err(|e| {
            let (path, number) = (path.display(), number + 1);
            CliError::Input(format!(
                "{path}, line {number}: {e}; expected {{\"text\": \"...\", \"label\": 0}}"
            ))
        })?;
        examples.0.push(example.text);
        examples.1.push(example.label);
    }
    if examples.0.is_empty() {
        return Err(CliError::Input(format!(
            "{} holds no example",
            path.display()
        )));
    }
    Ok(examples)
}

/// Tells on standard error how it goes.
struct Narrator;

impl Observer for Narrator {
    async fn event(&mut self, event: Event<'_>) {
        let line = match event {
            Event::RoundOpened { number, .. } => format!("round {number}: opened"),
            Event::Declined { number, reason } => format!("round {number}: declined: {reason}"),
            Event::Training { number } => format!("round {number}: training"),
            Event::Trained { number, seconds } => {
                format!("round {number}: trained in {seconds:.1} s")
            }
            Event::Sent { number, phase } => format!("round {number}: sent {phase}"),
            Event::Retrying {
                attempt,
                delay,
                error,
            } => {
                format!("retry {attempt} in {:.1} s: {error}", delay.as_secs_f64())
            }
            Event::RoundFinished { number, .. } => format!("round {number}: finished"),
            Event::RoundLost { number, reason } => format!("round {number}: lost: {reason}"),
            Event::TaskFinished => "the task is finished".to_owned(),
            _ => return,
        };
        // Progress is a courtesy: a closed standard error does not stop the client.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}
