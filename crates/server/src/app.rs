//! The running service: shared state, router, start and stop.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio::sync::watch;
use undertone_protocol::id::TaskId;

use crate::audit::{self, Auditor};
use crate::config::Settings;
use crate::downloads::Downloads;
use crate::driver::Driver;
use crate::driver::signals::Signals;
use crate::driver::unmask::Recovered;
use crate::error::ServerError;
use crate::net::{self, Rates};
use crate::phases::Phases;
use crate::store::{ReplicaId, Store};
use crate::upload::Uploads;
use crate::watch::Watch;
use crate::{api, page, retention, telemetry};

/// What requests and the driver share. Nothing in it is the only copy of anything: after a
/// restart all of it is computed again from the store.
#[derive(Debug)]
pub struct App<S> {
    store: S,
    settings: Settings,
    phases: Phases,
    downloads: Downloads,
    audit: Auditor,
    uploads: Uploads,
    replica: ReplicaId,
    signals: Signals,
    recovered: Recovered,
    watch: Watch,
    stopping: watch::Sender<bool>,
    rates: Rates,
}

impl<S: Store> App<S> {
    /// A service over a store.
    pub fn new(store: S, settings: Settings) -> Arc<Self> {
        telemetry::install();
        Arc::new(Self {
            store,
            uploads: Uploads::new(&settings.upload),
            rates: Rates::new(&settings.limits),
            settings,
            phases: Phases::default(),
            downloads: Downloads::default(),
            audit: Auditor::default(),
            replica: ReplicaId::draw(),
            signals: Signals::default(),
            recovered: Recovered::default(),
            watch: Watch::default(),
            stopping: watch::Sender::new(false),
        })
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// The operator's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The audit log's key and counts.
    pub(crate) fn audit(&self) -> &Auditor {
        &self.audit
    }

    /// The phases of rounds.
    pub(crate) fn phases(&self) -> &Phases {
        &self.phases
    }

    /// What clients fetch that is long.
    pub(crate) fn downloads(&self) -> &Downloads {
        &self.downloads
    }

    /// The masked inputs that are coming in.
    pub(crate) fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    /// How often senders ask.
    pub(crate) fn rates(&self) -> &Rates {
        &self.rates
    }

    /// This process, among those that share the database.
    pub fn replica(&self) -> ReplicaId {
        self.replica
    }

    /// What wakes the driver.
    pub(crate) fn signals(&self) -> &Signals {
        &self.signals
    }

    /// The masks of a sum that is being unmasked.
    pub(crate) fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// A message of the task's open round was stored: its phase may have all that it waits for.
    pub fn message_arrived(&self, task: TaskId) {
        self.signals.message(task);
    }

    /// The task is in another state: made, paused or resumed, or a round of it opened, changed its
    /// phase or ended. Wakes its driver and all long polls.
    pub fn changed(&self, task: TaskId) {
        self.signals.changed(task);
        self.announce();
    }

    /// Has it read how tasks and rounds stand, which wakes long polls that wait for a change.
    pub(crate) fn announce(&self) {
        self.watch.refresh();
    }

    /// Tells when a phase changed, or a round opened or ended, on whichever replica.
    pub(crate) fn phase_changes(&self) -> watch::Receiver<()> {
        self.watch.changes()
    }

    /// Where tasks and rounds stand.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// The service is about to stop: it is not ready any more, and what would go on for long ends:
    /// long polls and streams of events.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
        self.announce();
    }

    /// Whether the service is about to stop.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Becomes true when the service stops.
    pub(crate) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// The service's routes.
    pub fn router(self: &Arc<Self>) -> Router {
        let mut router = api::router(self.clone()).merge(page::router(self.clone()));
        if self.settings.metrics.public {
            router = router.merge(telemetry::router(self.clone()));
        }
        router
            .layer(middleware::from_fn_with_state(self.clone(), net::limit))
            .layer(middleware::from_fn(telemetry::http::observe))
    }
}

/// Opens the port to listen on.
///
/// # Errors
/// [`ServerError::Listen`] if it is taken or not allowed.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServerError::Listen { address, source })
}

/// Serves requests and drives rounds until `stop` completes; open requests are then answered, for
/// a bounded time.
///
/// # Errors
/// [`ServerError::Tls`] if the certificate cannot be used; [`ServerError::Serve`] if the listener fails; [`ServerError::AuditKey`] or
/// [`ServerError::Store`] if the start cannot be recorded.
pub async fn serve<S: Store>(
    app: Arc<App<S>>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServerError> {
    audit::start(&app).await?;
    let refusals = tokio::spawn(audit::refusals::run(app.clone()));
    let retention = tokio::spawn(retention::run(app.clone()));
    let telemetry = telemetry::serve(&app).await?;
    let driver = Driver::start(&app);
    let served = net::serve(app.clone(), listener, stop).await;
    driver.stop(&app).await;
    refusals.abort();
    retention.abort();
    // What was counted since the last entry.
    app.audit().refusals().write(app.store()).await;
    drop(telemetry);
    served
}
