//! Tasks and their adapters.

use undertone_protocol::audit::Chain;
use undertone_protocol::id::{
    MechanismDigest, ModelDigest, RosterIndex, RoundId, TaskId, TrainingDigest,
};

use super::columns::{corrupt, digest, json, number, signed, to_json};
use super::session::{Pools, Row, Session};
use super::tokens::time;
use super::{NewTask, Result, Signal, StoreError, TaskRecord, TaskStatus, audit, control};
use crate::audit::canonical::Hex;
use crate::audit::{Actor, Event};

pub(super) async fn create(pools: &Pools, task: &NewTask) -> Result<bool> {
    let model = ModelDigest::of(&task.adapter);
    let mut session = pools.begin().await?;
    let made = session
        .query(
            "INSERT INTO tasks (id, name, roster, training, mechanism, settings, model, \
                 rounds, rounds_ended, status, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 'running', $9) \
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(task.id.as_bytes().as_slice())
        .bind(task.name.as_str())
        .bind(task.roster.as_slice())
        .bind(task.training.as_slice())
        .bind(task.mechanism.as_slice())
        .bind(to_json(&task.settings)?)
        .bind(model.as_bytes().as_slice())
        .bind(i64::from(task.settings.rounds))
        .bind(signed(task.created_at))
        .execute()
        .await?;
    if made == 0 {
        return if is_same(&mut session, task, model).await? {
            Ok(false)
        } else {
            Err(StoreError::Exists(format!("task {}", task.id)))
        };
    }
    insert_adapter(&mut session, task.id, model, &task.adapter).await?;
    record_creation(&mut session, task, model).await?;
    session.notify(Signal::Changed(task.id)).await?;
    session.commit().await?;
    Ok(true)
}

/// Whether the stored task of this id was made from the very same parts, whatever has become of it
/// since: its first round says which adapter it started from.
async fn is_same(session: &mut Session, task: &NewTask, model: ModelDigest) -> Result<bool> {
    let row = session
        .query(
            "SELECT name, roster, training, mechanism, settings, \
                 COALESCE((SELECT rounds.model FROM rounds \
                     WHERE rounds.task = tasks.id AND rounds.number = 1), tasks.model) AS first \
             FROM tasks WHERE id = $1",
        )
        .bind(task.id.as_bytes().as_slice())
        .row()
        .await?
        .ok_or_else(|| StoreError::Missing(format!("task {}", task.id)))?;
    Ok(row.get::<&str, _>("name")? == task.name
        && row.get::<&[u8], _>("roster")? == task.roster
        && row.get::<&[u8], _>("training")? == task.training
        && row.get::<&[u8], _>("mechanism")? == task.mechanism
        && row.get::<&str, _>("settings")? == to_json(&task.settings)?
        && digest::<ModelDigest>(&row, "first")? == model)
}

/// In the task's chain, and in the service's: a task whose chain is gone is missed there.
async fn record_creation(session: &mut Session, task: &NewTask, model: ModelDigest) -> Result<()> {
    let event = Event::TaskCreated {
        task: Hex(task.id),
        name: task.name.clone(),
        model: Hex(model),
        training: Hex(TrainingDigest::of(&task.training)),
        mechanism: Hex(MechanismDigest::of(&task.mechanism)),
        settings: serde_json::to_value(&task.settings).map_err(corrupt)?,
    };
    let actor = Actor::current();
    audit::append(session, Chain::Task(task.id), &actor, &event).await?;
    audit::append(session, Chain::Service, &actor, &event).await?;
    Ok(())
}

/// Bars a client from later rounds of a task.
pub(super) async fn bar(
    session: &mut Session,
    task: TaskId,
    client: RosterIndex,
    round: RoundId,
) -> Result<()> {
    session
        .query(
            "INSERT INTO barred (task, client, round) VALUES ($1, $2, $3) \
             ON CONFLICT (task, client) DO NOTHING",
        )
        .bind(task.as_bytes().as_slice())
        .bind(i64::from(client.0))
        .bind(round.as_bytes().as_slice())
        .execute()
        .await?;
    let event = Event::ClientBarred {
        client: client.0,
        round: Hex(round),
    };
    audit::append(session, Chain::Task(task), &Actor::current(), &event).await?;
    Ok(())
}

/// The round for which a client is barred, if it is.
pub(super) async fn barred(
    pools: &Pools,
    task: TaskId,
    client: RosterIndex,
) -> Result<Option<RoundId>> {
    let row = pools
        .read()
        .await?
        .query("SELECT round FROM barred WHERE task = $1 AND client = $2")
        .bind(task.as_bytes().as_slice())
        .bind(i64::from(client.0))
        .row()
        .await?;
    row.map(|row| digest(&row, "round")).transpose()
}

/// Stores an adapter, if the task does not have it yet: a sum of zeros leads back to the old one.
pub(super) async fn insert_adapter(
    session: &mut Session,
    task: TaskId,
    model: ModelDigest,
    bytes: &[u8],
) -> Result<()> {
    session
        .query(
            "INSERT INTO adapters (task, digest, bytes) VALUES ($1, $2, $3) \
             ON CONFLICT (task, digest) DO NOTHING",
        )
        .bind(task.as_bytes().as_slice())
        .bind(model.as_bytes().as_slice())
        .bind(bytes)
        .execute()
        .await?;
    Ok(())
}

pub(super) async fn one(pools: &Pools, id: TaskId) -> Result<Option<TaskRecord>> {
    let mut session = pools.read().await?;
    let row = session
        .query("SELECT * FROM tasks WHERE id = $1")
        .bind(id.as_bytes().as_slice())
        .row()
        .await?;
    row.as_ref().map(record).transpose()
}

pub(super) async fn all(pools: &Pools) -> Result<Vec<TaskRecord>> {
    let mut session = pools.read().await?;
    let rows = session
        .query("SELECT * FROM tasks ORDER BY made")
        .rows()
        .await?;
    rows.iter().map(record).collect()
}

pub(super) async fn adapter(
    pools: &Pools,
    task: TaskId,
    model: ModelDigest,
) -> Result<Option<Vec<u8>>> {
    let mut session = pools.read().await?;
    let row = session
        .query("SELECT bytes FROM adapters WHERE task = $1 AND digest = $2")
        .bind(task.as_bytes().as_slice())
        .bind(model.as_bytes().as_slice())
        .row()
        .await?;
    row.map(|row| row.get("bytes")).transpose()
}

/// The status of a task by its name in the database.
pub(super) fn status(row: &Row) -> Result<TaskStatus> {
    match row.get::<&str, _>("status")? {
        "running" => Ok(TaskStatus::Running),
        "finished" => Ok(TaskStatus::Finished),
        other => Err(corrupt(format!("task status {other}"))),
    }
}

fn record(row: &Row) -> Result<TaskRecord> {
    Ok(TaskRecord {
        id: digest(row, "id")?,
        name: row.get("name")?,
        roster: row.get("roster")?,
        training: row.get("training")?,
        mechanism: row.get("mechanism")?,
        settings: json(row, "settings")?,
        model: digest(row, "model")?,
        status: status(row)?,
        control: control::control(row)?,
        rounds_ended: number(row, "rounds_ended")?,
        created_at: number(row, "created_at")?,
        exhausted_at: time(row, "exhausted_at")?,
    })
}
