"""Every engine does with generated modules what the reference interpreter does.

A long run: `PLASM_TEST_EXAMPLES=5000 python -m pytest tests/agreement/test_generated.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings

from plasm_core.local_node import LocalNode
from plasm_core.plugins.interfaces import Runtime
from plasm_core.sandbox.lowering.module import lower
from plasm_core.sandbox.metering.binary import sized
from plasm_core.sandbox.metering.injected import FAULT_GROWTH, FAULT_STACK
from plasm_core.sandbox.metering.module import Module
from plasm_core.sandbox.metering.rewrite import meter
from plasm_core.sandbox.process.child import interpreter_path
from tests.agreement import engine_child
from tests.agreement.conftest import skip_if_missing
from tests.agreement.engines import EMBEDDED
from tests.support.observable import with_exports
from tests.support.reference import run
from tests.support.wasmgen import modules

GAS = 20_000
PAGES = 4
EXAMPLES = int(os.environ.get("PLASM_TEST_EXAMPLES", "50"))
_END_S = 30
_FAULTS = {FAULT_STACK: "stack_exhausted", FAULT_GROWTH: "growth_refused"}


@attrs.frozen(kw_only=True)
class Observed:
    """What is left of a run: `accumulator` is global 0, into which generated modules mix what they compute."""

    outcome: str
    gas_used: int
    accumulator: int
    memory: bytes


class EngineProcess:
    """An engine in a process of its own, under its own interpreter. One that a module ended is started again."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self._process: subprocess.Popen[str] | None = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            python = self.runtime.python()
            path = [item for item in sys.path if os.path.isabs(item)]
            if python != sys.executable:
                path = [*filter(_has_sources, path), *interpreter_path(python)]
            self._process = subprocess.Popen(
                [
                    python,
                    "-S",
                    str(engine_child.__file__),
                    self.runtime.entry,
                    json.dumps(self.runtime.options()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"PYTHONPATH": os.pathsep.join(path)},
                text=True,
            )
        return self._process

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line:
            self.close()
        assert line, f"{self.runtime.name} ended with {process.returncode}"
        answer: dict[str, Any] = json.loads(line)
        assert "failure" not in answer, f"{self.runtime.name}: {answer['failure']}"
        return answer

    def close(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            try:
                process.communicate(timeout=_END_S)
            except BaseException:
                process.kill()
                process.communicate()
                raise


def _has_sources(directory: str) -> bool:
    """Return whether a directory holds Plasm's own packages and no others, so that any interpreter can import them."""
    return "site-packages" not in directory and any(Path(directory).glob("plasm_*/__init__.py"))


Engines = Callable[[str], EngineProcess]


@pytest.fixture(scope="module")
def engine_named(nodes: Mapping[str, LocalNode]) -> Iterator[Engines]:
    started: dict[str, EngineProcess] = {}

    def get(name: str) -> EngineProcess:
        if name not in started:
            started[name] = EngineProcess(nodes[name].runtime(name))
        return started[name]

    yield get
    for process in started.values():
        process.close()


def observe(engine: EngineProcess, code: bytes) -> Observed:
    runtime = engine.runtime
    metered = meter(code, canonical_nans=not runtime.canonical_nans)
    lowered = lower(metered.code, metered.module.features, runtime.lowered)
    answer = engine.ask(
        {
            "code_hex": with_accumulator(lowered).hex(),
            "gas": GAS,
            "pages": PAGES,
            "has_start": metered.module.start is not None,
            "globals": ["accumulator"],
        }
    )
    outcome = _FAULTS.get(answer["fault"], answer["outcome"])
    return Observed(
        outcome="out_of_gas" if answer["gas"] < 0 else outcome,
        gas_used=GAS - max(answer["gas"], 0),
        accumulator=answer["globals"]["accumulator"] % 2**64,
        memory=bytes.fromhex(answer["memory_hex"]),
    )


def expect(code: bytes) -> Observed:
    result = run(code, gas=GAS, memory_pages=PAGES)
    return Observed(
        outcome=result.outcome,
        gas_used=result.gas_used,
        accumulator=result.globals[0],
        memory=result.memory,
    )


def with_accumulator(code: bytes) -> bytes:
    """Export global 0 of a module besides, as `accumulator`."""
    return with_exports(code, [sized(b"accumulator") + b"\x03\x00"])


def features_of(code: bytes) -> set[str]:
    module: Module = meter(code).module
    return module.features


@pytest.mark.parametrize("engine", EMBEDDED)
@settings(max_examples=EXAMPLES)
@given(code=modules(plain=True) | modules(plain=True, traps=False))
def test_every_engine_runs_every_plain_module_as_the_reference_does(
    engine_named: Engines, engine: str, code: bytes
) -> None:
    skip_if_missing(engine)
    process = engine_named(engine)
    code = with_accumulator(code)

    assert features_of(code) <= process.runtime.features
    assert observe(process, code) == expect(code)


@pytest.mark.parametrize("engine", EMBEDDED)
@settings(max_examples=EXAMPLES)
@given(code=modules() | modules(bulk=False))
def test_an_engine_runs_every_module_whose_features_it_has_as_the_reference_does(
    engine_named: Engines, engine: str, code: bytes
) -> None:
    skip_if_missing(engine)
    process = engine_named(engine)
    if features_of(code) <= process.runtime.features:
        assert observe(process, code) == expect(code)
