"""The TypeScript client against a real `plasm web` and a real daemon."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sdk.conftest import PACKAGE, ROOT
from tests.support.daemon import Daemon
from tests.support.web_server import WebServer

for needed in ("hypercorn", "starlette", "python_multipart", "prometheus_client"):
    pytest.importorskip(needed, reason="the extra web is not installed")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """A server with a daemon behind it."""
    with Daemon(tmp_path_factory.mktemp("sdk")) as daemon:
        daemon.start()
        with WebServer(daemon) as made:
            yield made.start()


def run(built: Path, web: WebServer, *arguments: str, directory: Path = PACKAGE) -> str:
    """Run Node with the server's address, and return what it prints."""
    done = subprocess.run(
        ["node", *arguments],
        env={
            **os.environ,
            "PLASM_SDK": str(built),
            "PLASM_URL": f"http://127.0.0.1:{web.port}",
            "PLASM_TOKEN": web.page_token,
        },
        capture_output=True,
        text=True,
        timeout=300,
        cwd=directory,
    )
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    return done.stdout


def test_the_client_runs_follows_cancels_and_maps_jobs(built: Path, web: WebServer) -> None:
    run(built, web, "--test", "test/live/client.test.mjs", "test/live/react.test.mjs")


def test_the_example_of_the_readme_prints_what_it_says(built: Path, web: WebServer, tmp_path: Path) -> None:
    example = "".join(re.findall(r"```ts\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL))
    example = example.replace('"@phase/plasm"', json.dumps((built / "index.js").as_uri()))
    example = example.replace("http://127.0.0.1:8750", f"http://127.0.0.1:{web.port}")
    (tmp_path / "example.mjs").write_text(example)
    for module in ("examples/hello/hello.wasm", "plasm_core/testing/modules/files.wasm"):
        shutil.copy(ROOT / module, tmp_path)

    told = run(built, web, "example.mjs", directory=tmp_path).splitlines()

    assert told[0] == "sdrow emos"
    assert re.fullmatch(
        r"receipt verified ✓ signed by 12D3KooW\w{44}, not re-executed; the job exited with code 0", told[2]
    )
    assert told[3] == "re-executed here on V8: output, exit code and gas equal"
    assert [line.split()[:2] for line in told[4:]] == [["out/copy", "1000"], ["out/sub/length", "4"]]
