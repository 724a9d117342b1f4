"""A C++ client that is generated from the OpenAPI document, compiled, and run against a real server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plasm_core.web.api_document import document
from tests.support.receipts import ROOT
from tests.support.web_server import WebServer

HERE = ROOT / "examples" / "generated_client"
HELLO = ROOT / "examples" / "hello" / "hello.wasm"
LIBRARIES = (Path("/usr/include/cpprest/json.h"), Path("/usr/include/sodium.h"))


def test_the_prepared_document_says_which_bodies_are_bytes() -> None:
    prepare = [sys.executable, str(HERE / "prepare.py")]
    done = subprocess.run(
        prepare, input=json.dumps(document()), capture_output=True, text=True, timeout=60, check=True
    )
    found = json.loads(done.stdout)

    stdout = found["paths"]["/v1/jobs/{jobId}/stdout"]["get"]["responses"]["200"]["content"]
    assert stdout["application/octet-stream"]["schema"] == {"type": "string", "format": "binary"}
    submission = found["components"]["schemas"]["Submission"]["properties"]
    assert (submission["module"]["format"], "format" in submission["manifest"]) == ("binary", False)


@pytest.mark.skipif(
    shutil.which("openapi-generator-cli") is None
    or shutil.which("g++") is None
    or not all(path.exists() for path in LIBRARIES),
    reason="needs openapi-generator-cli, g++, libcpprest-dev and libsodium-dev",
)
def test_a_generated_client_runs_a_job_and_verifies_its_receipt(web: WebServer, tmp_path: Path) -> None:
    built = subprocess.run(
        [str(HERE / "build"), str(tmp_path)], capture_output=True, text=True, timeout=900, check=False
    )
    assert built.returncode == 0, built.stderr[-4000:]

    done = subprocess.run(
        [str(tmp_path / "main"), str(HELLO), "abc"],
        env={**os.environ, "PLASM_URL": f"http://127.0.0.1:{web.port}", "PLASM_TOKEN": web.page_token},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    first, second, third = done.stdout.splitlines()
    assert first == "cba"
    assert second.startswith("receipt verified, signed by 12D3KooW")
    assert json.loads(second.partition(", outcome ")[2]) == {"kind": "exited", "code": 0}
    assert third == "with another output: the stdout is not what the receipt says"
