"""A job finds nothing of the one before it, on a worker of its own or on one that several share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from plasm_core.config import SandboxConfig
from plasm_core.testing.bench import Bench, exited, open_bench
from plasm_core.testing.script import MONOTONIC, SUCCESS, Script
from plasm_runtime_wasmtime.runtime import WasmtimeRuntime
from tests.sandbox.modules import wat

COUNTING = """(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1 2)
  (table 1 2 funcref)
  (global $runs (mut i32) (i32.const 0))
  (func (export "_start")
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
    (global.set $runs (i32.add (global.get $runs) (i32.const 1)))
    (drop (memory.grow (i32.const 1)))
    (drop (table.grow 0 (ref.null func) (i32.const 1)))
    (call $exit
      (i32.or
        (i32.or (i32.load (i32.const 0)) (i32.shl (global.get $runs) (i32.const 8)))
        (i32.or (i32.shl (memory.size) (i32.const 16)) (i32.shl (table.size 0) (i32.const 24)))))))"""
"""Exits with how often it ran, by its memory and by a global, and with how far memory and table have grown."""


@pytest.fixture(params=["process", "shared"])
def any_bench(request: pytest.FixtureRequest, shared_directory: Path) -> Iterator[Bench]:
    """Return a bench of each level of isolation."""
    sandbox = SandboxConfig(isolation=request.param)
    with open_bench(WasmtimeRuntime(), shared_directory, sandbox=sandbox) as bench:
        yield bench


def test_memory_globals_and_tables_are_fresh(any_bench: Bench) -> None:
    module = wat(COUNTING)

    assert [any_bench.run(module).outcome for _ in range(4)] == [exited(0x02_02_01_01)] * 4


def test_the_machine_is_fresh(any_bench: Bench) -> None:
    script = Script(dump_to=2)
    script.call("clock_time_get", MONOTONIC, 0, 0)
    script.call("random_get", 8, 32)
    script.vectors(1024, (64, 100))
    script.call("fd_read", 0, 1024, 1, 200)
    script.call("fd_close", 1)
    script.call("fd_close", 0)

    runs = [any_bench.play(script, stdin=b"more than is read" * 20) for _ in range(3)]

    assert runs[0].errnos == [SUCCESS] * 5
    assert runs[1:] == runs[:1] * 2


def test_a_job_that_ended_badly_does_not_spoil_the_next(any_bench: Bench) -> None:
    ended = [
        any_bench.run(name, gas=100_000).outcome.kind
        for name in ("trap_unreachable", "loop", "trap_unreachable", "trap_stack_exhausted", "gas_empty")
    ]

    assert ended == ["trapped", "out_of_gas", "trapped", "out_of_gas", "exited"]


def test_isolation_is_stated_in_the_receipt(any_bench: Bench) -> None:
    first, second = (any_bench.run("gas_empty") for _ in range(2))

    for ended in (first, second):
        assert ended.outcome == exited(0)
        assert ended.receipt.claims.isolation == any_bench.node.config.sandbox.isolation
