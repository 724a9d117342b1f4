"""Batches over HTTP, with a real daemon: many jobs in one request, run by the server."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from plasm_core.records import Envelope, PeerId, Receipt, job_id
from plasm_core.records.batch_document import BatchDocument, InclusionProof, read_batch_document
from plasm_core.signing import is_signed_by
from plasm_core.web.api_document import document
from tests.support.daemon import Daemon
from tests.support.receipts import ROOT
from tests.support.wat import starting, writing
from tests.support.web_server import Answer, WebServer, form

HELLO = (ROOT / "examples" / "hello" / "hello.wasm").read_bytes()
FOR_EVER = starting("(loop $l (br $l))")
PARTS = ("stdout", "stderr", "receipt", "manifest", "proof")
LARGE = b"0123456789abcdef" * 4096
"""With five of them an output is larger than what a batch's table holds."""


def lines(*jobs: dict[str, Any]) -> bytes:
    """Return jobs as the part `jobs` has them."""
    return b"".join(json.dumps(job).encode() + b"\n" for job in jobs)


def submit(
    web: WebServer, parts: Sequence[tuple[str, bytes]], *, wait_s: int = 0, token: str | None = "page"
) -> Answer:
    """Post a batch."""
    boundary = secrets.token_hex(16)
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    if wait_s:
        headers["Prefer"] = f"wait={wait_s}"
    return web.ask("POST", "/v1/batches", token=token, headers=headers, body=form(boundary, parts))


