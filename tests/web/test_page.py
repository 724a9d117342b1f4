"""The page in a real Chromium, with a real server and daemon behind it. The scenarios are in `page/scenarios.mjs`."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from plasm_core.testing.claims import SIGNER
from tests.support.daemon import Daemon
from tests.support.receipts import ROOT
from tests.support.signed_batch import batch
from tests.support.wat import MEMORY, function, module
from tests.support.web_server import WebServer

HERE = Path(__file__).parent / "page"
SCENARIOS = re.findall(r'^  async "(.+)"\(', (HERE / "scenarios.mjs").read_text(), re.MULTILINE)
TIMEOUT_S = 240
TICKS = 8
SPIN = """(local.set $n (i32.const 60000000))
  (loop $spin (br_if $spin (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))"""
"""A tenth of a second or more, between two ticks."""


def ticking(times: int | None) -> bytes:
    """Return a module that writes `tick` now and then: so many times, or until it is ended."""
    again = "(br $again)"
    if times is not None:
        again = f"(br_if $again (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {times})))"
    write = "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"
    return module(
        function("fd_write", "i32 i32 i32 i32"),
        MEMORY,
        r'(data (i32.const 0) "\40\00\00\00\05\00\00\00") (data (i32.const 64) "tick\n")',
        f'(func (export "_start") (local $i i32) (local $n i32) (loop $again {write} {SPIN} {again}))',
    )


def chromium() -> str | None:
    """Return a Chromium that is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


pytestmark = pytest.mark.skipif(chromium() is None, reason="there is no Chromium: apt-get install chromium")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon that a scenario may kill."""
    with Daemon(tmp_path) as made:
        made.start()
        yield made


@pytest.fixture
def web(daemon: Daemon) -> Iterator[WebServer]:
    """A server that a scenario may kill."""
    with WebServer(daemon) as made:
        yield made.start()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_user(scenario: str, node_modules: Path, daemon: Daemon, web: WebServer, tmp_path: Path) -> None:
    modules = {
        "hello": ROOT / "examples" / "hello" / "hello.wasm",
        "files": ROOT / "plasm_core" / "testing" / "modules" / "files.wasm",
    }
    for name, times in (("ticker", TICKS), ("forever", None)):
        modules[name] = tmp_path / f"{name}.wasm"
        modules[name].write_bytes(ticking(times))
    document = tmp_path / "batch.json"
    document.write_bytes(batch(9).to_json())
    folder = tmp_path / "in"
    folder.mkdir()
    for name, data in (("data", bytes(range(256)) * 300), ("ä %2f.txt", b"text")):
        (folder / name).write_bytes(data)
    environ = {
        "PLASM_FOLDER": folder,
        "PLASM_BATCH": document,
        "PLASM_SIGNER": SIGNER.peer_id,
        "PLASM_NODE_MODULES": node_modules,
        "PLASM_CHROMIUM": chromium(),
        "PLASM_URL": f"http://127.0.0.1:{web.port}",
        "PLASM_TOKEN": web.page_token,
        "PLASM_ROOT": ROOT,
        "PLASM_TICKS": TICKS,
        **{f"PLASM_{name.upper()}": path for name, path in modules.items()},
    }
    deeds: dict[str, Callable[[], object]] = {
        "kill the daemon": daemon.kill,
        "start the daemon": daemon.start,
        "kill the web server": lambda: web.end(signal.SIGKILL),
        "start the web server": web.start,
    }
    process = subprocess.Popen(
        ["node", str(HERE / "scenarios.mjs"), scenario],
        env={**os.environ, "HOME": str(tmp_path), **{name: str(value) for name, value in environ.items()}},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    late = threading.Timer(TIMEOUT_S, lambda: os.killpg(process.pid, signal.SIGKILL))
    late.start()
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    told = []
    try:
        for line in process.stdout:
            told.append(line)
            if line.startswith("DO "):
                deeds[line[3:].strip()]()
                process.stdin.write("done\n")
                process.stdin.flush()
        problem = process.stderr.read()
        code = process.wait(TIMEOUT_S)
    finally:
        late.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()

    sys.stdout.write("".join(told))
    assert (code, told[-1:]) == (0, ["PASSED\n"]), "".join(told) + problem[-4_000:] + web.said[-2_000:]
