"""schemathesis against /openapi.json: all of its checks, with what no schema can say in `schemathesis_hooks.py`.

The first argument is the server's URL; it has the API key `KEY` and a small context. MINERVA_TEST_SCHEMATHESIS says how
many cases each operation gets in the phase that draws them at random.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from openapi_spec_validator import validate

KEY = "schemathesis"

CASES_MIN = 2000

# What is no request and answer, and what a stranger must not try.
EXCLUDED = ["/v1/stream", "/v1/models/events", "/v1/plugins/{name}", "/v1/models/unload"]


def main(url, only):
    document = json.load(urllib.request.urlopen(f"{url}/openapi.json"))
    validate(document)
    print(f"ok      the document is OpenAPI {document['openapi']}")
    here = Path(__file__).parent
    with tempfile.TemporaryDirectory() as reports:
        command = [
            sys.executable, "-m", "schemathesis.cli", "--config-file", str(here / "schemathesis.toml"),
            "run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {KEY}", "--checks", "all",
            "--max-examples", os.environ.get("MINERVA_TEST_SCHEMATHESIS", "10"), "--workers", "1",
            "--continue-on-failure", "--no-color", "--generation-database", "none", "--seed", "1",
            "--exclude-tag", "other names", "--exclude-operation-id", "post_v1_plugins",
            *(argument for path in EXCLUDED for argument in ["--exclude-path", path]),
            *(argument for path in only for argument in ["--include-path", path]),
        ]
        environment = os.environ | {"PYTHONPATH": str(here), "SCHEMATHESIS_HOOKS": "schemathesis_hooks"}
        ended = subprocess.run(command, cwd=reports, env=environment, stdout=subprocess.PIPE, text=True)
    print(ended.stdout)
    cases = re.search(r"(\d+) generated", ended.stdout)
    if not only and int(cases.group(1)) < CASES_MIN:
        raise AssertionError(f"only {cases.group(1)} cases")
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