def valid(name: str, value: object) -> None:
    """Compare an answer with its schema."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


def batch_of(web: WebServer, *jobs: dict[str, Any], module: bytes = HELLO) -> dict[str, Any]:
    """Run a batch to its end."""
    answer = submit(web, [("module", module), ("jobs", lines(*jobs))], wait_s=60)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


def test_each_job_of_a_batch_leaves_output_receipt_and_manifest_that_belong_together(web: WebServer) -> None:
    batch = batch_of(web, {"args": ["one"]}, {"args": ["two"], "name": "second"}, {"stdin": "three\n"})

    valid("Batch", batch)
    assert (batch["state"], batch["jobs"], batch["counts"]["succeeded"]) == ("ended", 3, 3)
    path = f"/v1/batches/{batch['batchId']}"
    listed = web.ask("GET", f"{path}/jobs").json
    valid("BatchJobs", listed)
    assert [job["number"] for job in listed["jobs"]] == [0, 1, 2]
    assert listed["jobs"][1]["input"] == "second (line 2 of jobs)"
    assert [web.ask("GET", f"{path}/jobs/{n}/stdout").body for n in range(3)] == [
        b"eno\n",
        b"owt\n",
        b"eerht\n",
    ]
    for job in listed["jobs"]:
        envelope = Envelope.from_json(web.ask("GET", f"{path}/jobs/{job['number']}/receipt").body)
        receipt = Receipt.from_statement(envelope.payload)
        manifest = web.ask("GET", f"{path}/jobs/{job['number']}/manifest").body
        assert is_signed_by(envelope, receipt.node)
        assert PeerId.parse(job["node"]) == receipt.node
        assert receipt.asked.job_id == job["jobId"] == job_id(manifest)


def test_the_receipt_of_a_batch_has_every_receipt_and_each_has_its_proof(
    web: WebServer, tmp_path: Path
) -> None:
    batch = batch_of(web, {"args": ["a"]}, {"args": ["b"], "gas": 10})
    path = f"/v1/batches/{batch['batchId']}"

    found = read_batch_document(web.ask("GET", f"{path}/receipt").body)
    proof_json = web.ask("GET", f"{path}/jobs/1/proof").body
    proof = read_batch_document(proof_json)

    assert isinstance(found, BatchDocument)
    assert isinstance(proof, InclusionProof)
    predicate = found.signed.receipt.predicate
    assert (predicate.jobs, predicate.receipts, predicate.succeeded) == (2, 2, 1)
    assert found.problems() == []
    assert proof.problems() == []
    assert proof.receipt_json is not None
    assert json.loads(proof.receipt_json) == web.ask("GET", f"{path}/jobs/1/receipt").json
    kept = tmp_path / "proof.json"
    kept.write_bytes(proof_json)
    verified = subprocess.run(
        [sys.executable, "-m", "plasm_core.cli", "verify", str(kept)],
        env=web.daemon.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 8, verified.stdout + verified.stderr  # this server has no key to sign it
    assert "job 1 belongs to it" in verified.stdout + verified.stderr


def test_jobs_that_fail_say_why_and_do_not_end_the_others(web: WebServer) -> None:
    batch = batch_of(web, {"args": ["a"], "gas": 10}, {"args": ["b"]}, {"args": ["c"], "gas": 2**53 - 1})
    path = f"/v1/batches/{batch['batchId']}"

    counts, jobs = batch["counts"], web.ask("GET", f"{path}/jobs").json["jobs"]

    assert (counts["failed"], counts["succeeded"], counts["error"]) == (1, 1, 1)
    assert jobs[0]["outcome"] == {"kind": "out_of_gas"}
    assert jobs[0]["reason"] == "out of gas"
    missing = web.ask("GET", f"{path}/jobs/2/receipt")
    assert (missing.status, missing.json["code"]) == (404, "no_receipt")
    assert jobs[2]["reason"] in missing.json["detail"]


def test_a_large_output_comes_whole(web: WebServer) -> None:
    batch = batch_of(web, {"output_bytes": 1 << 20}, module=writing(LARGE, times=5))

    answer = web.ask("GET", f"/v1/batches/{batch['batchId']}/jobs/0/stdout")

    assert answer.body == LARGE * 5


def test_one_id_sent_twice_is_one_batch_of_its_token(web: WebServer) -> None:
    identity = secrets.token_hex(16)
    parts = [("batchId", identity.encode()), ("module", HELLO), ("jobs", lines({"args": ["x"]}))]
    other = web.make_token("another")

    first, second = submit(web, parts, wait_s=60), submit(web, parts, wait_s=60)
    third = submit(web, parts, wait_s=60, token=other)

    assert first.json["batchId"] == second.json["batchId"] == identity
    assert second.json == first.json
    assert third.json["createdAt"] != first.json["createdAt"]
    listed = web.ask("GET", "/v1/batches", token=other).json["batches"]
    assert [item["createdAt"] for item in listed] == [third.json["createdAt"]]


def test_another_token_sees_no_batch(web: WebServer) -> None:
    batch = batch_of(web, {"args": ["mine"]})

    answer = web.ask("GET", f"/v1/batches/{batch['batchId']}", token=web.make_token("stranger"))

    assert (answer.status, answer.json["code"]) == (404, "not_found")


def test_what_a_token_may_do_with_batches_depends_on_its_scope(web: WebServer) -> None:
    batch = batch_of(web, {"args": ["mine"]})
    path = f"/v1/batches/{batch['batchId']}"
    reader, stranger = web.make_token("reader", "read"), web.make_token("other", "submit")
    admin = web.make_token("operator", "admin")
    reads = ["", "/receipt", "/jobs", *(f"/jobs/0/{name}" for name in PARTS)]

    refused = submit(web, [("module", HELLO), ("jobs", lines({}))], token=reader)
    for method, place in (("DELETE", path), ("POST", f"{path}/release")):
        assert web.ask(method, place, token=reader).json["code"] == "forbidden"
        assert web.ask(method, place, token=stranger).json["code"] == "not_found"
    unseen = [web.ask("GET", path + part, token=stranger).status for part in reads]
    seen = [web.ask("GET", path + part, token=admin).status for part in reads]

    assert (refused.status, refused.json["code"]) == (403, "forbidden")
    assert unseen == [404] * len(reads)
    assert seen == [200] * len(reads)
    assert batch["batchId"] in [
        item["batchId"] for item in web.ask("GET", "/v1/batches", token=admin).json["batches"]
    ]


@pytest.mark.parametrize(
    ("jobs", "detail"),
    [
        (b"", "there are no inputs"),
        (b"{}\n[]\n", "line 2 of jobs is no job"),
        (b'{"gas": 0}\n', "line 1 of jobs is no job"),
        (b'{"stdin_file": "/etc/passwd"}\n', "line 1 of jobs: the server opens no file that a request names"),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_run(web: WebServer, jobs: bytes, detail: str) -> None:
    before = len(web.ask("GET", "/v1/batches").json["batches"])

    answer = submit(web, [("module", HELLO), ("jobs", jobs)])

    assert (answer.status, answer.json["code"]) == (422, "invalid_request")
    assert detail in answer.json["detail"]
    assert len(web.ask("GET", "/v1/batches").json["batches"]) == before


def test_a_module_that_the_node_refuses_ends_the_batch_with_the_reason(web: WebServer) -> None:
    batch = batch_of(web, {}, module=b"no module")

    assert batch["state"] == "failed"
    assert "not" in batch["problem"]


def test_a_batch_that_runs_has_no_receipt_and_is_cancelled_and_released(web: WebServer) -> None:
    jobs = lines(*[{"wall_time_s": 600, "gas": 10**15}] * 50)
    batch = submit(web, [("module", FOR_EVER), ("jobs", jobs)]).json
    path = f"/v1/batches/{batch['batchId']}"
    early = [web.ask("GET", f"{path}/receipt"), web.ask("POST", f"{path}/release")]

    cancelled = web.ask("DELETE", path).json
    receipt = web.ask("GET", f"{path}/receipt")
    released = web.ask("POST", f"{path}/release").json

    assert [(answer.status, answer.json["code"]) for answer in early] == [(409, "not_ended")] * 2
    assert (cancelled["state"], cancelled["counts"]["cancelled"]) == ("cancelled", 50)
    assert receipt.status == 200
    assert released["released"] is True
    assert web.ask("GET", path).status == 404


@pytest.fixture
def own(tmp_path: Path) -> Iterator[WebServer]:
    """A server that a test may end, with a daemon of its own."""
    with Daemon(tmp_path) as daemon:
        daemon.start()
        with WebServer(daemon) as made:
            yield made.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_batch_continues_after_a_restart_of_the_server(own: WebServer, number: signal.Signals) -> None:
    jobs = lines(*[{"args": [f"job {n}"]} for n in range(300)])
    batch = submit(own, [("module", HELLO), ("jobs", jobs)]).json
    path = f"/v1/batches/{batch['batchId']}"
    while own.ask("GET", path).json["counts"]["succeeded"] == 0:
        pass

    own.end(number)
    own.start()
    found = own.ask("GET", path, headers={"Prefer": "wait=60"}).json

    assert (found["state"], found["counts"]["succeeded"]) == ("ended", 300)
    assert own.ask("GET", f"{path}/jobs/299/stdout").body == b"992 boj\n"


def test_a_batch_waits_for_a_stopped_daemon_and_reports_it(own: WebServer) -> None:
    own.daemon.kill()
    batch = submit(own, [("module", HELLO), ("jobs", lines({"args": ["x"]}))]).json
    path = f"/v1/batches/{batch['batchId']}"
    while "problem" not in (away := own.ask("GET", path).json):
        pass
    own.daemon.start()

    found = own.ask("GET", path, headers={"Prefer": "wait=60"}).json

    assert (away["state"], found["state"]) == ("running", "ended")
    assert "problem" not in found
