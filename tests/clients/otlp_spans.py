"""Spans as a collector was sent them, read by OpenTelemetry's own messages.

Usage: otlp_spans.py FILE
"""

import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

import checks
from checks import equal, true


class Checks:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = file.read()
        self.request = ExportTraceServiceRequest.FromString(self.bytes)
        scopes = [scope for resource in self.request.resource_spans for scope in resource.scope_spans]
        self.scopes = [scope.scope.name for scope in scopes]
        self.spans = {span.name: span for scope in scopes for span in scope.spans}

    def nothing_is_there_that_the_messages_do_not_know(self):
        # What is not known would be kept, at the end of its message.
        known = ExportTraceServiceRequest.FromString(self.bytes)
        known.DiscardUnknownFields()
        equal(known.ByteSize(), self.request.ByteSize(), "bytes of known fields")

    def the_spans_are_those_of_the_request(self):
        names = ["POST /v1/chat/completions", "decode", "plugin min-p", "prefill", "queue"]
        equal(sorted(self.spans), names, "names")
        equal(set(self.scopes), {"minerva"}, "scopes")
        root = self.spans["POST /v1/chat/completions"]
        equal((len(root.trace_id), len(root.span_id), root.parent_span_id), (16, 8, b""), "the request's ids")
        equal(root.kind, Span.SPAN_KIND_SERVER, "its kind")
        equal(root.status.code, Status.STATUS_CODE_UNSET, "its status")
        equal(root.flags & 0xFF, 1, "its flags")
        for name in names[1:]:
            span = self.spans[name]
            equal((span.trace_id, span.parent_span_id), (root.trace_id, root.span_id), f"the parent of {name}")
            equal(span.kind, Span.SPAN_KIND_INTERNAL, f"the kind of {name}")
            order = [root.start_time_unix_nano, span.start_time_unix_nano, span.end_time_unix_nano]
            equal(sorted(order), order, f"times of {name}")

    def values_are_of_their_types(self):
        def value(name, key):
            found = [pair.value for pair in self.spans[name].attributes if pair.key == key]
            equal(len(found), 1, f"{key} of {name}")
            return found[0]

        root = "POST /v1/chat/completions"
        equal(value(root, "gen_ai.operation.name").string_value, "chat", "a text")
        equal(value(root, "gen_ai.request.max_tokens").int_value, 3, "a number")
        equal(value(root, "gen_ai.request.frequency_penalty").double_value, -0.5, "a share")
        ends = value(root, "gen_ai.response.finish_reasons").array_value.values
        equal([end.string_value for end in ends], ["length"], "a list")
        # 0 is a value as well, and not nothing.
        equal(value("queue", "minerva.answer").WhichOneof("value"), "int_value", "the first answer")
        true(value("plugin min-p", "minerva.plugin.pick.count").int_value >= 3, "picks")

    def the_resource_has_a_name(self):
        resource = self.request.resource_spans[0].resource
        names = [pair.value.string_value for pair in resource.attributes if pair.key == "service.name"]
        equal(names, ["minerva"], "service.name")


if __name__ == "__main__":
    names = [name for name in vars(Checks) if not name.startswith("_")]
    sys.exit(1 if checks.run(Checks(sys.argv[1]), names, "opentelemetry-proto") else 0)
