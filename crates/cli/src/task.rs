//! `undertone task`: make tasks and look at them, directly in the service's database.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Deserialize;
use undertone_client::lora::first_adapter;
use undertone_privacy::Mechanism;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::id::TaskId;
use undertone_server::driver::now_ms;
use undertone_server::store::{
    AnyStore, RoundState, Store, StoreError, TaskRecord, TaskSettings, TaskStatus,
};
use undertone_server::task::TaskDefinition;
use undertone_training::{Encoder, TrainingConfig};

use crate::error::CliError;
use crate::roster;
use crate::serve::DEFAULT_DATABASE;

/// Make tasks and look at them, directly in the service's database.
#[derive(Debug, Subcommand)]
#[command(arg_required_else_help = true)]
pub(crate) enum TaskCommand {
    /// Make a task; prints its id
    #[command(after_help = CREATE_HELP)]
    Create(CreateArgs),
    /// List all tasks
    List {
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Show a task and its rounds
    Show {
        /// The task's id
        task: TaskId,
        #[command(flatten)]
        database: DatabaseArgs,
    },
    /// Save a task's current adapter (safetensors)
    Adapter {
        /// The task's id
        task: TaskId,
        /// File for the adapter
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        database: DatabaseArgs,
    },
}

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
  server_learning_rate = 1.0
  deadlines_ms = [600000, 60000, 60000, 60000, 60000]

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
  sampling_rate = 0.1
  local_steps = 4
  learning_rate = 0.5
  momentum = 0.9

MODEL-FOLDER holds config.json, model.safetensors and tokenizer.json of a BERT encoder.";

#[derive(Debug, Args)]
pub(crate) struct DatabaseArgs {
    #[arg(long, help = "Database of the service: sqlite:PATH or postgres://USER@HOST/NAME",
         value_name = "URL", env = "UNDERTONE_DATABASE", default_value = DEFAULT_DATABASE)]
    database: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

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
    database: DatabaseArgs,
}

/// The settings file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsFile {
    name: String,
    rounds: TaskSettings,
    mechanism: Mechanism,
    training: TrainingConfig,
}

pub(crate) fn run(command: &TaskCommand, out: &mut impl Write) -> Result<(), CliError> {
    crate::runtime()?.block_on(async {
        match command {
            TaskCommand::Create(args) => create(args, out).await,
            TaskCommand::List { database } => list(database, out).await,
            TaskCommand::Show { task, database } => show(*task, database, out).await,
            TaskCommand::Adapter {
                task,
                out: file,
                database,
            } => save_adapter(*task, file, database).await,
        }
    })
}

async fn create(args: &CreateArgs, out: &mut impl Write) -> Result<(), CliError> {
    let text = fs::read_to_string(&args.settings).map_err(CliError::read(&args.settings))?;
    let file: SettingsFile = toml::from_str(&text)
        .map_err(|e| CliError::Input(format!("{}: {e}", args.settings.display())))?;
    file.training.validate()?;
    let adapter = match (&args.adapter, &args.model) {
        (Some(path), _) => Adapter::from_bytes(&fs::read(path).map_err(CliError::read(path))?)?,
        (None, Some(folder)) => first_adapter(&Arc::new(Encoder::load(folder)?), &file.training)?,
        (None, None) => return Err(CliError::Input("give --model or --adapter".into())),
    };
    let definition = TaskDefinition {
        name: file.name,
        roster: roster::load(&args.roster)?,
        training: file.training.to_json_bytes()?,
        mechanism: file.mechanism,
        settings: file.rounds,
        adapter,
    };
    let task = definition.check(now_ms())?;
    AnyStore::connect(&args.database.database)
        .await?
        .create_task(&task)
        .await?;
    if args.database.json {
        writeln!(
            out,
            "{}",
            serde_json::json!({ "task": task.id.to_string() })
        )?;
    } else {
        writeln!(out, "{}", task.id)?;
    }
    Ok(())
}

async fn list(args: &DatabaseArgs, out: &mut impl Write) -> Result<(), CliError> {
    let tasks = AnyStore::connect(&args.database).await?.tasks().await?;
    if args.json {
        let json: Vec<_> = tasks.iter().map(task_json).collect();
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&json)?)?);
    }
    for task in tasks {
        let (ended, total) = (task.rounds_ended, task.settings.rounds);
        writeln!(
            out,
            "{}  {:<9} {ended}/{total}  {}",
            task.id,
            status(&task),
            task.name
        )?;
    }
    Ok(())
}

async fn show(id: TaskId, args: &DatabaseArgs, out: &mut impl Write) -> Result<(), CliError> {
    let store = AnyStore::connect(&args.database).await?;
    let task = find(&store, id).await?;
    let rounds = store.rounds(id).await?;
    if args.json {
        let mut json = task_json(&task);
        json["rounds"] = rounds
            .iter()
            .map(|round| {
                let (state, detail) = describe(&round.state);
                let number = round.number.0;
                serde_json::json!({ "number": number, "round": round.id.to_string(),
                    "state": state, "detail": detail })
            })
            .collect();
        return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&json)?)?);
    }
    writeln!(
        out,
        "{}: {}, {} of {} rounds",
        task.name,
        status(&task),
        task.rounds_ended,
        task.settings.rounds
    )?;
    for round in rounds {
        let (state, detail) = describe(&round.state);
        writeln!(out, "  round {:<4} {state:<18} {detail}", round.number.0)?;
    }
    Ok(())
}

async fn save_adapter(id: TaskId, file: &Path, args: &DatabaseArgs) -> Result<(), CliError> {
    let store = AnyStore::connect(&args.database).await?;
    let task = find(&store, id).await?;
    let adapter = store.adapter(id, task.model).await?;
    let adapter = adapter.ok_or_else(|| StoreError::Missing(format!("adapter {}", task.model)))?;
    fs::write(file, adapter).map_err(CliError::save(file))
}

async fn find(store: &AnyStore, id: TaskId) -> Result<TaskRecord, CliError> {
    store.task(id).await?.ok_or_else(|| {
        CliError::Input(format!(
            "there is no task {id}; `undertone task list` shows all"
        ))
    })
}

fn status(task: &TaskRecord) -> &'static str {
    match task.status {
        TaskStatus::Running => "running",
        TaskStatus::Finished => "finished",
    }
}

fn describe(state: &RoundState) -> (String, String) {
    match state {
        RoundState::Open { phase, .. } => (phase.to_string(), String::new()),
        RoundState::Finished(result) => (
            "finished".into(),
            format!("{} survivors", result.survivors.len()),
        ),
        RoundState::Failed { reason } => ("failed".into(), reason.clone()),
    }
}

fn task_json(task: &TaskRecord) -> serde_json::Value {
    serde_json::json!({
        "task": task.id.to_string(),
        "name": task.name,
        "status": status(task),
        "rounds_ended": task.rounds_ended,
        "rounds_total": task.settings.rounds,
        "model": task.model.to_string(),
    })
}
