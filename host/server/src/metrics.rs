//! `GET /metrics`: what Prometheus scrapes. The figures are the engine's own; they are read at the scrape. Only what
//! requests were answered is counted here.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use minerva_engine::event::FinishReason;
use minerva_engine::plugin::Plugins;
use minerva_engine::{Distribution, Latencies, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde_json::json;

use crate::app::{MetricsCompat, Models, Options, ServedModel};
use crate::failure::Failure;
use crate::models::metrics::ModelFigures;
use crate::openapi::{Operation, Schemas};
use crate::plugins::metrics::PluginFigures;

/// OpenMetrics text, which Prometheus asks for first.
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    model: String,
}

/// What requests were answered. Clones count together.
#[derive(Clone)]
pub(crate) struct Answers {
    statuses: Family<OfAnswer, Counter>,
    broken: Family<OfError, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfAnswer {
    path: String,
    status: u16,
    error: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfError {
    error: &'static str,
}

impl Default for Answers {
    fn default() -> Self {
        let broken = Family::<OfError, Counter>::default();
        // What is not there yet cannot be told from what is not there at all: an alert wants to see it at 0.
        for error in ["server_error", "timeout_error", "unavailable_error"] {
            drop(broken.get_or_create(&OfError { error }));
        }
        Self { statuses: Family::default(), broken }
    }
}

impl Answers {
    /// A request to a route was answered with a status, and with an error of some type, or none.
    pub(crate) fn count(&self, path: String, status: u16, error: &'static str) {
        self.statuses.get_or_create(&OfAnswer { path, status, error }).inc();
    }

    /// A stream ended with an error behind its status.
    pub(crate) fn count_broken(&self, error: &'static str) {
        self.broken.get_or_create(&OfError { error }).inc();
    }
}

type Gauges = Family<Labels, Gauge<i64, AtomicI64>>;
type Counters = Family<Labels, Counter<u64, AtomicU64>>;

/// A name, what it means, and where it is read.
type Figure<T> = (&'static str, &'static str, fn(&Status) -> T);

/// What the document says of it.
pub(crate) fn describe(_: &mut Schemas<'_>) -> Operation {
    let text = json!({"type": "string"});
    let operation =
        Operation::new("operations", "Load, totals and times of every model and plugin, for Prometheus");
    operation.answers_as(200, TEXT, text).fails(&[500])
}

/// Every model's load and totals, and every plugin's.
pub(crate) async fn scrape(
    State(models): State<Models>,
    State(plugins): State<Plugins>,
    State(options): State<Options>,
    State(answers): State<Answers>,
) -> Result<impl IntoResponse, Failure> {
    let mut whole = Registry::default();
    let registry = whole.sub_registry_with_prefix("minerva");
    let gauges: [Figure<usize>; 12] = [
        ("requests_running", "Requests that have a sequence", |status| status.running),
        ("requests_waiting", "Requests that wait for a sequence", |status| status.waiting),
        ("requests_waiting_limit", "The most requests that may wait", |status| status.queue_limit),
        ("prompt_tokens_waiting", "Tokens of the prompts of requests that wait", |status| {
            status.waiting_tokens
        }),
        ("prompt_tokens_waiting_limit", "The most of these", |status| status.queue_tokens_limit),
        ("sequences", "Sequences that can run side by side", |status| status.slots),
        ("kv_cache_tokens", "Tokens of running sequences in the KV cache", |status| status.tokens_held),
        ("kv_cache_tokens_limit", "The most tokens that the KV cache holds", |status| {
            status.tokens_held_limit
        }),
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
    let counters: [Figure<u64>; 11] = [
        ("prompt_tokens", "Tokens of prompts decoded", |status| status.tokens_prefilled),
        ("generation_tokens", "Tokens generated", |status| status.tokens_generated),
        ("tokens_taken_back", "Of these, tokens that samplers took back", |status| status.tokens_taken_back),
        ("requests_finished", "Requests that ended as they should", |status| status.requests_finished),
        ("requests_canceled", "Requests whose client went away", |status| status.requests_cancelled),
        ("requests_failed", "Requests that ended with an error", |status| status.requests_failed),
        ("decode_retries", "Sequences decoded again because a decode failed", |status| status.decode_retries),
        ("model_reloads", "Times that the model was loaded anew", |status| status.model_reloads),
        ("prompt_tokens_cached", "Tokens of prompts that were in the cache", |status| status.tokens_cached),
        ("cache_restored_sequences", "Sequences restored from host memory", |status| {
            status.sequences_restored
        }),
        ("cache_evicted_sequences", "Saved sequences that had to go for want of room", |status| {
            status.sequences_evicted
        }),
    ];
    let served: Arc<[Served]> = models.list().iter().map(|model| Served::read(model)).collect();
    for (name, help, read) in gauges {
        let family = Gauges::default();
        for Served { labels, status, .. } in served.iter() {
            family.get_or_create(labels).set(i64::try_from(read(status)).unwrap_or(i64::MAX));
        }
        registry.register(name, help, family);
    }
    for (name, help, read) in counters {
        let family = Counters::default();
        for Served { labels, status, .. } in served.iter() {
            family.get_or_create(labels).inc_by(read(status));
        }
        registry.register(name, help, family);
    }
    registry.register("http_requests", "Requests answered", answers.statuses);
    registry.register(
        "streams_broken",
        "Streams that ended with an error behind their status",
        answers.broken,
    );
    registry.register_collector(Box::new(PerModel(Arc::clone(&served))));
    registry.register_collector(Box::new(ModelFigures(models.registry().entries())));
    registry.register_collector(Box::new(PluginFigures(plugins.standings())));
    if options.metrics_compat == Some(MetricsCompat::Vllm) {
        whole.register_collector(Box::new(ForGateways(served)));
    }
    let mut text = String::new();
    encode(&mut text, &whole).map_err(|error| Failure::internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, TEXT)], text))
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// One model's figures, as they were read.
#[derive(Debug)]
struct Served {
    labels: Labels,
    status: Status,
    latencies: Latencies,
    weight_bytes: u64,
}

impl Served {
    fn read(model: &ServedModel) -> Self {
        Self {
            labels: Labels { model: model.id.clone() },
            status: model.handle.status(),
            latencies: model.handle.latencies(),
            weight_bytes: model.handle.info().weight_bytes,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a share of so many tokens needs no more digits")]
    fn cache_usage(&self) -> f64 {
        let Status { tokens_held, tokens_held_limit, .. } = self.status;
        tokens_held as f64 / tokens_held_limit.max(1) as f64
    }
}

/// What is not one number of each model: times, reasons, and shares.
#[derive(Debug)]
struct PerModel(Arc<[Served]>);

/// A name, what it means, and where it is read.
type Gauge64 = (&'static str, &'static str, fn(&Served) -> f64);

/// The same of a distribution.
type Times = (&'static str, &'static str, fn(&Latencies) -> &Distribution);

impl Collector for PerModel {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(served) = self;
        if served.is_empty() {
            return Ok(());
        }
        let histograms: [Times; 4] = [
            ("time_to_first_token_seconds", "From a request to its first token", |times| &times.first_token),
            ("inter_token_latency_seconds", "From one token of a request to the next", |times| {
                &times.inter_token
            }),
            ("e2e_request_latency_seconds", "From a request to its end", |times| &times.total),
            ("request_queue_time_seconds", "From a request to its sequence", |times| &times.queue),
        ];
        for (name, help, read) in histograms {
            let mut figure = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
            for model in served.iter() {
                let Distribution { count, seconds, buckets } = read(&model.latencies);
                figure
                    .encode_family(&model.labels)?
                    .encode_histogram::<NoLabelSet>(*seconds, *count, buckets, None)?;
            }
        }
        let mut reasons =
            encoder.encode_descriptor("answers", "Answers, by how they ended", None, MetricType::Counter)?;
        for Served { labels: Labels { model }, status, .. } in served.iter() {
            let finished =
                FinishReason::ALL.map(FinishReason::as_str).into_iter().zip(status.answers_finished);
            let others = [("canceled", status.requests_cancelled), ("error", status.requests_failed)];
            for (reason, count) in finished.chain(others) {
                let labels = [("model", model.as_str()), ("reason", reason)];
                reasons.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        let gauges: [Gauge64; 2] = [
            (
                "kv_cache_usage_ratio",
                "The part of the KV cache that running sequences use",
                Served::cache_usage,
            ),
            #[expect(clippy::cast_precision_loss, reason = "bytes of gigabytes need no more digits")]
            ("model_weight_bytes", "Bytes of the weights of a model", |model| model.weight_bytes as f64),
        ];
        for (name, help, read) in gauges {
            let mut figure = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for model in served.iter() {
                figure.encode_family(&model.labels)?.encode_gauge(&read(model))?;
            }
        }
        Ok(())
    }
}

/// The gauges that the Gateway API Inference Extension of Kubernetes reads, under vLLM's names.
#[derive(Debug)]
struct ForGateways(Arc<[Served]>);

impl Collector for ForGateways {
    #[expect(clippy::cast_precision_loss, reason = "so many requests are not counted here")]
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let gauges: [Gauge64; 3] = [
            ("vllm:num_requests_running", "Requests that have a sequence", |model| {
                model.status.running as f64
            }),
            ("vllm:num_requests_waiting", "Requests that wait for a sequence", |model| {
                model.status.waiting as f64
            }),
            ("vllm:kv_cache_usage_perc", "The part of the KV cache in use, 0 to 1", Served::cache_usage),
        ];
        for (name, help, read) in gauges {
            let mut figure = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for model in self.0.iter() {
                let labels = [("model_name", model.labels.model.as_str())];
                figure.encode_family(&labels)?.encode_gauge(&read(model))?;
            }
        }
        Ok(())
    }
}
