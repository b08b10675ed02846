//! `undertone task`: tasks over the admin API.

mod show;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Deserialize;
use undertone_client::admin::{AdminClient, NewTask, TaskDetail};
use undertone_client::lora::first_adapter;
use undertone_privacy::Mechanism;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::id::{RosterIndex, TaskId};
use undertone_training::{Encoder, TrainingConfig};

use crate::admin::AdminArgs;
use crate::error::CliError;
use crate::roster;

/// Make tasks, look at them, and control them.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum TaskCommand {
    /// Make a task; prints its id
    #[command(after_help = CREATE_HELP)]
    Create(Box<CreateArgs>),
    /// List all tasks
    #[command(after_help = "Example:\n  undertone task list --server https://aggregator.example")]
    List(#[command(flatten)] AdminArgs),
    /// Show a task with its settings
    #[command(
        after_help = "Example:\n  undertone task show 5d0f8e0c3b1a4f6e9d2c7b8a90817263 --json"
    )]
    Show(One),
    /// Open no further round until `resume`; an open one goes on
    #[command(after_help = "Example:\n  undertone task pause 5d0f8e0c3b1a4f6e9d2c7b8a90817263")]
    Pause(One),
    /// Open rounds again
    #[command(after_help = "Example:\n  undertone task resume 5d0f8e0c3b1a4f6e9d2c7b8a90817263")]
    Resume(One),
    /// End a task for ever; an open round fails
    #[command(after_help = "Example:\n  undertone task cancel 5d0f8e0c3b1a4f6e9d2c7b8a90817263")]
    Cancel(One),
    /// List a task's rounds
    #[command(after_help = "Example:\n  undertone task rounds 5d0f8e0c3b1a4f6e9d2c7b8a90817263")]
    Rounds(One),
    /// List the rounds from which anything of a client came
    #[command(
        after_help = "Example:\n  undertone task client 5d0f8e0c3b1a4f6e9d2c7b8a90817263 12\n\n\
        12 is the client's index in the roster; `undertone task roster` lists them."
    )]
    Client {
        #[command(flatten)]
        one: One,
        /// The client's roster index
        index: u32,
    },
    /// Show what came of a round, and save the adapter after it (safetensors)
    #[command(after_help = RESULT_HELP)]
    Result {
        #[command(flatten)]
        one: One,
        /// The round; the last that ended where it is left out
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        round: Option<u32>,
        /// File for the adapter
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show who may take part, or save the signed roster
    #[command(after_help = ROSTER_HELP)]
    Roster {
        #[command(flatten)]
        one: One,
        /// File for the signed roster
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// The task's id
    task: TaskId,
    #[command(flatten)]
    admin: AdminArgs,
}

const RESULT_HELP: &str = "\
Examples:
  undertone task result 5d0f8e0c3b1a4f6e9d2c7b8a90817263 --out adapter.safetensors
  undertone task result 5d0f8e0c3b1a4f6e9d2c7b8a90817263 --round 3 --json

The adapter is checked against the digest in the result before it is saved.";

const ROSTER_HELP: &str = "\
Examples:
  undertone task roster 5d0f8e0c3b1a4f6e9d2c7b8a90817263
  undertone task roster 5d0f8e0c3b1a4f6e9d2c7b8a90817263 --out task.roster";

const CREATE_HELP: &str = "\
Example:
  undertone task create --roster task.roster --settings task.toml --model MiniLM-L6

task.toml, with the values of a small task:
  name = \"spam filter\"

  [rounds]
  rounds = 8                 # failed ones included: privacy is accounted for all of them
  cohort = 12                # AdvertiseKeys closes once so many clients are there
  min_survivors = 8
  # graph = { shape = \"ring\", corrupt = 0.05, dropout = 0.1 }  # see undertone params
  bits = 32
  server_optimizer = { kind = \"fed-avg\", learning_rate = 1.0 }  # or fed-adam, fed-yogi
  deadlines_ms = [600000, 60000, 60000, 60000, 60000]
  # Admit as many as are needed for 10 survivors, by the drop-outs seen; let deadlines follow the
  # latencies seen; leave a client out for an hour after a round that took its input:
  # schedule = { survivors = 10, adapt_deadlines = true, min_interval_ms = 3600000 }
  # What all rounds together may cost a client that is in each of them. A plan that costs more is
  # refused, and told what would fit; with beyond = \"stop\" the task stops before it would cost more:
  # budget = { epsilon = 6.0, delta = 1e-5, unit = \"example\", beyond = \"refuse\" }

  [mechanism]
  update_clip = 4.0
  scale = 65536.0
  [mechanism.noise]
  kind = \"local-dp-sgd\"
  clip_norm = 1.0
  per_round = { sampling_rate = 0.1, noise_multiplier = 1.0, steps = 4 }

  [training]                 # must agree with the mechanism; clients refuse otherwise
  sequence_length = 64
  labels = 2
  head_bias = true
  feature_scale = 1.0
  lora = { layers = 1, projections = [\"query\", \"value\"], rank = 4, alpha = 8.0, seed = 1 }
  privacy = { clip_norm = 1.0, noise_multiplier = 1.0 }
  # More settings. lora: variant = \"plain\" trains A as well as B. privacy: groups = \"per_layer\"
  # or \"per_tensor\" clips in parts; adaptive = { target_quantile = 0.5, learning_rate = 0.2,
  # bit_noise = 5.0 } lets the norm follow the median, paid for out of noise_multiplier.
  # base_weights = \"q8_0\"   # the frozen weights in 8 bits; also q4_0 and q4_k
  sampling_rate = 0.1
  local_steps = 4
  learning_rate = 0.5
  momentum = 0.9

MODEL-FOLDER holds config.json, model.safetensors and tokenizer.json of a BERT encoder. The same
task may be sent again: it is there once.";

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The signed roster
    #[arg(long, value_name = "FILE")]
    roster: PathBuf,
    /// The task's settings (TOML)
    #[arg(long, value_name = "FILE")]
    settings: PathBuf,
    /// Folder of the pretrained model, from which the first adapter follows
    #[arg(long, value_name = "FOLDER", required_unless_present = "adapter")]
    model: Option<PathBuf>,
    /// The first adapter (safetensors), to go on from an earlier task
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    adapter: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// The settings file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsFile {
    name: String,
    /// The service knows what stands in it.
    rounds: serde_json::Value,
    mechanism: Mechanism,
    training: TrainingConfig,
}

pub(crate) fn run(command: &TaskCommand, out: &mut impl Write) -> Result<(), CliError> {
    crate::runtime()?.block_on(async {
        match command {
            TaskCommand::Create(args) => create(args, out).await,
            TaskCommand::List(admin) => show::list(admin, out).await,
            TaskCommand::Show(one) => show::task(one, out).await,
            TaskCommand::Pause(one) => {
                let now = one.admin.client()?.pause(one.task).await?;
                controlled(one, &now, out)
            }
            TaskCommand::Resume(one) => {
                let now = one.admin.client()?.resume(one.task).await?;
                controlled(one, &now, out)
            }
            TaskCommand::Cancel(one) => {
                let now = one.admin.client()?.cancel(one.task).await?;
                controlled(one, &now, out)
            }
            TaskCommand::Rounds(one) => show::rounds(one, out).await,
            TaskCommand::Client { one, index } => show::client(one, RosterIndex(*index), out).await,
            TaskCommand::Result {
                one,
                round,
                out: file,
            } => show::result(one, *round, file.as_deref(), out).await,
            TaskCommand::Roster { one, out: file } => show::roster(one, file.as_deref(), out).await,
        }
    })
}

async fn create(args: &CreateArgs, out: &mut impl Write) -> Result<(), CliError> {
    let text = fs::read_to_string(&args.settings).map_err(CliError::read(&args.settings))?;
    let file: SettingsFile = toml::from_str(&text).map_err(|e| {
        // One line, as all errors: where, and what.
        let before = e.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        let (path, what) = (args.settings.display(), e.message());
        CliError::Input(format!("{path}, line {line}: {what}"))
    })?;
    file.training.validate()?;
    let admin: AdminClient = args.admin.client()?;
    let adapter = match (&args.adapter, &args.model) {
        (Some(path), _) => Adapter::from_bytes(&fs::read(path).map_err(CliError::read(path))?)?,
        (None, Some(folder)) => first_adapter(&Arc::new(Encoder::load(folder)?), &file.training)?,
        (None, None) => return Err(CliError::Input("give --model or --adapter".into())),
    };
    let new = NewTask {
        name: &file.name,
        roster: &roster::load(&args.roster)?,
        settings: &file.rounds,
        mechanism: &serde_json::to_vec(&file.mechanism)?,
        training: &file.training.to_json_bytes()?,
        adapter: &adapter,
    };
    let made = admin.create_task(&new).await?;
    if !args.admin.print(&made, out)? {
        writeln!(out, "{}", made.task.task)?;
    }
    Ok(())
}

fn controlled(one: &One, now: &TaskDetail, out: &mut impl Write) -> Result<(), CliError> {
    if !one.admin.print(now, out)? {
        writeln!(out, "{} is {}", now.task.name, now.task.state.text())?;
    }
    Ok(())
}
