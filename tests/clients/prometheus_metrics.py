"""What `GET /metrics` says, read by the strict OpenMetrics parser of Prometheus' own Python package.

Usage: prometheus_metrics.py URL
"""

import json
import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families

import checks
from checks import equal, true


def ask(url, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url + path, data=data), timeout=120) as answer:
        return answer.read().decode()


def families(url):
    return {family.name: family for family in text_string_to_metric_families(ask(url, "/metrics"))}


class Checks:
    def __init__(self, url):
        self.url = url

    def every_family_is_well_formed_and_has_help(self):
        for family in families(self.url).values():
            true(family.name.startswith("minerva_"), f"the name of {family.name}")
            true(family.documentation, f"{family.name} has no help")

    def times_of_answers_are_in_histograms(self):
        def count(name):
            samples = families(self.url)[name].samples
            return sum(sample.value for sample in samples if sample.name == name + "_count")

        names = [
            "minerva_time_to_first_token_seconds",
            "minerva_e2e_request_latency_seconds",
            "minerva_request_queue_time_seconds",
        ]
        before = [count(name) for name in names]
        tokens_before = count("minerva_inter_token_latency_seconds")
        body = {
            "messages": [{"role": "user", "content": "Hello!"}],
            "max_tokens": 5,
            "ignore_eos": True,
            "minerva": {"samplers": [{"id": "min-p"}]},
        }
        ask(self.url, "/v1/chat/completions", body)
        equal([count(name) for name in names], [number + 1 for number in before], "requests")
        equal(count("minerva_inter_token_latency_seconds"), tokens_before + 4, "distances of five tokens")
        true(count("minerva_plugin_call_seconds") > 0, "calls of a plugin")

    def bounds_are_those_of_vllm(self):
        expected = {
            "minerva_time_to_first_token_seconds": [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75]
            + [1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0],
            "minerva_inter_token_latency_seconds": [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75]
            + [1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0],
            "minerva_e2e_request_latency_seconds": [0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0]
            + [40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0],
        }
        read = families(self.url)
        for name, bounds in expected.items():
            has = {float(sample.labels["le"]) for sample in read[name].samples if sample.name == name + "_bucket"}
            equal([bound for bound in bounds if bound not in has], [], f"bounds missing in {name}")


if __name__ == "__main__":
    url = sys.argv[1]
    names = [name for name in vars(Checks) if not name.startswith("_")]
    sys.exit(1 if checks.run(Checks(url), names, "prometheus-client") else 0)
