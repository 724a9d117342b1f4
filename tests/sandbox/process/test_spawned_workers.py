"""Workers that start by themselves, as V8's do: how they start, and what ends them."""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from plasm_core.config import SandboxConfig
from plasm_core.errors import PluginMissingError, SandboxError
from plasm_core.sandbox.process.child import reason
from plasm_core.sandbox.process.executor import Executor
from plasm_core.sandbox.process.zygote_messages import SYS_CLONE
from plasm_core.testing.bench import exited
from plasm_runtime_v8.runtime import V8Runtime
from tests.sandbox.modules import late_bomb, memory_bomb, wat
from tests.support import processes
from tests.support.hostile import HostileThreadedRuntime, ask, program_of
from tests.support.hostile_engine import STALL_WHILE_LOADING
from tests.support.lab import Lab

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() not in SYS_CLONE, reason="there are no zygotes here"
    ),
    pytest.mark.usefixtures("nothing_left"),
]


@pytest.fixture
def executor() -> Iterator[Executor]:
    with closing(Executor(SandboxConfig())) as executor:
        yield executor


def test_a_module_that_loads_slowly_delays_no_other_job(executor: Executor) -> None:
    """One thread starts all workers. It waited for each to be ready, for a minute at most."""
    problems: list[str] = []

    def run_stalling() -> None:
        with program_of(HostileThreadedRuntime(), artefact=STALL_WHILE_LOADING) as program:
            try:
                ask(executor, program, "process")
            except SandboxError as exc:
                problems.append(str(exc))

    stalling = threading.Thread(target=run_stalling)
    stalling.start()
    try:
        assert processes.wait_until(lambda: bool(processes.zygotes(os.getpid())))
        [stalled] = processes.zygotes(os.getpid())
        with program_of(HostileThreadedRuntime()) as program:
            outcome, _ = ask(executor, program, "process")

        assert outcome.ok
        assert stalling.is_alive()
    finally:
        for pid in processes.zygotes(os.getpid()):
            os.kill(pid, signal.SIGKILL)
        stalling.join()
    assert problems[0].startswith("a worker of hostile did not start: ")
    assert processes.gone(stalled)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "#\n# Fatal error in , line 0\n# Check failed: SetPermissions(a, b).\n#\n    /lib/v8.so(+0x1) [0x2]\n",
            "Check failed: SetPermissions(a, b).",
        ),
        (
            "\n<--- Last few GCs --->\n\n#\n# Fatal process out of memory: Zone\n#\n    /lib/v8.so(+0x1) [0x2]\n",
            "Fatal process out of memory: Zone",
        ),
        (
            "[FATAL:a.cc(85)] Check failed: false. \n#00 0x7f21 (/lib/v8.so+0x3)\n",
            "[FATAL:a.cc(85)] Check failed: false.",
        ),
        ("Traceback:\n  File x\nValueError: no\n", "ValueError: no"),
    ],
)
def test_the_reason_in_v8s_report_is_found_before_its_stack_trace(said: str, expected: str) -> None:
    assert reason(said) == expected


@pytest.fixture
def v8() -> V8Runtime:
    runtime = V8Runtime()
    try:
        runtime.check()
    except PluginMissingError as exc:
        pytest.skip(str(exc))
    return runtime


def test_code_that_takes_v8_too_much_memory_ends_its_job_alone(lab: Lab, v8: V8Runtime) -> None:
    """A worker loads its module under the limits of its job: this one took a gigabyte for a job of 16 MiB."""
    bomb = lab.admit(memory_bomb(), v8)
    small = lab.admit(wat("(module …)"), v8)

    ended = lab.run(bomb)

    assert ended.outcome.kind == "system_error"
    assert ended.outcome.detail == "the worker died (SIGTRAP): its engine gave up, probably for memory"
    assert lab.run(small).outcome == exited(0)


def test_code_that_v8_compiles_too_long_while_it_runs_is_timed_out(lab: Lab, v8: V8Runtime) -> None:
    ended = lab.run(lab.admit(late_bomb(), v8), wall_time_s=1)

    assert ended.outcome.kind == "timed_out"
