"""Which jobs share a process, and that nothing passes from one to the next."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

from plasm_core.config import Config, SandboxConfig
from plasm_core.errors import PluginMissingError
from plasm_core.execution import run_job
from plasm_core.local_node import LocalNode
from plasm_core.plugins.interfaces import Runtime
from plasm_core.records import JobInput, Outcome, manifest_for
from plasm_core.sandbox.process import executor
from plasm_core.sandbox.process.zygote_messages import SYS_CLONE
from plasm_core.testing.bench import module_named
from plasm_runtime_wasm3.runtime import Wasm3Runtime
from plasm_runtime_wasmtime.runtime import WasmtimeRuntime
from tests.support import processes
from tests.support.lab import Job, Lab, open_lab
from tests.support.processes import gone
from tests.support.wat import FOREVER, exiting, function, module, writing

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() not in SYS_CLONE, reason="there are no zygotes here"
    ),
]

SUCCESS = Outcome(kind="exited", code=0)
ENDLESS = writing(b"running", then=FOREVER)
SELF = os.getpid()


def test_each_job_has_a_process_of_its_own(lab: Lab) -> None:
    program = lab.hostile()

    found = [lab.process(program) for _ in range(20)]

    assert len(set(found)) == 20


def test_a_client_uses_its_process_again_if_workers_are_shared(shared: Lab) -> None:
    program = shared.hostile()

    assert len({shared.process(program, client="one") for _ in range(20)}) == 1


def test_no_process_is_shared_between_clients_modules_or_limits(shared: Lab) -> None:
    program, other = shared.hostile(), shared.hostile(b"other")

    found = [
        shared.process(program, client="one"),
        shared.process(program, client="two"),
        shared.process(other, client="one"),
        shared.process(program, client="one", memory_bytes=32 << 20),
    ]

    assert len(set(found)) == 4


def test_a_shared_process_ends_after_so_many_jobs(directory: Path) -> None:
    with open_lab(directory, isolation="shared", jobs_per_shared_worker=3) as lab:
        program = lab.hostile()

        found = [lab.process(program) for _ in range(9)]

        assert found == [pid for pid in found[::3] for _ in range(3)]
        assert len(set(found)) == 3


def test_an_engine_may_ask_for_fewer_jobs_a_process(directory: Path) -> None:
    """wasm3 frees no instance: enough jobs in one process would end it."""
    try:
        Wasm3Runtime().check()
    except PluginMissingError as exc:
        pytest.skip(str(exc))
    with open_lab(directory, isolation="shared") as lab:
        program = lab.admit(exiting(7), Wasm3Runtime())

        outcomes = {lab.run(program).outcome for _ in range(40)}

    assert outcomes == {Outcome(kind="exited", code=7)}


def test_jobs_at_one_time_do_not_share_a_process(shared: Lab) -> None:
    program = shared.admit(ENDLESS)
    with shared.running(program, client="one"), shared.running(program, client="one"):
        busy = processes.workers(SELF)

    assert len(busy) >= 2


def test_a_shared_process_that_failed_is_not_used_again(shared: Lab) -> None:
    program = shared.hostile()
    before = shared.process(program)

    outcome = shared.run(program, args=["crash"]).outcome

    assert outcome.kind == "system_error"
    assert gone(before)
    assert shared.process(program) != before


def test_idle_shared_processes_beyond_the_limit_end(shared: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "MAX_SHARED_WORKERS", 3)
    program = shared.hostile()

    found = [shared.process(program, client=str(number)) for number in range(5)]

    assert [gone(pid) for pid in found] == [True, True, False, False, False]
    assert shared.process(program, client="4") == found[4]


def _stateful(*, tables: bool) -> bytes:
    """Return a module that writes what it finds of every state there is, and then changes it."""
    about_tables = (
        "(i32.store (i32.const 100) (table.size $table))",
        "(drop (table.grow $table (ref.func $note) (i32.const 2)))",
        "(i32.store (i32.const 104) (ref.is_null (table.get $table (i32.const 0))))",
        "(table.set $table (i32.const 0) (ref.func $note))",
    )
    return module(
        function("fd_write", "i32 i32 i32 i32"),
        function("random_get", "i32 i32"),
        function("clock_time_get", "i32 i64 i32"),
        function("fd_read", "i32 i32 i32 i32"),
        function("fd_close", "i32"),
        '(memory (export "memory") 1 4)',
        "(global $count (mut i32) (i32.const 5))",
        "(table $table 2 4 funcref)",
        "(elem (i32.const 1) func $note)",
        r'(data (i32.const 0) "\40\00\00\00\40\00\00\00")',  # a vector: 64 bytes at 64
        r'(data (i32.const 16) "\80\00\00\00\10\00\00\00")',  # a vector: 16 bytes at 128
        "(func $note)",
        '(func (export "_start")',
        "(i32.store (i32.const 64) (global.get $count))",
        "(global.set $count (i32.const 6))",
        "(i32.store (i32.const 68) (i32.load (i32.const 1000)))",
        "(i32.store (i32.const 1000) (i32.const 0x01010101))",
        "(drop (call $random_get (i32.const 72) (i32.const 16)))",
        "(drop (call $clock_time_get (i32.const 0) (i64.const 0) (i32.const 88)))",
        "(i32.store (i32.const 96) (memory.size))",
        "(drop (memory.grow (i32.const 2)))",
        *(about_tables if tables else ()),
        "(drop (call $fd_read (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 108)))",
        "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 56)))",
        "(drop (call $fd_close (i32.const 1))))",
    )


@pytest.mark.parametrize("runtime", [WasmtimeRuntime(), Wasm3Runtime()], ids=lambda item: item.name)
def test_nothing_is_left_in_a_shared_process_from_one_job_to_the_next(
    shared: Lab, lab: Lab, runtime: Runtime
) -> None:
    try:
        runtime.check()
    except PluginMissingError as exc:
        pytest.skip(str(exc))
    code = _stateful(tables="reference-types" in runtime.features)
    fresh = lab.run(lab.admit(code, runtime), stdin=b"input")
    program = shared.admit(code, runtime)

    found = [shared.run(program, stdin=b"input") for _ in range(4)]

    assert fresh.outcome == SUCCESS
    assert len(fresh.stdout) == 64
    assert found == [fresh] * 4


def _mixed(lab: Lab) -> list[Job]:
    modules = (
        exiting(3),
        module_named("trap_unreachable"),
        module_named("recursion"),
        module_named("grow"),
        module_named("echo"),
        module_named("loop"),
    )
    programs = [lab.admit(code) for code in modules for _ in range(3)]
    return [lab.run(program, stdin=b"some input", gas=3_000_000) for program in programs]


def test_shared_processes_give_what_others_give(shared: Lab, lab: Lab) -> None:
    """Traps, exits and limits leave a process as it was."""
    assert _mixed(shared) == _mixed(lab)


@pytest.mark.parametrize("isolation", ["process", "shared"])
def test_a_receipt_states_how_its_job_was_isolated(homes: Path, isolation: str) -> None:
    code, inputs = exiting(0), JobInput()
    with LocalNode(Config(sandbox=SandboxConfig(isolation=isolation))) as node:
        completed = run_job(node, code, inputs, manifest_for(code, inputs), lambda _stream, _data: None)

    assert completed.receipt.claims.isolation == isolation
