"""The last hour of the daemon, as the page plots it."""

from __future__ import annotations

from datetime import datetime, timezone

import jsonschema

from plasm_core.metrics import render
from plasm_core.web.api_document import document
from plasm_core.web.recent_samples import sample_of
from tests.support.receipts import ROOT
from tests.support.web_server import WebServer

HELLO = (ROOT / "examples" / "hello" / "hello.wasm").read_bytes()
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def test_a_sample_counts_jobs_by_what_their_end_means() -> None:
    ended = dict(
        enumerate(("exited", "trapped", "out_of_gas", "output_limit", "timed_out", "cancelled"), start=1)
    )
    page = render(
        {
            "jobs_waiting": 3,
            "jobs_running": 2,
            "job_gas_total": 10**17,
            "memory_taken_bytes": 5,
            **{f'jobs_ended_total{{outcome="{name}"}}': number for number, name in ended.items()},
        }
    )

    sample = sample_of(page, NOW)

    assert sample == {
        "at": "2026-01-02T03:04:05.000Z",
        **{"waiting": 3, "running": 2, "ended": 21, "gas": 10**17, "exited": 1, "failed": 9, "claimed": 11},
    }


def test_the_server_has_a_sample_soon_and_the_daemon_counts_gas(web: WebServer) -> None:
    assert web.submit([("module", HELLO)], wait_s=60).json["state"] == "COMPLETE"
    counted = web.ask("GET", "/metrics").body.decode()

    answer = web.ask("GET", "/v1/node/history").json

    found = document()
    schema = {"$ref": "#/components/schemas/History", "components": found["components"]}
    jsonschema.Draft202012Validator(schema).validate(answer)
    assert answer["samples"]
    (line,) = (line for line in counted.splitlines() if line.startswith("plasm_job_gas_total "))
    assert float(line.split()[1]) > 1_000
