//! Traces to an OpenTelemetry collector, by OTLP over HTTP.

mod otlp;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanData, SpanExporter};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use tokio::runtime::Handle;

use crate::config::TraceArguments;

/// How long the collector may take for a batch of spans.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the last spans may take to get out when the server ends.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// What makes spans of requests and sends them to a collector, if one is given. They wait in a queue of 2,048 for a thread
/// of their own (`OTEL_BSP_*` changes that); what does not fit is dropped.
pub(crate) fn start(arguments: &TraceArguments) -> Result<Option<SdkTracerProvider>> {
    let Some(endpoint) = &arguments.otlp_endpoint else { return Ok(None) };
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let url = Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(url) = url else {
        bail!("--otlp-endpoint '{endpoint}' is no address; it is one as http://127.0.0.1:4318");
    };
    let client = Client::builder()
        .timeout(EXPORT_TIMEOUT)
        .default_headers(headers(&arguments.otlp_headers)?)
        .build()
        .context("there is no HTTP client for traces")?;
    let ratio = arguments.otlp_sampling_ratio;
    tracing::info!(%url, ratio, "requests are traced");
    let resource = resource();
    let exporter = Exporter {
        client,
        url,
        runtime: Handle::current(),
        resource: resource.clone(),
        is_lost: false.into(),
    };
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
        .with_resource(resource);
    Ok(Some(provider.build()))
}

/// Sends what is left, as far as the collector takes it in time.
pub(crate) async fn flush(provider: SdkTracerProvider) {
    // It waits for a thread that asks this runtime to send.
    let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
    if !matches!(flushed, Ok(Ok(()))) {
        tracing::debug!("the last spans were not sent in time");
    }
}

/// Who makes the spans: what `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say.
fn resource() -> Resource {
    let given = Resource::builder().build().get(&"service.name".into());
    let is_named = given.is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    let resource =
        Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if is_named { resource.build() } else { resource.with_service_name("minerva").build() }
}

/// `NAME=VALUE`, where the value may be encoded as in a URL.
fn headers(given: &[String]) -> Result<HeaderMap> {
    let mut headers =
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))]);
    for header in given {
        let header = header.split_once('=').and_then(|(name, value)| {
            let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
            let mut value = HeaderValue::from_str(&value).ok()?;
            value.set_sensitive(true);
            Some((name.trim().parse::<HeaderName>().ok()?, value))
        });
        // What is wrong is not shown: it may be a key.
        let Some((name, value)) = header else { bail!("--otlp-headers has one that is not NAME=VALUE") };
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Sends spans with the program's own HTTP client; says once when they get lost, and once when they do no more.
#[derive(Debug)]
struct Exporter {
    client: Client,
    url: Url,
    /// The thread that exports is none of it.
    runtime: Handle,
    resource: Resource,
    is_lost: AtomicBool,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let Self { client, url, runtime, resource, is_lost } = self;
        let request = client.post(url.clone()).body(otlp::request(resource, &batch));
        // Its timer is one of the runtime's, from the first moment on.
        let sent = match runtime.spawn(async { request.send().await }).await {
            Ok(sent) => sent.and_then(|answer| answer.error_for_status().map(drop)),
            Err(_) => return Err(OTelSdkError::AlreadyShutdown),
        };
        match &sent {
            Ok(()) if is_lost.swap(false, Ordering::Relaxed) => tracing::info!("traces reach {url} again"),
            Err(error) if !is_lost.swap(true, Ordering::Relaxed) => {
                let why = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(
                    why,
                    "traces do not reach their collector ({error}); spans are dropped until they do"
                );
            }
            _ => {}
        }
        sent.map_err(|error| OTelSdkError::InternalFailure(error.to_string()))
    }
}
