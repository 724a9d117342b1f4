"""What the fuzzer must find, put before it: `python -m tests.fuzz.teeth NAME` prints what it finds, as JSON."""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable

from plasm_core.plugins.engine import Engine, EngineFailure, LoadedModule
from plasm_core.sandbox.admission.prepare import prepare
from plasm_core.testing.bench import module_named
from tests.fuzz.harness import Harness

HANG_S = 0.5
PATIENCE_S = 60.0


class Strange(Engine):
    """An engine that does something with a module before it gives it to another."""

    def __init__(self, engine: Engine, what: Callable[[bytes], bytes]) -> None:
        self._engine = engine
        self._what = what

    def compile(self, module: bytes) -> bytes:
        return self._engine.compile(self._what(module))

    def load(self, artefact: bytes) -> LoadedModule:
        return self._engine.load(artefact)


def killed(code: bytes) -> bytes:
    """Read where nothing is."""
    return ctypes.string_at(8) + code


def raising(_code: bytes) -> bytes:
    """Raise what no engine raises."""
    raise KeyError("odd")


def failing(_code: bytes) -> bytes:
    """Fail as an engine fails."""
    raise EngineFailure("function 12 is odd")


def hanging(code: bytes) -> bytes:
    """Take too long."""
    time.sleep(2 * PATIENCE_S)
    return code


def other(_code: bytes) -> bytes:
    """Return the code of another module."""
    return prepare(module_named("exit"), Harness().validate)[1]


def cut(code: bytes) -> bytes:
    """Return code that is not valid."""
    return code[:-1]


def main(name: str) -> None:
    """Examine one module with an engine, or a metering, that does what its name says."""
    what: Callable[[bytes], bytes] = globals()[name]
    harness = Harness(hang_s=HANG_S if what is hanging else PATIENCE_S)
    runtime, engine = harness.runtimes["wasmtime"]
    assert isinstance(engine, Engine)
    harness.runtimes = {"wasmtime": (runtime, engine)}
    if what is cut:
        harness.metered = cut
    else:
        harness.runtimes["strange"] = (runtime, Strange(engine, what))
    [(_, report)] = harness.examine(iter([module_named("echo")]), processes=1)
    json.dump([item.what for item in report.findings], sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
