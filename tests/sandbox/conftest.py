"""A runtime that misbehaves, installed for the tests that ask for it; and the benches they share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from plasm_core.config import Policy
from plasm_core.testing.bench import Bench, open_bench
from plasm_runtime_wasmtime.runtime import WasmtimeRuntime
from tests.support import processes
from tests.support.lab import Lab, open_lab


@pytest.fixture
def shared_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where benches keep their state and cache, one place for the session."""
    return tmp_path_factory.getbasetemp() / "bench"


@pytest.fixture
def bench(shared_directory: Path) -> Iterator[Bench]:
    """Return a bench with the runtime of the base install."""
    with open_bench(WasmtimeRuntime(), shared_directory) as bench:
        yield bench


@pytest.fixture
def granting_bench(shared_directory: Path) -> Iterator[Bench]:
    """Return a bench whose node grants the real clock and real randomness."""
    policy = Policy(grants=("clock.real", "random.real"))
    with open_bench(WasmtimeRuntime(), shared_directory, policy=policy) as bench:
        yield bench


@pytest.fixture
def hostile_bench(
    tmp_path: Path, shared_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Bench]]:
    """Return a function that gives a bench for a hostile runtime, installed like any other plugin."""
    metadata = tmp_path / "plugins" / "plasm_hostile-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: plasm-hostile\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[plasm]\nruntime_hostile = tests.sandbox.hostile.runtime\n")
    monkeypatch.syspath_prepend(metadata.parent)
    with ExitStack() as stack:
        yield lambda runtime, **how: stack.enter_context(open_bench(runtime, shared_directory, **how))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled modules are kept, for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Whatever a test does, no process of its executors is left behind, not even a zombie."""
    before = {child.pid for child in processes.children(os.getpid())}
    yield
    assert [child for child in processes.children(os.getpid()) if child.pid not in before] == []


@pytest.fixture
def lab(directory: Path) -> Iterator[Lab]:
    with open_lab(directory) as lab:
        yield lab


@pytest.fixture
def shared(directory: Path) -> Iterator[Lab]:
    with open_lab(directory, isolation="shared") as lab:
        yield lab
