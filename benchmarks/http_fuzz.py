"""Cases that schemathesis generates from the OpenAPI document, against a real `plasm web` and plasmd.

    pip install schemathesis
    python -m benchmarks.http_fuzz --cases 20000

Some of the generated parameters are ids of jobs that there are and paths of files that they left, and some modules are
modules. It fails if an answer
is a server error, or is not what the document says, and prints how many cases were sent.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from plasm_core.web.api_document import document
from tests.support.daemon import Daemon
from tests.support.receipts import ROOT
from tests.support.web_server import WebServer, form

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,ignored_auth,unsupported_method"
)
EMPTY = b"\0asm\1\0\0\0\1\4\1`\0\0\3\2\1\0\5\3\1\0\1\7\x13\2\6memory\2\0\6_start\0\0\n\4\1\2\0\x0b"
"""A module that ends at once, in bytes that are ASCII: the generator writes texts."""
PATHS = [
    "out/copy",
    "out",
    "out/sub/length",
    "out/../out/copy",
    "../../../etc/passwd",
    "out//copy",
    "out/copy/",
    ".",
]
"""Paths of files that jobs left, and paths that lead elsewhere."""
_OPERATIONS = 20
_RELEASED = 5
"""So many of the jobs are released by the cases; the others stay to be read."""


def say(*words: object) -> None:
    """Print a line at once."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def with_real(
    found: dict[str, Any], jobs: list[str], batches: list[str], module: str, tree: str
) -> dict[str, Any]:
    """Return the document with real ids and a real module among the values to generate."""
    for path in found["paths"].values():
        for operation in path.values():
            for parameter in operation["parameters"]:
                if parameter["name"] in ("jobId", "batchId"):
                    released = operation["operationId"].startswith(("release", "cancel"))
                    known = jobs if parameter["name"] == "jobId" else batches
                    ids = known[:_RELEASED] if released else known[_RELEASED:]
                    parameter["schema"] = {"anyOf": [{"enum": ids}, parameter["schema"]]}
                elif parameter["name"] == "number":
                    parameter["schema"] = {"anyOf": [{"enum": ["0", "1", "2"]}, parameter["schema"]]}
                elif parameter["name"] == "digest":
                    parameter["schema"] = {"anyOf": [{"enum": [module, tree]}, parameter["schema"]]}
                elif parameter["name"] == "path":
                    parameter["schema"] = {"anyOf": [{"enum": PATHS}, parameter["schema"]]}
            # schemathesis writes no part of application/wasm, and would leave out every form with one
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content.pop("encoding", None)
    for name in ("Submission", "BatchSubmission"):
        properties = found["components"]["schemas"][name]["properties"]
        properties["module"] = {"anyOf": [{"enum": [EMPTY.decode()]}, {"type": "string"}]}
        properties["moduleDigest"] = {"anyOf": [{"enum": [module]}, properties["moduleDigest"]]}
        properties["treeDigest"] = {"anyOf": [{"enum": [tree]}, properties["treeDigest"]]}
    properties["jobs"] = {"anyOf": [{"enum": ["{}", '{"args": ["a"]}\n{"gas": 10}']}, properties["jobs"]]}
    body = found["paths"]["/v1/modules/{digest}"]["put"]["requestBody"]
    body["content"] = {"application/octet-stream": body["content"]["application/wasm"]}
    found["paths"].pop("/v1/events")  # a stream without an end: tests/web follows it
    return found


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--schemathesis", default="schemathesis")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, Daemon(Path(home)) as daemon:
        daemon.start()
        with WebServer(daemon) as web:
            web.start()
            sys.exit(run(web, Path(home), options))


def batch_of(web: WebServer, module: bytes) -> str:
    """Run a batch, and return its id."""
    found: str = with_files(web, "/v1/batches", module, ("jobs", b'{"args": ["a"]}\n{"gas": 10}\n'))[
        "batchId"
    ]
    return found


def with_files(web: WebServer, path: str, module: bytes, *parts: tuple[str, bytes]) -> Any:
    """Post a form with a file, wait for the end, and return the answer's JSON."""
    headers = {"Content-Type": "multipart/form-data; boundary=B", "Prefer": "wait=60"}
    given = [*parts, ("outputs", b"out/"), ("file:in/data", b"some data"), ("module", module)]
    return web.ask("POST", path, headers=headers, body=form("B", given)).json


def run(web: WebServer, home: Path, options: argparse.Namespace) -> int:
    """Send the cases, and return the exit code."""
    hello = (ROOT / "examples" / "hello" / "hello.wasm").read_bytes()
    copying = (ROOT / "plasm_core" / "testing" / "modules" / "files.wasm").read_bytes()
    jobs = [web.submit([("module", hello)], wait_s=60).json for _ in range(10)]
    jobs += [with_files(web, "/v1/jobs", copying) for _ in range(10)]
    batches = [batch_of(web, module) for module in (hello, copying) * 5]
    given = home / "document.json"
    tree = jobs[-1]["files"]["tree"]
    real = with_real(document(), [job["jobId"] for job in jobs], batches, jobs[0]["module"], tree)
    given.write_text(json.dumps(real))
    done = subprocess.run(
        [
            *(options.schemathesis, "run", str(given), "--url", f"http://127.0.0.1:{web.port}"),
            *("--header", f"Authorization: Bearer {web.page_token}"),
            *(
                "--phases",
                "fuzzing,stateful",
                "--mode",
                "all",
                "--checks",
                CHECKS,
                "--seed",
                str(options.seed),
            ),
            *("--max-examples", str(options.cases // _OPERATIONS), "--request-timeout", "30"),
            *("--continue-on-failure", "--no-color", "--suppress-health-check", "all"),
            *("--workers", str(options.workers)),
        ],
        capture_output=True,
        text=True,
        cwd=home,
        check=False,
    )
    say(done.stdout[-6000:], done.stderr[-2000:])
    say("the daemon and the server are well:", web.ask("GET", "/readyz", token=None).status == 200)
    say("tracebacks in the server's log:", web.said.count("Traceback"))
    return done.returncode


if __name__ == "__main__":
    main()
