//! From the listener to the routes, until it is time to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::connections::Counted;
use super::tls::{Hangup, Tls};
use crate::app::App;
use crate::error::ServerError;
use crate::store::Store;

/// A task that ends with whoever started it.
struct Beside(AbortHandle);

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn beside(task: impl Future<Output = ()> + Send + 'static) -> Beside {
    Beside(tokio::spawn(task).abort_handle())
}

/// Takes connections until `stop` completes, then answers what is open, for a bounded time.
///
/// # Errors
/// [`ServerError::Tls`] if the certificate cannot be used, [`ServerError::Serve`] if the listener
/// fails.
pub(crate) async fn serve<S: Store>(
    app: Arc<App<S>>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServerError> {
    let settings = app.settings().clone();
    let tls = Tls::load(&settings.tls)?;
    warn_of_plain_http(&listener, tls.is_some());
    let handle = Handle::new();
    let (closing, control) = (app.clone(), handle.clone());
    let stopping = beside(async move {
        stop.await;
        closing.stop();
        tokio::time::sleep(closing.settings().shutdown.drain()).await;
        control.graceful_shutdown(Some(closing.settings().shutdown.grace()));
    });
    let rates = app.clone();
    let upkeep = beside(async move { rates.rates().upkeep().await });

    let counted = Counted::new(&settings.limits);
    let router = app.router();
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    let mut server = Server::<SocketAddr>::from_listener(listener)
        .handle(handle)
        .http1_only();
    server
        .http_builder()
        .http1()
        .header_read_timeout(settings.limits.head())
        .max_headers(settings.limits.head_fields)
        .max_buf_size(settings.limits.head_bytes);
    let served = match tls {
        None => {
            let reload = beside(nothing_to_reload());
            let served = server.acceptor(counted).serve(router).await;
            drop(reload);
            served
        }
        Some(tls) => {
            let acceptor =
                RustlsAcceptor::new(tls.config()).handshake_timeout(settings.limits.head());
            let reload = beside(tls.follow());
            let served = server
                .acceptor(acceptor.acceptor(counted))
                .serve(router)
                .await;
            drop(reload);
            served
        }
    };
    drop((stopping, upkeep));
    served.map_err(ServerError::Serve)
}

fn warn_of_plain_http(listener: &TcpListener, tls: bool) {
    let address = listener.local_addr().ok();
    if let Some(address) = address.filter(|address| !tls && !address.ip().is_loopback()) {
        tracing::warn!(
            %address,
            "plain HTTP on an address that other machines may reach; set tls.certificate and \
             tls.key, or put a proxy with TLS before it"
        );
    }
}

/// Without a handler SIGHUP would end the process.
async fn nothing_to_reload() {
    let mut hangup = Hangup::new();
    loop {
        hangup.next().await;
        tracing::info!("SIGHUP: there is no certificate to load anew");
    }
}
