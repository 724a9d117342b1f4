"""What the kernel says of a worker that waits for a job: its identity, its namespaces, its descriptors, its limits."""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from plasm_core.errors import PluginMissingError
from plasm_core.plugins.interfaces import Runtime
from plasm_core.sandbox.process import worker as worker_module
from plasm_core.sandbox.process.zygote_messages import SYS_CLONE
from plasm_core.testing.bench import Bench, open_bench
from plasm_runtime_v8.runtime import V8Runtime
from plasm_runtime_wasm3.runtime import Wasm3Runtime
from plasm_runtime_wasmtime.runtime import WasmtimeRuntime
from tests.support import processes
from tests.support.hostile_reports import needs
from tests.support.wat import FOREVER, writing

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in SYS_CLONE, reason="there are no zygotes here"
)


FORKED: tuple[type[Runtime], ...] = (WasmtimeRuntime, Wasm3Runtime)
"""Runtimes whose workers a zygote forks."""


def _status(pid: int, thread: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/task/{thread}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(params=[*FORKED, V8Runtime])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    runtime: Runtime = request.param()
    try:
        runtime.check()
    except PluginMissingError as exc:
        pytest.skip(str(exc))
    return runtime


@pytest.fixture
def bench(runtime: Runtime, directory: Path) -> Iterator[Bench]:
    with open_bench(runtime, directory) as bench:
        yield bench


@pytest.fixture
def worker(bench: Bench, runtime: Runtime) -> Iterator[int]:
    """The process of a real job, while its guest runs. It is its zygote's first, and so has no siblings yet.

    A worker without a zygote leads a group of its own, as a zygote does.
    """
    cancelled, running = threading.Event(), threading.Event()
    module = writing(b"running", then=FOREVER)

    def run() -> None:
        bench.run(
            module,
            stdin=b"input",
            gas=1 << 50,
            cancelled=cancelled,
            output=lambda _stream, _data: running.set(),
        )

    thread = threading.Thread(target=run)
    thread.start()
    assert running.wait(20)
    try:
        [pid] = (processes.workers if runtime.forks else processes.zygotes)(os.getpid())
        yield pid
    finally:
        cancelled.set()
        thread.join()


def test_the_kernel_says_that_every_thread_of_a_worker_is_confined(worker: int, runtime: Runtime) -> None:
    threads = [int(name) for name in os.listdir(f"/proc/{worker}/task")]

    own = int(_status(os.getpid(), os.getpid()).get("Seccomp_filters", 0))
    assert len(threads) == (1 if runtime.forks else 2)  # V8 runs the guest on a thread of its own
    for status in (_status(worker, thread) for thread in threads):
        assert status["Seccomp"] == "2"  # a filter
        assert int(status.get("Seccomp_filters", own + 2)) == own + 2  # for loading, and for running
        assert status["NoNewPrivs"] == "1"
        assert {status[f"Cap{kind}"] for kind in ("Inh", "Prm", "Eff", "Amb")} == {"0" * 16}
        if os.geteuid() == 0:
            assert len(set(status["Uid"].split())) == 1
            assert int(status["Uid"].split()[0]) >= 1 << 30
            assert status["Uid"].split() == status["Gid"].split()
            assert status["Groups"] == ""


@pytest.mark.parametrize("runtime", FORKED, indirect=True)
def test_a_worker_has_no_memory_that_is_writable_and_executable(worker: int) -> None:
    """ctypes has its callbacks in such memory: guest code that can write anywhere would put its own code there."""
    if os.geteuid() != 0:
        pytest.skip("only root may look")

    mappings = Path(f"/proc/{worker}/maps").read_text().splitlines()

    assert [line for line in mappings if line.split()[1].startswith("rwx")] == []


def test_a_worker_is_in_namespaces_of_its_own(worker: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may look")

    needs("namespaces")

    for name in ("net", "mnt", "ipc"):
        assert os.readlink(f"/proc/{worker}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")


def test_a_worker_has_nothing_writable_open_but_its_socket(worker: int) -> None:
    """wasmtime keeps an image of a module's memory in a file of its own, which is sealed."""
    if os.geteuid() != 0:
        pytest.skip("only root may look")

    found = processes.descriptors(worker)

    assert sum(target.startswith("socket:") for target in found.values()) == 1
    rest = {fd: target for fd, target in found.items() if not target.startswith("socket:")}
    files = {fd: target for fd, target in rest.items() if target != "/dev/null"}
    assert any(target.startswith("/memfd:plasm-stdin") for target in files.values())
    for fd, target in files.items():
        assert target.startswith("/memfd:")
        with pytest.raises(PermissionError):
            os.ftruncate(os.open(f"/proc/{worker}/fd/{fd}", os.O_RDWR), 0)


def test_a_worker_has_no_limit_to_spare(worker: int, runtime: Runtime) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may look")

    lines = Path(f"/proc/{worker}/limits").read_text().splitlines()
    soft = {line[:26].strip(): line[26:].split()[0] for line in lines}
    hard = {line[:26].strip(): line[26:].split()[1] for line in lines}
    assert hard["Max core file size"] == "0"
    assert hard["Max file size"] == "0"
    overhead = worker_module.OVERHEAD_BYTES if runtime.forks else worker_module.HOSTED_OVERHEAD_BYTES
    copies = 0 if runtime.forks else 1 << 16  # of the module, which is small
    assert 0 <= int(hard["Max data size"]) - (16 << 20) - overhead <= copies
    assert (int(soft["Max cpu time"]), int(hard["Max cpu time"])) == (65, 66)
