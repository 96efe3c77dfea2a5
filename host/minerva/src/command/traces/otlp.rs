//! Spans as the body of an OTLP request, in protobuf.
//!
//! By hand, because the crates that write it stand on prost, whose derive macro changes what wasmtime and llama.cpp are
//! built with; and it is six messages. Numbers of fields are those of opentelemetry-proto 1.x, `trace/v1/trace.proto`,
//! `common/v1/common.proto` and `resource/v1/resource.proto`.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;

/// An `ExportTraceServiceRequest` of spans of one resource and one scope.
pub(super) fn request(resource: &Resource, spans: &[SpanData]) -> Vec<u8> {
    let mut request = Message::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |message| {
            for (key, value) in resource {
                message.message(1, |attribute| pair(attribute, key.as_str(), value));
            }
        });
        resource_spans.message(2, |scope_spans| {
            if let Some(first) = spans.first() {
                scope_spans.message(1, |scope| scope.text(1, first.instrumentation_scope.name()));
            }
            for data in spans {
                scope_spans.message(2, |message| span(message, data));
            }
        });
    });
    request.0
}

fn span(message: &mut Message, data: &SpanData) {
    // The flags of the trace, and that it is known whether the parent is in another process, and whether it is.
    const KNOWN: u32 = 0x100;
    const REMOTE: u32 = 0x200;
    let context = &data.span_context;
    message.bytes(1, &context.trace_id().to_bytes());
    message.bytes(2, &context.span_id().to_bytes());
    message.text(3, &context.trace_state().header());
    if data.parent_span_id != SpanId::INVALID {
        message.bytes(4, &data.parent_span_id.to_bytes());
    }
    message.text(5, &data.name);
    message.number(
        6,
        match data.span_kind {
            SpanKind::Internal => 1,
            SpanKind::Server => 2,
            SpanKind::Client => 3,
            SpanKind::Producer => 4,
            SpanKind::Consumer => 5,
        },
    );
    message.fixed64(7, nanoseconds(data.start_time));
    message.fixed64(8, nanoseconds(data.end_time));
    for KeyValue { key, value, .. } in &data.attributes {
        message.message(9, |attribute| pair(attribute, key.as_str(), value));
    }
    message.number(10, data.dropped_attributes_count.into());
    message.message(15, |status| match &data.status {
        Status::Unset => {}
        Status::Ok => status.number(3, 1),
        Status::Error { description } => {
            status.text(2, description);
            status.number(3, 2);
        }
    });
    let remote = if data.parent_span_is_remote { REMOTE } else { 0 };
    message.fixed32(16, u32::from(context.trace_flags().to_u8()) | KNOWN | remote);
}

fn pair(message: &mut Message, key: &str, value: &Value) {
    message.text(1, key);
    message.message(2, |message| any(message, value));
}

fn any(message: &mut Message, value: &Value) {
    match value {
        Value::Bool(value) => message.number_always(2, (*value).into()),
        Value::I64(value) => message.number_always(3, value.cast_unsigned()),
        Value::F64(value) => message.fixed64(4, value.to_bits()),
        Value::String(text) => message.bytes(1, text.as_str().as_bytes()),
        Value::Array(array) => message.message(5, |message| {
            let values: Vec<Value> = match array {
                Array::Bool(values) => values.iter().map(|value| Value::Bool(*value)).collect(),
                Array::I64(values) => values.iter().map(|value| Value::I64(*value)).collect(),
                Array::F64(values) => values.iter().map(|value| Value::F64(*value)).collect(),
                Array::String(values) => values.iter().map(|value| Value::String(value.clone())).collect(),
                // There are no others today.
                _ => Vec::new(),
            };
            for value in &values {
                message.message(1, |message| any(message, value));
            }
        }),
        other => message.bytes(1, other.as_str().as_bytes()),
    }
}

fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A message of protobuf. A field without a value is left out.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn key(&mut self, field: u32, wire: u32) {
        self.varint(u64::from((field << 3) | wire));
    }

    fn number(&mut self, field: u32, number: u64) {
        if number > 0 {
            self.number_always(field, number);
        }
    }

    /// One of several that may be there: 0 is a value as well.
    fn number_always(&mut self, field: u32, number: u64) {
        self.key(field, 0);
        self.varint(number);
    }

    fn fixed64(&mut self, field: u32, bits: u64) {
        self.key(field, 1);
        self.0.extend(bits.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn text(&mut self, field: u32, text: &str) {
        if !text.is_empty() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn fixed32(&mut self, field: u32, bits: u32) {
        self.key(field, 5);
        self.0.extend(bits.to_le_bytes());
    }
}
