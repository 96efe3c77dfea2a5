//! `GET /metrics`: what Prometheus scrapes. The figures are the engine's own; they are read at the scrape.

use std::sync::atomic::{AtomicI64, AtomicU64};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use minerva_engine::Status;
use minerva_engine::plugin::Plugins;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::app::Models;
use crate::failure::Failure;
use crate::plugins::metrics::PluginFigures;

/// OpenMetrics text, which Prometheus asks for first.
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    model: String,
}

type Gauges = Family<Labels, Gauge<i64, AtomicI64>>;
type Counters = Family<Labels, Counter<u64, AtomicU64>>;

/// A name, what it means, and where it is read.
type Figure<T> = (&'static str, &'static str, fn(&Status) -> T);

/// Every model's load and totals, and every plugin's.
pub(crate) async fn scrape(
    State(models): State<Models>,
    State(plugins): State<Plugins>,
) -> Result<impl IntoResponse, Failure> {
    let mut registry = Registry::with_prefix("minerva");
    let gauges: [Figure<usize>; 8] = [
        ("requests_running", "Requests that have a sequence", |status| status.running),
        ("requests_waiting", "Requests that wait for a sequence", |status| status.waiting),
        ("requests_waiting_limit", "The most requests that may wait", |status| status.queue_limit),
        ("sequences", "Sequences that can run side by side", |status| status.slots),
        ("cache_idle_tokens", "Tokens that lie ready in sequences nobody uses", |status| {
            status.tokens_held_idle
        }),
        ("cache_saved_sequences", "Sequences saved in host memory", |status| status.saved_sequences),
        ("cache_saved_bytes", "Bytes of the sequences saved in host memory", |status| {
            bytes(status.saved_bytes)
        }),
        ("cache_saved_bytes_limit", "The most bytes that saved sequences may take", |status| {
            bytes(status.saved_bytes_limit)
        }),
    ];
    let counters: [Figure<u64>; 8] = [
        ("prompt_tokens", "Tokens of prompts decoded", |status| status.tokens_prefilled),
        ("generation_tokens", "Tokens generated", |status| status.tokens_generated),
        ("requests_finished", "Requests that ended as they should", |status| status.requests_finished),
        ("requests_canceled", "Requests whose client went away", |status| status.requests_cancelled),
        ("requests_failed", "Requests that ended with an error", |status| status.requests_failed),
        ("prompt_tokens_cached", "Tokens of prompts that were in the cache", |status| status.tokens_cached),
        ("cache_restored_sequences", "Sequences restored from host memory", |status| {
            status.sequences_restored
        }),
        ("cache_evicted_sequences", "Saved sequences that had to go for want of room", |status| {
            status.sequences_evicted
        }),
    ];
    let served: Vec<(Labels, Status)> = models
        .list()
        .iter()
        .map(|model| (Labels { model: model.id.clone() }, model.handle.status()))
        .collect();
    for (name, help, read) in gauges {
        let family = Gauges::default();
        for (labels, status) in &served {
            family.get_or_create(labels).set(i64::try_from(read(status)).unwrap_or(i64::MAX));
        }
        registry.register(name, help, family);
    }
    for (name, help, read) in counters {
        let family = Counters::default();
        for (labels, status) in &served {
            family.get_or_create(labels).inc_by(read(status));
        }
        registry.register(name, help, family);
    }
    registry.register_collector(Box::new(PluginFigures(plugins.standings())));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| Failure::internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, TEXT)], text))
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}
