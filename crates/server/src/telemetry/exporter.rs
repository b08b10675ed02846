//! The process's metrics and `/metrics`, in Prometheus's text format.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use tokio::task::AbortHandle;

use super::process;
use super::table::{Kind, METRICS, Metric, name};
use crate::app::{self, App};
use crate::error::ServerError;
use crate::store::Store;

/// Histograms keep single observations until they are sorted into buckets, so often.
const UPKEEP: Duration = Duration::from_secs(5);

/// A process has one set of metrics, whatever runs in it.
static METRICS_HANDLE: LazyLock<PrometheusHandle> = LazyLock::new(start);

/// Starts counting, if this was not done yet: what is emitted before is lost.
pub fn install() {
    LazyLock::force(&METRICS_HANDLE);
}

/// All metrics of the process, in Prometheus's text format.
pub fn render() -> String {
    process::observe();
    METRICS_HANDLE.render()
}

/// Keeps the memory of histograms bounded where nobody asks for them; runs until it is dropped.
async fn upkeep() {
    loop {
        tokio::time::sleep(UPKEEP).await;
        METRICS_HANDLE.run_upkeep();
    }
}

fn start() -> PrometheusHandle {
    let mut builder = PrometheusBuilder::new();
    for metric in METRICS {
        if let Kind::Histogram(bounds) = metric.kind {
            let full = Matcher::Full(metric.name.to_owned());
            // An error would mean that the table has no bounds for a histogram; a test says it has.
            builder = builder
                .set_buckets_for_metric(full, bounds)
                .unwrap_or_else(|_| PrometheusBuilder::new());
        }
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("another part of this process takes its metrics; /metrics stays empty");
    }
    METRICS.iter().for_each(register);
    gauge!(name::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    process::started();
    handle
}

/// Describes a metric, and shows it at 0 where its labels' values are known.
fn register(metric: &Metric) {
    match metric.kind {
        Kind::Counter => describe_counter!(metric.name, metric.help),
        Kind::Gauge => describe_gauge!(metric.name, metric.help),
        Kind::Histogram(_) => describe_histogram!(metric.name, metric.help),
    }
    let mut series: Vec<Vec<(&'static str, &'static str)>> = vec![Vec::new()];
    for label in metric.labels {
        let Some(values) = label.values else { return };
        series = values()
            .into_iter()
            .flat_map(|value| {
                let with = |labels: &Vec<_>| [&labels[..], &[(label.name, value)]].concat();
                series.iter().map(with).collect::<Vec<_>>()
            })
            .collect();
    }
    for labels in series {
        match metric.kind {
            Kind::Counter => counter!(metric.name, &labels).absolute(0),
            Kind::Gauge => gauge!(metric.name, &labels).set(0.0),
            Kind::Histogram(_) => drop(histogram!(metric.name, &labels)),
        }
    }
}

/// `/metrics`, and nothing else.
pub(crate) fn router<S: Store>(app: Arc<App<S>>) -> Router {
    Router::new()
        .route("/metrics", get(show::<S>))
        .with_state(app)
}

async fn show<S: Store>(State(app): State<Arc<App<S>>>) -> Response {
    for pool in app.store().pools() {
        let set = |state, connections: usize| {
            let connections = u32::try_from(connections).unwrap_or(u32::MAX);
            let labels = [("pool", pool.name), ("state", state)];
            gauge!(name::STORE_CONNECTIONS, &labels).set(f64::from(connections));
        };
        set("idle", pool.idle);
        set("used", pool.used);
    }
    let text = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, text)], render()).into_response()
}

/// What serves metrics and keeps them small, until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Serving(Vec<AbortHandle>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Serves metrics on an address of their own, if one is set.
///
/// # Errors
/// [`ServerError::Listen`] if it is taken or not allowed.
pub(crate) async fn serve<S: Store>(app: &Arc<App<S>>) -> Result<Serving, ServerError> {
    let mut serving = Serving(vec![tokio::spawn(upkeep()).abort_handle()]);
    if let Some(address) = app.settings().metrics.listen {
        let listener = app::listen(address).await?;
        let router = router(app.clone());
        let served = tokio::spawn(async move { axum::serve(listener, router).await });
        serving.0.push(served.abort_handle());
    }
    Ok(serving)
}
