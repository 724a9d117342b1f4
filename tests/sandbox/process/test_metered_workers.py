"""What is told of the processor time of a job's processes: all of it, however the job ends."""

from __future__ import annotations

import os
import platform
import sys
import threading
from collections.abc import Callable

import attrs
import pytest

from plasm_core.errors import SandboxError, StorageFullError
from plasm_core.sandbox.process.processor_time import processor_time_s
from plasm_core.sandbox.process.sealed_memory import sealed_blob
from plasm_core.sandbox.process.zygote_messages import SYS_CLONE
from tests.support import processes
from tests.support.lab import Lab
from tests.support.wat import FOREVER, exiting, starting, writing

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(
        sys.platform != "linux" or platform.machine() not in SYS_CLONE, reason="there are no zygotes here"
    ),
]

BUSY_S = 0.5
"""More than starting a worker takes of its own time."""
ENDLESS = writing(b"running", then=FOREVER)


def when_busy(act: Callable[[], object]) -> threading.Thread:
    """Act once a worker of this process has used `BUSY_S`."""

    def watch() -> None:
        assert processes.wait_until(
            lambda: any(processor_time_s(pid) > BUSY_S for pid in processes.workers(os.getpid())),
            timeout_s=60,
        )
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_cancelled_job_is_metered(lab: Lab) -> None:
    """Its client chooses when it ends: otherwise all the time before would cost nothing."""
    told: list[float] = []
    cancelled = threading.Event()
    watch = when_busy(cancelled.set)
    job = lab.run(lab.admit(starting(FOREVER)), cancelled=cancelled, meter=told.append)
    watch.join()

    assert job.outcome.kind == "cancelled"
    assert sum(told) > BUSY_S


def test_a_job_that_is_ended_by_its_wall_time_is_metered(lab: Lab) -> None:
    used_s, told = 0.0, list[float]()
    program = lab.admit(starting(FOREVER))
    ended = threading.Event()

    def look() -> None:
        nonlocal used_s
        while not ended.wait(0.01):
            used_s = max([used_s, *map(processor_time_s, processes.workers(os.getpid()))])

    watch = threading.Thread(target=look)
    watch.start()
    job = lab.run(program, wall_time_s=1, meter=told.append)
    ended.set()
    watch.join()

    assert job.outcome.kind == "timed_out"
    assert sum(told) >= used_s > 0


def test_a_job_whose_output_cannot_be_kept_is_metered(lab: Lab) -> None:
    """A full disk must not make the time before it free."""
    told: list[float] = []
    spent = threading.Event()

    def refuse(_stream: int, _data: bytes) -> None:
        spent.wait(60)
        raise StorageFullError("no room")

    watch = when_busy(spent.set)
    with pytest.raises(StorageFullError):
        lab.run(lab.admit(ENDLESS), output=refuse, meter=told.append)
    watch.join()

    assert sum(told) > BUSY_S


def test_a_job_whose_worker_dies_is_metered(lab: Lab) -> None:
    told: list[float] = []

    def kill() -> None:
        for pid in processes.workers(os.getpid()):
            os.kill(pid, 9)

    watch = when_busy(kill)
    job = lab.run(lab.admit(starting(FOREVER)), meter=told.append)
    watch.join()

    assert job.outcome.kind == "system_error"
    assert sum(told) > BUSY_S


def test_a_running_job_is_metered_before_its_end(lab: Lab) -> None:
    """The node may crash while the job runs; time that was not reported by then is not charged."""
    cancelled, told = threading.Event(), list[float]()

    def meter(cpu_s: float) -> None:
        told.append(cpu_s)
        if sum(told) > BUSY_S:
            cancelled.set()

    job = lab.run(lab.admit(starting(FOREVER)), cancelled=cancelled, meter=meter)

    assert job.outcome.kind == "cancelled"


def test_starting_a_zygote_is_metered_and_only_once(lab: Lab) -> None:
    """Jobs of a millisecond, each of another module, would have the node start zygotes all the time."""
    program = lab.admit(exiting(0))
    told: list[float] = []
    lab.run(program, meter=told.append)
    [zygote] = processes.zygotes(os.getpid())
    total_s = processor_time_s(zygote)
    again: list[float] = []
    lab.run(program, meter=again.append)

    assert total_s * 0.9 < sum(told)
    assert sum(again) < total_s * 0.5


def test_a_zygote_that_does_not_start_is_metered(lab: Lab) -> None:
    told: list[float] = []
    junk = sealed_blob("junk", [b"no module"])
    with (
        attrs.evolve(lab.admit(exiting(0)), digest="00" * 32, artefact_fd=junk) as program,
        pytest.raises(SandboxError, match="did not start"),
    ):
        lab.run(program, meter=told.append)

    assert sum(told) > 0


def test_jobs_of_a_shared_worker_are_metered_each_once(shared: Lab) -> None:
    told: list[list[float]] = [[], [], []]
    program = shared.admit(exiting(0))
    for item in told:
        shared.run(program, client="alice", meter=item.append)
    [worker] = {pid for pid in processes.workers(os.getpid()) if pid in _served(shared)}

    assert all(sum(item) > 0 for item in told)
    assert sum(map(sum, told[1:])) <= processor_time_s(worker)


def _served(shared: Lab) -> set[int]:
    return {worker.pid for worker in shared.executor._shared}


def test_a_child_that_was_reaped_has_no_time() -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {})
    os.waitpid(pid, 0)

    assert processor_time_s(pid, -1.0) == -1.0
