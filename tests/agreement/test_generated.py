"""Every engine does with generated modules what the reference interpreter does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings

from plasm_core.abc import Runtime
from plasm_core.node import Node
from plasm_core.sandbox.binary import sized, unsigned
from plasm_core.sandbox.child import interpreter_path
from plasm_core.sandbox.injected import FAULT_GROWTH, FAULT_STACK
from plasm_core.sandbox.metering import meter
from plasm_core.sandbox.module import EXPORT, SECTION_ORDER, Module, read_module
from tests.agreement import engine_child
from tests.agreement.conftest import skip_if_missing
from tests.agreement.engines import ENGINES
from tests.support.reference import run
from tests.support.wasmgen import modules

GAS = 20_000
PAGES = 4
_FAULTS = {FAULT_STACK: "stack_exhausted", FAULT_GROWTH: "growth_refused"}


@attrs.frozen(kw_only=True)
class Observed:
    """What is left of a run: `accumulator` is global 0, into which generated modules mix what they compute."""

    outcome: str
    gas_used: int
    accumulator: int
    memory: bytes


class EngineProcess:
    """An engine in a process of its own, under its own interpreter."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        python = runtime.python()
        path = [item for item in sys.path if os.path.isabs(item)]
        if python != sys.executable:
            path = [*_sources(path), *interpreter_path(python)]
        self._process = subprocess.Popen(
            [python, "-S", str(engine_child.__file__), runtime.entry, json.dumps(runtime.options())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PYTHONPATH": os.pathsep.join(path)},
            text=True,
        )

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"{self.runtime.name} ended with {self._process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        assert "failure" not in answer, f"{self.runtime.name}: {answer['failure']}"
        return answer

    def close(self) -> None:
        self._process.communicate()


def _sources(path: list[str]) -> list[str]:
    """Return what another interpreter can import from, too: directories of sources, not of installed packages."""
    return [
        item
        for item in path
        if ("site-packages" not in item and Path(item, "plasm_core").is_dir()) or "plugins" in item
    ]


Engines = Callable[[str], EngineProcess]


@pytest.fixture(scope="module")
def engine_named(node: Node) -> Iterator[Engines]:
    started: dict[str, EngineProcess] = {}

    def get(name: str) -> EngineProcess:
        if name not in started:
            started[name] = EngineProcess(node.runtime(name))
        return started[name]

    yield get
    for process in started.values():
        process.close()


def observe(engine: EngineProcess, code: bytes) -> Observed:
    metered = meter(code, canonical_nans=not engine.runtime.canonical_nans)
    answer = engine.ask(
        {
            "code_hex": metered.code.hex(),
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
    module = read_module(code)
    reader = module.reader(EXPORT)
    assert reader is not None
    reader.count()
    exports = unsigned(len(module.exports) + 1) + reader.bytes(reader.end - reader.position)
    exports += sized(b"accumulator") + b"\x03\x00"
    sections = {number: code[start:end] for number, (start, end) in module.sections.items()} | {
        EXPORT: exports
    }
    present = [number for number in SECTION_ORDER if number in sections]
    return code[:8] + b"".join(bytes([number]) + sized(sections[number]) for number in present)


def features_of(code: bytes) -> set[str]:
    module: Module = meter(code).module
    return module.features


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=100)
@given(code=modules(plain=True) | modules(plain=True, traps=False))
def test_every_engine_runs_every_plain_module_as_the_reference_does(
    engine_named: Engines, engine: str, code: bytes
) -> None:
    skip_if_missing(engine)
    process = engine_named(engine)
    code = with_accumulator(code)

    assert features_of(code) <= process.runtime.features
    assert observe(process, code) == expect(code)


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=50)
@given(code=modules() | modules(bulk=False))
def test_an_engine_runs_every_module_whose_features_it_has_as_the_reference_does(
    engine_named: Engines, engine: str, code: bytes
) -> None:
    skip_if_missing(engine)
    process = engine_named(engine)
    code = with_accumulator(code)
    if features_of(code) <= process.runtime.features:
        assert observe(process, code) == expect(code)
