//! Opening the next round of a task.

use undertone_privacy::Mechanism;
use undertone_protocol::adapter::Adapter;
use undertone_protocol::aggregator::PhaseName;
use undertone_protocol::id::RoundNumber;
use undertone_protocol::roster::Roster;

use crate::app::App;
use crate::error::ServerError;
use crate::schedule::{WINDOW, plan};
use crate::store::{NewRound, Store, StoreError, TaskRecord, TaskSettings};
use crate::task::TaskView;
use crate::telemetry;

/// Opens the next round of a task that has none open.
pub(super) async fn round<S: Store>(app: &App<S>, task: &TaskRecord) -> Result<(), ServerError> {
    let adapter = current_adapter(app, task).await?;
    let mechanism: Mechanism = serde_json::from_slice(&task.mechanism)
        .map_err(|e| StoreError::Corrupt(format!("mechanism: {e}")))?;
    let length = mechanism.vector_length(Adapter::from_bytes(&adapter)?.len());
    let roster = Roster::decode_own(&task.roster)?;
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce)?;
    let number = RoundNumber(task.rounds_ended.saturating_add(1));
    let past = app.store().past_rounds(task.id, WINDOW).await?;
    let plan = plan(&task.settings, &past);
    let planned = TaskSettings {
        deadlines_ms: plan.deadlines_ms,
        ..task.settings.clone()
    };
    let view = TaskView {
        settings: &planned,
        ..TaskView::of(task, &roster)
    };
    let params = view.round_params(number, &adapter, length, nonce)?;
    let now = app.store().now().await?;
    let round = NewRound {
        id: params.id(),
        task: task.id,
        number,
        params: params.encoding().to_vec(),
        opened_at: now,
        deadline: now.saturating_add(u64::from(PhaseName::AdvertiseKeys.deadline_ms(&params))),
        admitted: plan.admitted,
        min_interval_ms: task.settings.schedule.min_interval_ms,
    };
    if app.store().open_round(&round).await? {
        tracing::info!(task = %task.id, round = %round.id, %number, "round opened");
        app.uploads().check(&params);
        telemetry::rounds::opened();
        app.changed(task.id);
    }
    Ok(())
}

/// The adapter that the task stands at.
pub(super) async fn current_adapter<S: Store>(
    app: &App<S>,
    task: &TaskRecord,
) -> Result<Vec<u8>, ServerError> {
    let adapter = app.store().adapter(task.id, task.model).await?;
    Ok(adapter.ok_or_else(|| StoreError::Missing(format!("adapter {}", task.model)))?)
}
