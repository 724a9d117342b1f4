"""Jobs with files over HTTP, with a real daemon: what a user of curl does."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

import jsonschema

from plasm_core.testing.bench import MODULES
from plasm_core.web.api_document import document
from tests.support.web_server import Answer, WebServer

MODULE = (MODULES / "files.wasm").read_bytes()
CONTENT = b"some data\n" * 10_000
Part = tuple[str, bytes, str]


def valid(name: str, value: object) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document()["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


def submitted(
    web: WebServer, *parts: Part, path: str = "/v1/jobs", wait_s: int = 60, token: str | None = "page"
) -> Answer:
    """Post a form, each part with a filename if it has one, and wait for the job's end."""
    boundary = secrets.token_hex(16)
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        + (f'; filename="{file}"'.encode() if file else b"")
        + b"\r\n\r\n"
        + data
        + b"\r\n"
        for name, data, file in parts
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Prefer": f"wait={wait_s}"}
    return web.ask("POST", path, token=token, headers=headers, body=body + f"--{boundary}--\r\n".encode())


def done(web: WebServer, *parts: Part) -> Answer:
    """Submit the module that copies in/data to out/copy, with files."""
    answer = submitted(web, *parts, ("module", MODULE, "files.wasm"))
    assert answer.status == 200, answer.body
    assert answer.json["outcome"] == {"kind": "exited", "code": 0}
    return answer


INPUT: Sequence[Part] = (("file", CONTENT, "in/data"), ("outputs", b"out/", ""))


def test_a_job_gets_files_and_its_own_are_read(web: WebServer) -> None:
    job = done(web, *INPUT).json

    valid("Job", job)
    assert job["files"]["outputs"] == ["out"]
    path = f"/v1/jobs/{job['jobId']}"
    listed = web.ask("GET", f"{path}/files").json
    valid("LeftFiles", listed)
    digest = hashlib.sha256(CONTENT).hexdigest()
    copy = {"path": "out/copy", "kind": "file", "sizeBytes": len(CONTENT), "sha256": digest}
    assert {"path": "out", "kind": "directory"} in listed["files"]
    assert copy in listed["files"]
    file = web.ask("GET", f"{path}/files/out/copy")
    assert (file.status, file.body, file.headers["etag"]) == (200, CONTENT, f'"{digest}"')
