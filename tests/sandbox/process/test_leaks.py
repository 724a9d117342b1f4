"""A node runs jobs for months: nothing may be left of one, neither descriptor nor process nor file."""

from __future__ import annotations

import os
import struct
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from plasm_core.errors import RefusedError
from plasm_core.testing.bench import Bench, exited, open_bench
from plasm_runtime_wasmtime.runtime import WasmtimeRuntime
from tests.sandbox.modules import wat

JOBS = 50

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are counted in /proc")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def children() -> set[str]:
    """Return the process ids of all children, ended ones that nobody reaped among them."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a fresh place for temporary files."""
    path = tmp_path / "temporary"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


def run_every_kind_of_job(bench: Bench, number: int) -> None:
    """Run a job that ends in one way or another."""
    kind = number % 5
    if kind == 0:
        assert bench.run("exit", stdin=struct.pack("<I", number)).outcome == exited(number)
    elif kind == 1:
        assert bench.run("trap_unreachable").outcome.kind == "trapped"
    elif kind == 2:
        assert (
            bench.run("flood", stdin=struct.pack("<II", 1, 99), output_bytes=1).outcome.kind == "output_limit"
        )
    elif kind == 3:
        cancelled = threading.Event()
        cancelled.set()
        assert bench.run("loop", gas=2**53 - 1, cancelled=cancelled).outcome.kind == "cancelled"
    else:
        with pytest.raises(RefusedError):
            bench.run(wat(f'(module (memory (export "memory") {1 + number}) (func))'))


def test_jobs_leave_nothing_behind(shared_directory: Path, temporary: Path) -> None:
    at_first = children()
    with open_bench(WasmtimeRuntime(), shared_directory) as bench:
        for number in range(10):
            run_every_kind_of_job(bench, number)
        before, waiting = descriptors(), len(children() - at_first)

        for number in range(JOBS):
            run_every_kind_of_job(bench, number)

        # What waits for the next job is refilled a few at a time, so it goes up and down.
        assert descriptors() <= before + 16
        assert len(children() - at_first) <= waiting + 16
        assert list(temporary.iterdir()) == []
    assert children() - at_first == set()


def test_a_closed_node_holds_no_descriptor(shared_directory: Path) -> None:
    def use() -> None:
        with open_bench(WasmtimeRuntime(), shared_directory) as bench:
            for number in range(5):
                run_every_kind_of_job(bench, number)

    use()
    before = descriptors()
    use()

    assert descriptors() == before
