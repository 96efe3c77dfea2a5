//! How often every model was wanted, loaded and unloaded, for `GET /metrics`.

use std::fmt;

use minerva_models::registry::Entry;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// What is known of every model, as it was read.
pub(crate) struct ModelFigures(pub(crate) Vec<Entry>);

impl fmt::Debug for ModelFigures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ModelFigures({})", self.0.len())
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfModel {
    model: String,
}

/// A name, what it means, and where it is read.
type Figure = (&'static str, &'static str, fn(&Entry) -> u64);

impl Collector for ModelFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let counters: [Figure; 5] = [
            ("model_hits", "Requests that found their model loaded", |entry| entry.hits),
            ("model_misses", "Requests that had to wait for their model to be loaded", |entry| entry.misses),
            ("model_loads", "Loads that succeeded", |entry| entry.loads),
            ("model_load_failures", "Loads that failed or were cancelled", |entry| entry.failures),
            ("model_evictions", "How often a model made room, or was not used for long", |entry| {
                entry.evictions
            }),
        ];
        let gauges: [Figure; 3] = [
            ("model_loaded", "1 while a model is loaded", |entry| u64::from(entry.served.is_some())),
            ("model_memory_bytes", "The bytes that a model counts for", |entry| entry.bytes.unwrap_or(0)),
            ("model_waiting", "Requests that wait for a model to be loaded", |entry| entry.waiting as u64),
        ];
        for (name, help, read) in counters {
            let mut figure = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for entry in &self.0 {
                let labels = OfModel { model: entry.id.clone() };
                figure.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&read(entry), None)?;
            }
        }
        for (name, help, read) in gauges {
            let mut figure = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for entry in &self.0 {
                let labels = OfModel { model: entry.id.clone() };
                let value = i64::try_from(read(entry)).unwrap_or(i64::MAX);
                figure.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}
