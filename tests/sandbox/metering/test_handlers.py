"""The stack's height and the gas around handlers and tail calls, and faults of the rewriter that must be noticed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plasm_core.plugins.engine import Engine
from plasm_core.sandbox.metering import opcodes, rewrite
from plasm_core.sandbox.metering.handlers import LEAVE, RESTORE, Handlers
from plasm_core.sandbox.metering.injected import EXIT_GLOBAL, FAULT_GLOBAL
from plasm_core.sandbox.metering.rewrite import meter_module
from plasm_core.sandbox.metering.sections import read_module
from plasm_core.sandbox.process import worker, worker_frames
from plasm_core.trap_kinds import TRAP_KINDS
from tests.fuzz.dense import dense_module

engine_module = pytest.importorskip("plasm_runtime_wasmtime.engine")

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "vectors" / "exceptions.json").read_text(encoding="utf-8")
)
MODULE = bytes.fromhex(VECTORS["module_hex"])
RUNS = [item for item in VECTORS["runs"] if item["entry"] not in ("stack exhausted", "a million tail calls")]
"""Those that the stack of this process holds, and that are quick."""


@pytest.fixture(scope="module")
def engine() -> Engine:
    made: Engine = engine_module.WasmtimeEngine()
    return made


def run(
    engine: Engine, code: bytes, *, gas: int = 10**9, entry: bool = False
) -> tuple[dict[str, Any], int, int]:
    """Return outcome, gas and the global `plasm:fault` of metered code, in this process."""
    job = worker_frames.WorkerJob(
        worker_frames.pack_job(
            gas=gas,
            memory_bytes=1 << 20,
            output_bytes=1 if entry else 1 << 16,
            stdin_bytes=0,
            cpu_s=10,
            flags=worker_frames.HAS_ENTRY if entry else 0,
            seed=bytes(32),
            args=(),
            env=(),
        )
    )
    host, instance = worker.make_instance(engine.load(engine.compile(code)))
    packed = worker.run(instance, host, job, worker.FileStdin(None, 0), lambda _stream, _data: None)
    kind, code_, trap, gas_used, _, _, _ = worker_frames.unpack_outcome(packed)
    outcome: dict[str, Any] = {"kind": kind}
    if kind == "exited":
        outcome["code"] = instance.get_global(EXIT_GLOBAL) & 0xFFFF_FFFF if entry and code_ == 0 else code_
    if kind == "trapped":
        outcome["trap"] = TRAP_KINDS[trap]
    return outcome, gas_used, instance.get_global(FAULT_GLOBAL)


def broken_vectors(engine: Engine) -> list[str]:
    """Return the entries that end otherwise than their vectors say."""
    wrong = []
    for item in RUNS:
        code = meter_module(read_module(MODULE), entry=item["entry"])
        outcome, gas_used, _ = run(engine, code, gas=item["gas"], entry=True)
        if (outcome, gas_used) != (item["outcome"], item["gas_used"]):
            wrong.append(item["entry"])
    return wrong


class _ShowingStack(rewrite._Rewriter):
    """Exports the stack's height as `plasm:fault`."""

    def _exports(self, start: bytes | None, initial: bytes | None) -> bytes:
        self.fault = self.stack
        return super()._exports(start, initial)


def test_a_run_that_exits_leaves_nothing_on_the_stack(engine: Engine) -> None:
    """After all throws, catches and calls the weights that were added are removed again."""
    rng = random.Random(1)
    heights = []
    for number in range(150):
        data = dense_module(rng, raising=True, lowered=number % 2 == 0)
        metered = _ShowingStack(
            read_module(data), canonical_nans=False, trap_checks=False, entry=None
        ).rewrite()
        outcome, _, height = run(engine, metered, gas=200_000)
        if outcome["kind"] == "exited":
            heights.append(height)

    assert len(heights) > 100
    assert set(heights) == {0}


def test_the_vectors_hold_in_this_process(engine: Engine) -> None:
    assert broken_vectors(engine) == []


def _without(which: int) -> Callable[[pytest.MonkeyPatch], None]:
    """Return a fault: patches of a kind are forgotten."""

    def break_it(monkeypatch: pytest.MonkeyPatch) -> None:
        patched = Handlers._patched

        def forgetful(self: Handlers, left: bytes) -> bytes | bytearray:
            self.patches = [item for item in self.patches if item[1] != which]
            return patched(self, left)

        monkeypatch.setattr(Handlers, "_patched", forgetful)

    return break_it


def _no_restore_at_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Handlers._try_table

    def forgetful(self: Handlers, start: int) -> None:
        write(self, start)
        for label in self.labels:
            label.catches = False

    monkeypatch.setattr(Handlers, "_try_table", forgetful)


def _free_throws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opcodes, "THROW_GAS", 0)


def _free_tail_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {*opcodes.FREE, opcodes.RETURN_CALL}
    monkeypatch.setattr(opcodes, "COST", bytes(opcode not in free for opcode in range(256)))


def _dear_throws(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Handlers._throw

    def twice(self: Handlers, opcode: int, start: int) -> None:
        write(self, opcode, start)
        self.cost += 1

    monkeypatch.setattr(Handlers, "_throw", twice)


def _free_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Handlers._try_table

    def for_nothing(self: Handlers, start: int) -> None:
        cost = self.cost
        write(self, start)
        self.cost = cost

    monkeypatch.setattr(Handlers, "_try_table", for_nothing)


def _nothing_ends_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrite._Rewriter, "_ending_exceptions", lambda _self, function: function)


@pytest.mark.parametrize(
    ("fault", "noticed"),
    [
        (_without(RESTORE), "restored in a loop"),
        (_without(LEAVE), "many tail calls that return"),
        (_no_restore_at_ends, "restored in a block"),
        (_no_restore_at_ends, "restored at a function's end"),
        (_free_throws, "caught"),
        (_free_tail_calls, "exit by a tail call"),
        (_dear_throws, "caught from a call"),
        (_free_handlers, "the last of many handlers"),
        (_free_handlers, "handlers that do not match"),
        (_free_handlers, "not thrown"),
        (_nothing_ends_exceptions, "uncaught"),
    ],
)
def test_a_fault_of_the_rewriter_breaks_the_vectors(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, fault: Callable[[pytest.MonkeyPatch], None], noticed: str
) -> None:
    fault(monkeypatch)

    assert noticed in broken_vectors(engine)
