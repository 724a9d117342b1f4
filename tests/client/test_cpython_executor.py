"""CPython's own tests of executors, held against `PlasmExecutor`. Run where Python brings them, as 3.13 does.

Those tests submit Python functions, which no node runs. Here each of them is submitted as a job of hello, and the
function is called with the job's end, in the place where a future's result is made: what the tests say of futures,
order, timeouts and shutdown holds for jobs then. `LEFT_OUT` has the tests that do not apply, with the reason.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import unittest
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from plasm_core.client import PlasmExecutor
from tests.support.daemon import Daemon
from tests.support.receipts import ROOT

HELLO = ROOT / "examples" / "hello" / "hello.wasm"
PACKAGE = "test.test_concurrent_futures"
CASES = {
    "executor": ("ExecutorTest",),
    "test_wait": ("WaitTests",),
    "test_as_completed": ("AsCompletedTests",),
    "test_shutdown": ("ExecutorShutdownTest",),
}
"""Module of CPython's package → the classes whose tests are run."""
LEFT_OUT = {
    "test_interpreter_shutdown": "its script names an executor of the standard library",
    "test_submit_after_interpreter_shutdown": "its script names an executor of the standard library",
    "test_hang_gh83386": "its script names an executor of the standard library",
    "test_hang_gh94440": "about pickled callables and processes",
    "test_cancel_futures": "expects a first call to have begun at once; a job can be cancelled until it is sent",
}
"""Test → why it is left out. `OTHER_MODULES` has the same for whole modules of the package."""
OTHER_MODULES = {
    "test_future": "about the standard library's Future, which PlasmExecutor returns as it is",
    "test_init": "about functions that are called in each worker before its first call",
    "test_thread_pool": "about the threads of ThreadPoolExecutor",
    "test_process_pool": "about the processes of ProcessPoolExecutor",
    "test_interpreter_pool": "about the interpreters of InterpreterPoolExecutor, of Python 3.14",
    "test_deadlock": "about callables that cannot be pickled and processes that crash",
}
WORKERS = 5


class CallingExecutor(PlasmExecutor):
    """Runs hello for each call, and the function when hello has ended."""

    def __init__(self, max_workers: int = WORKERS) -> None:
        super().__init__(max_workers=max_workers)

    def submit(self, function: Callable[..., Any], /, *args: Any, **words: Any) -> Future[Any]:  # type: ignore[override]
        if not callable(function):
            raise TypeError("expected a function")
        return self._enqueue(HELLO, {}, b"ab", lambda _result: function(*args, **words))

    map = Executor.map  # type: ignore[assignment]


def has_cases() -> bool:
    try:
        return importlib.util.find_spec(f"{PACKAGE}.executor") is not None
    except ModuleNotFoundError:
        return False


def cases() -> Iterator[tuple[str, str, str]]:
    """Yield module, class and test of each case that applies."""
    if not has_cases():
        return
    for module, classes in CASES.items():
        found = importlib.import_module(f"{PACKAGE}.{module}")
        for name in classes:
            for test in sorted(vars(getattr(found, name))):
                if test.startswith("test_") and test not in LEFT_OUT:
                    yield module, name, test


@pytest.mark.skipif(not has_cases(), reason="this interpreter does not bring CPython's tests as a package")
def test_no_module_of_cpythons_package_is_forgotten() -> None:
    package = importlib.import_module(PACKAGE)
    there = {item.name for item in pkgutil.iter_modules(package.__path__)}

    known = {*CASES, *OTHER_MODULES, "util"}
    assert there <= known, "a newer CPython: say whether its tests apply"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon")) as made:
        made.start()
        yield made


@pytest.mark.skipif(not has_cases(), reason="this interpreter does not bring CPython's tests as a package")
@pytest.mark.parametrize(("module", "name", "test"), list(cases()))
def test_a_case_of_cpython_passes(
    module: str, name: str, test: str, daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("PLASM_SOCKET", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, daemon.environ[variable])
    base: Any = getattr(importlib.import_module(f"{PACKAGE}.{module}"), name)
    done = unittest.TestResult()

    class Case(base, unittest.TestCase):  # type: ignore[misc]
        executor_type = CallingExecutor
        worker_count = WORKERS

        def setUp(self) -> None:
            self.executor = CallingExecutor()

        def tearDown(self) -> None:
            self.executor.shutdown()

    Case(test).run(done)

    assert [text for _, text in done.failures + done.errors] == []
    assert done.testsRun == 1
