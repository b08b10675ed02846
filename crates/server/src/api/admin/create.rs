//! Making tasks.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::roster::Roster;
use utoipa::ToSchema;

use super::super::body::{Length, Reader};
use super::tasks::{TaskDetail, detail, find};
use crate::app::App;
use crate::audit::acting;
use crate::auth::Admin;
use crate::auth::rights::Tasks;
use crate::driver::now_ms;
use crate::error::ServerError;
use crate::problem::{Problem, ProblemKind};
use crate::store::{NewTask, Store, StoreError, TaskSettings};
use crate::task::TaskDefinition;

/// The longest body: an adapter of 16 million values and a roster of 100,000 members fit in.
const LONGEST_TASK: usize = 96 << 20;

/// What a task is made of.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateTask {
    /// For people: 1 to 200 characters, no control characters.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    name: String,
    /// The signed roster, base64. It binds the task's id.
    #[serde(deserialize_with = "base64")]
    #[schema(value_type = String, format = Byte)]
    roster: Vec<u8>,
    /// How rounds are run.
    #[schema(value_type = Object)]
    settings: TaskSettings,
    /// What clients clip and add; handed to them byte by byte as it stands here.
    #[schema(value_type = Object)]
    mechanism: Box<RawValue>,
    /// What clients train; handed to them byte by byte as it stands here.
    #[schema(value_type = Object)]
    training: Box<RawValue>,
    /// The adapter that the first round starts from, safetensors, base64.
    #[serde(deserialize_with = "base64")]
    #[schema(value_type = String, format = Byte)]
    adapter: Vec<u8>,
}

fn base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    BASE64_STANDARD
        .decode(text)
        .map_err(|e| serde::de::Error::custom(format!("this is no base64: {e}")))
}

/// Makes a task; its id is the roster's. The same task again changes nothing.
#[utoipa::path(
    post, path = "/admin/v1/tasks", tag = "admin",
    security(("token" = [])),
    request_body = CreateTask,
    responses(
        (status = 201, description = "The task, made now", body = TaskDetail),
        (status = 200, description = "The same task was there already", body = TaskDetail),
    )
)]
pub(super) async fn create<S: Store>(
    admin: Admin<Tasks>,
    State(app): State<Arc<App<S>>>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<TaskDetail>), Problem> {
    let mut reader = Reader::new(&headers, body, app.uploads().settings());
    let body = match read(&mut reader).await {
        Ok(body) => body,
        Err(problem) => {
            reader.discard().await;
            return Err(problem);
        }
    };
    // Megabytes of digits, signatures and the choice of a ring: off the request threads.
    let task = tokio::task::spawn_blocking(move || check(&body))
        .await
        .map_err(ServerError::from)??;
    let actor = admin.holder().actor();
    let made = acting(actor.into(), app.store().create_task(&task)).await;
    let made = match made {
        Err(StoreError::Exists(what)) => {
            let detail = format!(
                "{what} exists already, made of other parts; a new task needs a roster that is \
                 signed for a new id"
            );
            return Err(Problem::new(ProblemKind::AlreadyExists, detail));
        }
        other => other?,
    };
    if made {
        tracing::info!(task = %task.id, %actor, "task made");
        // Its first round opens now.
        app.changed(task.id);
    }
    let status = if made {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let record = find(&app, &task.id.to_string()).await?;
    Ok((status, Json(detail(&app, record).await?)))
}

async fn read(reader: &mut Reader) -> Result<Vec<u8>, Problem> {
    reader.expect(Length::AtMost(LONGEST_TASK))?;
    reader.all().await
}

fn check(body: &[u8]) -> Result<NewTask, Problem> {
    let wish: CreateTask = serde_json::from_slice(body)
        .map_err(|e| Problem::new(ProblemKind::BadRequest, format!("the task: {e}")))?;
    let roster = Roster::decode_own(&wish.roster);
    let adapter = Adapter::from_bytes(&wish.adapter);
    let definition = TaskDefinition {
        name: wish.name,
        roster: roster.map_err(|e| refused(format!("roster: {e}")))?,
        training: document("training", &wish.training)?,
        mechanism: document("mechanism", &wish.mechanism)?,
        settings: wish.settings,
        adapter: adapter.map_err(|e| refused(format!("adapter: {e}")))?,
    };
    definition.check(now_ms()).map_err(|error| match error {
        ServerError::Task(reason) => refused(reason),
        ServerError::Protocol(_) | ServerError::Privacy(_) | ServerError::Adapter(_) => {
            refused(error.to_string())
        }
        other => other.into(),
    })
}

/// The bytes of a JSON object, as they came.
fn document(what: &str, json: &RawValue) -> Result<Vec<u8>, Problem> {
    if !json.get().starts_with('{') {
        let detail = format!("the task: `{what}` must be an object");
        return Err(Problem::new(ProblemKind::BadRequest, detail));
    }
    Ok(json.get().as_bytes().to_vec())
}

fn refused(reason: String) -> Problem {
    Problem::new(ProblemKind::TaskRefused, reason)
}
