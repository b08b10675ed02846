//! Where logs and spans go: standard error, and an OpenTelemetry collector if one is named.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls_platform_verifier::BuilderVerifierExt;
use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::settings::{LogFormat, LogSettings, OtelSettings};
use super::trace::{Ids, TRACING, Tracing};
use crate::config::SecretUrl;
use crate::error::ServerError;

/// How long an export may take; spans that wait meanwhile are bounded in number.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last spans may take when the process stops.
const LAST_SPANS: Duration = Duration::from_secs(5);
/// Spans that wait for export; more are dropped. A span takes about a kilobyte.
const QUEUE: usize = 8192;

/// Sends what is left when it is dropped, for a few seconds at most. Keep it until the process
/// ends.
#[derive(Debug, Default)]
#[must_use = "the last spans are sent when this is dropped"]
pub struct Guard(Option<SdkTracerProvider>);

impl Guard {
    /// Sends what waits now, for a few seconds at most. Blocks the thread.
    pub fn flush(&self) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.force_flush()
        {
            tracing::warn!(%error, "spans could not be sent");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.0.take()
            && let Err(error) = provider.shutdown_with_timeout(LAST_SPANS)
        {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// Starts logs and traces of this process. Where another part of it had done so before, its way
/// of logging stays.
///
/// # Errors
/// [`ServerError::Telemetry`] if the filter cannot be read or the collector's address is none.
pub fn start(log: &LogSettings, otel: &OtelSettings) -> Result<Guard, ServerError> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(filter) if !filter.is_empty() => filter,
        _ => log.filter.clone(),
    };
    let filter = EnvFilter::try_new(&filter)
        .map_err(|e| ServerError::Telemetry(format!("the log filter `{filter}`: {e}")))?;
    let written = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let written = match log.format {
        LogFormat::Text => written.boxed(),
        LogFormat::Json => written.json().flatten_event(true).boxed(),
    };
    let (spans, guard) = spans(otel)?;
    let subscriber = tracing_subscriber::registry()
        .with(written.with_filter(filter))
        .with(spans);
    let _ = subscriber.try_init();
    Ok(guard)
}

/// The layer that sends spans to the collector, if one is named; once in a process.
///
/// Only spans of the service go there, those of its level `info` and above: sending spans makes
/// others, in the HTTP client, that must not be sent again.
///
/// # Errors
/// [`ServerError::Telemetry`] if the collector's address is none, or TLS has no roots to trust.
pub fn spans<S>(otel: &OtelSettings) -> Result<(Option<impl Layer<S> + use<S>>, Guard), ServerError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let Some(endpoint) = &otel.endpoint else {
        return Ok((None, Guard::default()));
    };
    let provider = provider(endpoint)?;
    let tracer = provider.tracer("undertone");
    let requests = otel.requests.clamp(0.0, 1.0);
    let tracing = Tracing {
        tracer: tracer.clone(),
        requests,
    };
    if TRACING.set(tracing).is_err() {
        let reason = "spans of this process have a collector already";
        return Err(ServerError::Telemetry(reason.to_owned()));
    }
    let layer = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(Targets::new().with_target("undertone", LevelFilter::INFO));
    Ok((Some(layer), Guard(Some(provider))))
}

fn provider(address: &SecretUrl) -> Result<SdkTracerProvider, ServerError> {
    let failed = |e: &dyn std::fmt::Display| {
        ServerError::Telemetry(format!("traces cannot be sent to {address}: {e}"))
    };
    let endpoint = address.expose();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .with_timeout(EXPORT_TIMEOUT)
        .with_http_client(client(endpoint.starts_with("https:"))?)
        .build()
        .map_err(|e| failed(&e))?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_scheduled_delay(Duration::from_secs(1))
        .build();
    let processor = BatchSpanProcessor::builder(exporter)
        .with_batch_config(batches)
        .build();
    let mut instance = [0; 8];
    getrandom::fill(&mut instance)?;
    let resource = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", "undertone"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", hex(instance)),
        ])
        .build();
    Ok(SdkTracerProvider::builder()
        .with_id_generator(Ids::default())
        .with_resource(resource)
        .with_span_processor(processor)
        .build())
}

fn hex(bytes: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(bytes))
}

/// An HTTP client of its own thread: spans are sent from a thread without a runtime. TLS is ring's,
/// named here as there is no default for the process.
fn client(https: bool) -> Result<reqwest::blocking::Client, ServerError> {
    let failed = |e: String| ServerError::Telemetry(format!("no HTTP client for traces: {e}"));
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| failed(e.to_string()))?;
    // The system is asked what to trust only where that matters: a bare machine may have no roots.
    let tls = if https {
        builder
            .with_platform_verifier()
            .map_err(|e| failed(e.to_string()))?
            .with_no_client_auth()
    } else {
        builder
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth()
    };
    // The client starts a runtime, which a thread of another must not do.
    let built = thread::spawn(move || {
        reqwest::blocking::Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(EXPORT_TIMEOUT)
            .build()
    });
    match built.join() {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("its thread ended".to_owned())),
    }
}
