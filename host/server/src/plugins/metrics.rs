//! What every plugin has done, for `GET /metrics`.

use std::fmt;

use minerva_engine::plugin::{CallCounts, Standing};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// What every plugin has done, as it was read.
pub(crate) struct PluginFigures(pub(crate) Vec<Standing>);

impl fmt::Debug for PluginFigures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PluginFigures({})", self.0.len())
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfPlugin {
    plugin: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfCall {
    plugin: String,
    kind: &'static str,
    call: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfFault {
    plugin: String,
    kind: &'static str,
    fault: &'static str,
}

/// A name, what it means, and where it is read.
type Figure = (&'static str, &'static str, fn(&Standing) -> u64);

impl Collector for PluginFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(standings) = self;
        if standings.is_empty() {
            return Ok(());
        }
        let mut calls = encoder.encode_descriptor(
            "plugin_call_seconds",
            "How long calls of a plugin took",
            None,
            MetricType::Histogram,
        )?;
        for standing in standings {
            for CallCounts { kind, call, count, seconds, buckets } in &standing.counters.calls {
                let labels = OfCall { plugin: standing.name.clone(), kind: kind.as_str(), call };
                calls
                    .encode_family(&labels)?
                    .encode_histogram::<NoLabelSet>(*seconds, *count, buckets, None)?;
            }
        }
        let mut faults = encoder.encode_descriptor(
            "plugin_faults",
            "Faults of a plugin, refusals among them",
            None,
            MetricType::Counter,
        )?;
        for standing in standings {
            for (kind, fault, count) in &standing.counters.faults {
                let labels = OfFault { plugin: standing.name.clone(), kind: kind.as_str(), fault };
                faults.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
            }
        }
        let counters: [Figure; 2] = [
            ("plugin_bytes_in", "Bytes that went into a plugin", |standing| standing.counters.bytes_in),
            ("plugin_bytes_out", "Bytes that came out of a plugin", |standing| standing.counters.bytes_out),
        ];
        let gauges: [Figure; 3] = [
            ("plugin_sessions", "Sessions of a plugin that are open", |standing| standing.counters.sessions),
            ("plugin_suspended", "Clients that a plugin is out of service for", |standing| {
                standing.suspended_tenants as u64
            }),
            ("plugin_troubled", "1 while the newest version of a plugin could not be loaded", |standing| {
                u64::from(standing.trouble.is_some())
            }),
        ];
        for (name, help, read) in counters {
            let mut figure = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for standing in standings {
                let labels = OfPlugin { plugin: standing.name.clone() };
                figure.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&read(standing), None)?;
            }
        }
        for (name, help, read) in gauges {
            let mut figure = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for standing in standings {
                let labels = OfPlugin { plugin: standing.name.clone() };
                let value = i64::try_from(read(standing)).unwrap_or(i64::MAX);
                figure.encode_family(&labels)?.encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}
