"""docs/protocol.md is enough to write a client: one that was written from it runs jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.conftest import HELLO, REPOSITORY
from tests.support.daemon import DEADLINE_S, Daemon

CLIENT = REPOSITORY / "tests" / "support" / "foreign_client.py"


def foreign(
    daemon: Daemon, directory: Path, *arguments: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run it where nothing but Python's own library can be imported."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(CLIENT), str(daemon.socket), *arguments],
        input=stdin,
        capture_output=True,
        cwd=directory,
        env={"PATH": os.environ["PATH"]},
        timeout=DEADLINE_S,
        check=False,
    )


def result_of(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr.decode()
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_nothing_of_ours_can_be_imported_where_it_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", "import plasm_core"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=DEADLINE_S, check=False)

    assert b"No module named 'plasm_core'" in done.stderr
    assert "plasm" not in CLIENT.read_text().replace("plasm.det/v1", "").replace("/plasm", "")


def test_it_runs_a_job_that_the_real_client_knows(daemon: Daemon, tmp_path: Path) -> None:
    result = result_of(foreign(daemon, tmp_path, str(HELLO), stdin=b"Hello, world"))
    listed = json.loads(daemon.plasm("status", result["handle"], "--json").stdout)

    assert (result["state"], result["stdout"], result["stderr"]) == ("COMPLETE", "dlrow ,olleH", "")
    assert result["outcome"] == {"kind": "exited", "code": 0}
    assert listed["state"] == "COMPLETE"
    assert daemon.plasm("result", result["handle"]).stdout == b"dlrow ,olleH"


def test_it_passes_arguments(daemon: Daemon, tmp_path: Path) -> None:
    assert "321" in result_of(foreign(daemon, tmp_path, str(HELLO), "123"))["stdout"]


def test_an_interrupted_upload_is_resumed(daemon: Daemon, tmp_path: Path) -> None:
    text = b"abcdefghij" * 150_000

    result = result_of(foreign(daemon, tmp_path, str(HELLO), "--cut", "1200000", stdin=text))

    assert result["stdout"].encode() == text[::-1]
    assert sum(result["received"].values()) >= 1 << 19


def test_it_follows_a_job_of_the_real_client(daemon: Daemon, tmp_path: Path) -> None:
    handle = daemon.plasm("submit", str(HELLO), stdin=b"abc").stdout.decode().strip()

    result = result_of(foreign(daemon, tmp_path, str(HELLO), "--again", handle))

    assert (result["stdout"], result["handle"]) == ("cba", handle)


@pytest.mark.parametrize(("module", "reason"), [(b"no module", b"not_wasm"), (b"\0asm\1\0\0\0", b"no_start")])
def test_a_refused_client_gets_the_reason(
    daemon: Daemon, tmp_path: Path, module: bytes, reason: bytes
) -> None:
    path = tmp_path / "bad.wasm"
    path.write_bytes(module)

    done = foreign(daemon, tmp_path, str(path))

    assert done.returncode == 1
    assert b'"reason": "%b"' % reason in done.stderr
    assert b"`%b`" % reason in (REPOSITORY / "docs" / "protocol.md").read_bytes()
