"""Jobs over HTTP, with a real daemon: what a user of curl does."""

from __future__ import annotations

import base64
import hashlib
import json
import os

import jsonschema
import pytest

from plasm_core.records import Envelope, Handle, JobInput, Manifest, Receipt, job_id
from plasm_core.records.manifest import manifest_for
from plasm_core.records.sigstore import BUNDLE_TYPE
from plasm_core.web.api_document import document
from tests.support.receipts import ROOT
from tests.support.wat import starting
from tests.support.web_server import Answer, WebServer, events

HELLO = (ROOT / "examples" / "hello" / "hello.wasm").read_bytes()
SAID = b"sdrow emos\n"
FOR_EVER = starting("(loop $l (br $l))")


def _valid(name: str, value: object) -> None:
    found = document()
    schema = {"$ref": f"#/components/schemas/{name}", "components": found["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


def _done(web: WebServer, *parts: tuple[str, bytes]) -> Answer:
    given = parts or (("args", b"some"), ("args", b"words"))
    answer = web.submit([*given, ("module", HELLO)], wait_s=60)
    assert answer.status == 200, answer.body
    return answer


def test_a_job_is_submitted_waited_for_and_read(web: WebServer) -> None:
    answer = _done(web)

    job = answer.json
    _valid("Job", job)
    assert answer.headers["location"] == f"/v1/jobs/{job['jobId']}"
    assert (job["state"], job["outcome"]) == ("COMPLETE", {"kind": "exited", "code": 0})
    output = web.ask("GET", f"/v1/jobs/{job['jobId']}/stdout")
    assert output.body == SAID
    assert output.headers["etag"] == f'"{hashlib.sha256(SAID).hexdigest()}"'


def test_without_a_wait_the_job_is_accepted_and_shown_later(web: WebServer) -> None:
    answer = web.submit([("module", HELLO)])

    assert answer.status == 202
    found = web.ask("GET", answer.headers["location"], headers={"Prefer": "wait=60"})
    assert found.json["state"] == "COMPLETE"
    assert found.headers["preference-applied"] == "wait=60"


def test_the_receipt_comes_as_envelope_and_as_bundle_and_names_the_job(web: WebServer) -> None:
    job = _done(web).json
    path = f"/v1/jobs/{job['jobId']}"

    plain = web.ask("GET", f"{path}/receipt")
    bundle = web.ask("GET", f"{path}/receipt", headers={"Accept": f"text/html;q=0.1, {BUNDLE_TYPE}"})
    other = web.ask("GET", f"{path}/receipt", headers={"Accept": "image/png"})
    manifest = web.ask("GET", f"{path}/manifest")

    _valid("Envelope", plain.json)
    receipt = Receipt.from_statement(Envelope.from_json(plain.body).payload)
    assert receipt.asked.job_id == job["jobId"] == hashlib.sha256(manifest.body).hexdigest()
    assert receipt.stdout == hashlib.sha256(SAID).hexdigest()
    assert bundle.json["dsseEnvelope"]["payload"] == plain.json["payload"]
    assert (other.status, other.json["code"]) == (406, "not_acceptable")


def test_one_manifest_sent_twice_is_one_job(web: WebServer) -> None:
    inputs = JobInput(args=(b"some", b"words"))
    manifest = manifest_for(HELLO, inputs).to_json()
    parts = [("manifest", manifest), ("args", b"some"), ("args", b"words"), ("module", HELLO)]

    first, second = web.submit(parts, wait_s=60), web.submit(parts)

    assert first.json["jobId"] == second.json["jobId"] == job_id(manifest)
    assert second.json == first.json
    listed = web.ask("GET", "/v1/jobs").json["jobs"]
    assert [job["jobId"] for job in listed].count(job_id(manifest)) == 1


def test_an_input_that_a_manifest_does_not_name_is_refused_before_it_is_sent(web: WebServer) -> None:
    manifest = manifest_for(HELLO, JobInput()).to_json()

    answer = web.submit([("manifest", manifest), ("args", b"other"), ("module", HELLO)])

    assert (answer.status, answer.json["code"]) == (422, "digest_mismatch")
    assert [item["path"] for item in answer.json["errors"]] == ["args"]


def test_a_description_gives_limits_and_inputs(web: WebServer) -> None:
    described = json.dumps({"args": ["some", "words"], "gas": 5_000_000, "name": "greeting"}).encode()

    job = _done(web, ("job", described)).json

    manifest = Manifest.from_json(web.ask("GET", f"/v1/jobs/{job['jobId']}/manifest").body)
    assert (job["name"], manifest.limits.gas) == ("greeting", 5_000_000)
    assert web.ask("GET", f"/v1/jobs/{job['jobId']}/stdout").body == SAID


@pytest.mark.parametrize(
    ("parts", "status", "code"),
    [
        ([("args", b"x")], 422, "invalid_request"),
        ([("module", b"no module")], 422, "not_wasm"),
        ([("modul", HELLO)], 422, "invalid_request"),
        ([("module", HELLO), ("module", HELLO)], 422, "invalid_request"),
        ([("module", HELLO), ("job", b'{"gas": 0}')], 422, "invalid_record"),
        ([("module", HELLO), ("job", b"not json")], 422, "invalid_record"),
        ([("module", HELLO), ("job", b'{"stdin_file": "/etc/passwd"}')], 422, "invalid_request"),
        ([("module", HELLO), ("manifest", b"{}")], 422, "invalid_record"),
        ([("module", HELLO), ("env", b"no value")], 422, "invalid_request"),
        ([("module", HELLO), ("args", b"a\0b")], 422, "invalid_request"),
    ],
)
def test_a_wrong_form_is_a_problem_that_says_where(
    web: WebServer, parts: list[tuple[str, bytes]], status: int, code: str
) -> None:
    answer = web.submit(parts)

    assert (answer.status, answer.json["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    _valid("Problem", answer.json)


def test_events_report_the_job_and_resume_after_any_of_them(web: WebServer) -> None:
    job = _done(web).json
    path = f"/v1/jobs/{job['jobId']}/events"

    told = events(web.ask("GET", path))

    assert told[0][1] == "status"
    assert told[-1][1:] == ("end", job)
    output = b"".join(base64.b64decode(data["data"]) for _, name, data in told if name == "output")
    assert output == SAID
    for count in range(len(SAID) + 1):
        rest = events(web.ask("GET", path, headers={"Last-Event-ID": f"1.{count}.0"}))
        again = b"".join(base64.b64decode(data["data"]) for _, name, data in rest if name == "output")
        assert again == SAID[count:]
    assert web.ask("GET", path, headers={"Last-Event-ID": told[-1][0]}).status == 204
    beyond = web.ask("GET", path, headers={"Last-Event-ID": "1.999.0"})
    assert (beyond.status, beyond.json["code"]) == (400, "bad_event_id")
    silent = events(web.ask("GET", f"{path}?output=false"))
    assert {name for _, name, _ in silent} == {"status", "end"}


@pytest.mark.parametrize(
    ("given", "status", "body"),
    [
        ("bytes=0-3", 206, SAID[:4]),
        ("bytes=4-", 206, SAID[4:]),
        ("bytes=-3", 206, SAID[-3:]),
        ("bytes=0-999", 206, SAID),
        ("bytes=0-1,3-4", 200, SAID),
        ("lines=1-2", 200, SAID),
        ("bytes=11-", 416, None),
    ],
)
def test_ranges_of_an_output(web: WebServer, given: str, status: int, body: bytes | None) -> None:
    job = _done(web).json

    answer = web.ask("GET", f"/v1/jobs/{job['jobId']}/stdout", headers={"Range": given})

    assert answer.status == status
    assert body is None or answer.body == body


def test_an_output_that_the_client_has_is_not_sent_again(web: WebServer) -> None:
    path = f"/v1/jobs/{_done(web).json['jobId']}/stdout"
    etag = web.ask("HEAD", path).headers["etag"]

    answer = web.ask("GET", path, headers={"If-None-Match": f'"other", {etag}'})

    assert (answer.status, answer.body) == (304, b"")


def test_the_rest_of_another_output_is_not_sent(web: WebServer) -> None:
    """A client that goes on with a download would put the parts of two outputs together."""
    path = f"/v1/jobs/{_done(web).json['jobId']}/stdout"
    etag, whole = web.ask("HEAD", path).headers["etag"], web.ask("GET", path).body

    same = web.ask("GET", path, headers={"Range": "bytes=1-2", "If-Range": etag})
    other = web.ask("GET", path, headers={"Range": "bytes=1-2", "If-Range": f'"{"0" * 64}"'})

    assert (same.status, same.body) == (206, whole[1:3])
    assert (other.status, other.body) == (200, whole)


def test_a_running_job_is_cancelled_and_its_receipt_says_so(web: WebServer) -> None:
    path = web.submit([("module", FOR_EVER)]).headers["location"]
    early = web.ask("GET", f"{path}/receipt")
    held = web.ask("POST", f"{path}/release")

    job = web.ask("DELETE", path).json

    assert (early.status, early.json["code"]) == (409, "not_ended")
    assert (held.status, held.json["code"]) == (409, "not_ended")
    assert (job["state"], job["outcome"]["kind"]) == ("CANCELED", "cancelled")
    assert web.ask("GET", f"{path}/receipt").status == 200


def test_a_released_job_has_no_outputs_any_more(web: WebServer) -> None:
    path = f"/v1/jobs/{_done(web).json['jobId']}"

    released = web.ask("POST", f"{path}/release").json

    assert released["released"] is True
    for part in ("stdout", "receipt", "events"):
        answer = web.ask("GET", f"{path}/{part}")
        assert (answer.status, answer.json["code"]) == (410, "released")
    assert web.ask("GET", path).json["state"] == "COMPLETE"


def test_the_handle_opens_the_job_for_the_command_line(web: WebServer) -> None:
    job = _done(web).json
    handle = web.ask("GET", f"/v1/jobs/{job['jobId']}/handle").json["handle"]

    done = web.daemon.plasm("result", "-", stdin=handle.encode())

    assert Handle.parse(handle).job_id == job["jobId"]
    assert done.stdout == SAID


def test_large_outputs_come_whole_and_to_be_resumed(web: WebServer) -> None:
    module = (ROOT / "examples" / "hello" / "hello.wasm").read_bytes()
    words = os.urandom(48_000).hex().encode()
    job = web.submit([("args", words), ("module", module)], wait_s=60).json
    path = f"/v1/jobs/{job['jobId']}/stdout"

    whole = web.ask("GET", path).body

    assert whole == words[::-1] + b"\n"
    assert web.ask("GET", path, headers={"Range": "bytes=70000-"}).body == whole[70000:]


def test_the_list_is_paged(web: WebServer) -> None:
    wanted = [_done(web).json["jobId"] for _ in range(3)][::-1]

    found: list[str] = []
    path = "/v1/jobs?limit=2"
    while len(found) < 3:
        page = web.ask("GET", path).json
        _valid("Jobs", page)
        found += [job["jobId"] for job in page["jobs"]]
        path = f"/v1/jobs?limit=2&before={page.get('next', '0')}"

    assert found[:3] == wanted
    assert web.ask("GET", "/v1/jobs?limit=0").status == 422
    assert web.ask("GET", "/v1/jobs?before=x").status == 422


def test_a_module_is_sent_once_and_named_by_its_digest_later(web: WebServer) -> None:
    digest, other = hashlib.sha256(HELLO).hexdigest(), web.make_token("other-modules")
    path = f"/v1/modules/{digest}"

    unknown = web.submit([("moduleDigest", digest.encode())], token=other)
    wrong = web.ask("PUT", f"/v1/modules/{'0' * 64}", token=other, body=HELLO)
    made = web.ask("PUT", path, token=other, body=HELLO)
    again = web.ask("PUT", path, token=other, body=HELLO)
    job = web.submit([("moduleDigest", digest.encode()), ("args", b"ab")], token=other, wait_s=60)

    assert (unknown.status, unknown.json["code"]) == (404, "unknown_module")
    assert (wrong.status, wrong.json["code"]) == (422, "digest_mismatch")
    assert (made.status, again.status) == (201, 200)
    assert made.json == {"digest": digest, "sizeBytes": len(HELLO)}
    assert job.json["state"] == "COMPLETE"
    assert web.ask("GET", path, token=other).body == HELLO
    assert web.ask("GET", path, token=web.make_token("no-modules")).status == 404


def test_changes_of_all_jobs_of_a_token_are_reported(web: WebServer) -> None:
    token = web.make_token("watcher")
    connection = web.connect()
    connection.request("GET", "/v1/events", headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    web.submit([("module", HELLO)])  # another token's

    job = web.submit([("module", HELLO), ("args", b"mine")], token=token, wait_s=60).json

    told: list[dict[str, object]] = []
    while not told or told[-1]["state"] != "COMPLETE":
        line = answer.readline().decode()
        if line.startswith("data: "):
            told.append(json.loads(line.removeprefix("data: ")))
    connection.close()
    assert {item["jobId"] for item in told} == {job["jobId"]}
    assert told[-1] == job
